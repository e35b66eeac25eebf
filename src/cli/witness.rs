//! Who sees what becomes of runs: events in the cluster at once, and what the metrics say afterwards.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;

use super::Global;
use super::record::record_apart;
use super::shared::ClusterArgs;
use super::window::{lease_place, this_host};
use crate::cluster::{Access, Cluster};
use crate::config::Schedule;
use crate::error::Kind;
use crate::observe::{Attempt, Bell, Check, Reason};
use crate::scheduler::Night;
use crate::storage::StoreSettings;
use crate::vault::record::{FailedRunRecord, MissedNightRecord, RecordBody};

/// Characters of an error that are recorded.
const REASON: usize = 300;

/// Sees what becomes of the runs of one schedule.
pub(super) struct Witness {
    schedule: Schedule,
    /// Where events go; nowhere when the schedule's runs have no lease.
    access: Option<Access>,
    /// With which the vault is opened, to record what came of them.
    settings: StoreSettings,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The missed night that was told.
    missed: Option<Date>,
    attempt: Option<Attempt>,
    rotation: Option<Check>,
}

impl Witness {
    /// For the runs of a schedule: those in its window, or whatever is asked for.
    pub fn new(schedule: &Schedule, in_window: bool, cluster: &ClusterArgs, global: &Global) -> Witness {
        let has_lease = in_window || schedule.lease.is_some();
        let access = has_lease.then(|| global.cluster_access(cluster));
        Witness { schedule: schedule.clone(), access, settings: global.store_settings(), seen: Mutex::default() }
    }

    /// Whether it still fits a schedule.
    pub fn is_of(&self, schedule: &Schedule) -> bool {
        self.schedule == *schedule
    }

    /// Tells the cluster, if it can be told.
    pub async fn ring(&self, reason: Reason, note: &str) {
        let Some(access) = &self.access else { return };
        match Cluster::connect(access.clone()).await {
            Ok(cluster) => {
                let place = lease_place(&self.schedule, &cluster);
                let note = format!("{}/{}: {note}", self.schedule.cluster, self.schedule.name);
                Bell::new(cluster, place, this_host()).ring(reason, &note).await;
            }
            Err(e) => tracing::warn!(reason = reason.as_str(), error = %e.one_line(), "the event could not be written"),
        }
    }

    /// Tells of a night without a run, once; whether this was the first time.
    pub async fn missed(&self, date: Date, note: &str) -> bool {
        let first = self.seen().missed.replace(date) != Some(date);
        if first {
            self.ring(Reason::WindowMissed, note).await;
            let body = MissedNightRecord { night: date, reason: note.into() };
            record_apart(&self.schedule, &self.settings, RecordBody::MissedNight(body)).await;
        }
        first
    }

    /// A run ended without a backup; one of a window is of the night that was open, or the last one.
    pub async fn failed(&self, began: Timestamp, in_window: bool, reason: &str) {
        let window = self.schedule.window.as_ref().filter(|_| in_window);
        let night = window.and_then(|window| Night::at_or_before(window, began).ok());
        let night = night.map(|night| night.date);
        let body = FailedRunRecord { began, night, reason: reason.chars().take(REASON).collect() };
        record_apart(&self.schedule, &self.settings, RecordBody::FailedRun(body)).await;
    }

    /// A run ended.
    pub fn attempted(&self, began: Timestamp, ended: Timestamp, exit_code: u8) {
        self.seen().attempt = Some(Attempt { began, ended, exit_code });
    }

    /// A rotation ended.
    pub fn rotated(&self, check: Check) {
        self.seen().rotation = Some(check);
    }

    /// What was seen since the last time.
    pub fn take(&self) -> (Option<Attempt>, Option<Check>) {
        let mut seen = self.seen();
        (seen.attempt.take(), seen.rotation.take())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a failure is one of the run: not when another run is under way, the window is closed, or somebody stopped it.
pub(super) fn is_failure(kind: Kind) -> bool {
    !matches!(kind, Kind::LeaseHeld | Kind::WindowMissed | Kind::Interrupted)
}
