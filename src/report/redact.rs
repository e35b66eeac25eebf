//! The report of an exercise as it may stand in the vault, which whoever keeps the storage can read: without names of
//! objects, and without texts that may hold some.

use sha2::{Digest, Sha256};

use super::file::Report;
use super::model::{CountCheck, ExerciseKind, ExerciseReport, NotRestored, Proved, TargetKind};
use crate::error::{Context, Result};
use crate::vault::record::{ExerciseRecord, RecordBody};

/// What stands in place of what is left out.
const ELSEWHERE: &str = "named in the report itself";

/// The report without names of objects; all numbers stay.
pub fn without_names(report: &ExerciseReport) -> ExerciseReport {
    let mut report = report.clone();
    report.steps.iter_mut().for_each(|step| step.note = None);
    for it in &mut report.verifications {
        it.differences.clear();
        it.note = None;
        it.queries.iter_mut().for_each(|query| {
            query.query = ELSEWHERE.into();
            query.expected.clear();
            query.found.clear();
        });
        it.counts = in_all(&it.counts);
    }
    for it in &mut report.not_restored {
        *it = NotRestored { step: it.step.clone(), what: ELSEWHERE.into(), why: ELSEWHERE.into() };
    }
    report.not_exercised.iter_mut().for_each(|it| it.why = ELSEWHERE.into());
    report.deviations.iter_mut().for_each(|it| it.why = ELSEWHERE.into());
    // What shows that a component came back is made of numbers; why nothing shows it may be told in any words.
    let unproved = report.coverage.iter_mut().filter(|row| row.proved != Proved::Restored);
    unproved.for_each(|row| row.evidence = ELSEWHERE.into());
    let namespaces = report.targets.iter_mut().filter(|target| target.kind == TargetKind::Namespace);
    namespaces.for_each(|target| target.place = ELSEWHERE.into());
    if let Some(scenario) = &mut report.scenario {
        scenario.lost = ELSEWHERE.into();
    }
    report.erasure.note = None;
    report
}

/// Names of indices and tables are the customers', too.
fn in_all(counts: &[CountCheck]) -> Vec<CountCheck> {
    if counts.is_empty() {
        return Vec::new();
    }
    let found = counts.iter().map(|count| count.found).sum();
    vec![CountCheck { name: "in all".into(), expected: counts.iter().map(|count| count.expected).sum(), found }]
}

/// What the vault keeps of an exercise: the report without names, and the digest of the whole one.
pub fn record_of(report: &ExerciseReport) -> Result<RecordBody> {
    let bytes = Report::Exercise(Box::new(report.clone())).to_bytes()?;
    let kept = serde_json::to_value(without_names(report)).context(|| "write the record of a report".into())?;
    let body = ExerciseRecord { report_sha256: Sha256::digest(&bytes).into(), report: kept };
    Ok(match report.kind {
        ExerciseKind::Drill => RecordBody::Drill(body),
        ExerciseKind::Restore => RecordBody::Restore(body),
    })
}
