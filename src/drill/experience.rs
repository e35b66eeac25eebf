//! What steps took in the last restore or drill by the same plan: the clock's predictions begin with it.

use jiff::Timestamp;

use crate::error::Result;
use crate::reader::records;
use crate::report::ExerciseReport;
use crate::report::model::{StepOutcome, StepReport, TargetKind};
use crate::restore::{Experience, Took};
use crate::vault::Vault;
use crate::vault::quarter::Quarter;
use crate::vault::record::{RecordBody, RecordKind};
use crate::vault::signature::Signers;

/// For each step, out of the newest record of the plan that tells it, in this quarter or the one before: one that was stopped, or whose
/// step failed, says nothing of it. What nobody trusted has signed teaches nothing, where signers are given.
pub async fn experience(
    vault: &Vault,
    cluster: &str,
    signers: Option<&Signers>,
    plan: &str,
    now: Timestamp,
) -> Result<Experience> {
    let this = Quarter::at(now);
    let mut known = Experience::default();
    for quarter in [this, this.previous()] {
        let is_exercise = |kind: &str| [RecordKind::Drill, RecordKind::Restore].iter().any(|k| k.as_str() == kind);
        let found = records(vault, cluster, signers, |name| name.quarter == quarter && is_exercise(&name.kind)).await?;
        let newest_first = found.good.iter().rev().filter(|found| found.record.name == *plan);
        for found in newest_first {
            let (RecordBody::Drill(exercise) | RecordBody::Restore(exercise)) = &found.record.body else { continue };
            if let Ok(report) = serde_json::from_value::<ExerciseReport>(exercise.report.clone()) {
                learn(&report, &mut known);
            }
        }
    }
    Ok(known)
}

/// Whether a step tells how long it takes: not where nobody was really asked, nor where most was there already.
fn tells(step: &StepReport) -> bool {
    match step.kind.as_str() {
        "manual" => step.people_seconds >= 1.0,
        "apply" => step.items.unchanged <= step.items.created,
        _ => true,
    }
}

/// Adds what steps took that came to their end, and of which nothing newer is known. One namespace alone says nothing of the whole, and
/// a restore that was cut off nothing of one that is not.
fn learn(report: &ExerciseReport, known: &mut Experience) {
    if report.resumed || report.targets.iter().any(|target| target.kind == TargetKind::Namespace) {
        return;
    }
    for step in report.steps.iter().filter(|step| step.outcome == StepOutcome::Done && tells(step)) {
        let took = Took { seconds: step.machine_seconds + step.people_seconds, items: step.items.total() };
        known.steps.entry(step.name.clone()).or_insert(took);
    }
    known.rate = known.rate.or_else(|| rate(report));
}

/// Objects a second; none where too few were written to say it.
fn rate(report: &ExerciseReport) -> Option<f64> {
    const MANY: u64 = 200;
    let applied = report.steps.iter().filter(|step| step.kind == "apply" && step.outcome == StepOutcome::Done);
    let (seconds, created) = applied
        .filter(|step| tells(step))
        .fold((0.0, 0), |(seconds, created), step| (seconds + step.machine_seconds, created + step.items.created));
    (created >= MANY && seconds > 0.0).then(|| created as f64 / seconds)
}
