//! `ckbackup restore`: a plan brings a backup back into a cluster.

pub(super) mod begin;
pub(super) mod live;
pub(super) mod person;
pub(super) mod report;
pub(super) mod resume;
pub(super) mod sites;
pub(super) mod stored_plan;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use jiff::Timestamp;

use self::begin::Begun;
use super::shared::{ActionsArgs, AttestArgs, ClusterArgs, OpeningArgs, PeopleArgs};
use super::words::{count, counted};
use super::{DONE, Global, Outcome};
use crate::clock::SystemClock;
use crate::cluster::Cluster;
use crate::config::{Conflict, RestorePlan, WebhookPolicy, parse_duration};
use crate::error::{Context, Error, Kind, Result};
use crate::reader::OpenBackup;
use crate::restore::{Event, Restore, RestoreStatus, RestoreSummary, Restored};
use crate::vault::manifest::Status;

const EXAMPLES: &str = "\
Examples:
  See what would be done; nothing is written:
    ckbackup restore -f restore-plans/workload-cluster.yaml --dry-run
  Restore the newest complete backup, with the clock running since the incident began:
    ckbackup restore -f restore-plans/workload-cluster.yaml --incident-start 2026-11-21T02:10:00Z
  Nothing at hand but the vault and an identity: the plan comes from the backup:
    ckbackup restore --plan workload-cluster --vault s3://ck8s-backups/prod --identity identity.txt

  It was cut off, here or on another machine: go on with it; the clock has kept running:
    ckbackup restore --resume --vault s3://ck8s-backups/prod --identity identity.txt

A restore prints its id when it begins. Manual steps are confirmed here, or elsewhere by `ckbackup ack ID STEP`.";

/// Restore a backup into a cluster, by a plan
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("which plan").args(["file", "plan", "resume"]).required(true).multiple(true))]
pub struct RestoreArgs {
    /// The plan's file
    #[arg(short = 'f', long = "file", value_name = "PLAN")]
    pub file: Option<PathBuf>,
    /// Take the plan of this name from the backup itself; with --file: which of the file's plans
    #[arg(long, value_name = "NAME")]
    pub plan: Option<String>,
    /// Go on with a restore that was cut off: its id, or the newest one
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "latest", conflicts_with_all = ["file", "plan", "backup", "dry_run", "incident_start", "conflict"])]
    pub resume: Option<String>,
    /// The backup: an id, or the newest complete one whose signature holds; for a plan with several targets: NAME=ID
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub backup: Vec<String>,
    /// Show every step and its counts; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What happens to objects that are there already, where a step does not say: skip, overwrite or fail
    #[arg(long, value_name = "POLICY", default_value = "skip")]
    pub conflict: Conflict,
    /// What happens to webhooks of the target that do not answer: wait, goAround or stop; what the plan says unless given
    #[arg(long, value_name = "POLICY")]
    pub webhooks: Option<WebhookPolicy>,
    /// Do not ask: manual steps are shown and taken as done
    #[arg(short, long)]
    pub yes: bool,
    /// Wait for manual steps to be confirmed by `ckbackup ack`, where there is no terminal
    #[arg(long, conflicts_with = "yes")]
    pub await_ack: bool,
    /// Begin with this step: only it and what comes after it is run
    #[arg(long, value_name = "STEP", help_heading = "Steps", conflicts_with = "only")]
    pub from: Option<String>,
    /// Run only this step; again for more
    #[arg(long, value_name = "STEP", help_heading = "Steps")]
    pub only: Vec<String>,
    /// Leave this step out, as if it were done; again for more
    #[arg(long, value_name = "STEP", help_heading = "Steps", requires = "reason")]
    pub skip: Vec<String>,
    /// Why steps are left out; it stands in the journal and in reports
    #[arg(long, value_name = "TEXT", help_heading = "Steps", requires = "skip")]
    pub reason: Option<String>,
    /// When the incident began, for the clock: a time (2026-11-21T02:10:00Z) or how long ago (40m); now unless given
    #[arg(long, value_name = "TIME")]
    pub incident_start: Option<String>,
    /// Write a report of the restore into this folder: JSON, signed where --attest is given, HTML, Markdown and JUnit
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    pub report_dir: Option<PathBuf>,
    /// What is still to be done, for the report.
    #[command(flatten)]
    pub actions: ActionsArgs,
    /// Who was there.
    #[command(flatten)]
    pub people: PeopleArgs,
    /// Who signs the report, and the record of the restore in the vault.
    #[command(flatten)]
    pub attest: AttestArgs,
    /// Where backups are, and what opens them.
    #[command(flatten)]
    pub opening: OpeningArgs,
    /// The context of one of the plan's targets: NAME=CONTEXT; again for each
    #[arg(long = "target", value_name = "NAME=CONTEXT", help_heading = "Cluster")]
    pub targets: Vec<String>,
    /// Where to.
    #[command(flatten)]
    pub target: ClusterArgs,
}

/// Restores, and prints the summary.
pub async fn run(args: &RestoreArgs, global: &Global) -> Outcome {
    let actions = args.actions.read()?;
    let prepare = async {
        match &args.resume {
            Some(which) => resume::resume(which, args, global).await,
            None => begin::begin(args, global).await,
        }
    };
    // The plan's runbooks are shown when their step comes, so what was unpacked stays until the end.
    let begun = tokio::select! {
        biased;
        () = global.cancel.cancelled() => return Err(Error::new(Kind::Interrupted, "interrupted; nothing was written")),
        begun = prepare => begun?,
    };
    announce(&begun, args, global);
    let started = begun.earlier.since.unwrap_or_else(|| global.now());
    let Restored { summary, broken } = restore(&begun, args, global).await?;
    global.print(&summary, |form| summary::human(&summary, form))?;
    if !args.dry_run {
        // What was restored counts more than that it cannot be reported.
        let told = report::tell(&begun, &summary, started, actions, args, global).await;
        if let Err(e) = told {
            let e = e.within("report the restore");
            global.error(e.one_line(), e.hint_text());
        }
    }
    match broken {
        _ if begun.journal.taken_over().is_cancelled() => {
            let id = summary.restore.as_deref().unwrap_or_default();
            Err(Error::failed(format!("another machine goes on with restore {id}, so this one stopped"))
                .hint("watch that one; the cluster was left as it is"))
        }
        Some(e) if !global.cancel.is_cancelled() => {
            Err(e.within("not all of the backup could be read").hint(again(&summary)))
        }
        _ => judge(&summary, global),
    }
}

async fn restore(begun: &Begun, args: &RestoreArgs, global: &Global) -> Result<Restored> {
    let plan = &begun.plan;
    let watcher = live::watcher(global);
    let id = begun.journal.id().map(ToString::to_string);
    watcher.see(&Event::Begin {
        at: global.now(),
        restore: id.clone().unwrap_or_default(),
        resumed: args.resume.is_some(),
        plan: plan.name.to_string(),
        steps: plan.steps.iter().map(|step| step.name.to_string()).collect(),
    });
    let restore = Restore {
        plan: plan.clone(),
        sites: begun.sites(),
        conflict: begun.conflict,
        webhooks: begun.webhooks,
        storage: global.store_settings(),
        dry_run: args.dry_run,
        stage: None,
        left_out: begun.left_out.clone(),
        incident_start: begun.incident_start,
        clock: Arc::new(SystemClock),
        operator: Arc::new(person::Person::new(args.yes, id)),
        journal: begun.journal.clone(),
        earlier: begun.earlier.clone(),
        experience: begun.experience.clone(),
        progress: global.progress(),
        watcher,
        cancel: global.cancel.clone(),
    };
    restore.run().await
}

/// How to go on.
fn again(summary: &RestoreSummary) -> String {
    match &summary.restore {
        Some(id) => format!("go on with it: ckbackup restore --resume {id}, with the same vault, keys and context"),
        None => "run the same command again".into(),
    }
}

fn announce(begun: &Begun, args: &RestoreArgs, global: &Global) {
    for (opened, cluster) in begun.opened.iter().zip(&begun.clusters) {
        announce_one(&opened.backup, cluster.as_ref(), &begun.plan, args, global);
    }
    if let Some(skew) = sites::skew(&begun.opened) {
        global.note(skew);
    }
    if let Some(id) = begun.journal.id() {
        global.note(format!("restore {id}; if it is cut off: ckbackup restore --resume {id}"));
    }
}

fn announce_one(
    backup: &OpenBackup,
    cluster: Option<&Cluster>,
    plan: &RestorePlan,
    args: &RestoreArgs,
    global: &Global,
) {
    let verb = if args.dry_run { "would restore" } else { "restores" };
    let manifest = &backup.manifest;
    global.note(format!(
        "plan {} {verb} {} of {} ({}){}",
        plan.name,
        manifest.id,
        manifest.cluster,
        counted(manifest.items(), "item"),
        cluster.map(|cluster| format!(" into {} ({})", cluster.name(), cluster.server())).unwrap_or_default(),
    ));
    if manifest.status == Status::Partial {
        let problems = manifest.sources.iter().map(|s| s.problems.len() as u64).sum();
        let left_out = match manifest.left_out_sources.as_slice() {
            [] => String::new(),
            names => format!(", and without {}", names.join(", ")),
        };
        global.warn(format!(
            "{} is partial: it was saved with {}{left_out}; `ckbackup show {}` says what it lacks",
            manifest.id,
            counted(problems, "problem"),
            manifest.id
        ));
    }
}

/// The exit code: what is missing weighs more than being late.
fn judge(summary: &RestoreSummary, global: &Global) -> Outcome {
    match summary.status {
        RestoreStatus::Stopped if global.cancel.is_cancelled() => {
            let items = &summary.items;
            let there = count(items.created + items.updated + items.unchanged);
            let where_to =
                if summary.target.is_some() { "objects are in the cluster" } else { "files are in their place" };
            Err(Error::new(Kind::Interrupted, format!("interrupted; {there} {where_to}")).hint(again(summary)))
        }
        RestoreStatus::Stopped => {
            let server = summary.target.as_deref().unwrap_or_default();
            Err(Error::failed(format!("the API server {server} was lost")).hint(again(summary)))
        }
        RestoreStatus::Incomplete => Ok(Kind::Incomplete.exit_code()),
        RestoreStatus::DryRun if !summary.failures.is_empty() => Ok(Kind::Incomplete.exit_code()),
        RestoreStatus::Complete if !summary.rto.met => Ok(Kind::PastRto.exit_code()),
        RestoreStatus::Complete | RestoreStatus::DryRun => Ok(DONE),
    }
}

/// A time, or how long ago it was.
fn parse_start(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(ago) = parse_duration(text) {
        return now.checked_sub(ago).context(|| format!("go back {text}"));
    }
    let start: Timestamp = text.parse().map_err(|_| {
        Error::usage(format!("--incident-start {text}: neither a time nor a duration"))
            .hint("write a time with its zone, 2026-11-21T02:10:00Z, or how long ago it was, 40m")
    })?;
    if start > now {
        return Err(Error::usage(format!("--incident-start {text} lies ahead")).hint("check the time zone"));
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_begin_of_an_incident_is_a_time_or_a_span() {
        let now: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
        assert_eq!(parse_start("40m", now).unwrap().to_string(), "2026-11-21T02:20:00Z");
        assert_eq!(parse_start("2026-11-21T02:10:00Z", now).unwrap().to_string(), "2026-11-21T02:10:00Z");
        assert!(parse_start("2026-11-21T03:10:00Z", now).is_err());
        assert_eq!(parse_start("yesterday", now).unwrap_err().kind(), Kind::Usage);
    }
}
