//! What is left to do and to say once the exercise is over.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotRestored {
    /// The step that was to restore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What: an object, an index, a step.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Something that was left out on purpose or could not be shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotExercised {
    /// What: `pods become ready`, `events`.
    pub what: String,
    /// Why.
    pub why: String,
    /// How many, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Where the exercise went another way than the plan says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deviation {
    /// What was done otherwise.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A corrective action. It stands in every report until it is closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// By which it is told from others: `CA-7`.
    pub id: String,
    /// What is to be done.
    pub text: String,
    /// Who sees to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// By when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Date>,
    /// Id of the report that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_by: Option<String>,
    /// When it was done; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Date>,
}

impl Action {
    /// Whether it is still to be done.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Whether it is still to be done, and should have been by that day.
    pub fn is_overdue(&self, day: Date) -> bool {
        self.is_open() && self.due.is_some_and(|due| due < day)
    }
}

/// Whether those who were erased since the backup were erased again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErasureStatus {
    /// Somebody confirmed it.
    Done,
    /// The plan has the step, and it was not done.
    NotDone,
    /// The plan has no such step.
    NotInPlan,
    /// Nothing that people use was restored, as in a scratch target that is thrown away.
    NotNeeded,
}

impl ErasureStatus {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            ErasureStatus::Done => "done",
            ErasureStatus::NotDone => "NOT DONE",
            ErasureStatus::NotInPlan => "not in the plan",
            ErasureStatus::NotNeeded => "not needed",
        }
    }
}

/// The step of GDPR Art. 17: people who were erased since the backup come back with it, and are erased again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// Whether it was done.
    pub status: ErasureStatus,
    /// The step of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What is worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A line to sign on. What is empty is filled in by hand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignOff {
    /// `drill lead`.
    pub role: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
}

impl SignOff {
    /// The lines of a report that nobody has signed yet.
    pub fn to_fill_in() -> Vec<SignOff> {
        let roles = ["drill lead", "platform owner", "information security"];
        roles.into_iter().map(|role| SignOff { role: role.into(), name: None, date: None }).collect()
    }
}
