//! What a scheduler knows, for all who look at it: nobody who looks waits for anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::facts::Facts;
use super::snapshot::{Attempt, Check, Snapshot, Subject, VaultView};
use crate::config::Schedule;
use crate::scheduler::Night;

/// What a scheduler knows.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    schedules_valid: bool,
    entries: Vec<Entry>,
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Entry {
    schedule: Arc<Schedule>,
    subject: Subject,
}

impl Board {
    /// The schedules in force, and whether all files are as they stand. What is known of one stays, unless it moved to
    /// another vault or cluster.
    pub fn set_schedules<'s>(&self, schedules: impl Iterator<Item = &'s Schedule>, valid: bool) {
        let mut state = self.lock();
        let mut before = std::mem::take(&mut state.entries);
        let mut is_new = false;
        for schedule in schedules {
            let known = before.iter().position(|entry| same_place(&entry.schedule, schedule));
            let mut subject = Subject::of(schedule);
            match known {
                Some(at) => {
                    let entry = before.swap_remove(at);
                    (subject.vault, subject.attempt) = (entry.subject.vault, entry.subject.attempt);
                    let schedule = match *entry.schedule == *schedule {
                        true => entry.schedule,
                        false => Arc::new(schedule.clone()),
                    };
                    state.entries.push(Entry { schedule, subject });
                }
                None => {
                    is_new = true;
                    state.entries.push(Entry { schedule: Arc::new(schedule.clone()), subject });
                }
            }
        }
        state.schedules_valid = valid;
        drop(state);
        if is_new {
            self.changed.notify_one();
        }
    }

    /// A run was tried. The vault is read again soon.
    pub fn attempted(&self, schedule: &str, attempt: Attempt) {
        if let Some(entry) = self.lock().entry(schedule) {
            entry.subject.attempt = Some(attempt);
        }
        self.changed.notify_one();
    }

    /// A rotation ended.
    pub fn checked(&self, check: Check) {
        let mut state = self.lock();
        state.checks.retain(|known| (known.kind, &known.cluster) != (check.kind, &check.cluster));
        state.checks.push(check);
    }

    /// What the vault of a schedule says; nothing when it did not answer. Whether that is another state than before.
    pub fn refreshed(&self, schedule: &Schedule, facts: Option<Facts>, now: Timestamp) -> bool {
        let mut state = self.lock();
        let entry = state.entry(schedule.name.as_str()).filter(|entry| same_place(&entry.schedule, schedule));
        let Some(Entry { subject, .. }) = entry else { return false };
        let before = subject.vault.reachable;
        match facts {
            Some(facts) => subject.vault = VaultView::read(facts, now),
            None => subject.vault.reachable = Some(false),
        }
        subject.vault.reachable != before
    }

    /// Ends when something happened after which the vault should be read.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The schedules in force.
    pub fn schedules(&self) -> Vec<Arc<Schedule>> {
        self.lock().entries.iter().map(|entry| entry.schedule.clone()).collect()
    }

    /// Whether each vault was asked once, so that the metrics say what there is to say.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        !state.entries.is_empty() && state.entries.iter().all(|entry| entry.subject.vault.reachable.is_some())
    }

    /// The last night of a schedule that closed without a run, as the vault says. Only what was read after its close counts:
    /// before, its run may not have been seen.
    pub fn missed(&self, schedule: &str, now: Timestamp) -> Option<Night> {
        let mut state = self.lock();
        let subject = &state.entry(schedule)?.subject;
        let refreshed = subject.vault.refreshed.filter(|_| subject.vault.reachable == Some(true))?;
        subject.missed(now).filter(|night| night.closes < refreshed)
    }

    /// What is known now.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let state = self.lock();
        Snapshot {
            now,
            schedules_valid: Some(state.schedules_valid),
            subjects: state.entries.iter().map(|entry| entry.subject.clone()).collect(),
            checks: state.checks.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn entry(&mut self, schedule: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.schedule.name.as_str() == schedule)
    }
}

/// Whether what is known of one is true of the other.
fn same_place(a: &Schedule, b: &Schedule) -> bool {
    (&a.name, &a.cluster, &a.vault) == (&b.name, &b.cluster, &b.vault)
}
