//! `ckbackup restore`: a plan brings a backup back into a cluster.

use std::fs::DirBuilder;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::choose::choose;
use super::obstacles::{obstacles, remapped};
use super::shared::{ClusterArgs, IdentityArgs, PlaceArgs, TrustArgs};
use super::table::Table;
use super::words::{count, counted, span};
use super::{DONE, Global, Outcome, Output, screen};
use crate::clock::{Clock, SystemClock};
use crate::cluster::Cluster;
use crate::config::{self, Action, CONFIGURATION_SOURCE, Conflict, Manual, RestorePlan, WebhookPolicy, parse_duration};
use crate::error::{Context, Error, Kind, Result};
use crate::reader::OpenBackup;
use crate::restore::{Operator, Restore, RestoreStatus, RestoreSummary, Restored};
use crate::vault::manifest::Status;

const EXAMPLES: &str = "\
Examples:
  See what would be done; nothing is written:
    ckbackup restore -f restore-plans/workload-cluster.yaml --dry-run
  Restore the newest complete backup, with the clock running since the incident began:
    ckbackup restore -f restore-plans/workload-cluster.yaml --incident-start 2026-11-21T02:10:00Z
  Nothing at hand but the vault and an identity: the plan comes from the backup:
    ckbackup restore --plan workload-cluster --vault s3://ck8s-backups/prod --identity identity.txt

A restore that was cut off goes on with the same command: what is there already counts as unchanged.";

/// How many failures, and objects that were left as they are, are printed; JSON has them all.
const FAILURES_SHOWN: usize = 20;

/// Restore a backup into a cluster, by a plan
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("which plan").args(["file", "plan"]).required(true).multiple(true))]
pub struct RestoreArgs {
    /// The plan's file
    #[arg(short = 'f', long = "file", value_name = "PLAN")]
    pub file: Option<PathBuf>,
    /// Take the plan of this name from the backup itself; with --file: which of the file's plans
    #[arg(long, value_name = "NAME")]
    pub plan: Option<String>,
    /// The backup: an id, or the newest complete one whose signature holds
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub backup: String,
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
    /// When the incident began, for the clock: a time (2026-11-21T02:10:00Z) or how long ago (40m); now unless given
    #[arg(long, value_name = "TIME")]
    pub incident_start: Option<String>,
    /// Where backups are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Take vault and cluster from this schedule
    #[arg(long, value_name = "SCHEDULE", help_heading = "Vault")]
    pub schedule: Option<PathBuf>,
    /// Whose signatures are trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// What opens the backup.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Where to.
    #[command(flatten)]
    pub target: ClusterArgs,
}

/// Restores, and prints the summary.
pub async fn run(args: &RestoreArgs, global: &Global) -> Outcome {
    let now = global.now();
    let incident_start = args.incident_start.as_deref().map_or(Ok(now), |text| parse_start(text, now))?;
    let file_plan = match &args.file {
        Some(file) => Some(config::read_plan(file, args.plan.as_deref())?),
        None => None,
    };
    let identities = args.identity.require(global).await?;
    let signers = args.trust.read(global)?;
    // What is wrong with the context is told before anything is asked.
    let connect = || Cluster::connect(global.cluster_access(&args.target));
    let early = match &file_plan {
        Some(plan) if plan.needs_cluster() => Some(connect().await?),
        _ => None,
    };
    let prepare = async {
        let (vault, of) = args.place.open(args.schedule.as_deref(), global).await?;
        let chosen = choose(&vault, &of, &args.backup, signers.as_ref(), global).await?;
        let backup = OpenBackup::open(&vault, chosen, identities).await?;
        let (plan, unpacked) = match file_plan {
            Some(plan) => (plan, None),
            None => stored_plan(&backup, args.plan.as_deref().unwrap_or_default()).await?,
        };
        refuse_questions(&plan, args)?;
        let cluster = match early {
            None if plan.needs_cluster() => Some(connect().await?),
            early => early,
        };
        if let Some(cluster) = &cluster {
            cluster.version().await?;
        }
        Ok::<_, Error>((backup, plan, unpacked, cluster))
    };
    // The plan's runbooks are shown when their step comes, so they stay until the end.
    let (backup, plan, _unpacked, cluster) = tokio::select! {
        biased;
        () = global.cancel.cancelled() => return Err(Error::new(Kind::Interrupted, "interrupted; nothing was written")),
        prepared = prepare => prepared?,
    };
    announce(&backup, &plan, cluster.as_ref(), args, global);
    let restore = Restore {
        plan,
        backup,
        cluster,
        conflict: args.conflict,
        webhooks: args.webhooks,
        storage: global.store_settings(),
        dry_run: args.dry_run,
        incident_start,
        clock: Arc::new(SystemClock),
        operator: Arc::new(Person { yes: args.yes, asked: Mutex::default() }),
        progress: global.progress(),
        cancel: global.cancel.clone(),
    };
    let Restored { summary, broken } = restore.run().await?;
    global.print(&summary, |form| human(&summary, form))?;
    match broken {
        Some(e) if !global.cancel.is_cancelled() => Err(e.within("not all of the backup could be read").hint(AGAIN)),
        _ => judge(&summary, global),
    }
}

fn announce(backup: &OpenBackup, plan: &RestorePlan, cluster: Option<&Cluster>, args: &RestoreArgs, global: &Global) {
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

const AGAIN: &str = "run the same command again: what is there already counts as unchanged";

/// The exit code: what is missing weighs more than being late.
fn judge(summary: &RestoreSummary, global: &Global) -> Outcome {
    match summary.status {
        RestoreStatus::Stopped if global.cancel.is_cancelled() => {
            let items = summary.items();
            let there = count(items.created + items.updated + items.unchanged);
            let where_to =
                if summary.target.is_some() { "objects are in the cluster" } else { "files are in their place" };
            Err(Error::new(Kind::Interrupted, format!("interrupted; {there} {where_to}")).hint(AGAIN))
        }
        RestoreStatus::Stopped => {
            let server = summary.target.as_deref().unwrap_or_default();
            Err(Error::failed(format!("the API server {server} was lost")).hint(AGAIN))
        }
        RestoreStatus::Incomplete => Ok(Kind::Incomplete.exit_code()),
        RestoreStatus::DryRun if !summary.failures.is_empty() => Ok(Kind::Incomplete.exit_code()),
        RestoreStatus::Complete if !summary.rto.met => Ok(Kind::PastRto.exit_code()),
        RestoreStatus::Complete | RestoreStatus::DryRun => Ok(DONE),
    }
}

fn human(summary: &RestoreSummary, form: Output) -> String {
    if form == Output::Name {
        return format!("{}\n", summary.backup);
    }
    let mut text = String::new();
    let headings = ["STEP", "STATUS", "TIME", "CREATED", "UPDATED", "UNCHANGED", "SKIPPED", "FAILED", ""];
    let mut table = Table::new(&headings).right(&[2, 3, 4, 5, 6, 7]);
    for step in &summary.steps {
        let items = &step.items;
        let numbers = match step.kind {
            "gate" | "manual" => Default::default(),
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
    let items = summary.items();
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
    if summary.status != RestoreStatus::DryRun {
        let met = if summary.rto.met { "met" } else { "NOT MET" };
        let (elapsed, limit) = (span(summary.rto.elapsed_seconds), span(summary.rto.limit_seconds));
        text.push_str(&format!("clock: {elapsed} of {limit} since the incident began: {met}\n"));
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

/// Without a terminal nobody can answer, and a restore must not stop half-way to find that out.
fn refuse_questions(plan: &RestorePlan, args: &RestoreArgs) -> Result<()> {
    let manual = plan.steps.iter().find(|s| matches!(s.action, Action::Manual(_)));
    match manual {
        Some(step) if !args.yes && !args.dry_run && !std::io::stdin().is_terminal() => Err(Error::usage(format!(
            "step {} of plan {} needs a person, and there is no terminal",
            step.name, plan.name
        ))
        .hint("run it in a terminal, or pass --yes and do the manual steps afterwards")),
        _ => Ok(()),
    }
}

/// A folder for files out of a backup. It goes with this value.
struct Unpacked(PathBuf);

impl Unpacked {
    /// For this user only, and new: nobody else may lay a plan into it.
    fn new() -> Result<Unpacked> {
        let stamp = SystemClock.now().as_nanosecond();
        let folder = std::env::temp_dir().join(format!("ckbackup-plans-{}-{stamp}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder).context(|| format!("make {}", folder.display()))?;
        Ok(Unpacked(folder))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Only copies: a folder that stays behind does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A plan out of the backup, and the folder with the runbooks that stand beside it there.
async fn stored_plan(backup: &OpenBackup, name: &str) -> Result<(RestorePlan, Option<Unpacked>)> {
    let folder = Unpacked::new()?;
    let plans = unpack_configuration(backup, &folder.0).await?;
    Ok((find_plan(&plans, name)?, Some(folder)))
}

async fn unpack_configuration(backup: &OpenBackup, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut plans = Vec::new();
    for record in backup.frames_with(CONFIGURATION_SOURCE, "") {
        for entry in backup.entries(record).await? {
            let content = backup.member(record, &entry).await?;
            let file = folder.join(&entry.path);
            let parent = file.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).context(|| format!("make {}", parent.display()))?;
            std::fs::write(&file, content).context(|| format!("write {}", file.display()))?;
            if entry.path.starts_with("restore-plans/") {
                plans.push(file);
            }
        }
    }
    Ok(plans)
}

fn find_plan(files: &[PathBuf], name: &str) -> Result<RestorePlan> {
    let mut names = Vec::new();
    for file in files {
        for document in config::read_file(file)? {
            if let config::Document::RestorePlan(plan) = document {
                if plan.name.as_str() == name {
                    return Ok(*plan);
                }
                names.push(plan.name.to_string());
            }
        }
    }
    Err(Error::usage(format!("the backup holds no plan {name}"))
        .hint(format!("it holds: {}", if names.is_empty() { "none".into() } else { names.join(", ") })))
}

/// Whoever sits at the terminal.
struct Person {
    yes: bool,
    /// Steps come together; questions come one by one, so that each answer belongs to what was shown last.
    asked: Mutex<()>,
}

#[async_trait]
impl Operator for Person {
    async fn confirm(&self, step: &str, manual: &Manual) -> bool {
        let _alone = self.asked.lock().await;
        screen::line(&format!("\nmanual step {step}: {}", manual.title));
        if let Some(instructions) = &manual.instructions {
            screen::line(instructions.trim_end());
        }
        if let Some(runbook) = &manual.runbook {
            let text = std::fs::read_to_string(&runbook.path);
            screen::line(text.as_deref().unwrap_or(&runbook.name).trim_end());
        }
        if self.yes {
            screen::line("taken as done (--yes)");
            return true;
        }
        tokio::task::spawn_blocking(ask).await.unwrap_or(false)
    }
}

fn ask() -> bool {
    loop {
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "done? [yes/no] ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        match std::io::stdin().read_line(&mut answer) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return true,
            "n" | "no" => return false,
            _ => {}
        }
    }
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
