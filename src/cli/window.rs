//! `backup --window`: whether a run may start now, and for which night.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::Global;
use super::witness::Witness;
use crate::backup::Permission;
use crate::clock::{Clock, SystemClock};
use crate::cluster::Cluster;
use crate::cluster::lease::LeasePlace;
use crate::config::{OnWindowClose, Schedule};
use crate::error::{Error, Kind, Result};
use crate::reader::{Committed, Listing, list_newest};
use crate::scheduler::{Lease, Night, Term, Timing, Verdict, WasRun, due};
use crate::vault::Vault;
use crate::vault::layout::BackupId;
use crate::vault::manifest::Status;
use crate::vault::signature::Signers;

/// How many of the newest folders of a schedule are looked at: tonight's run, and the last one before it, are among them
/// even after weeks in which each run was cut off.
const LOOKED_AT: usize = 200;

/// How long before the close a run stops reading, to seal, store and commit what it has; at most this part of a window.
const TIME_TO_COMMIT: SignedDuration = SignedDuration::from_mins(2);
const COMMIT_PART: i32 = 90;

/// The usual name of the lease.
const LEASE: &str = "ckbackup";

/// How far a clock may be wrong.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

/// The longest time without a look at the clock, which may be set while a run waits.
const NAP: Duration = Duration::from_secs(20);

/// What the window says about a run.
pub(super) enum Admission {
    /// It may start, for this night.
    Run(Night),
    /// Tonight's run was taken already, and this is what came of it.
    Taken(Night, BackupId, Status),
}

/// The timing of a schedule whose window is open, or that catches up at any time.
pub(super) fn open_window(schedule: &Schedule) -> Result<Timing> {
    let timing = Timing::of(schedule)?;
    let now = SystemClock.now();
    let night = Night::at_or_after(timing.window(), now)?;
    if !night.contains(now) && !timing.catches_up() {
        return Err(closed(&timing, &night));
    }
    Ok(timing)
}

fn closed(timing: &Timing, next: &Night) -> Error {
    Error::new(Kind::WindowMissed, format!("the window {} is not open", timing.window()))
        .hint(format!("it opens at {}; --now takes a backup at any time", next.opens))
}

/// Waits until the run of the night starts, which is soon after the opening and differs from cluster to cluster.
pub(super) async fn admit(
    timing: &Timing,
    schedule: &Schedule,
    vault: &Vault,
    own: &Signers,
    witness: &Witness,
    global: &Global,
) -> Result<Admission> {
    let mut told = false;
    loop {
        let runs = known_runs(schedule, vault, own).await?;
        let now = SystemClock.now();
        let known: Vec<_> = runs.iter().map(|(_, run)| run.clone()).collect();
        let (verdict, missed) = due(timing, &known, now)?;
        if let (Some(date), false) = (missed, told) {
            let note = format!("the night of {date} passed without a backup");
            global.warn(&note);
            witness.missed(date, &note).await;
        }
        match verdict {
            Verdict::Start { night, late } => {
                if late && !told {
                    global.note(format!("making up for the night of {}", night.date));
                }
                return Ok(Admission::Run(night));
            }
            Verdict::Wait { until, night } if night.contains(now) => {
                if !told {
                    global.note(format!("the run of {} starts at {until}: clusters are spread", night.date));
                }
                sleep_until(until).await;
            }
            Verdict::Wait { night, .. } => {
                let tonight = Night::at_or_after(timing.window(), now)?;
                let taken = runs.into_iter().rev().find(|(_, run)| timing.is_run_of(run, &tonight));
                return match taken {
                    Some((id, run)) if tonight.contains(now) => {
                        let status = if run.complete { Status::Complete } else { Status::Partial };
                        Ok(Admission::Taken(tonight, id, status))
                    }
                    _ => Err(closed(timing, &night)),
                };
            }
        }
        told = true;
    }
}

/// Cancelled shortly before the night's window closes, so that what was read by then is committed in time. A run that
/// began after the close, to make up for a night, has no end.
pub(super) fn stop_at_close(schedule: &Schedule, night: &Night) -> CancellationToken {
    let stop = CancellationToken::new();
    let end = night.closes - TIME_TO_COMMIT.min(night.length() / COMMIT_PART);
    if schedule.on_window_close == OnWindowClose::CommitPartial && SystemClock.now() < night.closes {
        let stop = stop.clone();
        tokio::spawn(async move {
            sleep_until(end).await;
            stop.cancel();
        });
    }
    stop
}

/// The lease of a schedule's runs: who takes it, where, and for how long at a time.
pub(super) async fn take_lease(schedule: &Schedule, cluster: &Cluster) -> Result<Lease> {
    let term = schedule.lease.as_ref().and_then(|lease| lease.term).map(Term::of).unwrap_or_default();
    Lease::take(cluster, lease_place(schedule, cluster), this_process(), term).await
}

/// Where the lease of a schedule's runs is.
pub(super) fn lease_place(schedule: &Schedule, cluster: &Cluster) -> LeasePlace {
    let names = schedule.lease.clone().unwrap_or_default();
    LeasePlace {
        namespace: names.namespace.map_or_else(|| cluster.namespace().to_string(), |name| name.to_string()),
        name: names.name.map_or_else(|| LEASE.to_string(), |name| name.to_string()),
    }
}

/// The name of this machine; in a pod, the pod's.
pub(super) fn this_host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().to_string()
}

/// Names this process among those that may run at the same time.
fn this_process() -> String {
    let mut random = [0; 4];
    let _ = getrandom::fill(&mut random);
    format!("{}-{}-{}", this_host(), std::process::id(), hex::encode(random))
}

/// What a run needs to commit: the lease, and for a night's run that nobody else took it.
pub(super) struct Held<'a> {
    pub lease: &'a Lease,
    pub night: Option<(&'a Timing, &'a Night)>,
    pub schedule: &'a Schedule,
    pub vault: &'a Vault,
    pub own: &'a Signers,
}

#[async_trait]
impl Permission for Held<'_> {
    async fn withdrawn(&self) -> Error {
        self.lease.lost().cancelled().await;
        self.lease.loss()
    }

    async fn to_commit(&self) -> Result<Instant> {
        if let Some((timing, night)) = self.night {
            let runs = known_runs(self.schedule, self.vault, self.own).await?;
            if let Some((id, _)) = runs.iter().find(|(_, run)| timing.is_run_of(run, night)) {
                return Err(Error::new(Kind::LeaseHeld, format!("{id} was committed for the same night meanwhile"))
                    .hint("nothing more is to be done tonight; this run was not committed"));
            }
        }
        // Last, for it is not good for long.
        self.lease.renew().await
    }
}

/// The newest runs of the schedule that this job's own key vouches for: others could keep tonight's from starting.
async fn known_runs(schedule: &Schedule, vault: &Vault, own: &Signers) -> Result<Vec<(BackupId, WasRun)>> {
    // What claims to be of a later time must not hide the others.
    let latest = BackupId::new(SystemClock.now() + CLOCKS_DIFFER, &schedule.name);
    let is_ours = |id: &BackupId| id.schedule() == schedule.name.as_str() && *id <= latest;
    let listed = list_newest(vault, schedule.cluster.as_str(), Some(own), LOOKED_AT, is_ours).await?;
    let committed = listed.into_iter().filter_map(|listing| match listing {
        Listing::Committed(backup) if backup.standing.is_trusted() => Some(*backup),
        _ => None,
    });
    let run = |backup: Committed| {
        let manifest = backup.manifest;
        let window_opened = manifest.window.map(|window| window.opens);
        let complete = manifest.status == Status::Complete;
        (manifest.id, WasRun { started: manifest.started, window_opened, complete })
    };
    Ok(committed.map(run).collect())
}

async fn sleep_until(moment: Timestamp) {
    while let Ok(rest) = Duration::try_from(moment.duration_since(SystemClock.now())) {
        if rest.is_zero() {
            return;
        }
        tokio::time::sleep(rest.min(NAP)).await;
    }
}
