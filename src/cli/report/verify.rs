//! `report verify`: who signed a report, and whether its files say what it says.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::output::Failure;
use crate::cli::proof_report::SignatureReport;
use crate::cli::shared::TrustArgs;
use crate::cli::{DONE, Global, Outcome, Output};
use crate::error::Error;
use crate::report::{Checked, check};

/// Check digest and signature of a report, and that HTML, Markdown and JUnit XML beside it are made from it
#[derive(Debug, Args)]
pub struct ReportVerifyArgs {
    /// A report.json, or the folder that holds it
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    report: String,
    sha256: String,
    verified: bool,
    signature: SignatureReport,
    /// Files beside it that are what it renders to.
    same: Vec<&'static str>,
    problems: Vec<String>,
    #[serde(flatten)]
    failure: Option<Failure>,
}

pub(super) fn run(args: &ReportVerifyArgs, global: &Global) -> Outcome {
    let signers = args.trust.read(global)?;
    let checked = check(&args.path, signers.as_ref())?;
    let shown = args.path.display().to_string();
    let failure = judge(&checked, &shown, signers.is_some());
    let verified = Verified {
        report: shown,
        sha256: checked.sha256,
        verified: failure.is_none(),
        signature: checked.by.as_ref().into(),
        same: checked.same,
        problems: checked.problems,
        failure: failure.as_ref().map(Failure::from),
    };
    global.print(&verified, |form| human(&verified, form))?;
    let Some(failure) = failure else { return Ok(DONE) };
    global.error(failure.one_line(), failure.hint_text());
    Ok(failure.kind().exit_code())
}

fn judge(checked: &Checked, shown: &str, signers: bool) -> Option<Error> {
    if let Some(problem) = checked.problems.first() {
        let hint = "what counts is report.json with a good signature; do not rely on the other files";
        return Some(Error::integrity(format!("not verified: {shown}: {problem}")).hint(hint));
    }
    let unknown = || {
        Error::integrity("not verified: no trusted signers are given, so nobody knows who made this")
            .hint("give --signers FILE; the line of the key must allow the namespace ckbackup-report")
    };
    (!signers).then(unknown)
}

fn human(verified: &Verified, form: Output) -> String {
    if form == Output::Name {
        return if verified.verified { format!("{}\n", verified.report) } else { String::new() };
    }
    let signature = match verified.problems.is_empty() || verified.signature.principal.is_some() {
        true => verified.signature.sentence(),
        false => "not good".into(),
    };
    let mut text = format!("{}\nsha256     {}\nsignature  {signature}\n", verified.report, verified.sha256);
    verified.same.iter().for_each(|name| text += &format!("same       {name}\n"));
    verified.problems.iter().for_each(|problem| text += &format!("BAD        {problem}\n"));
    text
}
