//! Receipts: that a run stored a unit of a source. Signed, and stored beside it, so that the next run can take over what a
//! run had finished that was cut off. They are no part of the backup.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::{BackupId, RECEIPTS};
use super::manifest::{FORMAT_VERSION, SegmentRecord, UnitRecord};
use crate::error::{Error, Result};

/// One receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The cluster whose run it is.
    pub cluster: String,
    /// The run, by the id of the backup that it would have become.
    pub backup: BackupId,
    /// Who can decrypt what was stored.
    pub recipients: Vec<String>,
    /// When it was stored.
    pub at: Timestamp,
    /// The source.
    pub source: String,
    /// The unit.
    pub unit: UnitRecord,
    /// Where it is.
    pub segments: Vec<SegmentRecord>,
}

impl Receipt {
    /// Its key in the run's folder.
    pub fn key(&self) -> String {
        format!("{RECEIPTS}/{}-{}.json", self.source, hex::encode(self.unit.identity.0))
    }

    /// The bytes that are signed and stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::failed("write a receipt").because(e))
    }

    /// Reads one. Call it only with bytes whose signature holds.
    pub fn parse(bytes: &[u8]) -> Result<Receipt> {
        let read: Receipt =
            serde_json::from_slice(bytes).map_err(|e| Error::integrity("a receipt cannot be read").because(e))?;
        match read.format_version {
            FORMAT_VERSION => Ok(read),
            other => Err(Error::integrity(format!("a receipt has format version {other}"))),
        }
    }
}
