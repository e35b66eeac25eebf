//! `ckbackup plan check`.

use serde::Serialize;

use super::LookArgs;
use super::looked_at::{LookedAt, look};
use crate::cli::words::{count, span};
use crate::cli::{DONE, Global, Outcome, Output};
use crate::config::{Action, CONFIGURATION_SOURCE};
use crate::error::Kind;
use crate::restore::Course;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    plan: String,
    /// Digest of all of its files.
    version: String,
    steps: usize,
    predicted_seconds: f64,
    limit_seconds: f64,
    /// What a person should look at.
    findings: Vec<String>,
}

/// Checks, and prints what a person should look at; exits with 3 where something of the backup would not come back.
pub(super) async fn run(args: &LookArgs, global: &Global) -> Outcome {
    let looked_at = look(args, global).await?;
    let (missing, other) = (not_taken(&looked_at), doubtful(&looked_at));
    let lacks = !missing.is_empty();
    let report = Report {
        plan: looked_at.plan.name.to_string(),
        version: looked_at.plan.version(),
        steps: looked_at.plan.steps.len(),
        predicted_seconds: looked_at.forecast.finish_seconds,
        limit_seconds: looked_at.forecast.limit_seconds,
        findings: missing.into_iter().chain(other).collect(),
    };
    global.print(&report, |form| human(&report, form))?;
    Ok(if lacks { Kind::Incomplete.exit_code() } else { DONE })
}

/// What the backup holds and no step puts back.
fn not_taken(looked_at: &LookedAt) -> Vec<String> {
    let Some(held) = &looked_at.held else { return Vec::new() };
    let mut findings = Vec::new();
    for (target, (backup, sources)) in held.sources.iter().enumerate() {
        for (source, kind) in sources.iter().filter(|(name, _)| name != CONFIGURATION_SOURCE) {
            if !looked_at.takes(target, source, kind) {
                findings.push(format!("source {source} ({kind}) of {backup} comes back with no step"));
            }
        }
    }
    for (kind, objects) in &held.not_selected {
        findings.push(format!("{} {kind} of the backup come back with no step", count(*objects)));
    }
    findings
}

/// What is allowed, and worth a look.
fn doubtful(looked_at: &LookedAt) -> Vec<String> {
    let plan = &looked_at.plan;
    let mut findings = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let takes_nothing = looked_at.held.is_some() && looked_at.objects[at] == 0;
        if takes_nothing && matches!(&step.action, Action::Apply(apply) if apply.kinds.is_some()) {
            findings.push(format!("step {} takes nothing of this backup", step.name));
        }
        let is_known = match &step.action {
            Action::Gate(_) => true,
            Action::Manual(manual) => manual.minutes.is_some(),
            _ => false,
        };
        if step.flow.expect.is_none() && !is_known {
            findings.push(format!("step {} has no `expect`: its time is a guess", step.name));
        }
    }
    let forecast = &looked_at.forecast;
    if forecast.course != Course::OnCourse {
        let (finish, limit) = (span(forecast.finish_seconds), span(forecast.limit_seconds));
        findings.push(format!("it would be done after {finish} of {limit}: {}", forecast.course));
    }
    findings
}

fn human(report: &Report, form: Output) -> String {
    if form == Output::Name {
        return format!("{}\n", report.plan);
    }
    let mut text: String = report.findings.iter().map(|finding| format!("{finding}\n")).collect();
    let (finish, limit) = (span(report.predicted_seconds), span(report.limit_seconds));
    let (plan, steps) = (&report.plan, report.steps);
    text.push_str(&format!("plan {plan} is sound: {steps} steps, done after {finish} of {limit}\n"));
    text
}
