//! One file of an archive, as a source makes it and the archive packs it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A file, or a part of one: its path inside the archive, its content, and what a restore selects by.
#[derive(Debug, Clone)]
pub struct Member {
    /// Relative path, with `/` between its parts.
    pub path: String,
    /// The content, in pieces that follow each other. Pieces save copying what a server sent.
    pub content: Vec<Bytes>,
    /// What the index keeps about the member.
    pub traits: Traits,
    /// Which part of a large file the content is; none when it is all of it.
    pub part: Option<Part>,
}

impl Member {
    /// A file whose content is all there.
    pub fn whole(path: impl Into<String>, content: Vec<Bytes>, traits: Traits) -> Member {
        Member { path: path.into(), content, traits, part: None }
    }

    /// Size of the content in bytes.
    pub fn size(&self) -> u64 {
        self.content.iter().map(|p| p.len() as u64).sum()
    }
}

/// Size in bytes of each part of a large file but its last: a multiple of tar's blocks. Some are in memory at a time, for
/// each thread that packs.
pub const PART_BYTES: u64 = 4 << 20;

/// A part of a file that is too large to be held in memory. Parts of one file follow each other with nothing in between,
/// each of [`PART_BYTES`] but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Size of the whole file, in bytes.
    pub of: u64,
    /// How many bytes at the end of this part are filler: the file was shorter when they were read than when its size was
    /// written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub filler: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Part {
    /// Whether a part of that size ends the file.
    pub fn is_last(&self, size: u64) -> bool {
        self.offset.saturating_add(size) >= self.of
    }
}

/// What the index keeps about a member besides where it is: all that a restore plan selects by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// Labels of the Kubernetes object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// UID of the Kubernetes object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// UIDs of the owners of the Kubernetes object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    /// When a file was modified last, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
}

impl Traits {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Traits::default()
    }
}

/// Members that belong together: neighbours in one list, packed into the same frames.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The members, in the order in which they were read.
    pub members: Vec<Member>,
}

/// Refuses a path that would leave the folder it is unpacked into, or that cannot be a file's.
pub fn check_path(path: &str) -> Result<()> {
    let bad = path.is_empty()
        || path.len() > 4096
        || path.starts_with('/')
        || path.contains(['\0', '\\'])
        || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if bad {
        return Err(Error::integrity(format!("member path {path:?} is absolute, climbs, or is no file name")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_climb_or_are_absolute_are_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x", "a//b", "", "a/./b", "a\\b", "a\0b"] {
            assert!(check_path(path).unwrap_err().to_string().contains("member path"), "{path}");
        }
        check_path("resources/secrets/v1/ns/system:x.json").unwrap();
    }
}
