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
    /// Whether something of the backup would not come back: the exit code says so to programs.
    #[serde(skip)]
    lacks: bool,
}

/// Checks, and prints what a person should look at; exits with 3 where something of the backup would not come back.
pub(super) async fn run(args: &LookArgs, global: &Global) -> Outcome {
    let looked_at = look(args, global).await?;
    let (missing, other) = (not_taken(&looked_at), doubtful(&looked_at));
    let report = Report {
        plan: looked_at.plan.name.to_string(),
        version: looked_at.plan.version(),
        steps: looked_at.plan.steps.len(),
        predicted_seconds: looked_at.forecast.finish_seconds,
        limit_seconds: looked_at.forecast.limit_seconds,
        lacks: !missing.is_empty(),
        findings: missing.into_iter().chain(other).collect(),
    };
    global.print(&report, |form| human(&report, form))?;
    Ok(if report.lacks { Kind::Incomplete.exit_code() } else { DONE })
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
    let verdict = if report.lacks { "leaves out what the backup holds, see above" } else { "is sound" };
    text.push_str(&format!("plan {plan} {verdict}: {steps} steps, done after {finish} of {limit}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_called_sound_only_where_all_of_the_backup_comes_back() {
        let report = |lacks: bool| Report {
            plan: "all".into(),
            version: "0".into(),
            steps: 3,
            predicted_seconds: 60.0,
            limit_seconds: 14400.0,
            findings: vec!["2 secrets of the backup come back with no step".into()],
            lacks,
        };
        let words = |lacks| human(&report(lacks), Output::Table);
        assert!(words(false).ends_with("\nplan all is sound: 3 steps, done after 1m of 4h\n"), "{}", words(false));
        let lacking = "\nplan all leaves out what the backup holds, see above: 3 steps, done after 1m of 4h\n";
        assert!(words(true).ends_with(lacking), "{}", words(true));
    }
}
