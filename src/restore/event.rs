//! What happens in a restore, for whoever watches it.

use jiff::Timestamp;
use serde::Serialize;

use super::forecast::Forecast;
use super::summary::{Items, StepSummary};

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The restore begins, or goes on.
    Begin {
        /// When.
        at: Timestamp,
        /// Its id.
        restore: String,
        /// Whether it was gone on with.
        resumed: bool,
        /// Name of the plan.
        plan: String,
        /// Steps of the plan.
        steps: Vec<String>,
    },
    /// A step begins.
    StepBegin {
        /// When.
        at: Timestamp,
        /// Its name.
        step: String,
        /// The key in the plan.
        kind: String,
        /// Which try; from 1.
        attempt: u32,
    },
    /// A person is waited for.
    Waiting {
        /// When.
        at: Timestamp,
        /// The step.
        step: String,
        /// What they are to do.
        title: String,
        /// Who they are.
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<String>,
    },
    /// How far it is.
    Progress {
        /// When.
        at: Timestamp,
        /// Objects so far.
        items: Items,
        /// When it will be done.
        forecast: Forecast,
    },
    /// A step ended.
    StepEnd {
        /// When.
        at: Timestamp,
        /// What came of it.
        step: Box<StepSummary>,
    },
    /// The plan's gate opened: people can work again.
    Usable {
        /// When.
        at: Timestamp,
        /// Since the incident began.
        after_seconds: f64,
    },
}

/// Is told of everything, in order. It must be quick.
pub trait Watcher: Send + Sync {
    /// Something happened.
    fn see(&self, event: &Event);
}

/// Sees nothing.
pub struct Blind;

impl Watcher for Blind {
    fn see(&self, _: &Event) {}
}
