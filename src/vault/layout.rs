//! Where things stand in a vault: ids and keys.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Name;
use crate::error::Error;

/// The name of a backup: `20261121T000003Z-nightly`. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId {
    /// `20261121T000003Z`, which sorts by time.
    stamp: String,
    schedule: String,
}

impl BackupId {
    /// The id of a backup by `schedule` that began at `start`.
    pub fn new(start: Timestamp, schedule: &Name) -> Self {
        BackupId { stamp: start.strftime("%Y%m%dT%H%M%SZ").to_string(), schedule: schedule.to_string() }
    }
}

impl BackupId {
    /// Name of the schedule that asked for it.
    pub fn schedule(&self) -> &str {
        &self.schedule
    }

    /// When its run began; none for a stamp that is no time.
    pub fn started(&self) -> Option<Timestamp> {
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &self.stamp).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }

    /// Whether the id is that of a run that began then.
    pub fn began_at(&self, start: Timestamp) -> bool {
        self.stamp == start.strftime("%Y%m%dT%H%M%SZ").to_string()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stamp, self.schedule)
    }
}

impl FromStr for BackupId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::usage(format!("{text:?} is not a backup id"))
                .hint("an id looks like 20261121T000003Z-nightly; `ckbackup list` shows them")
        };
        let (stamp, schedule) = text.split_once('-').ok_or_else(wrong)?;
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let shaped = stamp.len() == 16
            && stamp.is_ascii()
            && digits(&stamp[..8])
            && &stamp[8..9] == "T"
            && digits(&stamp[9..15])
            && stamp.ends_with('Z');
        if !shaped || schedule.parse::<Name>().is_err() {
            return Err(wrong());
        }
        Ok(BackupId { stamp: stamp.into(), schedule: schedule.into() })
    }
}

impl TryFrom<String> for BackupId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> String {
        id.to_string()
    }
}

/// The folder of one backup in the vault, from which its keys follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFolder {
    /// Cluster whose backup it is.
    pub cluster: String,
    /// The backup.
    pub id: BackupId,
}

impl BackupFolder {
    /// The folder's own key.
    pub fn key(&self) -> String {
        format!("{}/{}", self.cluster, self.id)
    }

    /// Key of a segment, relative to the folder, as it stands in the manifest.
    pub fn segment(source: &str, number: u32) -> String {
        format!("{source}/{number:04}.tar.zst.age")
    }

    /// Key of a segment's index, relative to the folder.
    pub fn index(source: &str, number: u32) -> String {
        format!("{source}/{number:04}.index.json.zst.age")
    }

    /// Key of something in the folder, relative to the vault.
    pub fn of(&self, relative: &str) -> String {
        format!("{}/{}/{relative}", self.cluster, self.id)
    }
}

/// Relative key of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Relative key of the manifest's signature.
pub const SIGNATURE: &str = "manifest.json.sig";
/// Relative key of the folder of receipts. No source can have that name with a file in it that is no segment.
pub const RECEIPTS: &str = "receipts";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_by_time() {
        let early: BackupId = "20261121T000003Z-nightly".parse().unwrap();
        let late: BackupId = "20261122T000003Z-a".parse().unwrap();
        assert!(early < late);
        assert_eq!(early.to_string(), "20261121T000003Z-nightly");
        for bad in ["", "latest", "20261121T000003Z", "20261121T000003Z-Bad_Name", "2026112ÄT000003Z-x"] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }
}
