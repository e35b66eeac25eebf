//! One file of an archive, as a source makes it and the archive packs it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A file: its path inside the archive, its content, and what a restore selects by.
#[derive(Debug, Clone)]
pub struct Member {
    /// Relative path, with `/` between its parts.
    pub path: String,
    /// The content, in pieces that follow each other. Pieces save copying what a server sent.
    pub content: Vec<Bytes>,
    /// What the index keeps about the member.
    pub traits: Traits,
}

impl Member {
    /// Size of the content in bytes.
    pub fn size(&self) -> u64 {
        self.content.iter().map(|p| p.len() as u64).sum()
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
}

impl Traits {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.uid.is_empty() && self.owners.is_empty()
    }
}

/// Members that belong together: neighbours in one list, packed into the same frames.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The members, in the order in which they were read.
    pub members: Vec<Member>,
}
