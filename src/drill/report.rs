//! What a drill or a restore came to, as a report.

mod coverage;
mod time;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::coverage::coverage;
use self::time::{Shares, shares};
use super::comparison::{Difference, NOT_SELECTED};
use crate::config::{Action as StepAction, RestorePlan};
use crate::error::Result;
use crate::report::model::{
    Action, BackupUsed, ClockReading, CountCheck, Deviation, DifferenceNamed, Erasure, ErasureStatus, ExerciseKind,
    ExerciseReport, ItemCounts, KeyUsed, NotExercised, NotRestored, People, PlanUsed, Prediction, QueryCheck,
    REPORT_SCHEMA, Scenario, SignOff, StepOutcome, StepReport, Target, TargetKind, Verdict, Verification,
    VerificationKind, VerificationOutcome,
};
use crate::restore::{
    ACTS, Compared, GIVES_RIGHTS, Items, RULES, RestoreStatus, RestoreSummary, StepStatus, StepSummary,
};
use crate::vault::manifest::Manifest;

/// How many differences are named; the report says how many there are.
const DIFFERENCES_NAMED: usize = 200;

/// Everything that a report is made from.
pub struct Account<'a> {
    /// A rehearsal, or the real thing.
    pub kind: ExerciseKind,
    /// By which the report is told from others.
    pub id: String,
    /// What was rehearsed.
    pub scenario: Option<Scenario>,
    /// The plan.
    pub plan: &'a RestorePlan,
    /// What came of it.
    pub summary: &'a RestoreSummary,
    /// When it began.
    pub started: Timestamp,
    /// When it ended, comparison and all.
    pub finished: Timestamp,
    /// Where to.
    pub targets: Vec<Target>,
    /// Who.
    pub people: People,
    /// From what.
    pub backups: Vec<BackupUsed>,
    /// Their manifests.
    pub manifests: Vec<&'a Manifest>,
    /// With which keys.
    pub keys: Vec<KeyUsed>,
    /// What was compared, by the cluster whose backup it is; or why it was not.
    pub comparisons: Vec<(String, Result<Difference, String>)>,
    /// What else was checked.
    pub checks: Vec<Verification>,
    /// Corrective actions: those that are open, and those that were closed in the quarter.
    pub actions: Vec<Action>,
}

/// The report.
pub fn report(account: Account<'_>) -> Result<ExerciseReport> {
    let steps: Vec<StepReport> = account.summary.steps.iter().map(|step| step_report(&account, step)).collect();
    let mut verifications: Vec<_> =
        account.comparisons.iter().map(|(of, found)| objects(of, found, account.kind)).collect();
    verifications.extend(account.summary.steps.iter().filter_map(|step| data(account.plan, step)));
    verifications.extend(account.checks.iter().cloned());
    let one_namespace = account.targets.iter().any(|target| target.kind == TargetKind::Namespace);
    let (manifests, comparisons) = (&account.manifests, &account.comparisons);
    let coverage = coverage(manifests, account.plan, account.summary, comparisons, one_namespace)?;
    let mut report = ExerciseReport {
        schema: REPORT_SCHEMA.into(),
        id: account.id.clone(),
        kind: account.kind,
        verdict: Verdict::Passed,
        started: account.started,
        finished: account.finished,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        resumed: account.summary.resumed,
        clock: clock(account.summary),
        erasure: erasure(&account),
        not_restored: account.summary.failures.iter().map(not_restored).collect(),
        not_exercised: not_exercised(&account),
        deviations: account.summary.steps.iter().filter_map(deviation).collect(),
        plan: PlanUsed { name: account.plan.name.to_string(), sha256: account.plan.version() },
        scenario: account.scenario,
        targets: account.targets,
        people: account.people,
        backups: account.backups,
        keys: account.keys,
        steps,
        coverage,
        verifications,
        actions: account.actions,
        sign_off: SignOff::to_fill_in(),
    };
    report.verdict = verdict(account.summary, &report);
    Ok(report)
}

fn verdict(summary: &RestoreSummary, report: &ExerciseReport) -> Verdict {
    let differs = report.verifications.iter().any(|it| it.outcome == VerificationOutcome::Failed);
    let is_open =
        |step: &StepReport| matches!(step.outcome, StepOutcome::Failed | StepOutcome::Incomplete | StepOutcome::NotRun);
    let has_gaps = !report.not_exercised.is_empty() || report.coverage.iter().any(|row| row.proved.is_gap());
    match summary.status {
        RestoreStatus::Stopped => Verdict::Stopped,
        _ if differs || !report.not_restored.is_empty() || report.steps.iter().any(is_open) => Verdict::Failed,
        _ if !report.clock.met => Verdict::Late,
        _ if has_gaps => Verdict::PassedWithGaps,
        _ => Verdict::Passed,
    }
}

fn step_report(account: &Account<'_>, step: &StepSummary) -> StepReport {
    StepReport {
        name: step.name.clone(),
        kind: step.kind.clone(),
        target: step.target.clone(),
        started: step.started,
        finished: step.ended,
        outcome: match step.status {
            StepStatus::Done | StepStatus::Planned => StepOutcome::Done,
            StepStatus::Incomplete => StepOutcome::Incomplete,
            StepStatus::Failed => StepOutcome::Failed,
            StepStatus::NotRun => StepOutcome::NotRun,
            StepStatus::LeftOut => StepOutcome::Skipped,
            StepStatus::NotExercised => StepOutcome::NotExercised,
        },
        retries: step.tries.saturating_sub(1),
        machine_seconds: (step.seconds - step.people_seconds).max(0.0),
        people_seconds: step.people_seconds,
        items: counts(&step.items),
        expected_seconds: step.expected_seconds,
        critical: account.summary.critical_path.contains(&step.name),
        note: step.note.clone(),
    }
}

fn counts(items: &Items) -> ItemCounts {
    let Items { created, updated, unchanged, skipped, failed } = *items;
    ItemCounts { created, updated, unchanged, skipped, failed }
}

fn clock(summary: &RestoreSummary) -> ClockReading {
    let rto = &summary.rto;
    let Shares { machines, people, others } = shares(&summary.steps, rto.elapsed_seconds);
    ClockReading {
        incident_start: rto.incident_start,
        rto_seconds: rto.limit_seconds,
        achieved_seconds: rto.elapsed_seconds,
        met: rto.met,
        usable_seconds: rto.usable_seconds,
        machine_seconds: machines,
        people_seconds: people,
        other_seconds: Some(others),
        prediction: Some(Prediction {
            predicted_seconds: summary.predicted_seconds,
            actual_seconds: rto.elapsed_seconds,
        }),
    }
}

/// Objects of a cluster, field by field. A cluster that lives has objects that came after the backup: after a restore they are told, and
/// nothing is wrong with them.
fn objects(of: &str, found: &Result<Difference, String>, kind: ExerciseKind) -> Verification {
    let difference = match found {
        Ok(difference) => difference,
        Err(why) => {
            let empty = Verification::new(of, VerificationKind::Objects, VerificationOutcome::NotExercised);
            return Verification { note: Some(why.clone()), ..empty };
        }
    };
    let is_nothing = difference.equal == 0 && difference.is_empty();
    let differs = match kind == ExerciseKind::Restore {
        true => !(difference.missing.is_empty() && difference.changed.is_empty() && difference.problems.is_empty()),
        false => !difference.is_empty(),
    };
    let outcome = match differs {
        _ if is_nothing => VerificationOutcome::NotExercised,
        false => VerificationOutcome::Passed,
        true => VerificationOutcome::Failed,
    };
    let nothing = is_nothing.then(|| "no step of the plan takes any of its objects".to_string());
    let [missing, extra, changed] = [difference.missing.len(), difference.extra.len(), difference.changed.len()];
    let named = |object: &String, what: &str| DifferenceNamed { object: object.clone(), what: what.into() };
    let missed = difference.missing.iter().map(|object| named(object, "missing"));
    let surplus = difference.extra.iter().map(|object| named(object, "extra"));
    let differing = difference.changed.iter().map(|changed| named(&changed.object, &changed.paths.join(", ")));
    Verification {
        compared: difference.equal + (missing + changed) as u64,
        equal: difference.equal,
        missing: missing as u64,
        extra: extra as u64,
        changed: changed as u64,
        ignored: ignored(difference),
        differences: missed.chain(differing).chain(surplus).take(DIFFERENCES_NAMED).collect(),
        note: nothing.or_else(|| Some(difference.problems.join("; ")).filter(|problems| !problems.is_empty())),
        ..Verification::new(of, VerificationKind::Objects, outcome)
    }
}

/// What was not compared, by the rule that says why: whole objects, and fields of others.
fn ignored(difference: &Difference) -> BTreeMap<String, u64> {
    let fields = difference.ignored_fields.iter().map(|(rule, count)| (format!("{rule} (fields)"), *count));
    difference.ignored.clone().into_iter().chain(fields).collect()
}

/// Data of a source, which its step compares by itself: by digest, by count, by query, by rows.
fn data(plan: &RestorePlan, step: &StepSummary) -> Option<Verification> {
    let action = &plan.steps.iter().find(|planned| planned.name == *step.name.as_str())?.action;
    let (kind, source) = match action {
        StepAction::Files(wanted) => (VerificationKind::Files, &wanted.source),
        StepAction::Objects(wanted) => (VerificationKind::Files, &wanted.source),
        StepAction::Prometheus(wanted) => (VerificationKind::Metrics, &wanted.source),
        StepAction::Elasticsearch(wanted) => (VerificationKind::Documents, &wanted.source),
        StepAction::Command(wanted) => (VerificationKind::Rows, &wanted.source),
        _ => return None,
    };
    let outcome = match step.status {
        StepStatus::Done => VerificationOutcome::Passed,
        StepStatus::Failed | StepStatus::Incomplete => VerificationOutcome::Failed,
        _ => VerificationOutcome::NotExercised,
    };
    let items = &step.items;
    let equal = items.created + items.updated + items.unchanged;
    let (asked, counted): (Vec<_>, Vec<_>) = step.compared.iter().partition(|compared| compared.by_query);
    Some(Verification {
        counts: counted.into_iter().map(count_check).collect(),
        queries: asked.into_iter().map(query_check).collect(),
        compared: equal + items.failed,
        equal,
        missing: items.failed,
        note: step.note.clone(),
        ..Verification::new(format!("{source} ({})", step.name), kind, outcome)
    })
}

fn count_check(compared: &Compared) -> CountCheck {
    CountCheck { name: compared.what.clone(), expected: compared.expected, found: Some(compared.found) }
}

fn query_check(compared: &Compared) -> QueryCheck {
    QueryCheck {
        query: compared.what.clone(),
        expected: compared.expected.to_string(),
        found: compared.found.to_string(),
        equal: compared.equal,
    }
}

fn not_restored(failure: &crate::restore::Failure) -> NotRestored {
    NotRestored { step: Some(failure.step.clone()), what: failure.object.clone(), why: failure.why.clone() }
}

fn not_exercised(account: &Account<'_>) -> Vec<NotExercised> {
    let mut all: Vec<NotExercised> = Vec::new();
    for step in account.summary.steps.iter().filter(|step| step.status == StepStatus::NotExercised) {
        let why = step.note.clone().unwrap_or_default();
        all.push(NotExercised { what: format!("step {}", step.name), why, count: None });
    }
    let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, difference) in &account.comparisons {
        // What no step takes is told by kind, below.
        let ignored = difference.iter().flat_map(|difference| &difference.ignored);
        for (rule, count) in ignored.filter(|(rule, _)| *rule != NOT_SELECTED) {
            *rules.entry(rule).or_default() += count;
        }
    }
    let why = |rule: &str| {
        let of_drills = [&ACTS, &GIVES_RIGHTS].map(|spared| (spared.rule, spared.what));
        let mut rules = RULES.iter().map(|known| (known.name, known.what)).chain(of_drills);
        let known = rules.find(|(name, _)| *name == rule);
        known.map_or_else(|| "it is not compared".to_string(), |(_, what)| what.to_string())
    };
    let ruled = |(rule, count): (&str, u64)| NotExercised { what: rule.into(), why: why(rule), count: Some(count) };
    all.extend(rules.into_iter().map(ruled));
    let not_selected = account.summary.not_selected.iter().map(|(kind, count)| NotExercised {
        what: kind.clone(),
        why: "no step of the plan takes it".into(),
        count: Some(*count),
    });
    all.extend(not_selected);
    all
}

/// Steps that somebody left out, and those that had to be tried again. That one is left out by its own condition is the plan itself.
fn deviation(step: &StepSummary) -> Option<Deviation> {
    let why = step.note.clone().unwrap_or_default();
    match step.status {
        StepStatus::LeftOut if !step.by_condition => {
            Some(Deviation { what: format!("step {} was left out", step.name), why })
        }
        _ if step.tries > 1 => {
            Some(Deviation { what: format!("step {} was tried {} times", step.name, step.tries), why })
        }
        _ => None,
    }
}

/// The step by which people who were erased since the backup are erased again.
fn erasure(account: &Account<'_>) -> Erasure {
    let goes = |target: &Target| matches!(target.kind, TargetKind::Sandbox | TargetKind::Namespace);
    let thrown_away = account.targets.iter().all(goes) && !account.targets.is_empty();
    let planned = account.plan.steps.iter().find(|step| match &step.action {
        StepAction::Manual(manual) => step.name.as_str().contains("erasure") || manual.title.contains("Art. 17"),
        _ => false,
    });
    let step = planned.map(|step| step.name.to_string());
    let done =
        planned.and_then(|planned| account.summary.steps.iter().find(|done| planned.name == *done.name.as_str()));
    let status = match done.map(|done| done.status) {
        _ if thrown_away => ErasureStatus::NotNeeded,
        None => ErasureStatus::NotInPlan,
        Some(StepStatus::Done) => ErasureStatus::Done,
        Some(_) => ErasureStatus::NotDone,
    };
    let note = thrown_away.then(|| "what was restored was thrown away after the drill".to_string());
    Erasure { status, step, note }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_somebody_left_out_or_what_was_tried_again_is_a_deviation() {
        let step = |status: StepStatus, by_condition: bool, tries: u32| -> StepSummary {
            let step = json!({
                "name": "dns", "kind": "manual", "status": status, "byCondition": by_condition, "tries": tries,
                "seconds": 0.0, "items": Items::default(), "note": "why",
            });
            serde_json::from_value(step).unwrap()
        };
        let said = |step: StepSummary| deviation(&step).map(|it| it.what);
        assert_eq!(said(step(StepStatus::LeftOut, false, 0)).as_deref(), Some("step dns was left out"));
        assert_eq!(said(step(StepStatus::Done, false, 3)).as_deref(), Some("step dns was tried 3 times"));
        assert_eq!(said(step(StepStatus::LeftOut, true, 0)), None, "the plan says so itself");
        assert_eq!(said(step(StepStatus::Done, false, 1)), None);
        assert_eq!(said(step(StepStatus::NotExercised, false, 0)), None, "it stands with what was not exercised");
    }
}
