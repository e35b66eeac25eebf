//! Everything that is known at a moment; what is computed from it is as of that moment.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::facts::Facts;
use crate::config::Schedule;
use crate::scheduler::{Night, Timing, Verdict, due, last_missed};
use crate::vault::manifest::Status;

/// Everything that is known at a moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The moment.
    pub now: Timestamp,
    /// Whether every schedule file is in force as it stands; not known to a single run.
    pub schedules_valid: Option<bool>,
    /// The schedules.
    pub subjects: Vec<Subject>,
    /// What was looked after in the vault.
    pub checks: Vec<Check>,
}

/// A schedule, and what is known of it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub schedule: String,
    /// How many verified backups are to be kept, where that is known.
    pub keep: Option<u32>,
    /// When its runs come, where it has a window.
    pub timing: Option<Timing>,
    /// What its vault says.
    pub vault: VaultView,
    /// The last run that this process tried.
    pub attempt: Option<Attempt>,
}

/// What a vault said when it was last asked.
#[derive(Debug, Clone, Default)]
pub struct VaultView {
    /// Whether it answered the last time; none before the first.
    pub reachable: Option<bool>,
    /// When it last answered.
    pub refreshed: Option<Timestamp>,
    /// What it said then.
    pub facts: Facts,
}

/// A run that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it came to, as an exit code.
    pub exit_code: u8,
}

/// What was looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// `rotate`.
    Rotation,
    /// `verify`.
    Verification,
}

/// A rotation or a verification.
#[derive(Debug, Clone)]
pub struct Check {
    /// Which of them.
    pub kind: CheckKind,
    /// Whose backups.
    pub cluster: String,
    /// When.
    pub at: Timestamp,
    /// What it came to, as an exit code.
    pub exit_code: u8,
    /// How many copies each schedule has that were just read back; empty for a verification.
    pub copies: BTreeMap<String, u32>,
    /// How many backups are not as they were written; none where it ended before that was known.
    pub damaged: Option<u64>,
}

impl VaultView {
    /// Facts that were just read.
    pub fn read(facts: Facts, now: Timestamp) -> VaultView {
        VaultView { reachable: Some(true), refreshed: Some(now), facts }
    }

    /// A vault that did not answer.
    pub fn unreachable() -> VaultView {
        VaultView { reachable: Some(false), ..VaultView::default() }
    }
}

impl Subject {
    /// A schedule of which nothing is known yet.
    pub fn of(schedule: &Schedule) -> Subject {
        Subject {
            cluster: schedule.cluster.to_string(),
            schedule: schedule.name.to_string(),
            keep: Some(schedule.keep),
            timing: Timing::of(schedule).ok(),
            vault: VaultView::default(),
            attempt: None,
        }
    }

    /// When the next run starts by itself; in the past while it is under way, or overdue. Not known before the vault has
    /// told which nights have their run.
    pub fn next_run(&self, now: Timestamp) -> Option<Timestamp> {
        self.vault.refreshed?;
        let timing = self.timing.as_ref()?;
        match due(timing, &self.vault.facts.runs, now).ok()?.0 {
            Verdict::Start { night, .. } => Some(timing.start_of(&night)),
            Verdict::Wait { until, .. } => Some(until),
        }
    }

    /// The last night that closed without a run.
    pub fn missed(&self, now: Timestamp) -> Option<Night> {
        last_missed(self.timing.as_ref()?, &self.vault.facts.runs, now).ok()?
    }

    /// When the last run began, and its exit code where that is known: of a run that another process tried and did not
    /// commit, only the begin is.
    pub fn last_attempt(&self) -> Option<(Timestamp, Option<u8>)> {
        let facts = &self.vault.facts;
        match (self.attempt, facts.last_begun) {
            (Some(own), seen) if seen.is_none_or(|seen| seen <= own.ended) => Some((own.began, Some(own.exit_code))),
            (_, seen) => {
                let committed = facts.newest.as_ref().filter(|newest| Some(newest.started) == seen);
                Some((seen?, committed.map(|newest| exit_code(newest.status))))
            }
        }
    }
}

fn exit_code(status: Status) -> u8 {
    match status {
        Status::Complete => 0,
        Status::Partial => crate::error::Kind::Incomplete.exit_code(),
    }
}
