//! What is told of a backup.

use serde::Serialize;

use crate::cli::table::Table;
use crate::cli::{Global, Output, rotate, words};
use crate::config::CONFIGURATION_SOURCE;
use crate::observe::Reason;
use crate::vault::manifest::{Manifest, Omission, SourceRecord, Status};

/// How many problems are told on standard error; all of them stand in the manifest.
const PROBLEMS_SHOWN: usize = 20;

/// The summary of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'m> {
    id: String,
    cluster: &'m str,
    vault: &'m str,
    status: Status,
    seconds: f64,
    sources: Vec<SourceSummary<'m>>,
    /// What `rotate` says, where the schedule rotates after a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<&'m rotate::Report>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceSummary<'m> {
    name: &'m str,
    kind: &'m str,
    status: Status,
    items: u64,
    bytes: u64,
    stored_bytes: u64,
    seconds: f64,
    problems: &'m [Omission],
    skipped: &'m [Omission],
    /// What is worth knowing, though nothing is missing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notices: &'m [Omission],
    /// Bytes of content that were taken over from an earlier backup instead of being read.
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_bytes: Option<u64>,
}

pub(super) fn summarize<'m>(manifest: &'m Manifest, vault: &'m str, seconds: f64) -> Summary<'m> {
    let source = |s: &'m SourceRecord| SourceSummary {
        name: &s.name,
        kind: &s.kind,
        status: s.status,
        items: s.items,
        bytes: s.bytes,
        stored_bytes: s.stored_bytes,
        seconds: s.milliseconds as f64 / 1000.0,
        problems: &s.problems,
        skipped: &s.skipped,
        notices: &s.notices,
        copied_bytes: (!s.units.is_empty()).then(|| s.copied_bytes()),
    };
    Summary {
        id: manifest.id.to_string(),
        cluster: &manifest.cluster,
        vault,
        status: manifest.status,
        seconds: words::to_millis(seconds),
        sources: manifest.sources.iter().filter(|s| s.kind != CONFIGURATION_SOURCE).map(source).collect(),
        rotation: None,
    }
}

pub(super) fn tell_problems(summary: &Summary<'_>, global: &Global) {
    let all: Vec<_> = summary.sources.iter().flat_map(|s| s.problems.iter().map(move |p| (s.name, p))).collect();
    for (source, problem) in all.iter().take(PROBLEMS_SHOWN) {
        global.warn(format!("not in the backup: {source}: {}: {}", problem.what, problem.why));
    }
    for source in &summary.sources {
        for notice in source.notices {
            global.warn(format!("{}: {}: {}", source.name, notice.what, notice.why));
        }
    }
    if all.len() > PROBLEMS_SHOWN {
        let more = words::counted((all.len() - PROBLEMS_SHOWN) as u64, "more problem");
        global.warn(format!("{more}; `ckbackup show {}` lists all", summary.id));
    }
}

pub(super) fn human(summary: &Summary<'_>, form: Output) -> String {
    if form == Output::Name {
        return format!("{}\n", summary.id);
    }
    let headings = ["SOURCE", "KIND", "STATUS", "ITEMS", "SIZE", "STORED", "TIME", "PROBLEMS"];
    let mut table = Table::new(&headings).right(&[3, 4, 5, 6, 7]);
    for s in &summary.sources {
        table.row([
            s.name.into(),
            s.kind.into(),
            s.status.to_string(),
            words::count(s.items),
            words::size(s.bytes),
            words::size(s.stored_bytes),
            words::span(s.seconds),
            words::count(s.problems.len() as u64),
        ]);
    }
    let items = words::counted(summary.sources.iter().map(|s| s.items).sum(), "object");
    format!(
        "{table}\nBackup {} of cluster {} is {}: {items} in {}\n\
         It stands in {}\n\
         Verify it: ckbackup verify {} --vault {} --cluster {} --signers FILE --identity FILE\n",
        summary.id,
        summary.cluster,
        summary.status,
        words::span(summary.seconds),
        summary.vault,
        summary.id,
        summary.vault,
        summary.cluster,
    )
}

/// The event that tells of a backup.
pub(super) fn verdict(summary: &Summary<'_>) -> (Reason, String) {
    let items = words::counted(summary.sources.iter().map(|s| s.items).sum(), "object");
    let id = &summary.id;
    match summary.status {
        Status::Complete => {
            (Reason::BackupCompleted, format!("{id} is complete: {items} in {}", words::span(summary.seconds)))
        }
        Status::Partial => {
            let problems = words::counted(summary.sources.iter().map(|s| s.problems.len() as u64).sum(), "problem");
            (
                Reason::BackupPartial,
                format!("{id} is partial: {items}, {problems}; `ckbackup show {id}` lists what is missing"),
            )
        }
    }
}
