//! What was proved of a backup: attestations are read, checked and written.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::find::Committed;
use super::record::append_record;
use crate::error::{Error, Kind, Result};
use crate::vault::attestation::{ATTESTATIONS, Attestation, Level};
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::{FORMAT_VERSION, digest};
use crate::vault::record::{RecordBody, VerificationRecord};
use crate::vault::signature::{Purpose, SignedBy, Signer, Signers};
use crate::vault::{Created, Listed, ReadError, Vault};

/// How many of the newest attestations are read: a daily one, for the year that a backup may stay.
const MOST: usize = 400;

/// A larger one was put there to fill the memory; bytes.
const LARGEST: u64 = 64 << 10;

/// How many are read at the same time.
const AT_ONCE: usize = 8;

/// One attestation that holds.
#[derive(Debug, Clone)]
pub struct Proof {
    /// What it says.
    pub attestation: Attestation,
    /// Who says it; nobody knows where no trusted signers are given.
    pub by: Option<SignedBy>,
}

/// What was found beside a backup.
#[derive(Debug, Default)]
pub struct Proofs {
    /// Those that hold, oldest first.
    pub good: Vec<Proof>,
    /// Those that do not, and why.
    pub refused: Vec<(String, Error)>,
}

impl Proofs {
    /// The highest level that was proved, at its last time.
    pub fn best(&self) -> Option<&Proof> {
        self.good.iter().max_by_key(|proof| (proof.attestation.level, proof.attestation.at))
    }
}

/// What was counted while a backup was verified.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Objects that were looked at or read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Members that were compared.
    pub members: Option<u64>,
}

/// Reads the attestations of a backup.
pub async fn proofs(vault: &Vault, backup: &Committed, signers: Option<&Signers>) -> Result<Proofs> {
    let listed = vault.list(&backup.folder.of(ATTESTATIONS)).await?;
    let is_one = |o: &Listed| o.bytes <= LARGEST && Attestation::is_name(o.key.rsplit('/').next().unwrap_or_default());
    let mut keys: Vec<_> = listed.into_iter().filter(is_one).map(|o| o.key).collect();
    keys.sort_unstable();
    let keys = keys.split_off(keys.len().saturating_sub(MOST));
    let reads = keys.into_iter().map(|key| async move {
        let read = read(vault, backup, &key, signers).await;
        match read {
            Err(e) if e.kind() != Kind::Integrity => Err(e),
            checked => Ok((key, checked)),
        }
    });
    let read: Vec<_> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    let mut proofs = Proofs::default();
    for (key, checked) in read {
        match checked {
            Ok(proof) => proofs.good.push(proof),
            Err(e) => proofs.refused.push((key, e)),
        }
    }
    Ok(proofs)
}

async fn read(vault: &Vault, backup: &Committed, key: &str, signers: Option<&Signers>) -> Result<Proof> {
    let bytes = vault.read(key, None).await.map_err(|e| e.expected(key))?;
    let by = match signers {
        None => None,
        Some(signers) => {
            let signature = match vault.read(&format!("{key}.sig"), None).await {
                Ok(signature) => signature,
                Err(ReadError::NotFound) => return Err(Error::integrity("its signature is missing")),
                Err(ReadError::Other(e)) => return Err(e),
            };
            let (claimed, at) = (Attestation::parse(&bytes), Timestamp::now());
            let at = claimed.map_or(at, |claimed| claimed.at);
            Some(signers.verify(Purpose::Attestation, &bytes, &signature, at)?)
        }
    };
    let attestation = Attestation::parse(&bytes)?;
    let BackupFolder { cluster, id } = &backup.folder;
    let of_this = attestation.cluster == *cluster
        && attestation.backup == *id
        && attestation.manifest_sha256 == digest(&backup.bytes)
        && key == backup.folder.of(&attestation.key());
    if !of_this {
        return Err(Error::integrity("it is about another backup, or another manifest"));
    }
    Ok(Proof { attestation, by })
}

/// Signs what was proved, and stores it beside the backup; then records it where it outlives the backup.
pub async fn attest(
    vault: &Vault,
    folder: &BackupFolder,
    manifest: [u8; 32],
    signer: &Signer,
    level: Level,
    counted: Counted,
    at: Timestamp,
) -> Result<()> {
    let attestation = Attestation {
        format_version: FORMAT_VERSION,
        cluster: folder.cluster.clone(),
        backup: folder.id.clone(),
        manifest_sha256: manifest,
        level,
        at: crate::clock::to_seconds(at),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        objects: counted.objects,
        bytes: counted.bytes,
        members: counted.members,
    };
    let key = folder.of(&attestation.key());
    let bytes = attestation.to_bytes()?;
    let signature = signer.sign(Purpose::Attestation, &bytes)?;
    // The signature first: without the other, nobody looks at it.
    create(vault, &format!("{key}.sig"), signature.into_bytes()).await?;
    create(vault, &key, bytes).await?;
    if let Err(e) = record(vault, folder, manifest, signer, level, at).await {
        tracing::warn!(backup = %folder.id, error = %e.one_line(), "what was proved is attested, and not recorded");
    }
    Ok(())
}

async fn record(
    vault: &Vault,
    folder: &BackupFolder,
    manifest: [u8; 32],
    signer: &Signer,
    level: Level,
    at: Timestamp,
) -> Result<()> {
    let name = folder.id.schedule().parse()?;
    let body = VerificationRecord { backup: folder.id.clone(), manifest_sha256: manifest, level };
    append_record(vault, signer, &folder.cluster, &name, at, RecordBody::Verification(body)).await.map(drop)
}

async fn create(vault: &Vault, key: &str, bytes: Vec<u8>) -> Result<()> {
    match vault.create(key, Bytes::from(bytes)).await? {
        Created::Yes(_) => Ok(()),
        Created::Taken => {
            Err(Error::failed(format!("{key} is there already: somebody attested in the same second"))
                .hint("run it again"))
        }
    }
}
