//! What was compared after the restore.

use crate::report::controls::SectionId;
use crate::report::document::{Block, Cell, Section, Table, Tone};
use crate::report::model::{ExerciseReport, Verification, VerificationOutcome};
use crate::words::count;

pub(super) fn verification(report: &ExerciseReport) -> Section {
    let all = &report.verifications;
    let mut blocks = vec![comparisons(all)];
    let numbers = numbers(all);
    let queries = queries(all);
    let tables = [numbers, queries, differences(all), ignored(all)];
    blocks.extend(tables.into_iter().filter(|table| !table.rows.is_empty()).map(Block::Table));
    Section::new(SectionId::Verification, "Verification", blocks)
}

fn comparisons(all: &[Verification]) -> Block {
    if all.is_empty() {
        return Block::Note(Cell::toned("Nothing was compared.", Tone::Bad));
    }
    let columns = [
        "Subject",
        "What",
        "Outcome",
        "#Compared",
        "#Equal",
        "#Missing",
        "#Extra",
        "#Changed",
        "#Not compared",
        "Note",
    ];
    let mut table = Table::new("What was compared, by component or source", &columns);
    for it in all {
        let bad = |n: u64| Cell::toned(count(n), if n == 0 { Tone::Plain } else { Tone::Bad });
        table.row([
            (&it.subject).into(),
            it.kind.words().into(),
            Cell::toned(it.outcome.words(), tone(it.outcome)),
            count(it.compared).into(),
            count(it.equal).into(),
            bad(it.missing),
            bad(it.extra),
            bad(it.changed),
            count(it.ignored.values().sum()).into(),
            it.note.as_deref().unwrap_or("–").into(),
        ]);
    }
    Block::Table(table)
}

fn tone(outcome: VerificationOutcome) -> Tone {
    match outcome {
        VerificationOutcome::Passed => Tone::Good,
        VerificationOutcome::Failed => Tone::Bad,
        VerificationOutcome::NotExercised => Tone::Warn,
    }
}

fn numbers(all: &[Verification]) -> Table {
    let mut table = Table::new("Numbers on both sides", &["What", "Subject", "#Expected", "#Found", "Result"]);
    for it in all {
        for number in &it.counts {
            let result = match (number.is_equal(), number.found) {
                (true, _) => Cell::toned("equal", Tone::Good),
                (false, None) => Cell::toned("not counted", Tone::Warn),
                (false, Some(_)) => Cell::toned("DIFFERS", Tone::Bad),
            };
            table.row([
                (&number.name).into(),
                (&it.subject).into(),
                count(number.expected).into(),
                number.found.map_or("–".into(), count).into(),
                result,
            ]);
        }
    }
    table
}

fn queries(all: &[Verification]) -> Table {
    let mut table = Table::new("Queries on both sides", &["Query", "Subject", "Expected", "Found", "Result"]);
    for it in all {
        for query in &it.queries {
            let result = if query.equal { ("equal", Tone::Good) } else { ("DIFFERS", Tone::Bad) };
            table.row([
                Cell::code(&query.query),
                (&it.subject).into(),
                (&query.expected).into(),
                (&query.found).into(),
                Cell::toned(result.0, result.1),
            ]);
        }
    }
    table
}

fn differences(all: &[Verification]) -> Table {
    let mut table = Table::new("What differs, by name", &["Object", "Subject", "How"]);
    for it in all {
        it.differences
            .iter()
            .for_each(|one| table.row([Cell::code(&one.object), (&it.subject).into(), (&one.what).into()]));
    }
    table
}

fn ignored(all: &[Verification]) -> Table {
    let mut table = Table::new("What was not compared, by rule", &["Rule", "Subject", "#Count"]);
    for it in all {
        it.ignored.iter().for_each(|(rule, n)| table.row([rule.into(), (&it.subject).into(), count(*n).into()]));
    }
    table
}
