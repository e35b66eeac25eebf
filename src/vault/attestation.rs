//! Attestations: what somebody proved of a backup, and when. Signed, and stored beside it; the manifest is never changed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::BackupId;
use super::manifest::FORMAT_VERSION;
use crate::error::{Error, Result};

/// How much was proved; each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Every object is there and has its size.
    Present,
    /// Every object was read back and has its digest. No key is needed for that.
    Intact,
    /// Everything was decrypted, and every member has its digest.
    Readable,
    /// It was restored and compared, by a drill.
    Restored,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Level; 4] = [Level::Present, Level::Intact, Level::Readable, Level::Restored];

    /// The word in files and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Present => "present",
            Level::Intact => "intact",
            Level::Readable => "readable",
            Level::Restored => "restored",
        }
    }
}

/// One attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The cluster whose backup it is.
    pub cluster: String,
    /// The backup.
    pub backup: BackupId,
    /// SHA-256 of its manifest: of exactly this backup it was proved.
    #[serde(with = "hex")]
    pub manifest_sha256: [u8; 32],
    /// How much was proved.
    pub level: Level,
    /// When.
    pub at: Timestamp,
    /// Version of the program that proved it.
    pub tool_version: String,
    /// Objects that were looked at or read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Members that were compared; absent where nothing was decrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
}

impl Attestation {
    /// Its name in the backup's folder.
    pub fn key(&self) -> String {
        format!("{ATTESTATIONS}/{}-{}.json", self.at.strftime("%Y%m%dT%H%M%SZ"), self.level.as_str())
    }

    /// Whether a file in the folder of attestations is called like one, of a level that is known.
    pub fn is_name(name: &str) -> bool {
        let Some((stamp, level)) = name.strip_suffix(".json").and_then(|name| name.split_once('-')) else {
            return false;
        };
        stamp.len() == 16 && stamp.is_ascii() && Level::ALL.iter().any(|known| known.as_str() == level)
    }

    /// The bytes that are signed and stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|e| Error::failed("write an attestation").because(e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads one. Call it only with bytes whose signature holds.
    pub fn parse(bytes: &[u8]) -> Result<Attestation> {
        let read: Attestation =
            serde_json::from_slice(bytes).map_err(|e| Error::integrity("the attestation cannot be read").because(e))?;
        if read.format_version != FORMAT_VERSION {
            return Err(Error::integrity(format!("the attestation has format version {}", read.format_version))
                .hint("use the ckbackup that wrote it, or a newer one"));
        }
        Ok(read)
    }
}

/// The folder of attestations in a backup's folder.
pub const ATTESTATIONS: &str = "attestations";
