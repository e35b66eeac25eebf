//! A plan as a step of another one: its steps take the step's place.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::flow::When;
use super::{RestorePlan, Step};
use crate::config::names::Name;
use crate::config::problems::Problems;
use crate::config::{WebhookPolicy, folder_of, raw, read_plan_within};
use crate::error::{Error, Result};

/// Plans inside plans inside plans, deeper than this, are a mistake.
const DEEPEST: usize = 4;

/// A file that a plan was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanFile {
    /// Its path, from the folder of the plan that it belongs to.
    pub name: String,
    /// The whole of it, as it was read.
    pub text: String,
}

/// The plan that a step names.
pub(super) fn read(
    raw: &raw::Nested,
    step: &raw::Step,
    path: &str,
    file: &Path,
    within: &[PathBuf],
    problems: &mut Problems<'_>,
) -> Option<RestorePlan> {
    for (key, given) in [
        ("onFailure", step.on_failure.is_some()),
        ("retry", step.retry.is_some()),
        ("timeout", step.timeout.is_some()),
        ("expect", step.expect.is_some()),
    ] {
        if given {
            problems.add(&format!("{path}.{key}"), "is for single steps; give it to those of the plan that is named");
        }
    }
    let plan = problems.check(&format!("{path}.plan"), open(raw, file, within))?;
    if !plan.targets.is_empty() {
        problems.add(
            &format!("{path}.plan"),
            format!("plan `{}` has `targets` of its own; name a plan for one cluster", plan.name),
        );
        return None;
    }
    // Names would go unmapped, and nobody would know why.
    if !plan.mappings.is_empty() || !plan.patches.is_empty() || plan.webhooks != WebhookPolicy::default() {
        let what = "has `mappings`, `patches` or `webhooks` of its own, which count for a whole plan only; write them into this one";
        problems.add(&format!("{path}.plan"), format!("plan `{}` {what}", plan.name));
        return None;
    }
    Some(plan)
}

fn open(raw: &raw::Nested, file: &Path, within: &[PathBuf]) -> Result<RestorePlan> {
    let path = folder_of(file).join(&raw.file);
    let mut chain = within.to_vec();
    chain.push(file.to_path_buf());
    if chain.contains(&path) || chain.len() > DEEPEST {
        let chain: Vec<_> = chain.iter().chain([&path]).map(|file| file.display().to_string()).collect();
        return Err(Error::usage(format!("the plans stand in one another: {}", chain.join(" → "))));
    }
    read_plan_within(&path, raw.name.as_deref(), &chain)
}

/// The steps of a nested plan, as those of the outer one from position `first` on. Those that come after nothing come after `after`.
pub(super) fn steps(
    plan: RestorePlan,
    outer: &Name,
    first: usize,
    target: usize,
    after: &[usize],
    when: &[When],
) -> Vec<Step> {
    let step = |step: Step| {
        let mut flow = step.flow;
        flow.when.extend(when.iter().cloned());
        let after = match step.after.is_empty() {
            true => after.to_vec(),
            false => step.after.iter().map(|before| first + before).collect(),
        };
        Step { name: step.name.within(outer), after, target, flow, action: step.action }
    };
    plan.steps.into_iter().map(step).collect()
}

/// The steps of a plan that no other one comes after.
pub(super) fn last(plan: &RestorePlan) -> Vec<usize> {
    (0..plan.steps.len()).filter(|step| !plan.steps.iter().any(|other| other.after.contains(step))).collect()
}
