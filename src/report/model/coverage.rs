//! The scope: every component of the platform, and how far its way back was proved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far it is proved that a component comes back; each level includes the ones before it, but for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Proved {
    /// No backup holds it.
    NotCovered,
    /// Its stored objects are there and have their sizes.
    Present,
    /// Its stored objects were read back and have their digests.
    Intact,
    /// It was decrypted, and every member has its digest.
    Readable,
    /// It was restored and compared.
    Restored,
    /// It is in the backup, but this exercise could not show it: a control plane alone runs no pods, for example.
    NotExercised,
}

impl Proved {
    /// All of them, gaps first.
    pub const ALL: [Proved; 6] =
        [Proved::NotCovered, Proved::NotExercised, Proved::Present, Proved::Intact, Proved::Readable, Proved::Restored];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Proved::NotCovered => "not covered",
            Proved::Present => "present",
            Proved::Intact => "intact",
            Proved::Readable => "readable",
            Proved::Restored => "restored",
            Proved::NotExercised => "not exercised",
        }
    }

    /// Whether nothing of the component itself was shown.
    pub fn is_gap(self) -> bool {
        matches!(self, Proved::NotCovered | Proved::NotExercised)
    }
}

/// One component of the inventory of systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoverageRow {
    /// The component: `cert-manager`.
    pub component: String,
    /// Namespaces that it usually lives in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The state that matters.
    pub state: String,
    /// Kinds of sources that save it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saved_by: Vec<String>,
    /// How far it is proved.
    pub proved: Proved,
    /// What proves it, or why nothing does.
    pub evidence: String,
}
