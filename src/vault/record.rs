//! Records: what runs, verifications, rotations, drills and restores came to. Small, signed, and kept apart from the backups, so
//! that they are still there when rotation has removed these. They name no objects of customers.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attestation::Level;
use super::layout::BackupId;
use super::manifest::{FORMAT_VERSION, Manifest, Status, digest};
use super::quarter::Quarter;
use super::signature::Purpose;
use crate::config::Name;
use crate::error::{Error, Result};

/// The folder of records in a cluster's folder. No backup id has that form, so nothing that looks for backups looks into it.
pub const RECORDS: &str = "records";

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// A run that committed a backup.
    Backup,
    /// A run that did not.
    FailedRun,
    /// A night without a run.
    MissedNight,
    /// A backup that was verified.
    Verification,
    /// Backups that were removed.
    Rotation,
    /// A drill.
    Drill,
    /// A restore.
    Restore,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [RecordKind; 7] = [
        RecordKind::Backup,
        RecordKind::FailedRun,
        RecordKind::MissedNight,
        RecordKind::Verification,
        RecordKind::Rotation,
        RecordKind::Drill,
        RecordKind::Restore,
    ];

    /// The word in keys and files.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordKind::Backup => "backup",
            RecordKind::FailedRun => "failedRun",
            RecordKind::MissedNight => "missedNight",
            RecordKind::Verification => "verification",
            RecordKind::Rotation => "rotation",
            RecordKind::Drill => "drill",
            RecordKind::Restore => "restore",
        }
    }

    /// The kind of that word; none for one of a later version.
    pub fn parse(word: &str) -> Option<RecordKind> {
        RecordKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What its signature must be made for: whoever owns the cluster can say that a backup was taken, and not that it was
    /// verified or restored.
    pub fn purpose(self) -> Purpose {
        match self {
            RecordKind::Backup | RecordKind::FailedRun | RecordKind::MissedNight => Purpose::Record,
            _ => Purpose::ProofRecord,
        }
    }
}

/// A run that committed a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRecord {
    /// Its id.
    pub id: BackupId,
    /// SHA-256 of its manifest.
    #[serde(with = "hex")]
    pub manifest_sha256: [u8; 32],
    /// Whether it holds everything that it was asked for.
    pub status: Status,
    /// When the run began.
    pub started: Timestamp,
    /// When it was done.
    pub finished: Timestamp,
    /// The local date of the night that it is of; absent for one that was taken at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub night: Option<Date>,
    /// Members in it.
    pub items: u64,
    /// Bytes in the vault.
    pub stored_bytes: u64,
    /// How many things it lacks.
    pub problems: u64,
}

impl BackupRecord {
    /// That of a manifest.
    pub fn of(manifest: &Manifest, night: Option<Date>) -> Result<BackupRecord> {
        let problems: usize = manifest.sources.iter().map(|source| source.problems.len()).sum();
        Ok(BackupRecord {
            id: manifest.id.clone(),
            manifest_sha256: digest(&manifest.to_bytes()?),
            status: manifest.status,
            started: manifest.started,
            finished: manifest.finished,
            night,
            items: manifest.items(),
            stored_bytes: manifest.stored_bytes(),
            problems: (problems + manifest.left_out_sources.len()) as u64,
        })
    }
}

/// A run that ended without a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedRunRecord {
    /// When it began.
    pub began: Timestamp,
    /// The night that it was of, where it was one of a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub night: Option<Date>,
    /// Why.
    pub reason: String,
}

/// A night without a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissedNightRecord {
    /// Its local date.
    pub night: Date,
    /// What is known of it.
    pub reason: String,
}

/// A backup that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationRecord {
    /// The backup.
    pub backup: BackupId,
    /// SHA-256 of its manifest.
    #[serde(with = "hex")]
    pub manifest_sha256: [u8; 32],
    /// How much was proved.
    pub level: Level,
}

/// Backups that were removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationRecord {
    /// How many verified ones are to be kept.
    pub keep: u32,
    /// Which were removed, oldest first.
    pub removed: Vec<BackupId>,
}

/// A drill or a restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExerciseRecord {
    /// SHA-256 of the whole report, as it was handed out.
    #[serde(with = "hex")]
    pub report_sha256: [u8; 32],
    /// The report, without the names of objects.
    pub report: Value,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordBody {
    /// Of a run that committed a backup.
    Backup(BackupRecord),
    /// Of a run that did not.
    FailedRun(FailedRunRecord),
    /// Of a night without a run.
    MissedNight(MissedNightRecord),
    /// Of a verification.
    Verification(VerificationRecord),
    /// Of a rotation.
    Rotation(RotationRecord),
    /// Of a drill.
    Drill(ExerciseRecord),
    /// Of a restore.
    Restore(ExerciseRecord),
}

impl RecordBody {
    /// What it is about.
    pub fn kind(&self) -> RecordKind {
        match self {
            RecordBody::Backup(_) => RecordKind::Backup,
            RecordBody::FailedRun(_) => RecordKind::FailedRun,
            RecordBody::MissedNight(_) => RecordKind::MissedNight,
            RecordBody::Verification(_) => RecordKind::Verification,
            RecordBody::Rotation(_) => RecordKind::Rotation,
            RecordBody::Drill(_) => RecordKind::Drill,
            RecordBody::Restore(_) => RecordKind::Restore,
        }
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        match self {
            RecordBody::Backup(body) => serde_json::to_value(body),
            RecordBody::FailedRun(body) => serde_json::to_value(body),
            RecordBody::MissedNight(body) => serde_json::to_value(body),
            RecordBody::Verification(body) => serde_json::to_value(body),
            RecordBody::Rotation(body) => serde_json::to_value(body),
            RecordBody::Drill(body) | RecordBody::Restore(body) => serde_json::to_value(body),
        }
    }

    fn parse(kind: RecordKind, value: Value) -> Result<RecordBody> {
        Ok(match kind {
            RecordKind::Backup => RecordBody::Backup(read(value)?),
            RecordKind::FailedRun => RecordBody::FailedRun(read(value)?),
            RecordKind::MissedNight => RecordBody::MissedNight(read(value)?),
            RecordKind::Verification => RecordBody::Verification(read(value)?),
            RecordKind::Rotation => RecordBody::Rotation(read(value)?),
            RecordKind::Drill => RecordBody::Drill(read(value)?),
            RecordKind::Restore => RecordBody::Restore(read(value)?),
        })
    }
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Error::integrity("the record cannot be read").because(e))
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The cluster.
    pub cluster: String,
    /// A schedule or a plan: whose it is.
    pub name: Name,
    /// When it was written.
    pub at: Timestamp,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// What it says.
    pub body: RecordBody,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    format_version: u32,
    cluster: String,
    kind: String,
    name: Name,
    at: Timestamp,
    tool_version: String,
    body: Value,
}

impl Record {
    /// Its key in the vault; `nth` tells those of the same second apart, from 1.
    pub fn key(&self, nth: u32) -> String {
        let (kind, at) = (self.body.kind().as_str(), self.at);
        let stem = format!("{}-{kind}-{}", at.strftime("%Y%m%dT%H%M%SZ"), self.name);
        let more = if nth > 1 { format!(".{nth}") } else { String::new() };
        format!("{}/{RECORDS}/{}/{stem}{more}.json", self.cluster, Quarter::at(at))
    }

    /// The bytes that are signed and stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let write = |e| Error::failed("write a record").because(e);
        let stored = Stored {
            format_version: FORMAT_VERSION,
            cluster: self.cluster.clone(),
            kind: self.body.kind().as_str().into(),
            name: self.name.clone(),
            at: self.at,
            tool_version: self.tool_version.clone(),
            body: self.body.to_value().map_err(write)?,
        };
        let mut bytes = serde_json::to_vec_pretty(&stored).map_err(write)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads one. Call it only with bytes whose signature holds.
    pub fn parse(bytes: &[u8]) -> Result<Record> {
        let unreadable = |e| Error::integrity("the record cannot be read").because(e);
        let stored: Stored = serde_json::from_slice(bytes).map_err(unreadable)?;
        if stored.format_version != FORMAT_VERSION {
            return Err(Error::integrity(format!("the record has format version {}", stored.format_version))
                .hint("use the ckbackup that wrote it, or a newer one"));
        }
        let kind = RecordKind::parse(&stored.kind);
        let kind = kind.ok_or_else(|| Error::integrity(format!("no kind of record is called {:?}", stored.kind)))?;
        Ok(Record {
            cluster: stored.cluster,
            name: stored.name,
            at: stored.at,
            tool_version: stored.tool_version,
            body: RecordBody::parse(kind, stored.body)?,
        })
    }
}

/// What the key of a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordName {
    /// The folder that it stands in.
    pub quarter: Quarter,
    /// The word for its kind, which may be one of a later version.
    pub kind: String,
    /// Which of those of the same second.
    pub nth: u32,
}

impl RecordName {
    /// Reads the key of a record, relative to the vault; none for what is no record, such as a signature.
    pub fn parse(cluster: &str, key: &str) -> Option<RecordName> {
        let inside = key.strip_prefix(cluster)?.strip_prefix('/')?.strip_prefix(RECORDS)?.strip_prefix('/')?;
        let (quarter, file) = inside.split_once('/')?;
        let stem = file.strip_suffix(".json")?;
        let (stem, nth) = match stem.split_once('.') {
            Some((stem, nth)) => (stem, nth.parse().ok().filter(|nth| *nth > 1)?),
            None => (stem, 1),
        };
        let mut parts = stem.splitn(3, '-');
        let (stamp, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_stamp = stamp.len() == 16 && stamp.is_ascii();
        let is_kind = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric());
        let fine = is_stamp && is_kind && name.parse::<Name>().is_ok();
        fine.then_some(RecordName { quarter: quarter.parse().ok()?, kind: kind.into(), nth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(name: &str) -> Record {
        Record {
            cluster: "workload-1".into(),
            name: name.parse().unwrap(),
            at: "2026-12-31T23:30:00Z".parse().unwrap(),
            tool_version: "1".into(),
            body: RecordBody::MissedNight(MissedNightRecord {
                night: "2027-01-01".parse().unwrap(),
                reason: "no run".into(),
            }),
        }
    }

    #[test]
    fn a_record_reads_back_and_its_key_says_where_it_belongs() {
        let record = missed("nightly-2");
        assert_eq!(Record::parse(&record.to_bytes().unwrap()).unwrap(), record);
        let key = record.key(1);
        assert_eq!(key, "workload-1/records/2026Q4/20261231T233000Z-missedNight-nightly-2.json");
        let name = RecordName::parse("workload-1", &key).unwrap();
        assert_eq!((name.quarter.to_string().as_str(), name.kind.as_str(), name.nth), ("2026Q4", "missedNight", 1));
        assert_eq!(RecordName::parse("workload-1", &record.key(3)).unwrap().nth, 3);
        for other in [format!("{key}.sig"), key.replace("workload-1", "workload-2"), key.replace("Q4", "Q5")] {
            assert_eq!(RecordName::parse("workload-1", &other), None, "{other}");
        }
    }

    #[test]
    fn unknown_fields_are_accepted_and_unknown_versions_are_not() {
        let text = String::from_utf8(missed("n").to_bytes().unwrap()).unwrap();
        let more =
            text.replace("\"reason\"", "\"since\": 4, \"reason\"").replace("\"kind\"", "\"zone\": [1], \"kind\"");
        assert_eq!(Record::parse(more.as_bytes()).unwrap(), missed("n"));
        let future = text.replace("\"formatVersion\": 1", "\"formatVersion\": 2");
        assert!(Record::parse(future.as_bytes()).unwrap_err().one_line().contains("format version 2"));
    }
}
