//! What stands in a journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ack::Seen;
use crate::config::PlanFile;
use crate::restore::summary::{Failure, Items, RestoreStatus, Standing, StepSummary};

/// The version of the journal's format.
pub const JOURNAL_VERSION: u32 = 1;

/// One line. The kind is the only key of its object: a tag inside would have to be read before the rest, and fractions are not read back
/// exactly then.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Entry {
    /// The restore began. Always the first.
    Begin(Box<Begin>),
    /// What was foretold before the first step.
    Foretold(Foretold),
    /// It was gone on with.
    Resumed {
        /// When.
        at: Timestamp,
        /// The machine.
        host: String,
        /// Steps that were left out then, and why.
        #[serde(default)]
        left_out: BTreeMap<String, String>,
    },
    /// A step began.
    StepBegan {
        /// When.
        at: Timestamp,
        /// Its name.
        step: String,
    },
    /// Objects of a step are done.
    Batch(Batch),
    /// A step ended.
    StepEnded {
        /// What came of it.
        summary: Box<StepSummary>,
        /// What failed in it.
        failures: Vec<Failure>,
    },
    /// Somebody said elsewhere that a step is done, or not.
    Acknowledged {
        /// The step.
        step: String,
        /// Who.
        by: String,
        /// What was seen by then.
        seen: Seen,
    },
    /// The restore ended, or this try of it.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        status: RestoreStatus,
    },
}

impl Entry {
    /// Whether it must be on the disk at once, and in the vault soon.
    pub fn is_weighty(&self) -> bool {
        !matches!(self, Entry::Batch(_))
    }
}

/// What a restore began with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begin {
    /// [`JOURNAL_VERSION`].
    pub format_version: u32,
    /// The restore.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// The machine.
    pub host: String,
    /// Version of the program.
    pub tool_version: String,
    /// When the incident began.
    pub incident_start: Timestamp,
    /// The plan's name.
    pub plan: String,
    /// The folder that it was read from: relative paths in it begin there.
    #[serde(default)]
    pub folder: String,
    /// Its files, its own the first.
    pub files: Vec<PlanFile>,
    /// The runbooks that it points to, by the path that it gives them.
    pub runbooks: Vec<PlanFile>,
    /// Where to, from which backup; in the order of the plan's targets.
    pub targets: Vec<BeginTarget>,
    /// What happens to objects that are there already.
    pub conflict: String,
    /// What happens to webhooks that stand in the way, where the command line says.
    #[serde(default)]
    pub webhooks: Option<String>,
    /// Which steps were chosen, by step: why it is not run.
    pub left_out: BTreeMap<String, String>,
}

/// One cluster of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BeginTarget {
    /// Its name in the plan; empty where the plan has no targets.
    pub name: String,
    /// Whose backup.
    pub cluster: String,
    /// Which.
    pub backup: String,
    /// SHA-256 of its manifest.
    pub manifest_sha256: String,
    /// URL of the API server; none where the plan needs no cluster.
    pub server: Option<String>,
    /// UID of its `kube-system` namespace, by which it is known again.
    pub uid: Option<String>,
}

/// When all would be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foretold {
    /// From the begin of the incident to the end; seconds.
    pub finish_seconds: f64,
    /// The steps that decide that, in order.
    pub critical_path: Vec<String>,
}

/// Objects of one frame that are done: `count` of its members from `first` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// The step.
    pub step: String,
    /// The frame's position in the backup.
    pub frame: usize,
    /// Among those members of the frame that belong to the step.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// What became of them.
    pub items: Items,
    /// Which of them were skipped, by rule: they need not be in the target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, Vec<u32>>,
    /// Those that were left as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standing: Vec<Standing>,
}

#[cfg(test)]
mod tests {
    use super::super::tests::ended;
    use super::*;
    use crate::restore::summary::StepStatus;

    #[test]
    fn what_was_written_of_a_step_is_read_back() {
        let at: Timestamp = "2026-11-21T02:15:00Z".parse().unwrap();
        let mut entry = ended("secrets", StepStatus::Done);
        let Entry::StepEnded { summary, .. } = &mut entry else { unreachable!() };
        (summary.started, summary.ended, summary.seconds) = (Some(at), Some(at), 1.25);
        summary.items.created = 3;
        let line = serde_json::to_string(&entry).unwrap();
        assert!(line.starts_with("{\"stepEnded\":"), "{line}");
        let Entry::StepEnded { summary, .. } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert_eq!((summary.seconds, summary.items.created, summary.ended), (1.25, 3, Some(at)));
    }
}
