//! The manifest: the plain, signed description of a backup. Its existence is what makes the backup exist.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layout::BackupId;
use crate::config::CONFIGURATION_SOURCE;
use crate::error::{Error, Result};
use crate::inventory::{Contents, Identity};
pub use crate::inventory::{Omission, TypeRecord};

/// The format version that this program writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Whether a backup holds everything that it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Everything that was asked for is there.
    Complete,
    /// Something could not be read; the manifest says what and why.
    Partial,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Complete => "complete",
            Status::Partial => "partial",
        })
    }
}

/// What a backup is. Unknown fields are accepted, an unknown format version is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Id of the backup: the same as its folder's name.
    pub id: BackupId,
    /// Cluster whose backup it is: the same as the folder above.
    pub cluster: String,
    /// Schedule that asked for it.
    pub schedule: String,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// Whether everything that was asked for is there.
    pub status: Status,
    /// When the run began.
    pub started: Timestamp,
    /// When everything but the manifest was stored.
    pub finished: Timestamp,
    /// The window that the run belongs to; absent where a person asked for it at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowRecord>,
    /// Recipients that can decrypt it: public keys.
    pub recipients: Vec<String>,
    /// Fingerprint of the signing key, `SHA256:…` as ssh-keygen prints it.
    pub signer: String,
    /// Sources of the schedule that were not asked for in this run, or not come to in time. Not empty makes the backup
    /// partial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out_sources: Vec<String>,
    /// The previous manifest of this cluster that the run saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// UID of the cluster's `kube-system` namespace, by which a cluster is recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// Version of the Kubernetes API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// The schedule, plans and runbooks in force, as a source of their own; then the sources of the schedule.
    pub sources: Vec<SourceRecord>,
}

/// The window of a scheduled run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowRecord {
    /// When it opened.
    pub opens: Timestamp,
    /// When it closed.
    pub closes: Timestamp,
}

/// A link of the chain of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    /// Id of the previous backup.
    pub id: BackupId,
    /// SHA-256 of its manifest.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
}

/// What was saved of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRecord {
    /// Name in the schedule.
    pub name: String,
    /// Kind of the source, `kubernetes` or `configuration`.
    pub kind: String,
    /// Whether everything that was asked for is there.
    pub status: Status,
    /// How many members.
    pub items: u64,
    /// Bytes of the members' content.
    pub bytes: u64,
    /// Bytes in the vault.
    pub stored_bytes: u64,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// For each type of Kubernetes object: what was listed. Keyed by `deployments.apps`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, TypeRecord>,
    /// What was left out on purpose, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Omission>,
    /// What was asked for but could not be read, and why. Not empty makes the backup partial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Omission>,
    /// What is worth knowing, though nothing is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Omission>,
    /// What is inside, in the words of its kind.
    #[serde(default, skip_serializing_if = "Contents::is_empty")]
    pub contents: Contents,
    /// The parts of the source that the next backup may take over, if they have not changed by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitRecord>,
    /// The segments, in order.
    pub segments: Vec<SegmentRecord>,
}

impl SourceRecord {
    /// Bytes of content that were taken over from an earlier backup instead of being read.
    pub fn copied_bytes(&self) -> u64 {
        self.units.iter().filter(|unit| unit.copied_from.is_some()).map(|unit| unit.bytes).sum()
    }
}

/// A part of a source with segments of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitRecord {
    /// What decides its content.
    pub identity: Identity,
    /// How many members.
    pub items: u64,
    /// Bytes of the members' content.
    pub bytes: u64,
    /// What is inside.
    #[serde(default, skip_serializing_if = "Contents::is_empty")]
    pub contents: Contents,
    /// The backup whose segments were copied; absent where they were written by this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<BackupId>,
}

/// One segment, and what says where its members are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentRecord {
    /// The unit of the source that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Identity>,
    /// The object.
    pub object: StoredObject,
    /// Size of the tar inside.
    pub tar_bytes: u64,
    /// Bytes of its members' content.
    pub content_bytes: u64,
    /// Its index.
    pub index: IndexRecord,
}

/// One sealed object in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredObject {
    /// Key, relative to the backup's folder.
    pub key: String,
    /// The object's version, where the bucket is versioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Size as stored.
    pub bytes: u64,
    /// SHA-256 as stored.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// Size of the Zstandard stream inside.
    pub plaintext_bytes: u64,
    /// SHA-256 of the Zstandard stream inside.
    #[serde(with = "hex")]
    pub plaintext_sha256: [u8; 32],
}

/// The index of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexRecord {
    /// The object.
    pub object: StoredObject,
    /// How many members it describes.
    pub members: u64,
    /// Where its directory begins in its Zstandard stream, in bytes.
    pub directory_offset: u64,
    /// Encoded size of the directory, in bytes.
    pub directory_bytes: u64,
    /// Decoded size of the directory, in bytes.
    pub directory_decoded_bytes: u64,
    /// SHA-256 of the encoded directory, so that it can be read by itself and still be trusted.
    #[serde(with = "hex")]
    pub directory_sha256: [u8; 32],
}

impl SegmentRecord {
    /// Bytes in the vault, its index included.
    pub fn stored_bytes(&self) -> u64 {
        self.object.bytes + self.index.object.bytes
    }
}

impl Manifest {
    /// The bytes that are signed and stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| Error::failed("write the manifest").because(e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a manifest; a format version from the future is refused before anything else is looked at.
    pub fn parse(bytes: &[u8]) -> Result<Manifest> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            format_version: u32,
        }
        let unreadable = |e| Error::integrity("the manifest cannot be read").because(e);
        let version: Version = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version.format_version != FORMAT_VERSION {
            return Err(Error::integrity(format!(
                "the backup has format version {}, and this program reads version {FORMAT_VERSION}",
                version.format_version
            ))
            .hint("use the ckbackup that wrote it, or a newer one"));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// Everything that the manifest says is stored: each segment, followed by its index.
    pub fn objects(&self) -> impl Iterator<Item = &StoredObject> {
        let segments = self.sources.iter().flat_map(|s| &s.segments);
        segments.flat_map(|segment| [&segment.object, &segment.index.object])
    }

    /// The source of that name.
    pub fn source(&self, name: &str) -> Option<&SourceRecord> {
        self.sources.iter().find(|s| s.name == name)
    }

    /// Members of the schedule's sources; the configuration does not count.
    pub fn items(&self) -> u64 {
        self.sources.iter().filter(|s| s.kind != CONFIGURATION_SOURCE).map(|s| s.items).sum()
    }

    /// Bytes in the vault, without manifest and signature.
    pub fn stored_bytes(&self) -> u64 {
        self.objects().map(|o| o.bytes).sum()
    }
}

/// SHA-256 of a manifest's bytes, as the next one names it.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
