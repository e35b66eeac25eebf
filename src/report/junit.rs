//! A report as JUnit XML, for what shows test results: a suite for each section, a case for each step, comparison and component.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::model::{CoverageRow, ExerciseReport, Proved, StepOutcome, StepReport, Verification, VerificationOutcome};
use super::text::Text;
use crate::error::{Context, Result};

/// What a case came to.
enum Came {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Case {
    name: String,
    seconds: f64,
    came: Came,
}

/// The whole file.
pub fn junit(report: &ExerciseReport) -> Result<String> {
    let suites = [
        ("steps", report.steps.iter().map(step).collect::<Vec<_>>()),
        ("verification", report.verifications.iter().map(verification).collect()),
        ("coverage", report.coverage.iter().map(component).collect()),
        ("objectives", objectives(report)),
    ];
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, report, &suites).context(|| "write JUnit XML".into())?;
    let mut text = String::from_utf8(writer.into_inner()).context(|| "write JUnit XML".into())?;
    text.push('\n');
    Ok(text)
}

fn step(step: &StepReport) -> Case {
    let note = step.note.clone().unwrap_or_else(|| step.outcome.words().into());
    let came = match step.outcome {
        StepOutcome::Done => Came::Passed,
        StepOutcome::Incomplete | StepOutcome::Failed => Came::Failed(note),
        StepOutcome::Skipped | StepOutcome::NotRun | StepOutcome::NotExercised => Came::Skipped(note),
    };
    Case { name: step.name.clone(), seconds: step.machine_seconds + step.people_seconds, came }
}

fn verification(it: &Verification) -> Case {
    let words = format!(
        "{} compared, {} equal, {} missing, {} extra, {} changed",
        it.compared, it.equal, it.missing, it.extra, it.changed
    );
    let why = it.note.as_ref().map_or(words.clone(), |note| format!("{note}; {words}"));
    let came = match it.outcome {
        VerificationOutcome::Passed => Came::Passed,
        VerificationOutcome::Failed => Came::Failed(why),
        VerificationOutcome::NotExercised => Came::Skipped(why),
    };
    Case { name: format!("{}: {}", it.subject, it.kind.words()), seconds: 0.0, came }
}

fn component(row: &CoverageRow) -> Case {
    let why = format!("{}: {}", row.proved.words(), row.evidence);
    let came = match row.proved {
        Proved::Restored => Came::Passed,
        // A gap fails no drill: what fails it stands in the other suites.
        _ => Came::Skipped(why),
    };
    Case { name: row.component.clone(), seconds: 0.0, came }
}

fn objectives(report: &ExerciseReport) -> Vec<Case> {
    let clock = &report.clock;
    let took = format!("{:.0} s of {:.0} s", clock.achieved_seconds, clock.rto_seconds);
    let in_time = if clock.met { Came::Passed } else { Came::Failed(took) };
    let words = report.not_restored.iter().map(|it| format!("{}: {}", it.what, it.why)).collect::<Vec<_>>().join("\n");
    let whole = if report.not_restored.is_empty() { Came::Passed } else { Came::Failed(words) };
    vec![
        Case { name: "recovery time objective".into(), seconds: clock.achieved_seconds, came: in_time },
        Case { name: "everything restored".into(), seconds: 0.0, came: whole },
    ]
}

/// How many of some cases failed, and how many were skipped.
fn counts<'a>(cases: impl Iterator<Item = &'a Case>) -> [usize; 3] {
    cases.fold([0; 3], |[all, failed, skipped], case| match case.came {
        Came::Passed => [all + 1, failed, skipped],
        Came::Failed(_) => [all + 1, failed + 1, skipped],
        Came::Skipped(_) => [all + 1, failed, skipped + 1],
    })
}

fn element(name: &'static str, of: &str, counts: [usize; 3]) -> BytesStart<'static> {
    let mut start = BytesStart::new(name);
    start.push_attribute(("name", Text::from(of).as_str()));
    for (key, n) in ["tests", "failures", "skipped"].into_iter().zip(counts) {
        start.push_attribute((key, n.to_string().as_str()));
    }
    start
}

type Suites = [(&'static str, Vec<Case>)];

fn write(writer: &mut Writer<Vec<u8>>, report: &ExerciseReport, suites: &Suites) -> std::io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = element("testsuites", &report.id, counts(suites.iter().flat_map(|(_, cases)| cases)));
    writer.write_event(Event::Start(all))?;
    for (name, cases) in suites {
        let mut suite = element("testsuite", name, counts(cases.iter()));
        suite.push_attribute(("errors", "0"));
        suite.push_attribute(("timestamp", report.started.strftime("%FT%TZ").to_string().as_str()));
        writer.write_event(Event::Start(suite))?;
        for case in cases {
            write_case(writer, name, case)?;
        }
        writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))
}

fn write_case(writer: &mut Writer<Vec<u8>>, suite: &str, case: &Case) -> std::io::Result<()> {
    let mut start = BytesStart::new("testcase");
    start.push_attribute(("classname", format!("ckbackup.{suite}").as_str()));
    start.push_attribute(("name", Text::from(&case.name).as_str()));
    start.push_attribute(("time", format!("{:.3}", case.seconds).as_str()));
    let (element, why) = match &case.came {
        Came::Passed => return writer.write_event(Event::Empty(start)),
        Came::Failed(why) => ("failure", why),
        Came::Skipped(why) => ("skipped", why),
    };
    let why = Text::from(why);
    writer.write_event(Event::Start(start))?;
    let mut inner = BytesStart::new(element);
    inner.push_attribute(("message", why.cut(200).as_str()));
    writer.write_event(Event::Start(inner))?;
    writer.write_event(Event::Text(BytesText::new(why.as_str())))?;
    writer.write_event(Event::End(BytesEnd::new(element)))?;
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}
