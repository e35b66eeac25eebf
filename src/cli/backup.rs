//! `backup`: take a backup now.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::shared::ClusterArgs;
use super::table::Table;
use super::{DONE, Global, Outcome, Output, words};
use crate::archive::age::{self, Recipients};
use crate::backup::{ClusterFacts, Run};
use crate::clock::SystemClock;
use crate::cluster::Cluster;
use crate::config::{self, CONFIGURATION_SOURCE, Name, Schedule, SourceKind, SourceSpec};
use crate::error::{Context, Error, Kind, Result};
use crate::sources::{Kubernetes, Source};
use crate::vault::Vault;
use crate::vault::manifest::{Manifest, Omission, SourceRecord, Status};
use crate::vault::signature::Signer;

/// How many problems are told on standard error; all of them stand in the manifest.
const PROBLEMS_SHOWN: usize = 20;

const EXAMPLES: &str = "\
Examples:
  ckbackup backup -f schedules/nightly.yaml --now
  ckbackup backup -f schedules/nightly.yaml --now --context prod -o json

Exit code 3 means that the backup is there, but not whole: what is missing is named.";

/// Take a backup
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    /// The schedule that says what is backed up, where to and for whom
    #[arg(short = 'f', long = "file", value_name = "SCHEDULE")]
    schedule: PathBuf,
    /// Take it now, whatever the schedule's window says
    #[arg(long)]
    now: bool,
    /// Only this source of the schedule; again for more
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<Name>,
    /// Which schedule, when the file holds several
    #[arg(long)]
    name: Option<Name>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The summary of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'m> {
    id: String,
    cluster: &'m str,
    vault: &'m str,
    status: Status,
    seconds: f64,
    sources: Vec<SourceSummary<'m>>,
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
}

/// Everything that can be known to be wrong before anything is written has been checked.
struct Ready {
    schedule: Schedule,
    recipients: Recipients,
    signer: Signer,
    cluster: Cluster,
    facts: ClusterFacts,
    vault: Vault,
}

pub(super) async fn run(args: &BackupArgs, global: &Global) -> Outcome {
    if !args.now {
        return Err(Error::usage("a run by window is not part of this version").hint("give --now"));
    }
    let begin = Instant::now();
    let schedule = config::read_schedule(&args.schedule, args.name.as_ref().map(Name::as_str))?;
    let wanted = wanted_sources(&schedule, &args.sources)?;
    let ready = tokio::select! {
        biased;
        () = global.cancel.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted; nothing was written")),
        ready = prepare(schedule, args, global) => ready,
    }?;
    if wanted.len() < ready.schedule.sources.len() {
        global.warn(
            "not all sources of the schedule are asked for: the backup will be partial, and `latest` passes over it",
        );
    }
    let manifest = take(&ready, &wanted, global).await?;
    let summary = summarize(&manifest, ready.vault.shown(), begin.elapsed().as_secs_f64());
    tell_problems(&summary, global);
    global.print(&summary, |form| human(&summary, form))?;
    Ok(match manifest.status {
        Status::Complete => DONE,
        Status::Partial => Kind::Incomplete.exit_code(),
    })
}

fn wanted_sources(schedule: &Schedule, names: &[Name]) -> Result<Vec<SourceSpec>> {
    for name in names {
        if !schedule.sources.iter().any(|s| s.name == *name) {
            let known: Vec<_> = schedule.sources.iter().map(|s| s.name.as_str()).collect();
            return Err(Error::usage(format!("schedule {} has no source {name}", schedule.name))
                .hint(format!("it has: {}", known.join(", "))));
        }
    }
    let is_wanted = |source: &&SourceSpec| names.is_empty() || names.contains(&source.name);
    Ok(schedule.sources.iter().filter(is_wanted).cloned().collect())
}

/// The vault comes last, because opening it may make it.
async fn prepare(schedule: Schedule, args: &BackupArgs, global: &Global) -> Result<Ready> {
    let recipients = Recipients::parse(&schedule.recipients).map_err(|e| in_schedule(e, args))?;
    // A plugin that is not installed shows when it is asked for the first time.
    age::begin(&recipients).map_err(|e| in_schedule(e, args))?;
    let signer = Signer::read(&schedule.signing_key)?;
    check_included(&schedule, global)?;
    let cluster = Cluster::connect(global.cluster_access(&args.cluster)).await?;
    let facts = ClusterFacts { version: Some(cluster.version().await?), uid: cluster.uid().await };
    let vault = Vault::open_or_create(&schedule.vault, &global.store_settings()).await?;
    Ok(Ready { schedule, recipients, signer, cluster, facts, vault })
}

fn in_schedule(e: Error, args: &BackupArgs) -> Error {
    e.within(format!("use the recipients of {}", args.schedule.display()))
}

/// A plan that cannot be read is no reason to go without a backup, a file that is not there is.
fn check_included(schedule: &Schedule, global: &Global) -> Result<()> {
    for (_, file) in schedule.include.entries() {
        std::fs::metadata(file).context(|| format!("read {}, which the schedule includes", file.display()))?;
    }
    for plan in &schedule.include.plans {
        if let Err(e) = config::read_file(plan) {
            global.warn(format!("a plan that goes into the backup is not valid: {}", e.one_line()));
        }
    }
    Ok(())
}

async fn take(ready: &Ready, wanted: &[SourceSpec], global: &Global) -> Result<Manifest> {
    let progress = global.progress();
    let sources = wanted.iter().map(|source| (source.name.to_string(), build(source, &ready.cluster))).collect();
    let run = Run {
        vault: &ready.vault,
        schedule: &ready.schedule,
        sources,
        recipients: &ready.recipients,
        signer: &ready.signer,
        cluster: ready.facts.clone(),
        tool_version: env!("CARGO_PKG_VERSION"),
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        clock: &SystemClock,
        progress: progress.as_ref(),
        cancel: global.cancel.clone(),
    };
    run.take().await
}

fn build(source: &SourceSpec, cluster: &Cluster) -> Box<dyn Source> {
    match &source.kind {
        SourceKind::Kubernetes(scope) => {
            Box::new(Kubernetes::new(source.name.as_str(), cluster.clone(), scope.clone()))
        }
    }
}

fn summarize<'m>(manifest: &'m Manifest, vault: &'m str, seconds: f64) -> Summary<'m> {
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
    };
    Summary {
        id: manifest.id.to_string(),
        cluster: &manifest.cluster,
        vault,
        status: manifest.status,
        seconds: words::to_millis(seconds),
        sources: manifest.sources.iter().filter(|s| s.kind != CONFIGURATION_SOURCE).map(source).collect(),
    }
}

fn tell_problems(summary: &Summary<'_>, global: &Global) {
    let all: Vec<_> = summary.sources.iter().flat_map(|s| s.problems.iter().map(move |p| (s.name, p))).collect();
    for (source, problem) in all.iter().take(PROBLEMS_SHOWN) {
        global.warn(format!("not in the backup: {source}: {}: {}", problem.what, problem.why));
    }
    if all.len() > PROBLEMS_SHOWN {
        let more = words::counted((all.len() - PROBLEMS_SHOWN) as u64, "more problem");
        global.warn(format!("{more}; `ckbackup show {}` lists all", summary.id));
    }
}

fn human(summary: &Summary<'_>, form: Output) -> String {
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
