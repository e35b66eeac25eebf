//! Restores: a plan is compiled against a backup, then its steps run as a graph, against the clock.
//!
//! ```text
//! plan + backup ─ compile ─ preflight ─ graph of steps
//!                                          ┬ apply: frames ─ rules ─ remap ─ writes in parallel ─ outcomes
//!                                          ├ files, prometheus, objects: frames ─ written out of sight ─ shown when whole
//!                                          ├ gate: something that must be true, looked at again and again
//!                                          ├ http, scale: a request; workloads to zero, and back
//!                                          └ manual: a person
//! ```
//!
//! The [`executor`] runs the graph; the journal notes each step and each batch of objects, so that a restore that was cut off goes
//! on; the board holds where each step stands, from which the forecast follows.

mod apply;
mod batch;
mod board;
mod chart;
mod clock;
mod command;
mod compile;
mod elasticsearch;
mod event;
mod executor;
mod files;
mod forecast;
mod gate;
mod http;
mod journal;
mod limit;
mod met;
mod moved;
mod objects;
mod order;
mod owners;
mod preflight;
mod prometheus;
mod rehearsal;
mod remap;
mod rules;
mod same;
mod scale;
mod step;
mod summary;
mod target;
mod terminating;
mod tree;
mod work;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::board::Board;
pub use self::chart::{Chart, Node};
use self::clock::RtoClock;
use self::compile::compile;
pub use self::event::{Blind, Event, Watcher};
use self::executor::{Done, Executor, all_items, objects_of};
pub use self::forecast::{Basis, Course, Estimate, Experience, Forecast, Outlook, Progressed, Took, estimate};
pub use self::gate::{Closed, check};
pub use self::journal::{
    Ack, Answer, Begin, BeginTarget, Earlier, Entry, Foretold, JOURNAL_VERSION, Journal, LocalFile, Past, Reading,
    RestoreId, StateFolder, VaultPlace, all_in_vault, give_ack, peek_begin, read as read_journal,
};
use self::limit::Limiter;
pub use self::moved::{Moved, moved};
pub use self::order::{RANKS, Rank, rank};
pub use self::owners::Owners;
use self::preflight::Webhooks;
pub use self::preflight::{Obstacle, Severity};
pub use self::rehearsal::{ACTS, GIVES_RIGHTS, Spared, Stage};
pub use self::remap::{Remap, Remapped};
pub use self::rules::{Facts, RULES, Rule, fit, normalise};
pub use self::same::{differences, same};
pub use self::summary::{
    Compared, Failure, Items, NotReady, RestoreStatus, RestoreSummary, RtoSummary, Standing, StepRun, StepStatus,
    StepSummary, TargetSummary,
};
use self::target::Target;
use self::work::Work;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Conflict, Manual, RestorePlan, WebhookPolicy};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::reader::OpenBackup;
use crate::storage::StoreSettings;

/// How long the end of the journal may take to come into the vault.
const LAST_UPLOAD: Duration = Duration::from_secs(20);

/// What becomes of a step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is tried again.
    Again,
    /// What comes after it runs as if it were done.
    GoOn,
    /// What comes after it is not run.
    Stop,
}

/// What became of a manual step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Somebody did it.
    Done,
    /// Nobody did it: it is not waited for.
    TakenAsDone,
    /// Somebody would not do it.
    Refused,
}

/// The person who does manual steps.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Shows what is to be done and waits until it is. Dropped when somebody answers elsewhere.
    async fn confirm(&self, step: &str, manual: &Manual) -> Confirmation;

    /// Whether a person answers, who can be asked once more when what they said is not so.
    fn may_be_asked_again(&self) -> bool;

    /// A step failed whose plan asks what then.
    async fn decide(&self, step: &str, why: &str) -> Decision;
}

/// One of the clusters that a restore spans: where from, and where to.
pub struct Site {
    /// The opened backup.
    pub backup: Arc<OpenBackup>,
    /// Where objects go, and where gates look; none when the plan has neither.
    pub cluster: Option<Cluster>,
}

/// Everything that a restore needs.
pub struct Restore {
    /// The plan.
    pub plan: Arc<RestorePlan>,
    /// One for each of the plan's targets, in their order; one where it has none.
    pub sites: Vec<Site>,
    /// What happens to objects that are there already, where a step does not say.
    pub conflict: Conflict,
    /// What storages need that objects are written to: the environment's settings.
    pub storage: StoreSettings,
    /// What happens to webhooks that stand in the way; what the plan says where nothing is said here.
    pub webhooks: Option<WebhookPolicy>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What a drill restores to; none in an incident.
    pub stage: Option<Stage>,
    /// Steps that are left out, and why.
    pub left_out: BTreeMap<String, String>,
    /// When the incident began.
    pub incident_start: Timestamp,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who does manual steps.
    pub operator: Arc<dyn Operator>,
    /// Where it is written down what is done.
    pub journal: Arc<Journal>,
    /// What was done before the restore was resumed.
    pub earlier: Earlier,
    /// What steps took before.
    pub experience: Experience,
    /// Who is told how it goes.
    pub progress: Arc<dyn Progress>,
    /// Who is told what happens.
    pub watcher: Arc<dyn Watcher>,
    /// Stops the restore between objects.
    pub cancel: CancellationToken,
}

/// A restore that came to its end, or as far as it could.
pub struct Restored {
    /// What came of it.
    pub summary: RestoreSummary,
    /// What kept a step from its end: the backup, or the vault that holds it, could not be read.
    pub broken: Option<Error>,
}

impl Restore {
    /// Runs the plan. Objects and steps that failed stand in the summary; an error means that nothing was begun.
    pub async fn run(self) -> Result<Restored> {
        let begin = std::time::Instant::now();
        let (dry_run, cancel) = (self.dry_run, self.cancel.clone());
        let executor = Arc::new(self.prepare().await?);
        executor.foresee();
        let foretold = foretell(&executor);
        let end = CancellationToken::new();
        let keeping = tokio::spawn(executor.journal.clone().keep_up(end.clone()));
        let looked = executor.look_ahead(&cancel).await;
        let (obstacles, done) = match looked {
            Ok(obstacles) => (obstacles, executor.run(cancel).await),
            Err(e) => {
                executor.put_right(false).await;
                (Vec::new(), Err(e))
            }
        };
        let ended = match done {
            Ok(done) => done,
            Err(e) => {
                end.cancel();
                return Err(e);
            }
        };
        let mut summary = summarise(&executor, ended, dry_run, took(&executor, begin.elapsed()), foretold);
        summary.obstacles = obstacles;
        executor.journal.note(&Entry::Ended { at: executor.works[0].clock.clock.now(), status: summary.status });
        end.cancel();
        // The vault may be out of reach by now; what is on this machine is enough. The restore is done all the same.
        let _ = tokio::time::timeout(LAST_UPLOAD, keeping).await;
        let broken = executor.works[0].broken.lock().await.take();
        Ok(Restored { summary, broken })
    }

    /// Compiles the plan against each backup.
    async fn prepare(self) -> Result<Executor> {
        let clock = RtoClock { clock: self.clock, incident_start: self.incident_start, rto: self.plan.rto };
        let (broken, earlier) = (Arc::new(Mutex::new(None)), Arc::new(self.earlier));
        let mut works = Vec::new();
        for (target, site) in self.sites.into_iter().enumerate() {
            let remap = Remap::new(&self.plan);
            let webhooks = Webhooks::new(self.webhooks.unwrap_or(self.plan.webhooks));
            let compiled = compile(&self.plan, target, &site.backup, &remap).await;
            let compiled =
                compiled.context(|| format!("compile plan {} against {}", self.plan.name, site.backup.manifest.id))?;
            works.push(Arc::new(Work {
                tallies: self.plan.steps.iter().map(|_| Arc::default()).collect(),
                remap,
                webhooks,
                plan: self.plan.clone(),
                backup: site.backup,
                compiled,
                target: site.cluster.map(Target::new),
                limiter: Limiter::default(),
                in_vain: Default::default(),
                met: Default::default(),
                conflict: self.conflict,
                storage: self.storage.clone(),
                stage: self.stage,
                dry_run: self.dry_run,
                clock: clock.clone(),
                broken: broken.clone(),
                lost: CancellationToken::new(),
                journal: self.journal.clone(),
                earlier: earlier.clone(),
                counted: Default::default(),
                present: Default::default(),
                interim: Default::default(),
                progress: self.progress.clone(),
            }));
        }
        let board = Board::new(self.plan.clone(), objects_of(&self.plan, &works), self.experience);
        Ok(Executor {
            plan: self.plan,
            works,
            stage: self.stage,
            left_out: self.left_out,
            operator: self.operator,
            journal: self.journal,
            earlier,
            watcher: self.watcher,
            board,
        })
    }
}

/// How many objects of a backup each step of a plan takes, and how many none does, by type.
pub async fn count_objects(
    plan: &RestorePlan,
    target: usize,
    backup: &OpenBackup,
) -> Result<(Vec<u64>, BTreeMap<String, u64>)> {
    let compiled = compile(plan, target, backup, &Remap::new(plan)).await?;
    Ok((compiled.steps.iter().map(compile::CompiledStep::objects).collect(), compiled.not_selected))
}

/// What is foretold before the first step; of a restore that is gone on with, what was foretold then.
fn foretell(executor: &Executor) -> Foretold {
    if let Some(before) = &executor.earlier.foretold {
        return before.clone();
    }
    let Forecast { finish_seconds, critical_path, .. } = executor.board.forecast(executor.works[0].clock.elapsed());
    let foretold = Foretold { finish_seconds, critical_path };
    executor.journal.note(&Entry::Foretold(foretold.clone()));
    foretold
}

/// How long the restore has taken since it began, of which this run is the last part.
fn took(executor: &Executor, this_run: Duration) -> Duration {
    let now = executor.works[0].clock.clock.now();
    let in_all = executor.earlier.since.and_then(|since| Duration::try_from(now.duration_since(since)).ok());
    in_all.unwrap_or(this_run)
}

fn summarise(executor: &Executor, done: Done, dry_run: bool, took: Duration, foretold: Foretold) -> RestoreSummary {
    let target = |at: usize, target: &crate::config::PlanTarget| TargetSummary {
        name: target.name.to_string(),
        backup: executor.works[at].backup.manifest.id.to_string(),
        backup_status: executor.works[at].backup.manifest.status,
        server: server(&executor.works[at]),
    };
    let first = &executor.works[0];
    let mut not_selected = BTreeMap::new();
    for (kind, count) in executor.works.iter().flat_map(|work| &work.compiled.not_selected) {
        *not_selected.entry(kind.clone()).or_default() += count;
    }
    RestoreSummary {
        restore: executor.journal.id().map(ToString::to_string),
        backup: first.backup.manifest.id.to_string(),
        backup_status: first.backup.manifest.status,
        plan: executor.plan.name.to_string(),
        target: server(first),
        targets: executor.plan.targets.iter().enumerate().map(|(at, t)| target(at, t)).collect(),
        status: status(&done, dry_run),
        resumed: executor.earlier.since.is_some(),
        seconds: rounded(took.as_secs_f64()),
        predicted_seconds: foretold.finish_seconds,
        critical_path: foretold.critical_path,
        rto: first.clock.summary(done.usable, executor.plan.usable.is_some()),
        obstacles: Vec::new(),
        items: all_items(&done.steps),
        steps: done.steps,
        failures: done.failures,
        not_selected,
    }
}

fn server(work: &Work) -> Option<String> {
    work.target.as_ref().map(|target| target.cluster().server().to_string())
}

fn status(done: &Done, dry_run: bool) -> RestoreStatus {
    let fine = |s: &StepSummary| {
        use StepStatus::{Done, LeftOut, NotExercised, Planned};
        matches!(s.status, Done | Planned | LeftOut | NotExercised)
    };
    match dry_run {
        true => RestoreStatus::DryRun,
        false if done.stopped => RestoreStatus::Stopped,
        false if done.failures.is_empty() && done.steps.iter().all(fine) => RestoreStatus::Complete,
        false => RestoreStatus::Incomplete,
    }
}

/// To milliseconds: more digits say nothing.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
