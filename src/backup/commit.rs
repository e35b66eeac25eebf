//! The last writes of a run: signature, then manifest. The manifest is the commit.

use std::time::Instant;

use bytes::Bytes;

use super::Run;
use super::claim::Claim;
use crate::clock::to_seconds;
use crate::error::{Error, Kind, Result};
use crate::reader::read_committed;
use crate::vault::Created;
use crate::vault::layout::{BackupFolder, MANIFEST, SIGNATURE};
use crate::vault::manifest::{FORMAT_VERSION, Manifest, Previous, SourceRecord, Status, digest};
use crate::vault::signature::Purpose;

/// How many of the newest backups are looked at for the link of the chain.
const LOOKED_AT: usize = 200;

/// The newest committed backup of the cluster before this one: the next link of the chain.
///
/// One that this run's own key signed is preferred, so that nobody who can write to the vault can make the chain lead to
/// something else; another only counts where there is none, as after a change of keys.
/// A list that fails ends the run: a chain that begins anew is a sign that backups were taken away.
pub(super) async fn find_previous(run: &Run<'_>, folder: &BackupFolder) -> Result<Option<Previous>> {
    let ids = run.vault.backup_ids(&folder.cluster).await.map_err(|e| e.within("look for the previous backup"))?;
    let own = run.signer.signers();
    let mut other = None;
    for id in ids.into_iter().rev().filter(|id| *id < folder.id).take(LOOKED_AT) {
        let candidate = BackupFolder { cluster: folder.cluster.clone(), id };
        match read_committed(run.vault, &candidate, Some(&own)).await {
            Ok(Some(found)) => {
                let previous = Previous { id: candidate.id, sha256: digest(&found.bytes) };
                if found.standing.is_trusted() {
                    return Ok(Some(previous));
                }
                other.get_or_insert(previous);
            }
            Ok(None) => {}
            // What is wrong with it is found by `verify`; tonight's backup does not wait for it.
            Err(e) => tracing::warn!(backup = %candidate.id, error = %e.one_line(), "passed over in the chain"),
        }
    }
    Ok(other)
}

/// Signs and stores the manifest, unless it is too late for it.
pub(super) async fn commit(
    run: &Run<'_>,
    claim: &Claim,
    sources: Vec<SourceRecord>,
    previous: Option<Previous>,
    until: Option<Instant>,
) -> Result<Manifest> {
    let taken = |name: &str| sources.iter().any(|s| s.name == name);
    let names = run.schedule.sources.iter().map(|s| s.name.to_string());
    let left_out_sources: Vec<_> = names.filter(|name| !taken(name)).collect();
    let partial = !left_out_sources.is_empty() || sources.iter().any(|s| s.status == Status::Partial);
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        id: claim.folder.id.clone(),
        cluster: claim.folder.cluster.clone(),
        schedule: run.schedule.name.to_string(),
        tool_version: run.tool_version.into(),
        status: if partial { Status::Partial } else { Status::Complete },
        started: claim.started,
        finished: to_seconds(run.clock.now()),
        window: run.window.clone(),
        recipients: run.recipients.texts().to_vec(),
        signer: run.signer.fingerprint(),
        left_out_sources,
        previous,
        cluster_uid: run.cluster.uid.clone(),
        server_version: run.cluster.version.clone(),
        sources,
    };
    let bytes = manifest.to_bytes()?;
    let signature = run.signer.sign(Purpose::Backup, &bytes)?;
    create(run, claim, SIGNATURE, signature.into_bytes()).await?;
    // A process that was stopped meanwhile must not commit what another run commits, too: neither now nor by trying again.
    tokio::select! {
        biased;
        () = passed(until) => return Err(too_late(claim)),
        created = create(run, claim, MANIFEST, bytes) => created?,
    }
    Ok(manifest)
}

async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

fn too_late(claim: &Claim) -> Error {
    Error::new(Kind::LeaseHeld, format!("{} could not be committed in time", claim.folder.id)).hint(
        "the run stood still, or the storage did not answer; another run may have taken its place. `ckbackup list` tells \
         whether it was committed all the same",
    )
}

async fn create(run: &Run<'_>, claim: &Claim, relative: &str, bytes: Vec<u8>) -> Result<()> {
    let key = claim.folder.of(relative);
    match run.vault.create(&key, Bytes::from(bytes)).await? {
        Created::Yes(_) => Ok(()),
        Created::Taken => {
            Err(Error::integrity(format!("{key} was written by somebody else while this run was under way"))
                .hint("this run was not committed; find out who writes to the vault"))
        }
    }
}
