//! What steps took in the last restore or drill by the same plan: the clock's predictions begin with it.

use jiff::Timestamp;

use crate::error::Result;
use crate::reader::records;
use crate::report::ExerciseReport;
use crate::report::model::StepOutcome;
use crate::restore::{Experience, Took};
use crate::vault::Vault;
use crate::vault::quarter::Quarter;
use crate::vault::record::{RecordBody, RecordKind};
use crate::vault::signature::Signers;

/// Out of the newest record that names the plan, in this quarter or the one before. What nobody trusted has signed teaches nothing, where
/// signers are given.
pub async fn experience(
    vault: &Vault,
    cluster: &str,
    signers: Option<&Signers>,
    plan: &str,
    now: Timestamp,
) -> Result<Experience> {
    let this = Quarter::at(now);
    for quarter in [this, this.previous()] {
        let is_exercise = |kind: &str| [RecordKind::Drill, RecordKind::Restore].iter().any(|k| k.as_str() == kind);
        let found = records(vault, cluster, signers, |name| name.quarter == quarter && is_exercise(&name.kind)).await?;
        let newest_first = found.good.iter().rev().filter(|found| found.record.name == *plan);
        for found in newest_first {
            let (RecordBody::Drill(exercise) | RecordBody::Restore(exercise)) = &found.record.body else { continue };
            if let Ok(report) = serde_json::from_value::<ExerciseReport>(exercise.report.clone()) {
                return Ok(of(&report));
            }
        }
    }
    Ok(Experience::default())
}

/// Steps that came to their end.
fn of(report: &ExerciseReport) -> Experience {
    let done = report.steps.iter().filter(|step| step.outcome == StepOutcome::Done);
    let took = |step: &crate::report::model::StepReport| Took {
        seconds: step.machine_seconds + step.people_seconds,
        items: step.items.total(),
    };
    Experience { steps: done.map(|step| (step.name.clone(), took(step))).collect() }
}
