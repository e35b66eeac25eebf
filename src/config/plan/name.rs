//! Names of steps.

use std::fmt;

use crate::config::names::Name;

/// The name of a step; of one that came with a plan inside a plan, with the outer step's before it: `workload/crds`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepName(String);

impl StepName {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same step, seen from the plan that has its own as a step of this name.
    pub(super) fn within(&self, outer: &Name) -> StepName {
        StepName(format!("{outer}/{}", self.0))
    }
}

impl From<Name> for StepName {
    fn from(name: Name) -> StepName {
        StepName(name.into())
    }
}

impl PartialEq<str> for StepName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for StepName {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
