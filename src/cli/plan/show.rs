//! `ckbackup plan show`.

use serde::Serialize;

use super::LookArgs;
use super::looked_at::{LookedAt, look};
use crate::cli::table::Table;
use crate::cli::words::{count, span};
use crate::cli::{DONE, Global, Outcome, Output};
use crate::restore::{Basis, Forecast};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    plan: String,
    version: String,
    steps: Vec<Row>,
    forecast: Forecast,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    after: Vec<String>,
    objects: u64,
    estimate_seconds: f64,
    basis: Basis,
    begins_seconds: f64,
    ends_seconds: f64,
    critical: bool,
}

/// Prints each step with its estimate.
pub(super) async fn run(args: &LookArgs, global: &Global) -> Outcome {
    let looked_at = look(args, global).await?;
    let report = Report {
        plan: looked_at.plan.name.to_string(),
        version: looked_at.plan.version(),
        steps: (0..looked_at.plan.steps.len()).map(|step| row(&looked_at, step)).collect(),
        forecast: looked_at.forecast.clone(),
    };
    global.print(&report, |form| human(&report, form))?;
    Ok(DONE)
}

fn row(looked_at: &LookedAt, at: usize) -> Row {
    let plan = &looked_at.plan;
    let step = &plan.steps[at];
    let (begin, end) = looked_at.spans[at];
    Row {
        name: step.name.to_string(),
        kind: step.action.as_str(),
        target: plan.targets.get(step.target).map(|target| target.name.to_string()),
        after: step.after.iter().map(|before| plan.steps[*before].name.to_string()).collect(),
        objects: looked_at.objects[at],
        estimate_seconds: looked_at.estimates[at].whole.as_secs_f64(),
        basis: looked_at.estimates[at].basis,
        begins_seconds: begin.as_secs_f64(),
        ends_seconds: end.as_secs_f64(),
        critical: looked_at.is_critical(at),
    }
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Measured => "measured",
        Basis::Earlier => "earlier restore",
        Basis::Plan => "plan",
        Basis::Guess => "guess",
    }
}

fn human(report: &Report, form: Output) -> String {
    if form == Output::Name {
        return report.steps.iter().map(|row| format!("{}\n", row.name)).collect();
    }
    let mut table = Table::new(&["STEP", "KIND", "TARGET", "BEGINS", "TAKES", "FROM", "OBJECTS", ""]).right(&[3, 4, 6]);
    for row in &report.steps {
        let (begins, takes) = (span(row.begins_seconds), span(row.estimate_seconds));
        let objects = if row.objects > 0 { count(row.objects) } else { String::new() };
        let critical = if row.critical { "critical" } else { "" };
        let (name, target) = (row.name.clone(), row.target.clone().unwrap_or_default());
        let from = basis(row.basis).to_string();
        table.row([name, row.kind.into(), target, begins, takes, from, objects, critical.into()]);
    }
    let forecast = &report.forecast;
    let mut text = table.to_string();
    if let Some(usable) = forecast.usable_seconds {
        text.push_str(&format!("\nusable again after {}", span(usable)));
    }
    let (finish, limit) = (span(forecast.finish_seconds), span(forecast.limit_seconds));
    text.push_str(&format!("\ndone after {finish} of {limit}: {}\n", forecast.course));
    text
}
