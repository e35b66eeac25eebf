//! Kubernetes Events about runs: on the Lease by which a cluster has one run at a time.
//!
//! The Lease is there for a CronJob, for a Deployment and for a process outside of the cluster, and stays when pods go;
//! `kubectl describe lease ckbackup` shows what happened.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::cluster::events::{Event, EventKind};
use crate::cluster::lease::LeasePlace;
use crate::cluster::{ApiError, Cluster};

/// The end of a run waits no longer for an event.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A complete backup was committed.
    BackupCompleted,
    /// A backup was committed that lacks something.
    BackupPartial,
    /// Nothing was committed.
    BackupFailed,
    /// A window closed without a run, or is not open.
    WindowMissed,
    /// A run was not done when its window closed.
    WindowClosed,
    /// A schedule file is not valid; what was read before stays in force.
    ScheduleInvalid,
    /// Older backups were not rotated, or a damaged one was found.
    RotationFailed,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 7] = [
        Reason::BackupCompleted,
        Reason::BackupPartial,
        Reason::BackupFailed,
        Reason::WindowMissed,
        Reason::WindowClosed,
        Reason::ScheduleInvalid,
        Reason::RotationFailed,
    ];

    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BackupCompleted => "BackupCompleted",
            Reason::BackupPartial => "BackupPartial",
            Reason::BackupFailed => "BackupFailed",
            Reason::WindowMissed => "WindowMissed",
            Reason::WindowClosed => "WindowClosed",
            Reason::ScheduleInvalid => "ScheduleInvalid",
            Reason::RotationFailed => "RotationFailed",
        }
    }

    fn kind(self) -> EventKind {
        match self {
            Reason::BackupCompleted => EventKind::Normal,
            _ => EventKind::Warning,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Reason::ScheduleInvalid => "Schedule",
            Reason::RotationFailed => "Rotate",
            _ => "Backup",
        }
    }
}

/// Tells a cluster what happened.
pub struct Bell {
    cluster: Cluster,
    about: LeasePlace,
    reporter: String,
}

impl Bell {
    /// Events about this lease, by a process of this name.
    pub fn new(cluster: Cluster, about: LeasePlace, reporter: String) -> Bell {
        Bell { cluster, about, reporter }
    }

    /// Writes an event. That it cannot be written, or not soon, is logged and changes nothing.
    pub async fn ring(&self, reason: Reason, note: &str) {
        let why = match tokio::time::timeout(PATIENCE, self.write(reason, note)).await {
            Ok(Ok(())) => return,
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        tracing::warn!(reason = reason.as_str(), lease = %self.about, error = why, "the event could not be written");
    }

    async fn write(&self, reason: Reason, note: &str) -> Result<(), ApiError> {
        // Without its uid, the event still stands in the list of events.
        let lease = self.cluster.lease(&self.about).await.ok().flatten();
        let mut random = [0; 8];
        let _ = getrandom::fill(&mut random);
        let event = Event {
            about: &self.about,
            uid: lease.as_ref().map_or("", |lease| &lease.uid),
            kind: reason.kind(),
            reason: reason.as_str(),
            action: reason.action(),
            note,
            reporter: &self.reporter,
            unique: &hex::encode(random),
        };
        self.cluster.write_event(&event, SystemClock.now()).await
    }
}
