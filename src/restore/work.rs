//! What the steps of a restore share, and what comes of each.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::apply::EXISTS;
use super::batch::Present;
use super::clock::RtoClock;
use super::compile::Compiled;
use super::journal::{Earlier, Journal};
use super::limit::Limiter;
use super::met::Met;
use super::preflight::Webhooks;
use super::rehearsal::Stage;
use super::remap::{Counts, Remap};
use super::scale::Interim;
use super::summary::{Compared, Failure, Items, NotReady, Outcome, Standing};
use super::target::Target;
use super::write::{InVain, Lost};
use crate::config::{Conflict, RestorePlan};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::reader::OpenBackup;
use crate::storage::StoreSettings;

/// What all steps of one target share.
pub struct Work {
    /// The plan, of which the steps of other targets are none of this one's.
    pub plan: Arc<RestorePlan>,
    /// The opened backup.
    pub backup: Arc<OpenBackup>,
    /// The plan against the backup.
    pub compiled: Compiled,
    /// The target; none when the plan needs no cluster.
    pub target: Option<Target>,
    /// How many writes at a time.
    pub limiter: Limiter,
    /// What objects waited for in vain.
    pub in_vain: InVain,
    /// Where objects are met that are there already.
    pub met: Met,
    /// What happens to objects that are there already, where a step does not say.
    pub conflict: Conflict,
    /// What storages need that objects are written to.
    pub storage: StoreSettings,
    /// What a drill restores to; none in an incident.
    pub stage: Option<Stage>,
    /// Nothing is written.
    pub dry_run: bool,
    /// The time since the incident began.
    pub clock: RtoClock,
    /// The first thing about the backup or the vault that kept a step from its end.
    pub broken: Arc<Mutex<Option<Error>>>,
    /// Cancelled when the API server is lost: no step goes on.
    pub lost: CancellationToken,
    /// What came of each step so far; of one that is cut off, this is what stands.
    pub tallies: Vec<Arc<Mutex<Tally>>>,
    /// Where it is written down what is done.
    pub journal: Arc<Journal>,
    /// What was done before the restore was resumed.
    pub earlier: Arc<Earlier>,
    /// Batches of the journal that were counted: step, frame, first object.
    pub counted: Mutex<HashSet<(usize, usize, u32)>>,
    /// What is in the target, where a restore is gone on with.
    pub present: Present,
    /// What the plan changes in objects.
    pub remap: Remap,
    /// Webhooks that refuse writes, or let them hang.
    pub webhooks: Webhooks,
    /// What is otherwise in the cluster only while the restore runs.
    pub interim: Interim,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
}

impl Work {
    /// The target of a step that writes objects; whoever runs a plan with such a step gave one.
    pub fn target(&self) -> Result<&Target, Lost> {
        self.target.as_ref().ok_or_else(|| Lost("no cluster is connected".into()))
    }
}

/// What came of a step so far.
#[derive(Default)]
pub struct Tally {
    /// Objects by outcome.
    pub items: Items,
    /// How many of them an earlier try had done, and were only looked for.
    pub found: u64,
    /// Skipped ones by rule.
    pub skipped: BTreeMap<String, u64>,
    /// Objects that were there, differ, and were left as they are.
    pub standing: Vec<Standing>,
    /// Failed ones.
    pub failures: Vec<Failure>,
    /// Why the step could not be finished.
    pub lost: Option<String>,
    /// What a gate waited for in vain.
    pub not_ready: Vec<NotReady>,
    /// What is worth knowing beside.
    pub notes: Vec<String>,
    /// What mappings and patches changed.
    pub remapped: Counts,
    /// What was counted on both sides.
    pub compared: Vec<Compared>,
}

impl Tally {
    /// Notes what became of an object or file.
    pub fn add(&mut self, step: &str, object: &str, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.items.created += 1,
            Outcome::Updated => self.items.updated += 1,
            Outcome::Unchanged => self.items.unchanged += 1,
            Outcome::Skipped { rule, why } => {
                self.items.skipped += 1;
                if rule == EXISTS {
                    self.standing.push(Standing { object: object.into(), why });
                }
                *self.skipped.entry(rule).or_default() += 1;
            }
            Outcome::Failed(why) => {
                self.items.failed += 1;
                self.fail(step, object, why);
            }
        }
    }

    /// Notes what went wrong with something that is counted elsewhere.
    pub fn fail(&mut self, step: &str, object: &str, why: String) {
        self.failures.push(Failure { step: step.into(), object: object.into(), why });
    }
}
