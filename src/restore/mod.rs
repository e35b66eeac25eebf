//! Restores: a plan is compiled against a backup, then its steps run as a graph, against the clock.
//!
//! ```text
//! plan + backup ─ compile ─ graph of steps ┬ apply: frames ─ rules ─ writes in parallel ─ outcomes
//!                                          ├ files, prometheus, objects: frames ─ written out of sight ─ shown when whole
//!                                          ├ gate: something that must be true, looked at again and again
//!                                          ├ http, scale: a request; workloads to zero, and back
//!                                          └ manual: a person
//! ```

mod apply;
mod clock;
mod command;
mod compile;
mod elasticsearch;
mod files;
mod gate;
mod graph;
mod http;
mod limit;
mod objects;
mod order;
mod owners;
mod prometheus;
mod rules;
mod same;
mod scale;
mod summary;
mod target;
mod tree;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::apply::Work;
use self::clock::RtoClock;
pub use self::gate::{Closed, check};
use self::limit::Limiter;
pub use self::order::rank;
pub use self::owners::Owners;
pub use self::rules::{Facts, RULES, Rule, fit, normalise};
pub use self::same::{differences, same};
pub use self::summary::{
    Failure, Items, NotReady, RestoreStatus, RestoreSummary, RtoSummary, Standing, StepStatus, StepSummary,
};
use self::target::Target;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Conflict, Manual, RestorePlan};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::reader::OpenBackup;
use crate::storage::StoreSettings;

/// The person who does manual steps.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Shows what is to be done and waits until it is. False when it was refused.
    async fn confirm(&self, step: &str, manual: &Manual) -> bool;
}

/// Everything that a restore needs.
pub struct Restore {
    /// The plan.
    pub plan: RestorePlan,
    /// The opened backup.
    pub backup: OpenBackup,
    /// Where objects go, and where gates look; none when the plan has neither.
    pub cluster: Option<Cluster>,
    /// What happens to objects that are there already, where a step does not say.
    pub conflict: Conflict,
    /// What storages need that objects are written to: the environment's settings.
    pub storage: StoreSettings,
    /// Only say what would be done.
    pub dry_run: bool,
    /// When the incident began.
    pub incident_start: Timestamp,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who does manual steps.
    pub operator: Arc<dyn Operator>,
    /// Who is told how it goes.
    pub progress: Arc<dyn Progress>,
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
        let compiled = compile::compile(&self.plan, &self.backup)
            .await
            .context(|| format!("compile plan {} against {}", self.plan.name, self.backup.manifest.id))?;
        let clock = RtoClock { clock: self.clock, incident_start: self.incident_start, rto: self.plan.rto };
        let tallies = self.plan.steps.iter().map(|_| Arc::default()).collect();
        let work = Arc::new(Work {
            plan: self.plan,
            backup: self.backup,
            compiled,
            target: self.cluster.map(Target::new),
            limiter: Limiter::default(),
            in_vain: Default::default(),
            conflict: self.conflict,
            storage: self.storage,
            dry_run: self.dry_run,
            clock,
            broken: Default::default(),
            lost: CancellationToken::new(),
            tallies,
            interim: Default::default(),
            progress: self.progress,
        });
        let done = graph::run(&work, self.operator, self.cancel).await?;
        let summary = RestoreSummary {
            backup: work.backup.manifest.id.to_string(),
            backup_status: work.backup.manifest.status,
            plan: work.plan.name.to_string(),
            target: work.target.as_ref().map(|target| target.cluster().server().to_string()),
            status: status(&done, self.dry_run),
            seconds: rounded(begin.elapsed().as_secs_f64()),
            rto: work.clock.summary(),
            steps: done.steps,
            failures: done.failures,
            not_selected: work.compiled.not_selected.clone(),
        };
        let broken = work.broken.lock().await.take();
        Ok(Restored { summary, broken })
    }
}

fn status(done: &graph::Done, dry_run: bool) -> RestoreStatus {
    let fine = |s: &StepSummary| matches!(s.status, StepStatus::Done | StepStatus::Planned);
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
