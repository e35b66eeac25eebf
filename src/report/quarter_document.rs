//! What people read of a quarter.

use super::controls::SectionId;
use super::document::{Block, Cell, Document, Section, Table, Tone};
use super::exercise::parts::{actions, completeness, controls, integrity, sign_off, signature, table_or};
use super::exercise::{longest, moment, number, tone};
use super::model::{BackupRow, ClusterQuarter, ExerciseRow, GapKind, QuarterReport};
use super::svg;
use crate::words::{count, size, span};

/// The report as a document; `json_sha256` is the digest of the file that it stands in.
pub fn quarter_document(report: &QuarterReport, json_sha256: &str) -> Document {
    let verdict = match report.gaps.is_empty() {
        true => Cell::toned("nothing is missing", Tone::Good),
        false => Cell::toned(format!("{} gaps", report.gaps.len()), gap_tone(report)),
    };
    Document {
        title: format!("Backups and recovery, {}", report.quarter).into(),
        verdict,
        lead: format!(
            "{} · {} to {} · from the signed records of the vault",
            report.vault, report.from, report.through
        )
        .into(),
        sections: vec![
            summary(report),
            gaps(report),
            exercises(report),
            history(report),
            backups(report),
            nights(report),
            verifications(report),
            actions(&report.actions, None),
            set_aside(report),
            sign_off(&report.sign_off),
            controls(),
            integrity(json_sha256),
        ],
        json_sha256: json_sha256.into(),
        tool_version: (&report.tool_version).into(),
    }
}

/// What only lacks an owner or a verification is not as bad as what is lost.
fn gap_tone(report: &QuarterReport) -> Tone {
    let mild = |kind| matches!(kind, GapKind::BackupsWithoutVerification | GapKind::ActionsWithoutOwner);
    if report.gaps.iter().all(|gap| mild(gap.kind)) { Tone::Warn } else { Tone::Bad }
}

fn summary(report: &QuarterReport) -> Section {
    let sum = |of: fn(&ClusterQuarter) -> u64| report.clusters.iter().map(of).sum::<u64>();
    let (nights, complete) = (sum(|c| c.nights), sum(|c| c.nights_complete));
    let gap = report.clusters.iter().filter_map(|cluster| cluster.longest_gap_seconds).fold(None, longest);
    let passed = report.exercises.iter().filter(|it| it.verdict.is_good()).count();
    let facts = vec![
        ("Clusters", report.clusters.len().to_string().into()),
        (
            "Nights with a complete backup",
            Cell::toned(format!("{} of {}", count(complete), count(nights)), Tone::of(complete == nights)),
        ),
        ("Longest time between complete backups", gap.map_or("there are none".to_string(), span).into()),
        ("Backups", count(sum(|c| c.backups.len() as u64)).into()),
        ("Verifications", count(sum(|c| c.verifications.len() as u64)).into()),
        (
            "Drills and restores that passed",
            Cell::toned(format!("{passed} of {}", report.exercises.len()), Tone::of(passed > 0)),
        ),
        ("Gaps", number(report.gaps.len())),
    ];
    Section::new(SectionId::Summary, "Summary", vec![Block::Facts(facts), clusters(report)])
}

fn clusters(report: &QuarterReport) -> Block {
    let columns = [
        "Cluster",
        "#Nights",
        "#Complete",
        "#Partial",
        "#Without",
        "#Failed runs",
        "Longest time between complete backups",
    ];
    let mut table = Table::new("Clusters", &columns);
    for cluster in &report.clusters {
        table.row([
            (&cluster.cluster).into(),
            count(cluster.nights).into(),
            count(cluster.nights_complete).into(),
            count(cluster.nights_partial).into(),
            number(cluster.missed_nights.len()),
            count(cluster.failed_runs.len() as u64).into(),
            cluster.longest_gap_seconds.map_or("no complete backup".to_string(), span).into(),
        ]);
    }
    table_or(table, "The vault holds no cluster.")
}

fn gaps(report: &QuarterReport) -> Section {
    let mut table = Table::new("What is missing", &["What", "Cluster"]);
    for gap in &report.gaps {
        table.row([(&gap.text).into(), gap.cluster.as_deref().unwrap_or("all").into()]);
    }
    Section::new(SectionId::Gaps, "Gaps", vec![table_or(table, "Nothing is missing.")])
}

fn exercises(report: &QuarterReport) -> Section {
    let columns = [
        "Report",
        "Kind",
        "Verdict",
        "Began (UTC)",
        "Plan",
        "Scenario",
        "Backups",
        "Recovery time",
        "Recovery point",
        "Restored",
        "#Not restored",
        "Signature",
    ];
    let mut table = Table::new("Drills and restores", &columns);
    for it in &report.exercises {
        table.row([
            Cell::code(&it.id),
            kind(it).into(),
            Cell::toned(it.verdict.words(), tone(it.verdict)),
            moment(it.started).into(),
            (&it.plan).into(),
            it.scenario.as_deref().unwrap_or("–").into(),
            Cell::code(it.backups.join(", ")),
            Cell::toned(
                format!("{} of {}", span(it.achieved_seconds), span(it.rto_seconds)),
                Tone::of(it.achieved_seconds <= it.rto_seconds),
            ),
            it.rpo_seconds.map_or("–".to_string(), span).into(),
            format!("{} of {} components", it.components_restored, it.components).into(),
            number(it.not_restored as usize),
            signature(&it.signature),
        ]);
    }
    Section::new(
        SectionId::Exercises,
        "Drills and restores",
        vec![table_or(table, "There was no drill and no restore.")],
    )
}

/// `drill`, and where to, where that is known: `drill (sandbox)`.
fn kind(it: &ExerciseRow) -> String {
    let mut places: Vec<_> = it.targets.iter().map(|target| target.words()).collect();
    places.dedup();
    let places = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
    format!("{}{places}", it.kind.as_str())
}

fn history(report: &QuarterReport) -> Section {
    let columns = ["Quarter", "#Drills and restores", "Longest recovery time", "Objective", "Longest recovery point"];
    let mut table = Table::new("Recovery time and point over the quarters", &columns);
    let or_none = |seconds: Option<f64>| Cell::from(seconds.map_or("none".to_string(), span));
    for it in &report.history {
        table.row([
            (&it.quarter).into(),
            count(it.exercises).into(),
            or_none(it.rto_seconds),
            or_none(it.rto_target_seconds),
            or_none(it.rpo_seconds),
        ]);
    }
    let caption = "Longest achieved recovery time, with its objective, and recovery point, by quarter".into();
    let blocks = vec![Block::Figure { svg: svg::history(&report.history), caption }, Block::Table(table)];
    Section::new(SectionId::History, "Over the quarters", blocks)
}

fn backups(report: &QuarterReport) -> Section {
    let table = |cluster: &ClusterQuarter| {
        let columns = [
            "Backup",
            "Night",
            "Began (UTC)",
            "Took",
            "Is",
            "#Problems",
            "#Items",
            "#Size",
            "Proved",
            "In the vault",
            "Signature",
        ];
        let mut table = Table::new(format!("Backups of {}", cluster.cluster), &columns);
        cluster.backups.iter().for_each(|backup| table.row(backup_row(backup)));
        table_or(table, "There is no backup.")
    };
    Section::new(SectionId::Backups, "Backups", report.clusters.iter().map(table).collect())
}

fn backup_row(backup: &BackupRow) -> [Cell; 11] {
    let proved = match (&backup.proved, backup.proved_at) {
        (Some(level), Some(at)) => Cell::toned(format!("{level} at {}", moment(at)), Tone::Good),
        (Some(level), None) => Cell::toned(level, Tone::Good),
        (None, _) => Cell::toned("nothing", Tone::Warn),
    };
    [
        Cell::code(&backup.id),
        backup.night.to_string().into(),
        moment(backup.started).into(),
        span(backup.finished.duration_since(backup.started).as_secs_f64()).into(),
        completeness(backup.completeness),
        number(backup.problems as usize),
        count(backup.items).into(),
        size(backup.stored_bytes).into(),
        proved,
        if backup.in_vault { "yes".into() } else { "removed since".into() },
        signature(&backup.signature),
    ]
}

fn nights(report: &QuarterReport) -> Section {
    let mut missed = Table::new("Nights without a backup", &["Night", "Cluster", "Why"]);
    let mut failed = Table::new("Runs that ended without a backup", &["When (UTC)", "Cluster", "Night", "Why"]);
    for cluster in &report.clusters {
        for it in &cluster.missed_nights {
            let why =
                it.reason.as_deref().map_or_else(|| Cell::toned("no record says anything", Tone::Bad), Cell::from);
            missed.row([it.night.to_string().into(), (&cluster.cluster).into(), why]);
        }
        for it in &cluster.failed_runs {
            let night = it.night.to_string();
            failed.row([moment(it.at).into(), (&cluster.cluster).into(), night.into(), (&it.reason).into()]);
        }
    }
    let blocks = vec![table_or(missed, "Every night has a backup."), table_or(failed, "No run failed.")];
    Section::new(SectionId::Nights, "Nights without a backup, failed runs", blocks)
}

fn verifications(report: &QuarterReport) -> Section {
    let mut table = Table::new("Verifications", &["When (UTC)", "Cluster", "Backup", "Proved"]);
    let mut rotations = Table::new("Rotations", &["When (UTC)", "Cluster", "Removed"]);
    for cluster in &report.clusters {
        for it in &cluster.verifications {
            table.row([moment(it.at).into(), (&cluster.cluster).into(), Cell::code(&it.backup), (&it.level).into()]);
        }
        for it in &cluster.rotations {
            let removed = if it.removed.is_empty() { "nothing".into() } else { Cell::code(it.removed.join(", ")) };
            rotations.row([moment(it.at).into(), (&cluster.cluster).into(), removed]);
        }
    }
    let blocks = vec![table_or(table, "Nothing was verified."), table_or(rotations, "No rotation is recorded.")];
    Section::new(SectionId::Verification, "Verifications and rotations", blocks)
}

fn set_aside(report: &QuarterReport) -> Section {
    let mut refused = Table::new("Records and backups that are not counted", &["What", "Why"]);
    report.set_aside.iter().for_each(|it| refused.row([Cell::code(&it.key), (&it.why).into()]));
    let mut unknown = Table::new("Records of kinds that this version does not know", &["Record", "Why"]);
    report.unknown.iter().for_each(|it| unknown.row([Cell::code(&it.key), (&it.why).into()]));
    let blocks =
        vec![table_or(refused, "All records hold."), table_or(unknown, "There are no records of unknown kinds.")];
    Section::new(SectionId::SetAside, "Not counted", blocks)
}
