//! A file that is to be read, as it was found.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::sources::limits::Aged;

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path below the folder, with `/` between its parts.
    pub path: String,
    /// Its size, in bytes.
    pub size: u64,
    /// When its content was modified last.
    pub modified: SystemTime,
    /// When anything about it changed last: seconds and nanoseconds.
    pub changed: (i64, i64),
    /// Device and inode, by which it is known under another name.
    pub node: (u64, u64),
}

impl Found {
    /// A file at this path below the source's folder.
    pub fn new(path: String, metadata: &Metadata) -> Found {
        Found {
            path,
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            node: (metadata.dev(), metadata.ino()),
        }
    }

    /// Seconds since 1970 at which it was modified.
    pub fn modified_seconds(&self) -> u64 {
        self.modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// What tells that neither the file nor its content is another one.
    pub fn add_to(&self, digest: &mut Sha256) {
        digest.update((self.path.len() as u64).to_le_bytes());
        digest.update(&self.path);
        let nanos = self.modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        digest.update(nanos.to_le_bytes());
        digest.update(self.size.to_le_bytes());
        digest.update(self.changed.0.to_le_bytes());
        digest.update(self.changed.1.to_le_bytes());
        digest.update(self.node.1.to_le_bytes());
    }
}

impl Aged for Found {
    fn path(&self) -> &str {
        &self.path
    }

    fn modified(&self) -> SystemTime {
        self.modified
    }

    fn size(&self) -> u64 {
        self.size
    }
}
