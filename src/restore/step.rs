//! Runs one step: whether it is wanted, as often as it may be tried, in the time that it has.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::apply::apply;
use super::command::restore_command;
use super::elasticsearch::restore_elasticsearch;
use super::event::Event;
use super::executor::Executor;
use super::files::{of_the_backup, restore_files};
use super::gate::{self, Closed, check};
use super::http::send_request;
use super::journal::{Answer, Entry, Past};
use super::objects::restore_objects;
use super::prometheus::restore_prometheus;
use super::rehearsal::not_exercised;
use super::summary::{Failure, Items, StepRun, StepStatus, StepSummary};
use super::work::{Tally, Work};
use super::{Confirmation, Decision, rounded, scale};
use crate::config::{Action, Manual, OnFailure, Scale, ScaleTo, When, format_duration};
use crate::error::Result;

/// Why a request that may change something twice is not sent again by itself.
const SENT: &str = "the restore was cut off while the request was sent: see whether it has arrived, and leave the step out \
                    (--skip) if it has";

/// What came of a step.
pub struct Ended {
    /// Which.
    pub step: usize,
    /// What.
    pub summary: StepSummary,
    /// What failed in it.
    pub failures: Vec<Failure>,
    /// Whether the steps after it are run.
    pub goes_on: bool,
}

/// One try of a step.
struct Tried {
    status: StepStatus,
    tally: Tally,
    note: Option<String>,
}

impl Tried {
    fn new(status: StepStatus, note: impl Into<Option<String>>) -> Tried {
        Tried { status, tally: Tally::default(), note: note.into() }
    }

    fn is_fine(&self) -> bool {
        !matches!(self.status, StepStatus::Failed | StepStatus::Incomplete)
    }
}

/// A step that is being run.
struct Running<'a> {
    executor: &'a Executor,
    work: &'a Arc<Work>,
    step: usize,
    name: String,
    /// Whether its condition does not hold.
    is_unwanted: bool,
}

/// Runs a step to its end.
pub async fn run_step(executor: &Executor, step: usize) -> Ended {
    let work = executor.work(step);
    let name = executor.plan.steps[step].name.to_string();
    let mut running = Running { executor, work, step, name, is_unwanted: false };
    if let Some(ended) = running.done_before() {
        return ended;
    }
    let (started, begin) = (work.clock.clock.now(), Instant::now());
    let (mut tried, mut tries) = match running.left_out().await {
        Some((status, why)) => (Tried::new(status, why), 0),
        None if running.may_have_been_sent() => match running.decide(SENT).await {
            Decision::Again => running.try_until_done().await,
            Decision::GoOn => (Tried::new(StepStatus::LeftOut, format!("{SENT}; taken as done")), 0),
            Decision::Stop => (Tried::new(StepStatus::Failed, SENT.to_string()), 0),
        },
        None => {
            executor.journal.note(&Entry::StepBegan { at: started, step: running.name.clone() });
            running.try_until_done().await
        }
    };
    let mut goes_on = tried.status != StepStatus::Failed || running.flow().on_failure == OnFailure::Continue;
    while tried.status == StepStatus::Failed && running.asks() {
        match running.decide(tried.note.as_deref().unwrap_or_default()).await {
            Decision::Stop => break,
            Decision::GoOn => {
                goes_on = true;
                break;
            }
            Decision::Again => {
                let (again, more) = running.try_until_done().await;
                tried = again;
                tries += more;
                goes_on = tried.status != StepStatus::Failed;
            }
        }
    }
    running.summarise(tried, tries, (tries > 0).then_some(started), begin, goes_on)
}

impl Running<'_> {
    fn flow(&self) -> &crate::config::Flow {
        &self.executor.plan.steps[self.step].flow
    }

    fn action(&self) -> &Action {
        &self.executor.plan.steps[self.step].action
    }

    fn now(&self) -> Timestamp {
        self.work.clock.clock.now()
    }

    /// What was done before the restore was resumed is not done again. Objects, gates and scaled workloads are looked at again: somebody
    /// may have changed them meanwhile.
    fn done_before(&self) -> Option<Ended> {
        let (summary, failures) = self.executor.earlier.steps.get(&self.name)?;
        let is_looked_at = match self.action() {
            Action::Apply(_) | Action::Gate(_) => true,
            Action::Scale(scale) => !self.was_scaled_back(scale),
            _ => false,
        };
        (summary.status.is_over() && !is_looked_at).then(|| Ended {
            step: self.step,
            summary: summary.clone(),
            failures: failures.clone(),
            goes_on: true,
        })
    }

    /// Whether a later step had scaled the workloads back: they are in use again, and must not go to zero once more.
    fn was_scaled_back(&self, scale: &Scale) -> bool {
        let steps = self.executor.plan.steps.iter().filter(|step| match &step.action {
            Action::Scale(other) => {
                other.to == ScaleTo::Former && other.workloads.iter().any(|w| scale.workloads.contains(w))
            }
            _ => false,
        });
        steps.into_iter().any(|step| self.executor.earlier.is_over(step.name.as_str()))
    }

    /// Whether a request that must not be sent twice may have been, before the restore was cut off.
    fn may_have_been_sent(&self) -> bool {
        let earlier = &self.executor.earlier;
        let was_cut_off = earlier.began.contains(&self.name) && !earlier.is_over(&self.name);
        was_cut_off && self.is_sent_once()
    }

    /// Whether it is a request that would be done twice if it were sent twice.
    fn is_sent_once(&self) -> bool {
        matches!(self.action(), Action::Http(request) if !request.method.is_idempotent())
    }

    /// Why the step is not run, on purpose.
    async fn left_out(&mut self) -> Option<(StepStatus, String)> {
        if let Some(why) = self.executor.left_out.get(&self.name) {
            return Some((StepStatus::LeftOut, why.clone()));
        }
        for when in &self.flow().when {
            if let Some(why) = self.does_not_hold(when).await {
                self.is_unwanted = true;
                return Some((StepStatus::LeftOut, why));
            }
        }
        let planned = &self.executor.plan.steps[self.step];
        let why = self.executor.stage.and_then(|stage| not_exercised(planned, stage))?;
        Some((StepStatus::NotExercised, why))
    }

    async fn does_not_hold(&self, when: &When) -> Option<String> {
        if let Some(why) = does_not_hold(self.executor, self.work, when) {
            return Some(why);
        }
        let kinds = when.serves.as_ref()?;
        let is_served = gate::serves(self.work, kinds).await;
        (!is_served).then(|| format!("the target does not serve {}", listed(kinds)))
    }

    async fn try_until_done(&mut self) -> (Tried, u32) {
        let mut tries = self.flow().tries;
        if self.is_sent_once() {
            // It may have been done, and would be done twice: also by another machine, if that did not know that it began.
            tries.most = 1;
            if !self.executor.journal.settle().await {
                // That one sends it. The executor cuts off what runs here.
                std::future::pending::<()>().await;
            }
        }
        let mut before = Items::default();
        for attempt in 1.. {
            let (at, step, kind) = (self.now(), self.name.clone(), self.action().as_str().to_string());
            self.executor.watcher.see(&Event::StepBegin { at, step, kind, attempt });
            let mut tried = self.try_in_time().await;
            tried.tally.items = with_earlier(before, tried.tally.items);
            if tried.is_fine() || attempt >= tries.most || self.work.lost.is_cancelled() {
                return (tried, attempt);
            }
            before = tried.tally.items;
            let why = tried.note.clone().unwrap_or_else(|| tried.tally.items.words());
            let wait = format_duration(tries.wait);
            self.work.progress.say(&format!("{}: {why}; again in {wait} (try {attempt} of {})", self.name, tries.most));
            tokio::select! {
                () = tokio::time::sleep(tries.wait) => {}
                () = self.work.lost.cancelled() => return (tried, attempt),
            }
        }
        (Tried::new(StepStatus::Failed, None), 0)
    }

    async fn try_in_time(&mut self) -> Tried {
        // A gate keeps to it by itself, and tells what was not ready.
        let limit = self.flow().timeout.filter(|_| !matches!(self.action(), Action::Gate(_)));
        let Some(limit) = limit else { return self.try_once().await };
        match tokio::time::timeout(limit, self.try_once()).await {
            Ok(tried) => tried,
            Err(_) => {
                let tally = std::mem::take(&mut *self.work.tallies[self.step].lock().await);
                let mut note = format!("not done within {}", format_duration(limit));
                if let Some(target) = &self.work.target
                    && let Err(e) = scale::back(target.cluster(), &self.name, &self.work.interim).await
                {
                    note = format!("{note}; {}", e.one_line());
                }
                self.work.progress.end(&self.name, &note);
                Tried { status: StepStatus::Failed, tally, note: Some(note) }
            }
        }
    }

    async fn try_once(&mut self) -> Tried {
        let (work, step) = (self.work.clone(), self.step);
        match &self.executor.plan.steps[step].action {
            Action::Apply(_) => {
                let applied = apply(&work, step).await;
                self.wrote(of_the_backup(&work, applied).await).await
            }
            Action::Files(wanted) => self.wrote(restore_files(&work, step, wanted).await).await,
            Action::Prometheus(wanted) => self.wrote(restore_prometheus(&work, step, wanted).await).await,
            Action::Command(wanted) => self.wrote(restore_command(&work, step, wanted).await).await,
            Action::Elasticsearch(wanted) => self.wrote(restore_elasticsearch(&work, step, wanted).await).await,
            Action::Objects(wanted) => self.wrote(restore_objects(&work, step, wanted).await).await,
            Action::Gate(gate) => {
                let (status, tally, note) = gate::run(&work, &self.name, gate, self.flow().timeout).await;
                Tried { status, tally, note }
            }
            Action::Http(wanted) => self.wrote(send_request(&work, step, wanted).await).await,
            Action::Scale(wanted) => self.wrote(scale::scale(&work, step, wanted).await).await,
            Action::Manual(manual) if work.dry_run => Tried::new(StepStatus::Planned, manual.title.clone()),
            Action::Manual(manual) => self.ask(manual).await,
        }
    }

    /// How a try that writes ended.
    async fn wrote(&self, result: Result<Tally>) -> Tried {
        match result {
            Ok(tally) => written(tally, self.work.dry_run),
            Err(e) => {
                let tally = std::mem::take(&mut *self.work.tallies[self.step].lock().await);
                Tried { status: StepStatus::Failed, tally, note: Some(e.one_line()) }
            }
        }
    }

    /// Asks whoever sits at the terminal, and looks whether somebody answers elsewhere. What they say is checked, where the plan says how, and
    /// while it is not true they are asked again.
    async fn ask(&mut self, manual: &Manual) -> Tried {
        loop {
            let tried = self.ask_once(manual).await;
            let Some(wanted) = manual.check.as_ref().filter(|_| tried.status.is_over()) else { return tried };
            let cluster = self.work.target.as_ref().map(|target| target.cluster());
            match check(cluster, wanted).await {
                // Whoever did it, it is done.
                Ok(found) => {
                    let said = tried.note.filter(|_| tried.status == StepStatus::Done);
                    let said = said.unwrap_or_else(|| manual.title.clone());
                    return Tried::new(StepStatus::Done, format!("{said}: {found}"));
                }
                Err(Closed::NotReady { words, .. }) if self.executor.operator.may_be_asked_again() => {
                    self.work.progress.say(&format!("{}: it is not done yet: {words}", self.name));
                }
                Err(Closed::NotReady { words, .. }) => {
                    return Tried::new(StepStatus::Failed, format!("taken as done, and it is not: {words}"));
                }
                Err(Closed::Lost(why)) => {
                    return Tried::new(StepStatus::Failed, format!("it could not be checked: {why}"));
                }
            }
        }
    }

    async fn ask_once(&mut self, manual: &Manual) -> Tried {
        let (at, step, title, role) = (self.now(), self.name.clone(), manual.title.clone(), manual.role.clone());
        self.executor.watcher.see(&Event::Waiting { at, step, title, role });
        let waiting = self.executor.board.wait_for_people(self.step);
        let (confirmation, by) = tokio::select! {
            answer = self.executor.operator.confirm(&self.name, manual) => (answer, None),
            ack = self.executor.journal.acknowledged(&self.name) => match ack.answer {
                Answer::Done => (Confirmation::Done, Some(ack.by)),
                Answer::Refused => (Confirmation::Refused, Some(ack.by)),
            },
            () = self.work.lost.cancelled() => {
                return Tried::new(StepStatus::Failed, "the API server was lost".to_string());
            }
        };
        drop(waiting);
        let by = by.map(|by| format!(" ({by})")).unwrap_or_default();
        match confirmation {
            Confirmation::Done => Tried::new(StepStatus::Done, format!("{}{by}", manual.title)),
            Confirmation::TakenAsDone => Tried::new(StepStatus::LeftOut, format!("nobody did it: {}", manual.title)),
            Confirmation::Refused => Tried::new(StepStatus::Failed, format!("not confirmed: {}{by}", manual.title)),
        }
    }

    fn asks(&self) -> bool {
        self.flow().on_failure == OnFailure::Ask && !self.work.lost.is_cancelled() && !self.work.dry_run
    }

    async fn decide(&mut self, why: &str) -> Decision {
        let _waiting = self.executor.board.wait_for_people(self.step);
        tokio::select! {
            decision = self.executor.operator.decide(&self.name, why) => decision,
            () = self.work.lost.cancelled() => Decision::Stop,
        }
    }

    /// When the step was done before the restore was resumed, where this run has only found that again.
    fn found_done(&self, tried: &Tried, past: &Past) -> Option<Timestamp> {
        let may_be_found = matches!(self.action(), Action::Apply(_) | Action::Gate(_));
        let is_found = tried.status == StepStatus::Done && tried.tally.found == tried.tally.items.total();
        past.done.filter(|_| may_be_found && is_found)
    }

    /// What came of the step, with what it had taken before the restore was resumed.
    fn summarise(self, tried: Tried, tries: u32, started: Option<Timestamp>, begin: Instant, goes_on: bool) -> Ended {
        let (past, now) = (self.executor.earlier.past(&self.name), self.now());
        let ended = self.found_done(&tried, &past).unwrap_or(now);
        let people = self.executor.board.people(self.step);
        let mut failures = tried.tally.failures;
        if let (StepStatus::Failed, Some(note)) = (tried.status, &tried.note) {
            failures.push(Failure { step: self.name.clone(), object: self.name.clone(), why: note.clone() });
        }
        let summary = StepSummary {
            status: tried.status,
            by_condition: self.is_unwanted,
            ended: started.map(|_| ended),
            started: started.map(|this_time| past.started.unwrap_or(this_time)),
            runs: started.map_or_else(Vec::new, |started| past.runs_with(StepRun { started, ended: now })),
            tries,
            seconds: rounded(past.seconds + begin.elapsed().as_secs_f64()),
            people_seconds: rounded(past.people_seconds + people.as_secs_f64()),
            items: tried.tally.items,
            skipped: tried.tally.skipped,
            standing: tried.tally.standing,
            remapped: tried.tally.remapped.into_list(),
            not_ready: tried.tally.not_ready,
            compared: tried.tally.compared,
            note: tried.note,
            ..blank(self.executor, self.step)
        };
        Ended { step: self.step, summary, failures, goes_on }
    }
}

/// Why a condition does not hold, as far as that is known before the step's turn.
pub fn does_not_hold(executor: &Executor, work: &Work, when: &When) -> Option<String> {
    if let Some(source) = &when.source
        && work.backup.manifest.source(source.as_str()).is_none()
    {
        return Some(format!("the backup has no source {source}"));
    }
    if let Some(kinds) = &when.kinds
        && !kinds.iter().any(|kind| work.compiled.holds(kind))
    {
        return Some(format!("the backup has no {}", listed(kinds)));
    }
    match (when.drill, executor.stage.is_some()) {
        (Some(true), false) => Some("it is for drills".into()),
        (Some(false), true) => Some("it is not for drills".into()),
        _ => None,
    }
}

/// A step of which nothing came yet.
pub fn blank(executor: &Executor, step: usize) -> StepSummary {
    let planned = &executor.plan.steps[step];
    StepSummary {
        name: planned.name.to_string(),
        kind: planned.action.as_str().into(),
        target: executor.plan.targets.get(planned.target).map(|target| target.name.to_string()),
        status: StepStatus::NotRun,
        by_condition: false,
        started: None,
        ended: None,
        runs: Vec::new(),
        tries: 0,
        seconds: 0.0,
        people_seconds: 0.0,
        expected_seconds: planned.flow.expect.map(|expect| expect.as_secs_f64()),
        items: Items::default(),
        skipped: Default::default(),
        standing: Vec::new(),
        remapped: Vec::new(),
        not_ready: Vec::new(),
        compared: Vec::new(),
        types: executor.work(step).compiled.steps[step].types.clone(),
        note: None,
    }
}

/// What an earlier try wrote is found there by the next one.
fn with_earlier(before: Items, now: Items) -> Items {
    let there = before.created + before.updated;
    Items {
        created: before.created + now.created,
        updated: before.updated + now.updated,
        unchanged: now.unchanged.saturating_sub(there),
        ..now
    }
}

fn written(tally: Tally, dry_run: bool) -> Tried {
    let status = match &tally {
        Tally { lost: Some(_), .. } => StepStatus::Failed,
        Tally { items: Items { failed: 0, .. }, .. } if dry_run => StepStatus::Planned,
        Tally { items: Items { failed: 0, .. }, .. } => StepStatus::Done,
        _ => StepStatus::Incomplete,
    };
    let lost = tally.lost.as_ref().map(|why| format!("the API server was lost: {why}"));
    let note = lost.or_else(|| Some(tally.notes.join("; ")).filter(|notes| !notes.is_empty()));
    Tried { status, tally, note }
}

fn listed(kinds: &[crate::config::KindPattern]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_try_wrote_is_counted_once() {
        let first = Items { created: 8, failed: 2, ..Items::default() };
        let second = Items { created: 2, unchanged: 9, ..Items::default() };
        let all = with_earlier(first, second);
        assert_eq!((all.created, all.unchanged, all.failed), (10, 1, 0));
    }
}
