//! One run: the sources are read, packed, sealed and stored; then the backup is committed.
//!
//! ```text
//! claim the id (configuration segment, create-if-absent)
//!   → segments, each checked against what the store holds → index → signature → manifest (create-if-absent)
//! ```
//!
//! What comes before the manifest can be cut off at any point: without a manifest there is no backup.

mod claim;
mod commit;
mod index;
mod store;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::claim::Claim;
use crate::archive::age::Recipients;
use crate::archive::segment::Packing;
use crate::clock::Clock;
use crate::config::Schedule;
use crate::error::{Error, Kind, Result};
use crate::inventory::Omission;
use crate::progress::Progress;
use crate::sources::Source;
use crate::vault::Vault;
use crate::vault::manifest::{IndexRecord, Manifest, SourceRecord, Status};
use crate::vault::signature::Signer;

/// Stored size at which a segment is closed: large enough for few requests, small enough to be sent again.
const SEGMENT_BYTES: u64 = 1 << 30;

/// Everything that a run needs.
pub struct Run<'a> {
    /// Where the backup goes.
    pub vault: &'a Vault,
    /// What asked for it.
    pub schedule: &'a Schedule,
    /// The sources with their names.
    pub sources: Vec<(String, Box<dyn Source>)>,
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
    /// Stops the run; nothing is committed then.
    pub cancel: CancellationToken,
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
        let (claim, records, index) = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(interrupted()),
            stored = self.store_all() => stored?,
        };
        refuse_empty(&records)?;
        // Not to be interrupted: it is short, and whether it was done must be known.
        commit::commit(&self, &claim, records, index).await
    }

    async fn store_all(&self) -> Result<(Claim, Vec<SourceRecord>, IndexRecord)> {
        let claim = claim::claim(self).await?;
        let (index, index_writer) = index::begin(self, &claim).await?;
        let mut records = vec![claim.record.clone()];
        let reading = async {
            for (name, source) in &self.sources {
                records.push(store::save(self, &claim.folder, name, source.as_ref(), &index).await?);
            }
            drop(index);
            Ok(())
        };
        let ((), index_record) = futures::try_join!(reading, index_writer)?;
        Ok((claim, records, index_record))
    }

    fn packing(&self, started: Timestamp) -> Packing {
        Packing { workers: self.workers, segment_bytes: SEGMENT_BYTES, modified: started.as_second().max(0) as u64 }
    }
}

/// A run that read nothing at all has failed; committing it would only look like a backup.
fn refuse_empty(records: &[SourceRecord]) -> Result<()> {
    let sources = &records[1..];
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
