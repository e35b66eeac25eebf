//! `validate`: are schedules and plans as they should be?

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::output::Failure;
use super::{DONE, Global, Outcome, Output};
use crate::archive::age::Recipients;
use crate::config::{self, Document, Schedule};
use crate::error::{Error, Kind};
use crate::vault::signature::Signer;

/// Check schedules, restore plans and scenarios, without touching anything else
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ckbackup validate schedules/*.yaml restore-plans/*.yaml scenarios/*.yaml")]
pub struct ValidateArgs {
    /// Files with schedules, restore plans or scenarios
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    valid: bool,
    /// Documents that are valid.
    documents: Vec<Valid>,
    problems: Vec<Said>,
    warnings: Vec<Said>,
    #[serde(flatten)]
    failure: Option<Failure>,
}

#[derive(Debug, Serialize)]
struct Valid {
    file: String,
    kind: &'static str,
    name: String,
}

/// Something to say about a file.
#[derive(Debug, Serialize)]
struct Said {
    file: String,
    text: String,
}

pub(super) fn run(args: &ValidateArgs, global: &Global) -> Outcome {
    let mut report = Report::default();
    for file in &args.files {
        check_file(file, &mut report);
    }
    report.valid = report.problems.is_empty();
    let failure = (!report.valid).then(|| summary(&report));
    report.failure = failure.as_ref().map(Failure::from);
    for warning in &report.warnings {
        global.warn(&warning.text);
    }
    global.print(&report, |form| human(&report, form))?;
    for problem in &report.problems {
        global.error(&problem.text, None);
    }
    Ok(if report.valid { DONE } else { Kind::Usage.exit_code() })
}

fn summary(report: &Report) -> Error {
    let texts: Vec<_> = report.problems.iter().map(|p| p.text.as_str()).collect();
    Error::usage(texts.join("\n"))
}

fn check_file(file: &Path, report: &mut Report) {
    let shown = file.display().to_string();
    let said = |text: String| Said { file: shown.clone(), text };
    let documents = match config::read_file(file) {
        Ok(documents) => documents,
        Err(e) => return report.problems.push(said(with_hint(&e))),
    };
    for document in &documents {
        let problems = match document {
            Document::Schedule(schedule) => {
                report.warnings.extend(signing_warning(schedule).map(said));
                check_schedule(schedule)
            }
            _ => Vec::new(),
        };
        if problems.is_empty() {
            let (kind, name) = (document.kind(), document.name().to_string());
            report.documents.push(Valid { file: shown.clone(), kind, name });
        }
        report.problems.extend(problems.into_iter().map(|text| said(format!("{shown}: {text}"))));
    }
}

/// What the files that a schedule points to have to say.
fn check_schedule(schedule: &Schedule) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(e) = Recipients::parse(&schedule.recipients) {
        problems.push(format!("`spec.encryption.recipients`: {}", with_hint(&e)));
    }
    for plan in &schedule.include.plans {
        match config::read_file(plan) {
            Ok(documents) if documents.iter().any(|d| matches!(d, Document::RestorePlan(_))) => {}
            Ok(_) => problems.push(format!("`spec.include.plans`: {} holds no restore plan", plan.display())),
            Err(e) => problems.push(format!("`spec.include.plans`: {}", with_hint(&e))),
        }
    }
    problems
}

/// The signing key is in the cluster, and rarely where schedules are edited.
fn signing_warning(schedule: &Schedule) -> Option<String> {
    let e = Signer::read(&schedule.signing_key).err()?;
    Some(format!("Schedule {}: {} (needed where backups are taken)", schedule.name, e.one_line()))
}

fn with_hint(e: &Error) -> String {
    match e.hint_text() {
        Some(hint) => format!("{}; {hint}", e.one_line()),
        None => e.one_line(),
    }
}

fn human(report: &Report, form: Output) -> String {
    let line = |d: &Valid| match form {
        Output::Name => format!("{}/{}\n", d.kind, d.name),
        _ => format!("{}: {} {} is valid\n", d.file, d.kind, d.name),
    };
    report.documents.iter().map(line).collect()
}
