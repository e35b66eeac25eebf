//! The steps and the clock.

use super::moment;
use crate::report::controls::SectionId;
use crate::report::document::{Block, Cell, Section, Table, Tone};
use crate::report::model::{ExerciseReport, StepOutcome, StepReport};
use crate::report::svg;
use crate::words::{count, span};

pub(super) fn steps(report: &ExerciseReport) -> Section {
    let columns = [
        "Step",
        "Kind",
        "Target",
        "Start (UTC)",
        "End (UTC)",
        "Outcome",
        "#Retries",
        "#Machine",
        "#People",
        "#Expected",
        "Items",
        "Note",
    ];
    let mut table = Table::new("Every step, in the order of the plan; ◆ is on the critical path", &columns);
    report.steps.iter().for_each(|step| table.row(row(step)));
    let caption = "Steps on a time line, with machine's and people's time, the critical path and the objective".into();
    let blocks = match report.steps.is_empty() {
        true => vec![Block::Note(Cell::toned("No step was run.", Tone::Bad))],
        false => vec![Block::Figure { svg: svg::timeline(report), caption }, Block::Table(table)],
    };
    Section::new(SectionId::Steps, "Steps", blocks)
}

fn row(step: &StepReport) -> [Cell; 12] {
    let tone = match step.outcome {
        StepOutcome::Done => Tone::Good,
        StepOutcome::Incomplete | StepOutcome::Failed => Tone::Bad,
        StepOutcome::Skipped | StepOutcome::NotRun | StepOutcome::NotExercised => Tone::Warn,
    };
    let late = step.expected_seconds.is_some_and(|expected| step.machine_seconds + step.people_seconds > expected);
    let or_dash = |at: Option<jiff::Timestamp>| at.map_or("–".to_string(), moment);
    [
        format!("{}{}", step.name, if step.critical { " ◆" } else { "" }).into(),
        (&step.kind).into(),
        step.target.as_deref().unwrap_or("–").into(),
        or_dash(step.started).into(),
        or_dash(step.finished).into(),
        Cell::toned(step.outcome.words(), tone),
        step.retries.to_string().into(),
        Cell::toned(taken(step.machine_seconds), if late { Tone::Warn } else { Tone::Plain }),
        taken(step.people_seconds).into(),
        step.expected_seconds.map_or("–".to_string(), span).into(),
        items(step).into(),
        step.note.as_deref().unwrap_or("–").into(),
    ]
}

fn taken(seconds: f64) -> String {
    if seconds > 0.0 { span(seconds) } else { "–".into() }
}

fn items(step: &StepReport) -> String {
    let items = &step.items;
    let all = [
        (items.created, "created"),
        (items.updated, "updated"),
        (items.unchanged, "unchanged"),
        (items.skipped, "skipped"),
        (items.failed, "failed"),
    ];
    let words: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", count(*n))).collect();
    if words.is_empty() { "–".into() } else { words.join(", ") }
}

pub(super) fn time(report: &ExerciseReport) -> Section {
    let clock = &report.clock;
    let met = if clock.met { "met" } else { "NOT MET" };
    let mut facts = vec![
        ("Incident began (UTC)", moment(clock.incident_start).into()),
        ("Recovery time objective", span(clock.rto_seconds).into()),
        (
            "Achieved recovery time",
            Cell::toned(format!("{}: {met}", span(clock.achieved_seconds)), Tone::of(clock.met)),
        ),
        ("Platform usable after", clock.usable_seconds.map_or("no gate in the plan".to_string(), span).into()),
        ("Machines worked", span(clock.machine_seconds).into()),
        ("People were waited for", span(clock.people_seconds).into()),
    ];
    facts.extend(clock.other_seconds.map(|others| ("Neither, as no step was under way", span(others).into())));
    if let Some(prediction) = clock.prediction {
        facts.push(("Foretold at the start", span(prediction.predicted_seconds).into()));
        facts.push(("It took", span(prediction.actual_seconds).into()));
    }
    Section::new(SectionId::Time, "Time against the objective", vec![Block::Facts(facts)])
}
