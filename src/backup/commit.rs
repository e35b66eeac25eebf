//! The last writes of a run: signature, then manifest. The manifest is the commit.

use bytes::Bytes;

use super::Run;
use super::claim::Claim;
use crate::clock::to_seconds;
use crate::error::{Error, Result};
use crate::reader::read_committed;
use crate::vault::Created;
use crate::vault::layout::{BackupFolder, MANIFEST, SIGNATURE};
use crate::vault::manifest::{FORMAT_VERSION, IndexRecord, Manifest, Previous, SourceRecord, Status, digest};

/// The newest committed backup of the cluster before this one: the next link of the chain.
///
/// One that this run's own key signed is preferred, so that nobody who can write to the vault can make the chain lead to
/// something else; another only counts where there is none, as after a change of keys.
async fn find_previous(run: &Run<'_>, folder: &BackupFolder) -> Option<Previous> {
    let ids = match run.vault.backup_ids(&folder.cluster).await {
        Ok(ids) => ids,
        Err(e) => {
            tracing::warn!(error = %e.one_line(), "look for the previous backup");
            return None;
        }
    };
    let own = run.signer.signers();
    let mut other = None;
    for id in ids.into_iter().rev().filter(|id| *id < folder.id) {
        let candidate = BackupFolder { cluster: folder.cluster.clone(), id };
        match read_committed(run.vault, &candidate, Some(&own)).await {
            Ok(Some(found)) => {
                let previous = Previous { id: candidate.id, sha256: digest(&found.bytes) };
                if found.standing.is_trusted() {
                    return Some(previous);
                }
                other.get_or_insert(previous);
            }
            Ok(None) => {}
            // What is wrong with it is found by `verify`; tonight's backup does not wait for it.
            Err(e) => tracing::warn!(backup = %candidate.id, error = %e.one_line(), "passed over in the chain"),
        }
    }
    other
}

/// Signs and stores the manifest.
pub(super) async fn commit(
    run: &Run<'_>,
    claim: &Claim,
    sources: Vec<SourceRecord>,
    index: IndexRecord,
) -> Result<Manifest> {
    let previous = find_previous(run, &claim.folder).await;
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
        window: None,
        recipients: run.recipients.texts().to_vec(),
        signer: run.signer.fingerprint(),
        left_out_sources,
        previous,
        cluster_uid: run.cluster.uid.clone(),
        server_version: run.cluster.version.clone(),
        sources,
        index,
    };
    let bytes = manifest.to_bytes()?;
    let signature = run.signer.sign(&bytes)?;
    create(run, claim, SIGNATURE, signature.into_bytes()).await?;
    create(run, claim, MANIFEST, bytes).await?;
    Ok(manifest)
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
