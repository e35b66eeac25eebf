//! Drills and restores, what they came to over the quarters, and the actions that they left open.

use std::collections::{BTreeMap, BTreeSet};

use super::{ClusterInput, QUARTERS_SHOWN, Span, signature};
use crate::config::CorrectiveAction;
use crate::report::actions::shown;
use crate::report::model::{
    Action, ExerciseReport, ExerciseRow, Proved, QuarterFigures, REPORT_SCHEMA, SetAside, SignatureFound,
};
use crate::vault::quarter::Quarter;
use crate::vault::record::RecordBody;

/// A report out of a record.
pub(super) struct Recorded {
    report: ExerciseReport,
    signature: SignatureFound,
}

/// The reports in the records of all clusters that were written by the end of the last day, oldest first. One that is of several
/// clusters stands with each of them, and counts once.
pub(super) fn read(clusters: &[ClusterInput], span: &Span, set_aside: &mut BTreeSet<SetAside>) -> Vec<Recorded> {
    let mut all: BTreeMap<String, Recorded> = BTreeMap::new();
    for found in clusters.iter().flat_map(|cluster| &cluster.records.good) {
        let (RecordBody::Drill(body) | RecordBody::Restore(body)) = &found.record.body else { continue };
        match serde_json::from_value::<ExerciseReport>(body.report.clone()) {
            Ok(report) if report.schema == REPORT_SCHEMA => {
                let signature = signature(found.by.as_ref());
                all.insert(report.id.clone(), Recorded { report, signature });
            }
            Ok(report) => {
                let why = format!("its report has the schema {:?}", report.schema);
                set_aside.insert(SetAside { key: found.key.clone(), why });
            }
            Err(e) => {
                set_aside.insert(SetAside { key: found.key.clone(), why: format!("its report cannot be read: {e}") });
            }
        }
    }
    let mut all: Vec<_> = all.into_values().filter(|it| span.knows(it.report.started)).collect();
    all.sort_by(|a, b| (a.report.started, &a.report.id).cmp(&(b.report.started, &b.report.id)));
    all
}

/// Those of the quarter.
pub(super) fn rows(all: Vec<Recorded>, span: &Span) -> Vec<ExerciseRow> {
    all.into_iter().filter(|it| span.has(it.report.started)).map(row).collect()
}

fn row(it: Recorded) -> ExerciseRow {
    let Recorded { report, signature } = it;
    let restored = report.coverage.iter().filter(|row| row.proved == Proved::Restored).count();
    ExerciseRow {
        id: report.id.clone(),
        kind: report.kind,
        verdict: report.verdict,
        started: report.started,
        plan: report.plan.name.clone(),
        targets: report.targets.iter().map(|target| target.kind).collect(),
        scenario: report.scenario.as_ref().map(|scenario| scenario.name.clone()),
        backups: report.backups.iter().map(|backup| format!("{}/{}", backup.cluster, backup.id)).collect(),
        rto_seconds: report.clock.rto_seconds,
        achieved_seconds: report.clock.achieved_seconds,
        rpo_seconds: rpo(&report),
        components_restored: restored as u64,
        components: report.coverage.len() as u64,
        not_restored: report.not_restored.len() as u64,
        signature,
    }
}

/// The age of the oldest backup that was used.
fn rpo(report: &ExerciseReport) -> Option<f64> {
    report.backups.iter().map(|backup| backup.age_seconds).reduce(f64::max)
}

/// The quarter and those before it, from the first one with an exercise.
pub(super) fn history(all: &[Recorded], quarter: Quarter) -> Vec<QuarterFigures> {
    let first = all.iter().map(|it| Quarter::at(it.report.started)).min().unwrap_or(quarter);
    let mut quarters: Vec<_> = std::iter::successors(Some(quarter), |it| Some(it.previous()))
        .take(QUARTERS_SHOWN)
        .take_while(|it| *it >= first || *it == quarter)
        .collect();
    quarters.reverse();
    quarters.into_iter().map(|quarter| figures(all, quarter)).collect()
}

fn figures(all: &[Recorded], quarter: Quarter) -> QuarterFigures {
    let of: Vec<_> = all.iter().map(|it| &it.report).filter(|it| Quarter::at(it.started) == quarter).collect();
    QuarterFigures {
        quarter: quarter.to_string(),
        exercises: of.len() as u64,
        rto_seconds: of.iter().map(|it| it.clock.achieved_seconds).reduce(f64::max),
        rto_target_seconds: of.iter().map(|it| it.clock.rto_seconds).reduce(f64::min),
        rpo_seconds: of.iter().filter_map(|it| rpo(it)).reduce(f64::max),
    }
}

/// Corrective actions: as the newest report has them, and above that as the list that somebody keeps has them. Those that were
/// closed before the quarter are done with.
pub(super) fn actions(all: &[Recorded], kept: Vec<CorrectiveAction>, span: &Span) -> Vec<Action> {
    let mut actions: BTreeMap<String, Action> = BTreeMap::new();
    for it in all {
        for action in &it.report.actions {
            let opened_by = action.opened_by.clone().or_else(|| Some(it.report.id.clone()));
            let earlier = actions.get(&action.id).and_then(|earlier| earlier.opened_by.clone());
            let action = Action { opened_by: earlier.or(opened_by), ..action.clone() };
            actions.insert(action.id.clone(), action);
        }
    }
    for action in kept {
        let earlier = actions.get(&action.id).and_then(|earlier| earlier.opened_by.clone());
        let action = Action::from(action);
        let opened_by = action.opened_by.clone().or(earlier);
        actions.insert(action.id.clone(), Action { opened_by, ..action });
    }
    shown(actions.into_values(), span.quarter, span.through)
}
