//! What a restore came to, for people.

use crate::cli::Output;
use crate::cli::obstacles::{obstacles, remapped};
use crate::cli::table::Table;
use crate::cli::words::{count, span};
use crate::restore::{RestoreStatus, RestoreSummary};

/// How many failures, and objects that were left as they are, are printed; JSON has them all.
const FAILURES_SHOWN: usize = 20;

pub(super) fn human(summary: &RestoreSummary, form: Output) -> String {
    if form == Output::Name {
        return format!("{}\n", summary.backup);
    }
    let mut text = String::new();
    let headings = ["STEP", "STATUS", "TIME", "CREATED", "UPDATED", "UNCHANGED", "SKIPPED", "FAILED", ""];
    let mut table = Table::new(&headings).right(&[2, 3, 4, 5, 6, 7]);
    for step in &summary.steps {
        let items = &step.items;
        let numbers = match step.kind.as_str() {
            "gate" | "http" | "manual" => Default::default(),
            _ => [items.created, items.updated, items.unchanged, items.skipped, items.failed].map(count),
        };
        let first = [step.name.clone(), step.status.to_string(), span(step.seconds)];
        table.row(first.into_iter().chain(numbers).chain([step.note.clone().unwrap_or_default()]));
    }
    text.push_str(&table.to_string());
    text.push_str(&remapped(&summary.steps));
    text.push_str(&obstacles(&summary.obstacles));
    text.push_str(&skipped(summary));
    text.push_str(&standing(summary));
    text.push_str(&failures(summary));
    let items = &summary.items;
    let what = match summary.status {
        RestoreStatus::DryRun => "would be created",
        _ => "created",
    };
    text.push_str(&format!(
        "\n{}: {} {what}, {} updated, {} unchanged, {} skipped, {} failed, in {}\n",
        summary.status,
        count(items.created),
        count(items.updated),
        count(items.unchanged),
        count(items.skipped),
        count(items.failed),
        span(summary.seconds)
    ));
    if summary.status == RestoreStatus::DryRun {
        let (finish, limit) = (span(summary.predicted_seconds), span(summary.rto.limit_seconds));
        let path = summary.critical_path.join(" → ");
        text.push_str(&format!("predicted: done {finish} after the incident began, of {limit}; decided by {path}\n"));
    } else {
        let met = if summary.rto.met { "met" } else { "NOT MET" };
        let (elapsed, limit) = (span(summary.rto.elapsed_seconds), span(summary.rto.limit_seconds));
        if let Some(usable) = summary.rto.usable_seconds {
            text.push_str(&format!("usable again: {} after the incident began\n", span(usable)));
        }
        let predicted = span(summary.predicted_seconds);
        text.push_str(&format!(
            "clock: {elapsed} of {limit} since the incident began: {met} (predicted: {predicted})\n"
        ));
    }
    text
}

fn skipped(summary: &RestoreSummary) -> String {
    let mut by_rule = std::collections::BTreeMap::new();
    for (rule, n) in summary.steps.iter().flat_map(|s| &s.skipped) {
        *by_rule.entry(rule.as_str()).or_insert(0u64) += n;
    }
    let mut text = String::new();
    if !by_rule.is_empty() {
        let words: Vec<_> = by_rule.iter().map(|(rule, n)| format!("{} {rule}", count(*n))).collect();
        text.push_str(&format!("\nskipped: {}\n", words.join(", ")));
    }
    if !summary.not_selected.is_empty() {
        let words: Vec<_> = summary.not_selected.iter().map(|(kind, n)| format!("{} {kind}", count(*n))).collect();
        text.push_str(&format!("\nin the backup, but in no step of the plan: {}\n", words.join(", ")));
    }
    text
}

/// Objects that differ from the backup and stay so: whoever restores must know them.
fn standing(summary: &RestoreSummary) -> String {
    let all: Vec<_> = summary.steps.iter().flat_map(|s| &s.standing).collect();
    let mut text = String::new();
    if !all.is_empty() {
        text.push_str("\nleft as they are (--conflict overwrite would change them):\n");
    }
    for object in all.iter().take(FAILURES_SHOWN) {
        text.push_str(&format!("  {}: {}\n", object.object, object.why));
    }
    if all.len() > FAILURES_SHOWN {
        text.push_str(&format!("  and {} more; -o json has them all\n", count((all.len() - FAILURES_SHOWN) as u64)));
    }
    text
}

fn failures(summary: &RestoreSummary) -> String {
    let mut text = String::new();
    if !summary.failures.is_empty() {
        text.push_str("\nnot restored:\n");
    }
    for failure in summary.failures.iter().take(FAILURES_SHOWN) {
        text.push_str(&format!("  {}: {}: {}\n", failure.step, failure.object, failure.why));
    }
    if summary.failures.len() > FAILURES_SHOWN {
        let more = (summary.failures.len() - FAILURES_SHOWN) as u64;
        text.push_str(&format!("  and {} more; -o json has them all\n", count(more)));
    }
    text
}
