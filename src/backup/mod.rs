//! One run: the sources are read, packed, sealed and stored; then the backup is committed.
//!
//! ```text
//! claim the id (configuration segment, create-if-absent)
//!   → segments and their indexes, each checked against what the store holds
//!   → signature → manifest (create-if-absent)
//! ```
//!
//! What comes before the manifest can be cut off at any point: without a manifest there is no backup.

mod claim;
mod commit;
mod index;
mod reuse;
mod store;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::claim::Claim;
use self::reuse::Reusable;
use crate::archive::age::Recipients;
use crate::archive::segment::Packing;
use crate::clock::Clock;
use crate::config::Schedule;
use crate::error::{Error, Kind, Result};
use crate::inventory::Omission;
use crate::progress::Progress;
use crate::sources::Source;
use crate::vault::Vault;
use crate::vault::manifest::{Manifest, SourceRecord, Status, WindowRecord};
use crate::vault::signature::Signer;

/// How long the sources may take to clean up: what one asked for may still be being made. It fits into the time that a pod has
/// to end.
const TIME_TO_CLOSE: Duration = Duration::from_secs(100);

/// Everything that a run needs.
pub struct Run<'a> {
    /// Where the backup goes.
    pub vault: &'a Vault,
    /// What asked for it.
    pub schedule: &'a Schedule,
    /// The sources with their names.
    pub sources: Vec<(String, Box<dyn Source>)>,
    /// The night's window; none when a person asked for the backup.
    pub window: Option<WindowRecord>,
    /// What must hold for it to commit; nothing when a person answers for that.
    pub permission: Option<&'a dyn Permission>,
    /// Who can open it.
    pub recipients: &'a Recipients,
    /// Who signs it.
    pub signer: &'a Signer,
    /// Uid and version of the cluster.
    pub cluster: ClusterFacts,
    /// Version of this program.
    pub tool_version: &'a str,
    /// Threads that pack and seal.
    pub workers: usize,
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// Who is told how it goes.
    pub progress: &'a dyn Progress,
    /// How long to wait before a source that could not be read is read again, each time; none when a person waits.
    pub retries: Vec<Duration>,
    /// Ends the reading: what was read by then is committed as a partial backup.
    pub stop: CancellationToken,
    /// Stops the run; nothing is committed then.
    pub cancel: CancellationToken,
}

/// What must hold for a run to go on and to commit: that no other run of the cluster does.
#[async_trait]
pub trait Permission: Send + Sync {
    /// Ends when the run must stop, with the reason.
    async fn withdrawn(&self) -> Error;

    /// Whether the run may commit, and until when.
    async fn to_commit(&self) -> Result<Instant>;
}

/// What the manifest says about the cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterFacts {
    /// Uid of its `kube-system` namespace.
    pub uid: Option<String>,
    /// Version of its API server.
    pub version: Option<String>,
}

impl Run<'_> {
    /// Takes the backup and commits it. The manifest's status says whether anything is missing.
    pub async fn take(self) -> Result<Manifest> {
        let taken = self.store_and_commit().await;
        // After the commit, which may have to be in time.
        self.close_sources().await;
        taken
    }

    async fn store_and_commit(&self) -> Result<Manifest> {
        let stored = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(interrupted()),
            withdrawn = self.withdrawn() => Err(withdrawn),
            stored = self.store_all() => stored,
        };
        let (claim, records) = stored?;
        refuse_empty(&records, &self.stop)?;
        // It may take long, and the permission does not last.
        let previous = commit::find_previous(self, &claim.folder).await?;
        let until = match self.permission {
            Some(permission) => Some(permission.to_commit().await?),
            None => None,
        };
        // Not to be interrupted: it is short, and whether it was done must be known.
        commit::commit(self, &claim, records, previous, until).await
    }

    async fn withdrawn(&self) -> Error {
        match self.permission {
            Some(permission) => permission.withdrawn().await,
            None => std::future::pending().await,
        }
    }

    /// What sources made in the systems that they read goes again, also after a failure.
    async fn close_sources(&self) {
        let closing = self.sources.iter().map(async |(name, source)| {
            let closed = tokio::time::timeout(TIME_TO_CLOSE, source.close()).await;
            let why = match closed {
                Ok(Ok(())) => return,
                Ok(Err(e)) => e.one_line(),
                Err(_) => format!("no answer within {} s", TIME_TO_CLOSE.as_secs()),
            };
            tracing::warn!(source = name, error = why, "clean up after the backup");
        });
        futures::future::join_all(closing).await;
    }

    async fn store_all(&self) -> Result<(Claim, Vec<SourceRecord>)> {
        let claim = claim::claim(self).await?;
        let reusable = Reusable::find_all(self, &claim.folder).await;
        let mut records = vec![claim.record.clone()];
        for (name, source) in &self.sources {
            if self.stop.is_cancelled() {
                break;
            }
            records.push(store::save(self, &claim.folder, name, source.as_ref(), &reusable).await?);
        }
        Ok((claim, records))
    }

    fn packing(&self, started: Timestamp) -> Packing {
        let segment_bytes = self.schedule.segment_bytes;
        Packing { workers: self.workers, segment_bytes, modified: started.as_second().max(0) as u64 }
    }
}

/// A run that read nothing at all has failed; committing it would only look like a backup.
fn refuse_empty(records: &[SourceRecord], stop: &CancellationToken) -> Result<()> {
    let sources = &records[1..];
    if stop.is_cancelled() && sources.iter().all(|s| s.items == 0) {
        return Err(Error::failed("the window closed before anything was read").hint("nothing was committed"));
    }
    let problem = sources.iter().flat_map(|s| &s.problems).next();
    match problem {
        Some(Omission { what, why, .. }) if sources.iter().all(|s| s.items == 0) => {
            Err(Error::failed(format!("nothing could be read; the first problem was {what}: {why}"))
                .hint("nothing was committed; mend the cause and run it again"))
        }
        _ => Ok(()),
    }
}

fn status(problems: &[Omission]) -> Status {
    if problems.is_empty() { Status::Complete } else { Status::Partial }
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted; nothing was committed")
        .hint("run it again; what was written is no backup, and may be removed")
}
