//! What people read of a drill or a restore.

pub(super) mod parts;
mod steps;
mod verified;

use self::parts::{actions, backups, controls, erasure, integrity, keys, not_shown, plan, sign_off};
use super::controls::SectionId;
use super::document::{Block, Cell, Document, Section, Table, Tone};
use super::model::{CoverageRow, ExerciseKind, ExerciseReport, Proved, Verdict};
use super::svg;
use crate::words::{count, span};

/// The report as a document; `json_sha256` is the digest of the file that it stands in.
pub fn exercise_document(report: &ExerciseReport, json_sha256: &str) -> Document {
    let what = match report.kind {
        ExerciseKind::Drill => "Drill",
        ExerciseKind::Restore => "Restore",
    };
    let scenario = report.scenario.as_ref().map_or_else(String::new, |scenario| format!(", {}", scenario.name));
    Document {
        title: format!("{what} report: {}{scenario}", report.plan.name).into(),
        verdict: Cell::toned(report.verdict.words(), tone(report.verdict)),
        lead: format!("{} · {} to {} UTC", report.id, moment(report.started), moment(report.finished)).into(),
        sections: vec![
            summary(report),
            coverage(report),
            backups(report),
            plan(report),
            steps::steps(report),
            steps::time(report),
            verified::verification(report),
            not_shown(report),
            keys(report),
            erasure(report),
            actions(&report.actions, Some(&report.deviations)),
            sign_off(&report.sign_off),
            controls(),
            integrity(json_sha256),
        ],
        json_sha256: json_sha256.into(),
        tool_version: (&report.tool_version).into(),
    }
}

/// `2026-11-26 14:30:00`.
pub(super) fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%F %H:%M:%S").to_string()
}

/// How a verdict is to be taken.
pub(super) fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Passed => Tone::Good,
        Verdict::PassedWithGaps => Tone::Warn,
        Verdict::Late | Verdict::Failed | Verdict::Stopped => Tone::Bad,
    }
}

fn summary(report: &ExerciseReport) -> Section {
    let clock = &report.clock;
    let met = if clock.met { "met" } else { "NOT MET" };
    let restored = report.coverage.iter().filter(|row| row.proved == Proved::Restored).count() as u64;
    let oldest = report.backups.iter().map(|backup| backup.age_seconds).fold(None, longest);
    let mut facts = vec![
        ("Verdict", Cell::toned(report.verdict.words(), tone(report.verdict))),
        (
            "Achieved recovery time",
            Cell::toned(
                format!("{} of {}: {met}", span(clock.achieved_seconds), span(clock.rto_seconds)),
                Tone::of(clock.met),
            ),
        ),
        ("Achieved recovery point", oldest.map_or("no backup was used".to_string(), span).into()),
        (
            "Components restored and compared",
            Cell::toned(
                format!("{} of {}", count(restored), count(report.coverage.len() as u64)),
                if restored as usize == report.coverage.len() { Tone::Good } else { Tone::Warn },
            ),
        ),
        ("Not restored", number(report.not_restored.len())),
        ("Left out or not exercised", report.not_exercised.len().to_string().into()),
    ];
    if let Some(scenario) = &report.scenario {
        facts.push(("Scenario", (&scenario.name).into()));
        facts.push(("What was lost", (&scenario.lost).into()));
        let proved = if scenario.proved.is_empty() { "nothing" } else { &scenario.proved };
        facts.push(("What it proved", proved.into()));
    }
    Section::new(SectionId::Summary, "Summary", vec![Block::Facts(facts)])
}

/// The longer of two spans, where there may be none.
pub(super) fn longest(one: Option<f64>, other: f64) -> Option<f64> {
    Some(one.map_or(other, |one| one.max(other)))
}

/// A number that should be none.
pub(super) fn number(n: usize) -> Cell {
    Cell::toned(count(n as u64), if n == 0 { Tone::Good } else { Tone::Bad })
}

fn coverage(report: &ExerciseReport) -> Section {
    let mut rows: Vec<&CoverageRow> = report.coverage.iter().collect();
    let rank = |row: &CoverageRow| Proved::ALL.iter().position(|level| *level == row.proved);
    rows.sort_by(|a, b| (rank(a), &a.component).cmp(&(rank(b), &b.component)));
    let columns = ["Component", "Namespaces", "State that matters", "Saved by", "Proved", "Evidence"];
    let mut table = Table::new("Every component of the inventory of systems, gaps first", &columns);
    for row in rows {
        let tone = match row.proved {
            Proved::NotCovered => Tone::Bad,
            Proved::Restored => Tone::Good,
            _ => Tone::Warn,
        };
        table.row([
            (&row.component).into(),
            row.namespaces.join(", ").into(),
            (&row.state).into(),
            row.saved_by.join(", ").into(),
            Cell::toned(row.proved.words(), tone),
            (&row.evidence).into(),
        ]);
    }
    let mut blocks = Vec::new();
    if report.coverage.is_empty() {
        blocks.push(Block::Note(Cell::toned("The report has no inventory of systems.", Tone::Bad)));
    } else {
        let caption = "How far the way back of each component is proved".into();
        blocks.push(Block::Figure { svg: svg::coverage(&report.coverage), caption });
        blocks.push(Block::Table(table));
    }
    Section::new(SectionId::Coverage, "Scope and coverage", blocks)
}
