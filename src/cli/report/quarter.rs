//! `report --quarter`: a quarter, from the vault's signed records.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;
use serde::Serialize;

use crate::cli::shared::{ActionsArgs, LocationArgs, TrustArgs};
use crate::cli::{DONE, Global, Outcome, Output};
use crate::config::ClusterName;
use crate::error::{Error, Kind, Result};
use crate::report::model::{Gap, QuarterReport};
use crate::report::{QuarterInput, Report, markdown, quarter_report, read_cluster, write_folder};
use crate::vault::quarter::Quarter;
use crate::vault::signature::Signer;

#[derive(Debug, Args)]
pub(super) struct QuarterArgs {
    /// The quarter, such as 2026Q4
    #[arg(long, value_name = "QUARTER", required = true)]
    quarter: Option<Quarter>,
    /// The last day that is counted, such as 2026-11-25 [default: the last one of the quarter, or else yesterday]
    #[arg(long, value_name = "DAY")]
    through: Option<Date>,
    #[command(flatten)]
    actions: ActionsArgs,
    /// Write report.json, report.html and report.md into this folder; otherwise Markdown goes to standard output
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    report_dir: Option<PathBuf>,
    /// Sign the report with this key
    #[arg(long, value_name = "KEY", help_heading = "Report", requires = "report_dir")]
    signing_key: Option<PathBuf>,
    /// Only this cluster; again for more
    #[arg(long = "cluster", value_name = "NAME", help_heading = "Vault")]
    clusters: Vec<ClusterName>,
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

/// What was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    quarter: String,
    through: Date,
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    gaps: Vec<Gap>,
}

pub(super) async fn run(args: &QuarterArgs, global: &Global) -> Outcome {
    let quarter = args.quarter.ok_or_else(|| Error::usage("no quarter is named").hint("give --quarter 2026Q4"))?;
    let through = last_day(quarter, args.through, global)?;
    let signers = args.trust.read(global)?;
    let signer = args.signing_key.as_deref().map(Signer::read).transpose()?;
    let actions = args.actions.read()?;
    let vault = args.location.open(None, global).await?;
    let names = match args.clusters.is_empty() {
        true => vault.clusters().await?,
        false => args.clusters.iter().map(ClusterName::to_string).collect(),
    };
    let mut clusters = Vec::new();
    for name in &names {
        clusters.push(read_cluster(&vault, name, quarter, signers.as_ref()).await?);
    }
    let report = quarter_report(QuarterInput { quarter, through, vault: vault.shown().into(), clusters, actions });
    show(args, report, signer.as_ref(), global)
}

/// What lies ahead cannot be missing.
fn last_day(quarter: Quarter, given: Option<Date>, global: &Global) -> Result<Date> {
    let today = global.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let last = quarter.last_day().min(today.yesterday().unwrap_or(today));
    let day = given.unwrap_or(last);
    if day < quarter.first_day() || day > quarter.last_day() {
        let what = if given.is_some() { "is not in" } else { "is before" };
        return Err(Error::usage(format!("{day} {what} {quarter}: there is nothing to report yet")).hint(format!(
            "{quarter} goes from {} to {}",
            quarter.first_day(),
            quarter.last_day()
        )));
    }
    Ok(day)
}

fn show(args: &QuarterArgs, report: QuarterReport, signer: Option<&Signer>, global: &Global) -> Outcome {
    let code = exit_code(&report);
    let written = |folder: String| Written {
        quarter: report.quarter.clone(),
        through: report.through,
        folder,
        signer: signer.map(Signer::fingerprint),
        gaps: report.gaps.clone(),
    };
    let Some(folder) = &args.report_dir else {
        let whole = Report::Quarter(Box::new(report.clone()));
        let text = markdown(&whole.document(&whole.to_bytes()?));
        global.print(&report, |_| text)?;
        return Ok(code);
    };
    let whole = Report::Quarter(Box::new(report.clone()));
    let written = written(write_folder(&whole, folder, signer)?.display().to_string());
    global.print(&written, |form| human(&written, form))?;
    Ok(code)
}

fn exit_code(report: &QuarterReport) -> u8 {
    match (report.set_aside.is_empty(), report.gaps.is_empty()) {
        (false, _) => Kind::Integrity.exit_code(),
        (true, false) => Kind::Incomplete.exit_code(),
        (true, true) => DONE,
    }
}

fn human(written: &Written, form: Output) -> String {
    if form == Output::Name {
        return format!("{}\n", written.folder);
    }
    let mut text = format!("{} through {}: {}\n", written.quarter, written.through, written.folder);
    if let Some(signer) = &written.signer {
        text += &format!("signed by {signer}\n");
    }
    if written.gaps.is_empty() {
        text += "nothing is missing\n";
    }
    for gap in &written.gaps {
        let cluster = gap.cluster.as_deref().map(|cluster| format!("{cluster}: ")).unwrap_or_default();
        text += &format!("missing    {cluster}{}\n", gap.text);
    }
    text
}
