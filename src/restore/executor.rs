//! Runs the steps of a plan as a graph: each begins when all that it comes after are done.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Operator;
use super::apply::write_owner_references;
use super::board::Board;
use super::event::{Event, Watcher};
use super::journal::{Earlier, Entry, Journal};
use super::preflight::{self, Obstacle};
use super::rehearsal::{Stage, not_exercised};
use super::scale::{AtTheEnd, back_at_the_end, is_scaled_by};
use super::step::{Ended, blank, does_not_hold, run_step};
use super::summary::{Failure, Items, StepRun, StepStatus, StepSummary};
use super::work::{Tally, Work};
use crate::config::{Action, RestorePlan, ScaleTo, Workload};
use crate::error::{Error, Result};

/// Between two forecasts.
const FORECAST_EVERY: Duration = Duration::from_secs(1);

/// How often webhooks that were gone round are looked at.
const LOOK_AT_WEBHOOKS: Duration = Duration::from_secs(5);

/// Everything that steps are run with.
pub struct Executor {
    /// The plan.
    pub plan: Arc<RestorePlan>,
    /// What the steps of each target share, in the order of the plan's targets.
    pub works: Vec<Arc<Work>>,
    /// What a drill restores to; none in an incident.
    pub stage: Option<Stage>,
    /// Steps that somebody left out, and why.
    pub left_out: BTreeMap<String, String>,
    /// Who does manual steps.
    pub operator: Arc<dyn Operator>,
    /// Where it is written down what is done.
    pub journal: Arc<Journal>,
    /// What was done before the restore was resumed.
    pub earlier: Arc<Earlier>,
    /// Who is told what happens.
    pub watcher: Arc<dyn Watcher>,
    /// Where each step stands.
    pub board: Board,
}

/// What came of all steps.
pub struct Done {
    /// In the order of the plan.
    pub steps: Vec<StepSummary>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Whether the restore was cut off: by a signal, because an API server was lost, or because another machine goes on with it.
    pub stopped: bool,
    /// When people could work again, since the incident began.
    pub usable: Option<Duration>,
}

/// How far the steps are.
struct Steps {
    ended: Vec<Option<StepSummary>>,
    begun: Vec<bool>,
    /// Steps whose failure keeps those after them from running.
    blocking: Vec<bool>,
}

impl Executor {
    /// What a step shares with the others of its target.
    pub fn work(&self, step: usize) -> &Arc<Work> {
        &self.works[self.plan.steps[step].target]
    }

    /// Runs every step.
    pub async fn run(self: &Arc<Self>, cancel: CancellationToken) -> Result<Done> {
        let count = self.plan.steps.len();
        let mut steps = Steps {
            ended: (0..count).map(|_| None).collect(),
            begun: vec![false; count],
            blocking: vec![false; count],
        };
        let (mut failures, mut usable) = (Vec::new(), None);
        let mut running = JoinSet::new();
        let mut meanwhile = JoinSet::new();
        meanwhile.spawn(self.clone().put_back_what_answers());
        let mut ticks = tokio::time::interval(FORECAST_EVERY);
        loop {
            self.start_ready(&mut steps, &mut running, &cancel);
            if running.is_empty() {
                break;
            }
            let finished = tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.cut_short(&mut running).await;
                    break;
                }
                () = self.journal.taken_over().cancelled() => {
                    self.cut_short(&mut running).await;
                    break;
                }
                finished = running.join_next() => finished,
                _ = ticks.tick() => {
                    self.tell_progress();
                    continue;
                }
            };
            let Some(finished) = finished else { break };
            let Ended { step, summary, failures: failed, goes_on } =
                finished.map_err(|e| Error::failed("run a step").because(e))?;
            self.note_end(step, &summary, &failed);
            if self.plan.usable == Some(step) && summary.status == StepStatus::Done {
                usable = Some(self.tell_usable(&summary));
            }
            steps.blocking[step] = !goes_on;
            steps.ended[step] = Some(summary);
            failures.extend(failed);
        }
        let stopped = cancel.is_cancelled() || self.journal.taken_over().is_cancelled() || self.is_any_lost();
        // Whoever goes on with it puts right what is otherwise in the cluster only meanwhile.
        let is_ours = !self.journal.taken_over().is_cancelled();
        failures.extend(self.last_owners(stopped).await);
        let at_the_end = if is_ours { self.scale_back(stopped).await } else { AtTheEnd::default() };
        failures.extend(at_the_end.failed.into_iter().map(|(object, why)| Failure {
            step: "scale".into(),
            object,
            why,
        }));
        meanwhile.shutdown().await;
        if is_ours {
            failures.extend(self.put_back_webhooks(true).await);
        }
        let mut all = Vec::with_capacity(count);
        for (step, summary) in steps.ended.into_iter().enumerate() {
            all.push(match summary {
                Some(summary) => summary,
                None => self.cut_off(step, steps.begun[step], &mut failures).await,
            });
        }
        for (step, note) in at_the_end.notes {
            all.iter_mut().filter(|summary| summary.name == step).for_each(|summary| summary.add_note(&note));
        }
        failures.sort();
        Ok(Done { steps: all, failures, stopped, usable })
    }

    /// Dropping a write in flight loses only its answer: the object is there or not, and the next run sees which.
    async fn cut_short(&self, running: &mut JoinSet<Ended>) {
        self.works.iter().for_each(|work| work.lost.cancel());
        running.shutdown().await;
    }

    fn is_any_lost(&self) -> bool {
        self.works.iter().any(|work| work.lost.is_cancelled())
    }

    fn start_ready(self: &Arc<Self>, steps: &mut Steps, running: &mut JoinSet<Ended>, cancel: &CancellationToken) {
        // A step that cannot run is ended at once, which may decide over later ones: go round until nothing changes.
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for step in 0..steps.begun.len() {
                let after = &self.plan.steps[step].after;
                if steps.begun[step] || cancel.is_cancelled() || after.iter().any(|a| steps.ended[*a].is_none()) {
                    continue;
                }
                steps.begun[step] = true;
                if let Some(why) = self.cannot_run(step, &steps.blocking) {
                    steps.ended[step] = Some(StepSummary { note: Some(why), ..blank(self, step) });
                    steps.blocking[step] = true;
                    changed = true;
                } else {
                    self.board.begin(step);
                    let executor = self.clone();
                    running.spawn(async move { run_or_fail(&executor, step).await });
                }
            }
        }
    }

    /// Objects that failed do not stop what comes after; a gate that did not open does.
    fn cannot_run(&self, step: usize, blocking: &[bool]) -> Option<String> {
        let before = self.plan.steps[step].after.iter().find(|before| blocking[**before]);
        if let Some(before) = before {
            return Some(format!("{} failed", self.plan.steps[*before].name));
        }
        self.work(step).lost.is_cancelled().then(|| "the API server was lost".into())
    }

    fn note_end(&self, step: usize, summary: &StepSummary, failures: &[Failure]) {
        self.board.end(step, summary.items);
        self.journal.note(&Entry::StepEnded { summary: Box::new(summary.clone()), failures: failures.to_vec() });
        let at = self.work(step).clock.clock.now();
        self.watcher.see(&Event::StepEnd { at, step: Box::new(summary.clone()) });
    }

    fn tell_progress(&self) {
        let items = self.board.look(&self.works);
        let clock = &self.works[0].clock;
        let forecast = self.board.forecast(clock.elapsed());
        self.watcher.see(&Event::Progress { at: clock.clock.now(), items, forecast });
    }

    /// The gate opened. It may have been open before the restore was resumed: then that is what counts, also where it was resumed again.
    fn tell_usable(&self, gate: &StepSummary) -> Duration {
        let clock = &self.works[0].clock;
        let opened = self.earlier.past(&gate.name).done;
        let after = opened.map_or_else(|| clock.elapsed(), |opened| clock.since(opened));
        self.board.open(after);
        self.watcher.see(&Event::Usable { at: clock.clock.now(), after_seconds: super::rounded(after.as_secs_f64()) });
        after
    }

    /// A step that did not come to its end, with what it had done until then.
    async fn cut_off(&self, step: usize, begun: bool, failures: &mut Vec<Failure>) -> StepSummary {
        let (status, note) = match begun {
            true => (StepStatus::Failed, "stopped in the middle"),
            false => (StepStatus::NotRun, "stopped before it began"),
        };
        let tally = std::mem::take(&mut *self.work(step).tallies[step].lock().await);
        let Tally { items, skipped, standing, failures: failed, remapped, .. } = tally;
        let remapped = remapped.into_list();
        let (ended, took) = (self.work(step).clock.clock.now(), self.board.took(step));
        let started = ended.checked_sub(took).unwrap_or(ended);
        let past = self.earlier.past(self.plan.steps[step].name.as_str());
        let summary = StepSummary {
            status,
            started: begun.then(|| past.started.unwrap_or(started)),
            ended: begun.then_some(ended),
            runs: if begun { past.runs_with(StepRun { started, ended }) } else { Vec::new() },
            seconds: super::rounded(past.seconds + took.as_secs_f64()),
            people_seconds: super::rounded(past.people_seconds + self.board.people(step).as_secs_f64()),
            items,
            skipped,
            standing,
            remapped,
            note: Some(note.into()),
            ..blank(self, step)
        };
        // Whoever goes on with it knows by this how long the step has taken. Where another machine does so already, that one has the word.
        if begun && !self.journal.taken_over().is_cancelled() {
            self.journal.note(&Entry::StepEnded { summary: Box::new(summary.clone()), failures: failed.clone() });
        }
        failures.extend(failed);
        summary
    }

    /// Steps that will not run take no time: they must not make the prediction longer.
    pub fn foresee(&self) {
        for (step, planned) in self.plan.steps.iter().enumerate() {
            let name = planned.name.as_str();
            let is_left_out = self.left_out.contains_key(name);
            let is_unwanted = planned.flow.when.iter().any(|when| does_not_hold(self, self.work(step), when).is_some());
            let is_empty =
                matches!(planned.action, Action::Apply(_)) && self.work(step).compiled.steps[step].objects() == 0;
            let is_not_shown = self.stage.is_some_and(|stage| not_exercised(planned, stage).is_some());
            if is_left_out || is_unwanted || is_empty || is_not_shown || self.earlier.is_over(name) {
                self.board.end(step, Items::default());
            }
        }
    }

    /// Puts right what is otherwise in the cluster only meanwhile, where the restore does not come to its steps.
    pub async fn put_right(&self, stopped: bool) {
        self.scale_back(stopped).await;
        self.put_back_webhooks(true).await;
    }

    /// What steps had scaled to zero, and none has scaled back.
    async fn scale_back(&self, stopped: bool) -> AtTheEnd {
        let mut all = AtTheEnd::default();
        for work in &self.works {
            let Some(target) = &work.target else { continue };
            // A restore that goes on finds them as it left them, and none of them has run on half of its data.
            let stays = |workload: &Workload| stopped && is_scaled_by(work, workload, ScaleTo::Former);
            let AtTheEnd { failed, notes } = back_at_the_end(target.cluster(), &work.interim, stays).await;
            all.failed.extend(failed);
            all.notes.extend(notes);
        }
        all
    }

    /// Webhooks that were gone round come back as soon as they answer.
    async fn put_back_what_answers(self: Arc<Self>) {
        while self.is_any_webhook_out().await {
            tokio::time::sleep(LOOK_AT_WEBHOOKS).await;
            self.put_back_webhooks(false).await;
        }
    }

    async fn is_any_webhook_out(&self) -> bool {
        for work in &self.works {
            if work.webhooks.is_any_out().await {
                return true;
            }
        }
        false
    }

    /// Webhooks that were gone round: those that answer again, at the end all of them.
    async fn put_back_webhooks(&self, last: bool) -> Vec<Failure> {
        let mut failures = Vec::new();
        for work in &self.works {
            let Some(target) = &work.target else { continue };
            let failed = work.webhooks.put_back(target.cluster(), last).await;
            failures.extend(failed.into_iter().map(|(object, why)| Failure { step: "webhooks".into(), object, why }));
        }
        failures
    }

    /// What stands in the way, found before the first write. A stop by somebody is for whoever runs the steps.
    pub async fn look_ahead(&self, cancel: &CancellationToken) -> Result<Vec<Obstacle>> {
        let mut obstacles = Vec::new();
        for work in &self.works {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                found = preflight::look(work) => obstacles.extend(found?),
            }
        }
        Ok(obstacles)
    }

    /// Objects whose owner never came get those that did.
    async fn last_owners(&self, stopped: bool) -> Vec<Failure> {
        let tally = Mutex::new(Tally::default());
        for work in self.works.iter().filter(|_| !stopped) {
            write_owner_references(work, true, "owners", &tally).await;
        }
        tally.into_inner().failures
    }
}

/// A step that ends by a fault of the program itself has failed, and what is otherwise in the cluster only meanwhile is put right.
async fn run_or_fail(executor: &Executor, step: usize) -> Ended {
    let ended = AssertUnwindSafe(run_step(executor, step)).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        let why = "it ended by a fault of ckbackup itself; please report what stands above";
        let summary = StepSummary { status: StepStatus::Failed, note: Some(why.into()), ..blank(executor, step) };
        let failure = Failure { step: summary.name.clone(), object: summary.name.clone(), why: why.into() };
        Ended { step, summary, failures: vec![failure], goes_on: false }
    })
}

/// Objects of each step of a plan.
pub fn objects_of(plan: &RestorePlan, works: &[Arc<Work>]) -> Vec<u64> {
    plan.steps.iter().enumerate().map(|(step, planned)| works[planned.target].compiled.steps[step].objects()).collect()
}

/// All objects of steps, by outcome.
pub fn all_items(steps: &[StepSummary]) -> Items {
    let mut all = Items::default();
    steps.iter().for_each(|step| all.add(&step.items));
    all
}
