//! Where each step of a running restore stands, and what follows for its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::forecast::{Estimate, Experience, Forecast, Outlook, Progressed, estimate};
use super::summary::Items;
use super::work::Work;
use crate::config::{Action, RestorePlan};

/// A rate is worth something when so many objects were counted.
const COUNTED: u64 = 200;

/// Where every step stands.
pub struct Board {
    plan: Arc<RestorePlan>,
    objects: Vec<u64>,
    known: Experience,
    state: Mutex<State>,
}

struct State {
    steps: Vec<Standing>,
    /// For how long each step has waited for people.
    people: Vec<Duration>,
    /// When the plan's gate opened, since the incident began.
    opened: Option<Duration>,
    /// For how long objects were being written.
    writing: Duration,
    last_look: Instant,
}

#[derive(Clone, Copy)]
enum Standing {
    Waiting,
    /// `found` objects were done by an earlier try, and `done` by this one.
    Running {
        since: Instant,
        found: u64,
        done: u64,
    },
    Ended {
        took: Duration,
        items: Items,
        done: u64,
    },
}

impl Standing {
    /// Objects that were written, or compared, since this run began.
    fn done(self) -> u64 {
        match self {
            Standing::Waiting => 0,
            Standing::Running { done, .. } | Standing::Ended { done, .. } => done,
        }
    }
}

impl Board {
    /// Nothing has begun.
    pub fn new(plan: Arc<RestorePlan>, objects: Vec<u64>, known: Experience) -> Board {
        let steps = vec![Standing::Waiting; objects.len()];
        let people = vec![Duration::ZERO; objects.len()];
        let state = State { steps, people, opened: None, writing: Duration::ZERO, last_look: Instant::now() };
        Board { plan, objects, known, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step begins.
    pub fn begin(&self, step: usize) {
        self.state().steps[step] = Standing::Running { since: Instant::now(), found: 0, done: 0 };
    }

    /// A step waits for people, until what is given goes: also where the wait is cut off.
    pub fn wait_for_people(&self, step: usize) -> impl Drop + '_ {
        Waiting { board: self, step, since: Instant::now() }
    }

    /// For how long a step has waited for people.
    pub fn people(&self, step: usize) -> Duration {
        self.state().people[step]
    }

    /// For how long a step has been running, or ran.
    pub fn took(&self, step: usize) -> Duration {
        match self.state().steps[step] {
            Standing::Waiting => Duration::ZERO,
            Standing::Running { since, .. } => since.elapsed(),
            Standing::Ended { took, .. } => took,
        }
    }

    /// The plan's gate opened, so long after the incident began.
    pub fn open(&self, after: Duration) {
        self.state().opened = Some(after);
    }

    /// A step ended, with its objects.
    pub fn end(&self, step: usize, items: Items) {
        let mut state = self.state();
        let (took, done) = match state.steps[step] {
            Standing::Running { since, found, .. } => (since.elapsed(), items.total().saturating_sub(found)),
            // It ended before this run began.
            _ => (Duration::ZERO, 0),
        };
        state.steps[step] = Standing::Ended { took, items, done };
    }

    /// Looks at what is done by now. All objects so far.
    pub fn look(&self, works: &[Arc<Work>]) -> Items {
        let mut all = Items::default();
        let mut state = self.state();
        let since_last = state.last_look.elapsed();
        state.last_look = Instant::now();
        let mut is_writing = false;
        for (step, planned) in self.plan.steps.iter().enumerate() {
            if let Standing::Ended { items, .. } = &state.steps[step] {
                all.add(items);
                continue;
            }
            // One that is held is being written to for long: what was seen of it last still holds.
            let Ok(tally) = works[planned.target].tallies[step].try_lock() else { continue };
            let (items, of_earlier) = (tally.items, tally.found);
            drop(tally);
            if let Standing::Running { found, done, .. } = &mut state.steps[step] {
                *found = of_earlier.max(*found);
                *done = items.total().saturating_sub(*found).max(*done);
                is_writing |= matches!(planned.action, Action::Apply(_));
                all.add(&items);
            }
        }
        if is_writing {
            state.writing += since_last;
        }
        all
    }

    /// How long each step takes, as far as that is known now.
    pub fn estimates(&self) -> Vec<Estimate> {
        let rate = self.rate();
        let steps = self.plan.steps.iter().zip(&self.objects);
        steps.map(|(step, objects)| estimate(step, *objects, &self.known, rate)).collect()
    }

    /// Objects a second, over all steps that write some.
    fn rate(&self) -> Option<f64> {
        let state = self.state();
        let applies = self.plan.steps.iter().zip(&state.steps).filter(|(s, _)| matches!(s.action, Action::Apply(_)));
        let done: u64 = applies.map(|(_, standing)| standing.done()).sum();
        let seconds = state.writing.as_secs_f64();
        (done >= COUNTED && seconds >= 1.0).then(|| done as f64 / seconds)
    }

    /// When it will be done, as it looks now.
    pub fn forecast(&self, elapsed: Duration) -> Forecast {
        let estimates = self.estimates();
        let progressed: Vec<Progressed> = self.state().steps.iter().map(|s| progressed(*s)).collect();
        let (plan, objects) = (self.plan.as_ref(), self.objects.as_slice());
        let opened = self.state().opened;
        Outlook { plan, progressed: &progressed, objects, estimates: &estimates, elapsed, opened }.forecast()
    }
}

struct Waiting<'b> {
    board: &'b Board,
    step: usize,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.board.state().people[self.step] += self.since.elapsed();
    }
}

fn progressed(standing: Standing) -> Progressed {
    match standing {
        Standing::Waiting => Progressed::Waiting,
        Standing::Running { since, found, done } => Progressed::Running { elapsed: since.elapsed(), found, done },
        Standing::Ended { took, .. } => Progressed::Ended(took),
    }
}
