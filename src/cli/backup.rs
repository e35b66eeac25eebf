//! `backup`: take a backup now.

mod summary;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use jiff::civil::Date;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::summary::{human, summarize, tell_problems, verdict};
use super::metrics_file::{MetricsFileArgs, look};
use super::record::record;
use super::rotate::{self, Rotated, rotate};
use super::shared::ClusterArgs;
use super::window::{Admission, Held, admit, open_window, stop_at_close, take_lease};
use super::witness::{Witness, is_failure};
use super::{DONE, Global, Outcome, Output, words};
use crate::archive::age::{self, Recipients};
use crate::backup::{ClusterFacts, Permission, Run};
use crate::clock::SystemClock;
use crate::cluster::Cluster;
use crate::config::{self, Name, Rotate, Schedule, SourceKind, SourceSpec};
use crate::error::{Context, Error, Kind, Result};
use crate::observe::{Reason, Subject, Trust, VaultView};
use crate::scheduler::{Lease, Night, Timing};
use crate::sources::{Command, Elasticsearch, Files, Kubernetes, ObjectStorage, Prometheus, Source};
use crate::storage::StoreSettings;
use crate::vault::Vault;
use crate::vault::manifest::{Manifest, Status, WindowRecord};
use crate::vault::record::{BackupRecord, RecordBody};
use crate::vault::signature::Signer;

/// At night nobody is there to start it again: how long a source that could not be read is left alone, each time.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900)];

const EXAMPLES: &str = "\
Examples:
  ckbackup backup -f schedules/nightly.yaml --now
  ckbackup backup -f schedules/nightly.yaml --now --context prod -o json
  ckbackup backup -f schedules/nightly.yaml --window

Exit code 3 means that the backup is there, but not whole: what is missing is named. With
--window, code 6 means that the window is not open, and code 7 that another run is under way; a
night whose run was taken already is no failure.";

/// Take a backup
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("when").args(["now", "window"]).required(true))]
pub struct BackupArgs {
    /// The schedule that says what is backed up, where to and for whom
    #[arg(short = 'f', long = "file", value_name = "SCHEDULE")]
    schedule: PathBuf,
    /// Take it now, whatever the schedule's window says
    #[arg(long)]
    now: bool,
    /// Take it when tonight's window is open and no run was taken in it: for a CronJob
    #[arg(long)]
    window: bool,
    /// Only this source of the schedule; again for more
    #[arg(long = "source", value_name = "NAME", conflicts_with = "window")]
    sources: Vec<Name>,
    /// Which schedule, when the file holds several
    #[arg(long)]
    name: Option<Name>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    metrics: MetricsFileArgs,
}

/// Everything that can be known to be wrong before anything is written has been checked.
struct Ready {
    schedule: Schedule,
    recipients: Recipients,
    signer: Signer,
    /// Connected to where a source, or the lease, needs it.
    cluster: Option<Cluster>,
    facts: ClusterFacts,
    vault: Vault,
    /// Held while the run lasts.
    lease: Option<Lease>,
}

pub(super) async fn run(args: &BackupArgs, global: &Global) -> Outcome {
    let schedule = config::read_schedule(&args.schedule, args.name.as_ref().map(Name::as_str))?;
    let witness = Witness::new(&schedule, args.window, &args.cluster, global);
    let outcome = take_asked_for(args, &schedule, &witness, global).await;
    if args.metrics.file.is_some() {
        leave_metrics(args, &schedule, &witness, global).await;
    }
    outcome
}

async fn take_asked_for(args: &BackupArgs, schedule: &Schedule, witness: &Witness, global: &Global) -> Outcome {
    let timing = match args.window.then(|| open_window(schedule)).transpose() {
        Ok(timing) => timing,
        Err(e) => {
            if e.kind() == Kind::WindowMissed {
                witness.ring(Reason::WindowMissed, &e.one_line()).await;
                witness.attempted(global.now(), global.now(), e.kind().exit_code());
            }
            return Err(e);
        }
    };
    let wanted = wanted_sources(schedule, &args.sources)?;
    take_backup(schedule.clone(), timing, wanted, &args.cluster, witness, global).await
}

/// The window's run of a schedule.
pub(super) async fn take_in_window(
    schedule: Schedule,
    cluster: &ClusterArgs,
    witness: &Witness,
    global: &Global,
) -> Outcome {
    let (timing, wanted) = (open_window(&schedule)?, schedule.sources.clone());
    take_backup(schedule, Some(timing), wanted, cluster, witness, global).await
}

/// What the vault says after the run, by the word of this job's own key.
async fn leave_metrics(args: &BackupArgs, schedule: &Schedule, witness: &Witness, global: &Global) {
    let (attempt, rotation) = witness.take();
    let mut subject = Subject::of(schedule);
    subject.attempt = attempt;
    match Signer::read(&schedule.signing_key) {
        Ok(signer) => {
            let own = signer.signers();
            let trust = Trust { backups: &own, proofs: None };
            look(&schedule.vault, &mut subject, trust, global).await;
        }
        // The run has told what is wrong with the key.
        Err(_) => subject.vault = VaultView::unreachable(),
    }
    args.metrics.write(vec![subject], rotation.into_iter().collect(), global);
}

/// Takes a backup; with a timing, that of the night.
async fn take_backup(
    schedule: Schedule,
    timing: Option<Timing>,
    wanted: Vec<SourceSpec>,
    cluster: &ClusterArgs,
    witness: &Witness,
    global: &Global,
) -> Outcome {
    let (began, in_window) = (global.now(), timing.is_some());
    let outcome = match commit(schedule, timing, wanted, cluster, witness, global).await {
        Ok(Ended::Committed(done)) => conclude(&done, witness, global).await,
        Ok(Ended::Before(taken)) => return tell_taken(&taken, global),
        Err(e) => {
            if is_failure(e.kind()) {
                witness.ring(Reason::BackupFailed, &e.one_line()).await;
                witness.failed(began, in_window, &e.one_line()).await;
            }
            Err(e)
        }
    };
    let code = outcome.as_ref().map_or_else(|e| e.kind().exit_code(), |code| *code);
    witness.attempted(began, global.now(), code);
    outcome
}

/// What a run came to.
enum Ended {
    /// A backup.
    Committed(Box<Done>),
    /// Nothing: tonight's run was taken before.
    Before(Taken),
}

/// A backup that was committed.
struct Done {
    ready: Ready,
    manifest: Manifest,
    seconds: f64,
    /// The night that it is of, where it was one of a window.
    night: Option<Date>,
    /// What is to be told of a run that was not done when its window closed.
    closed: Option<String>,
}

/// From nothing to a committed backup.
async fn commit(
    schedule: Schedule,
    timing: Option<Timing>,
    wanted: Vec<SourceSpec>,
    cluster: &ClusterArgs,
    witness: &Witness,
    global: &Global,
) -> Result<Ended> {
    let mut begin = Instant::now();
    let ready = tokio::select! {
        biased;
        () = global.cancel.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted; nothing was written")),
        ready = prepare(schedule, timing, &wanted, cluster, witness, global) => ready,
    }?;
    let (mut ready, night) = match ready {
        Prepared::Ready(ready, night) => (ready, night),
        Prepared::Taken(taken) => return Ok(Ended::Before(taken)),
    };
    if night.is_some() {
        // Waiting for its turn is no part of the run.
        begin = Instant::now();
    }
    if wanted.len() < ready.schedule.sources.len() {
        global.warn(
            "not all sources of the schedule are asked for: the backup will be partial, and `latest` passes over it",
        );
    }
    let stop = night.as_ref().map(|(_, night)| stop_at_close(&ready.schedule, night)).unwrap_or_default();
    let taken = take(&ready, &wanted, night.as_ref(), stop.clone(), global).await;
    ready.release().await;
    let manifest = taken?;
    let date = night.as_ref().map(|(_, night)| night.date);
    let closed = night.and_then(|(_, night)| at_close(&manifest, &night, &stop));
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Ended::Committed(Box::new(Done { ready: *ready, manifest, seconds, night: date, closed })))
}

/// What is to be told of a run that was not done when its window closed.
fn at_close(manifest: &Manifest, night: &Night, stop: &CancellationToken) -> Option<String> {
    if night.closes < manifest.finished {
        let late = words::whole_span(manifest.finished.duration_since(night.closes).as_secs().unsigned_abs());
        return Some(format!("the run ended {late} after the window had closed at {}", night.closes));
    }
    let cut = stop.is_cancelled() && manifest.status == Status::Partial;
    cut.then(|| format!("the window closes at {}, before everything was read", night.closes))
}

/// What comes after the commit: older backups are rotated, and everybody is told.
async fn conclude(done: &Done, witness: &Witness, global: &Global) -> Outcome {
    let Done { ready, manifest, seconds, night, closed } = done;
    let body = RecordBody::Backup(BackupRecord::of(manifest, *night)?);
    record(&ready.vault, &ready.signer, &ready.schedule, body).await;
    if let Some(note) = closed {
        global.warn(note);
        witness.ring(Reason::WindowClosed, note).await;
    }
    let rotated = rotate_after(ready, global).await;
    let mut summary = summarize(manifest, ready.vault.shown(), *seconds);
    summary.rotation = rotated.as_ref().and_then(|rotated| rotated.as_ref().ok()).map(|rotated| &rotated.report);
    tell_problems(&summary, global);
    let (reason, note) = verdict(&summary);
    witness.ring(reason, &note).await;
    if manifest.status == Status::Partial {
        global.warn(&note);
    }
    global.print(&summary, |form| human(&summary, form))?;
    let code = exit_code(manifest.status);
    let Some(rotated) = rotated else { return Ok(code) };
    let after = match &rotated {
        Ok(rotated) => {
            global.note(rotated.sentence());
            Ok(rotated.tell(global))
        }
        Err(e) => Err(e),
    };
    let rotation_code = after.as_ref().map_or_else(|e| e.kind().exit_code(), |code| *code);
    let cluster = ready.schedule.cluster.as_str();
    witness.rotated(rotate::check(cluster, rotated.as_ref().ok(), rotation_code, global.now()));
    if rotation_code != DONE {
        let why =
            after.err().map_or("a backup is damaged, or was not removed; the log says more".into(), Error::one_line);
        witness.ring(Reason::RotationFailed, &format!("after {}: {why}", manifest.id)).await;
    }
    match rotated {
        Ok(_) => Ok(if code == DONE { rotation_code } else { code }),
        Err(e) => Err(e.within(format!("{} is committed, but older backups were not rotated", manifest.id))),
    }
}

/// Rotation at the end of a run, where the schedule wants it. What this job signed counts.
async fn rotate_after(ready: &Ready, global: &Global) -> Option<Result<Rotated>> {
    let schedule = &ready.schedule;
    if schedule.rotate != Rotate::AfterBackup {
        return None;
    }
    let signers = ready.signer.signers();
    let (name, keep) = (Some(schedule.name.as_str()), schedule.keep);
    let wanted = rotate::Wanted { schedule: name, keep, signers: &signers, attester: None, dry_run: false };
    Some(rotate(&ready.vault, schedule.cluster.as_str(), &wanted, global).await)
}

fn exit_code(status: Status) -> u8 {
    match status {
        Status::Complete => DONE,
        Status::Partial => Kind::Incomplete.exit_code(),
    }
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

/// What there is to do.
enum Prepared {
    /// Take it, for this night if it is the window's run.
    Ready(Box<Ready>, Option<(Timing, Night)>),
    /// Nothing: tonight's run was taken.
    Taken(Taken),
}

/// Tonight's run was taken already.
#[derive(Debug, Serialize)]
struct Taken {
    /// The local date on which the window opened.
    night: String,
    /// Id of the backup.
    taken: String,
    status: Status,
}

fn tell_taken(taken: &Taken, global: &Global) -> Outcome {
    global.print(taken, |form| match form {
        Output::Name => format!("{}\n", taken.taken),
        _ => {
            let Taken { night, taken, status } = taken;
            format!("Nothing to do: the run of {night} was taken already; {taken} is {status}\n")
        }
    })?;
    Ok(exit_code(taken.status))
}

/// The vault comes last, because opening it may make it.
async fn prepare(
    schedule: Schedule,
    timing: Option<Timing>,
    wanted: &[SourceSpec],
    cluster: &ClusterArgs,
    witness: &Witness,
    global: &Global,
) -> Result<Prepared> {
    let recipients = Recipients::parse(&schedule.recipients).map_err(|e| in_schedule(e, &schedule))?;
    // A plugin that is not installed shows when it is asked for the first time.
    age::begin(&recipients).map_err(|e| in_schedule(e, &schedule))?;
    let signer = Signer::read(&schedule.signing_key)?;
    check_included(&schedule, global)?;
    let is_read = wanted.iter().any(|source| source.kind.needs_cluster());
    let mut facts = ClusterFacts::default();
    let cluster = match is_read || timing.is_some() || schedule.lease.is_some() {
        true => {
            let cluster = Cluster::connect(global.cluster_access(cluster)).await?;
            facts = ClusterFacts { version: Some(cluster.version().await?), uid: cluster.uid().await };
            Some(cluster)
        }
        false => None,
    };
    let vault = Vault::open_or_create(&schedule.vault, &global.store_settings()).await?;
    let mut ready = Ready { schedule, recipients, signer, cluster, facts, vault, lease: None };
    let Some(timing) = timing else {
        if ready.schedule.lease.is_some() {
            ready.lease = Some(take_lease(&ready.schedule, ready.cluster()?).await?);
        }
        return Ok(Prepared::Ready(Box::new(ready), None));
    };
    if let Err(taken) = turn(&timing, &ready, witness, global).await? {
        return Ok(Prepared::Taken(taken));
    }
    ready.lease = Some(take_lease(&ready.schedule, ready.cluster()?).await?);
    // Another run may have ended just before it gave the lease away.
    match turn(&timing, &ready, witness, global).await {
        Ok(Ok(night)) => Ok(Prepared::Ready(Box::new(ready), Some((timing, night)))),
        Ok(Err(taken)) => {
            ready.release().await;
            Ok(Prepared::Taken(taken))
        }
        Err(e) => {
            ready.release().await;
            Err(e)
        }
    }
}

/// Waits for the turn of tonight's run, unless it was taken.
async fn turn(timing: &Timing, ready: &Ready, witness: &Witness, global: &Global) -> Result<Result<Night, Taken>> {
    let own = ready.signer.signers();
    Ok(match admit(timing, &ready.schedule, &ready.vault, &own, witness, global).await? {
        Admission::Run(night) => Ok(night),
        Admission::Taken(night, id, status) => {
            Err(Taken { night: night.date.to_string(), taken: id.to_string(), status })
        }
    })
}

impl Ready {
    fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().ok_or_else(|| Error::failed("no cluster is connected"))
    }

    async fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release().await;
        }
    }
}

fn in_schedule(e: Error, schedule: &Schedule) -> Error {
    e.within(format!("use the recipients of {}", schedule.path.display()))
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

async fn take(
    ready: &Ready,
    wanted: &[SourceSpec],
    night: Option<&(Timing, Night)>,
    stop: CancellationToken,
    global: &Global,
) -> Result<Manifest> {
    let progress = global.progress();
    let own = ready.signer.signers();
    let held = ready.lease.as_ref().map(|lease| Held {
        lease,
        night: night.map(|(timing, night)| (timing, night)),
        schedule: &ready.schedule,
        vault: &ready.vault,
        own: &own,
    });
    let settings = global.store_settings();
    let built = wanted.iter().map(|source| Ok((source.name.to_string(), build(source, ready, &settings)?)));
    let sources = built.collect::<Result<Vec<_>>>()?;
    let run = Run {
        vault: &ready.vault,
        schedule: &ready.schedule,
        sources,
        retries: if night.is_some() { RETRIES.to_vec() } else { Vec::new() },
        stop,
        permission: held.as_ref().map(|held| held as &dyn Permission),
        window: night.map(|(_, night)| WindowRecord { opens: night.opens, closes: night.closes }),
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

fn build(source: &SourceSpec, ready: &Ready, settings: &StoreSettings) -> Result<Box<dyn Source>> {
    let name = source.name.as_str();
    let cluster = || source.kind.needs_cluster().then(|| ready.cluster().cloned()).transpose();
    Ok(match &source.kind {
        SourceKind::Kubernetes(scope) => Box::new(Kubernetes::new(name, ready.cluster()?.clone(), scope.clone())),
        SourceKind::Files(scope) => Box::new(Files::new(name, scope.clone())),
        SourceKind::Objects(scope) => Box::new(ObjectStorage::new(name, scope.clone(), settings.clone())),
        SourceKind::Prometheus(scope) => Box::new(Prometheus::new(name, *scope.clone(), cluster()?)?),
        SourceKind::Command(scope) => Box::new(Command::new(name, scope.clone(), cluster()?)),
        SourceKind::Elasticsearch(scope) => Box::new(Elasticsearch::new(name, scope.clone())),
    })
}
