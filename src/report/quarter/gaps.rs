//! What is missing from a quarter. It is said in sentences, because what is not there shows in no table.

use jiff::civil::Date;

use crate::report::model::{
    Action, BackupCompleteness, ClusterQuarter, ExerciseKind, ExerciseRow, Gap, GapKind, MissedNight, QuarterReport,
};
use crate::words::counted;

/// Every gap, the worst kinds first.
pub(super) fn gaps(report: &QuarterReport) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if !report.set_aside.is_empty() {
        let n = counted(report.set_aside.len() as u64, "object");
        gaps.push(gap(
            GapKind::NotTrusted,
            None,
            format!("{n} of the vault cannot be trusted or read, and do not count"),
        ));
    }
    if report.clusters.is_empty() {
        gaps.push(gap(GapKind::NightsWithoutRecord, None, "the vault holds no cluster".into()));
    }
    report.clusters.iter().for_each(|cluster| gaps.extend(of_cluster(cluster)));
    gaps.extend(drills(report));
    gaps.extend(late_actions(report));
    gaps.sort();
    gaps
}

fn gap(kind: GapKind, cluster: Option<&ClusterQuarter>, text: String) -> Gap {
    Gap { kind, cluster: cluster.map(|cluster| cluster.cluster.clone()), text }
}

fn of_cluster(cluster: &ClusterQuarter) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let (silent, told): (Vec<&MissedNight>, Vec<_>) = cluster.missed_nights.iter().partition(|it| it.reason.is_none());
    if !silent.is_empty() {
        let text = format!("no record says anything of {}", nights(&silent));
        gaps.push(gap(GapKind::NightsWithoutRecord, Some(cluster), text));
    }
    if !told.is_empty() {
        let text = format!("no backup of {}, which records explain", nights(&told));
        gaps.push(gap(GapKind::NightsWithoutCompleteBackup, Some(cluster), text));
    }
    if cluster.nights_partial > 0 {
        let text = format!("only a partial backup of {}", counted(cluster.nights_partial, "night"));
        gaps.push(gap(GapKind::NightsWithoutCompleteBackup, Some(cluster), text));
    }
    let complete = cluster.backups.iter().filter(|it| it.completeness == BackupCompleteness::Complete);
    let (all, unproved) = complete.fold((0, 0), |(all, n), it| (all + 1, n + u64::from(it.proved.is_none())));
    if unproved > 0 {
        let text = format!("{unproved} of {} were never verified", counted(all, "complete backup"));
        gaps.push(gap(GapKind::BackupsWithoutVerification, Some(cluster), text));
    }
    gaps
}

/// `3 nights: 2026-10-04, 2026-10-09 to 2026-10-10`.
fn nights(missed: &[&MissedNight]) -> String {
    let mut spans: Vec<(Date, Date)> = Vec::new();
    for night in missed.iter().map(|it| it.night) {
        match spans.last_mut() {
            Some((_, last)) if last.tomorrow().ok() == Some(night) => *last = night,
            _ => spans.push((night, night)),
        }
    }
    let word = |(from, to): &(Date, Date)| if from == to { from.to_string() } else { format!("{from} to {to}") };
    let words: Vec<_> = spans.iter().map(word).collect();
    format!("{}: {}", counted(missed.len() as u64, "night"), words.join(", "))
}

/// Each cluster with backups needs a drill of its own: that another one comes back says nothing of it. Without any backup there is
/// nothing to rehearse, and that nobody did is said once.
fn drills(report: &QuarterReport) -> Vec<Gap> {
    let all: Vec<&ExerciseRow> = report.exercises.iter().filter(|it| it.kind == ExerciseKind::Drill).collect();
    let saved: Vec<_> = report.clusters.iter().filter(|cluster| !cluster.backups.is_empty()).collect();
    if saved.is_empty() {
        return no_drill(report, None, &all).into_iter().collect();
    }
    let missing = saved.into_iter().filter_map(|cluster| {
        let own: Vec<_> = all.iter().copied().filter(|it| it.is_of(&cluster.cluster)).collect();
        no_drill(report, Some(cluster), &own)
    });
    missing.collect()
}

fn no_drill(report: &QuarterReport, cluster: Option<&ClusterQuarter>, drills: &[&ExerciseRow]) -> Option<Gap> {
    let quarter = &report.quarter;
    let whole: Vec<_> = drills.iter().filter(|it| !it.is_of_one_namespace()).collect();
    let (kind, text) = match whole.iter().any(|it| it.verdict.is_good()) {
        true => return None,
        false if drills.is_empty() => (GapKind::NoDrill, format!("{quarter} has no drill")),
        false if whole.is_empty() => (GapKind::NoDrill, format!("{quarter} has drills of single namespaces only")),
        false => (GapKind::NoDrillPassed, format!("no drill of {quarter} passed")),
    };
    Some(gap(kind, cluster, text))
}

fn late_actions(report: &QuarterReport) -> Vec<Gap> {
    let ids = |is: &dyn Fn(&Action) -> bool| {
        let ids: Vec<_> = report.actions.iter().filter(|it| is(it)).map(|it| it.id.as_str()).collect();
        (!ids.is_empty()).then(|| ids.join(", "))
    };
    let overdue = ids(&|it| it.is_overdue(report.through));
    let nobody = ids(&|it| it.is_open() && (it.owner.is_none() || it.due.is_none()));
    let overdue = overdue.map(|ids| gap(GapKind::ActionsOverdue, None, format!("past their day: {ids}")));
    let nobody = nobody.map(|ids| gap(GapKind::ActionsWithoutOwner, None, format!("without owner or day: {ids}")));
    overdue.into_iter().chain(nobody).collect()
}
