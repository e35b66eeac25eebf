//! The steps of the plan, as they went.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepOutcome {
    /// Everything was done.
    Done,
    /// It was done, but some items failed.
    Incomplete,
    /// It could not be done.
    Failed,
    /// Somebody left it out, or its condition did not hold.
    Skipped,
    /// It was not begun.
    NotRun,
    /// The target of the exercise cannot show it.
    NotExercised,
}

impl StepOutcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            StepOutcome::Done => "done",
            StepOutcome::Incomplete => "incomplete",
            StepOutcome::Failed => "failed",
            StepOutcome::Skipped => "skipped",
            StepOutcome::NotRun => "not run",
            StepOutcome::NotExercised => "not exercised",
        }
    }

    /// Whether something went wrong.
    pub fn is_bad(self) -> bool {
        matches!(self, StepOutcome::Incomplete | StepOutcome::Failed)
    }
}

/// Items of a step by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ItemCounts {
    /// It was not there, and is now.
    pub created: u64,
    /// It was there, and was overwritten.
    pub updated: u64,
    /// It was there, and equal.
    pub unchanged: u64,
    /// It was not written, on purpose.
    pub skipped: u64,
    /// It should have been written, and was not.
    pub failed: u64,
}

impl ItemCounts {
    /// Items in all.
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.skipped + self.failed
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Its name in the plan.
    pub name: String,
    /// Its kind: `apply`, `gate`, `manual` and so on.
    pub kind: String,
    /// The target that it works on, where the plan has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// When it began; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// How it ended.
    pub outcome: StepOutcome,
    /// How often it was tried again.
    #[serde(default)]
    pub retries: u32,
    /// How long the machine worked on it.
    pub machine_seconds: f64,
    /// How long it waited for people.
    #[serde(default)]
    pub people_seconds: f64,
    /// Its items by outcome.
    #[serde(default)]
    pub items: ItemCounts,
    /// How long the plan expects it to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<f64>,
    /// Whether a delay of it would have been a delay of the whole.
    #[serde(default)]
    pub critical: bool,
    /// Why it failed or was left out, or what is worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
