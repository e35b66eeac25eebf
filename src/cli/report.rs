//! `report`: what drills, restores and quarters came to: rendered, put together, checked.

mod quarter;
mod render;
mod verify;

use clap::{Args, Subcommand};

use self::quarter::QuarterArgs;
use self::render::RenderArgs;
use self::verify::ReportVerifyArgs;
use super::{DONE, Global, Outcome, Output};
use crate::report::schema;

const EXAMPLES: &str = "\
Examples:
  A quarter, from the vault's signed records, signed by the keeper:
    ckbackup report --quarter 2026Q4 --vault s3://ck8s-backups/prod --signers allowed_signers \\
      --actions actions.yaml --signing-key keeper/attesting_key --report-dir reports/2026Q4
  Who signed a report, and do its files say what it says?
    ckbackup report verify reports/2026Q4 --signers allowed_signers
  One form of it:
    ckbackup report render reports/drill/report.json --markdown drill.md --junit junit.xml

A report of a quarter exits with 3 when something is missing from it, and with 5 when records or backups cannot be trusted.
`verify` exits with 5 when the signature does not hold or a file says something else.";

/// Put together, render and check reports of quarters, drills and restores
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ReportArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    quarter: QuarterArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    Render(RenderArgs),
    Verify(ReportVerifyArgs),
    /// Print the JSON schema of reports
    Schema,
}

pub(super) async fn run(args: &ReportArgs, global: &Global) -> Outcome {
    match &args.what {
        None => quarter::run(&args.quarter, global).await,
        Some(What::Render(args)) => render::run(args, global),
        Some(What::Verify(args)) => verify::run(args, global),
        Some(What::Schema) => {
            let schema = schema();
            // It is JSON for people, too.
            let text = |_: Output| format!("{schema:#}\n");
            global.print(&schema, text)?;
            Ok(DONE)
        }
    }
}
