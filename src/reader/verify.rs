//! Verification: signature, chain, and every stored object; with an identity also every member.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::find::{Committed, Standing, read_committed};
use super::open::{OpenBackup, StoredFrame};
use crate::archive::age::{Identities, Opener};
use crate::archive::frame::{self, END_OF_TAR};
use crate::archive::index::begun;
use crate::archive::parts::PartOrder;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::vault::attestation::ATTESTATIONS;
use crate::vault::layout::{BackupFolder, MANIFEST, RECEIPTS, SIGNATURE};
use crate::vault::manifest::{Manifest, StoredObject, digest};
use crate::vault::signature::Signers;
use crate::vault::{Listed, ReadError, Vault};

/// Something that verification found.
#[derive(Debug)]
pub struct Finding {
    /// The object: a key in the vault, or `signature`, `chain`.
    pub object: String,
    /// What is wrong with it.
    pub error: Error,
}

/// What was verified of a backup.
#[derive(Debug)]
pub struct Verified {
    /// The backup.
    pub folder: BackupFolder,
    /// Whether its signature holds.
    pub standing: Standing,
    /// Stored objects whose size and digest were compared.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Members whose digest was compared; none without an identity.
    pub members: Option<u64>,
    /// Everything that is wrong. Empty means that the backup is what it says.
    pub findings: Vec<Finding>,
    /// Things in the folder that the manifest does not name. Not wrong, but worth knowing.
    pub strays: Vec<String>,
}

/// Verifies a backup. Findings do not end it: the whole damage is reported.
pub async fn verify(
    vault: &Vault,
    backup: Committed,
    signers: Option<&Signers>,
    identities: Option<Arc<Identities>>,
    progress: &dyn Progress,
) -> Result<Verified> {
    let folder = backup.folder.clone();
    let mut findings = Vec::new();
    findings.extend(check_chain(vault, &backup, signers).await?);
    let strays = find_strays(vault, &backup).await?;
    let opened = match identities {
        Some(identities) => open(vault, &backup, identities, &mut findings).await?,
        None => None,
    };
    let task = folder.id.to_string();
    progress.begin(&task, None);
    let (mut objects, mut bytes, mut members) = (0, 0, opened.as_ref().map(|_| 0));
    for (record, segment) in all_objects(&backup.manifest) {
        let frames = opened.as_ref().zip(segment);
        match check_object(vault, &folder, record, frames, progress, &task).await {
            Ok(count) => {
                members = members.map(|all| all + count);
            }
            Err(e) if e.kind() == Kind::Integrity => {
                findings.push(Finding { object: folder.of(&record.key), error: e })
            }
            Err(e) => return Err(e),
        }
        objects += 1;
        bytes += record.bytes;
    }
    progress.end(&task, "");
    Ok(Verified { folder, standing: backup.standing, objects, bytes, members, findings, strays })
}

/// The stored objects; of a segment also whose it is.
fn all_objects(manifest: &Manifest) -> impl Iterator<Item = (&StoredObject, Option<(&str, u32)>)> {
    let segments =
        manifest.sources.iter().flat_map(|s| s.segments.iter().zip(1..).map(|(r, n)| (s.name.as_str(), r, n)));
    segments.flat_map(|(name, record, number)| [(&record.object, Some((name, number))), (&record.index.object, None)])
}

async fn open(
    vault: &Vault,
    backup: &Committed,
    identities: Arc<Identities>,
    findings: &mut Vec<Finding>,
) -> Result<Option<OpenBackup>> {
    let copy = Committed {
        folder: backup.folder.clone(),
        manifest: backup.manifest.clone(),
        bytes: Vec::new(),
        standing: Standing::Unchecked,
    };
    let opened = async {
        let open = OpenBackup::open(vault, copy, identities).await?;
        open.load_index().await?;
        Ok(open)
    };
    match opened.await {
        Ok(open) => Ok(Some(open)),
        Err(e) if Error::kind(&e) == Kind::Integrity => {
            findings.push(Finding { object: backup.object_of(&e), error: e });
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// The previous manifest, where it is still there, must be the one that this one names.
async fn check_chain(vault: &Vault, backup: &Committed, signers: Option<&Signers>) -> Result<Option<Finding>> {
    let Some(previous) = &backup.manifest.previous else { return Ok(None) };
    let folder = BackupFolder { cluster: backup.folder.cluster.clone(), id: previous.id.clone() };
    let found = match read_committed(vault, &folder, signers).await {
        // Rotation removes old backups; a link that ends there is no sign of anything.
        Ok(None) => return Ok(None),
        Ok(Some(found)) => found,
        Err(e) if e.kind() == Kind::Integrity => return Ok(Some(Finding { object: folder.of(MANIFEST), error: e })),
        Err(e) => return Err(e),
    };
    if let Standing::Refused(e) = found.standing {
        return Ok(Some(Finding { object: folder.of(MANIFEST), error: e.within("the previous backup") }));
    }
    if digest(&found.bytes) == previous.sha256 {
        return Ok(None);
    }
    let error = Error::integrity(format!("it is not the manifest that {} names as its previous one", backup.folder.id));
    Ok(Some(Finding { object: folder.of(MANIFEST), error }))
}

async fn find_strays(vault: &Vault, backup: &Committed) -> Result<Vec<String>> {
    let folder = &backup.folder;
    let known = |key: &str| {
        [MANIFEST, SIGNATURE].iter().any(|k| folder.of(k) == key)
            || backup.manifest.objects().any(|o| folder.of(&o.key) == key)
    };
    // No part of the backup, but of its history.
    let beside = [ATTESTATIONS, RECEIPTS].map(|name| format!("{}/", folder.of(name)));
    let listed = vault.list(&folder.key()).await?.into_iter().map(|Listed { key, .. }| key);
    Ok(listed.filter(|key| !known(key) && !beside.iter().any(|folder| key.starts_with(folder))).collect())
}

/// Compares sizes with a list, and reads nothing but the manifest: what is missing, or has another size.
pub async fn missing_objects(vault: &Vault, backup: Committed, signers: Option<&Signers>) -> Result<Verified> {
    let folder = backup.folder.clone();
    let mut findings = Vec::from_iter(check_chain(vault, &backup, signers).await?);
    let sizes: HashMap<_, _> = vault.list(&folder.key()).await?.into_iter().map(|o| (o.key, o.bytes)).collect();
    let (mut objects, mut bytes) = (0, 0);
    for record in backup.manifest.objects() {
        let key = folder.of(&record.key);
        let error = match sizes.get(&key) {
            Some(size) if *size == record.bytes => None,
            Some(size) => Some(Error::integrity(format!("it has {size} bytes, the manifest says {}", record.bytes))),
            None => Some(ReadError::NotFound.expected(&key)),
        };
        findings.extend(error.map(|error| Finding { object: key, error }));
        objects += 1;
        bytes += record.bytes;
    }
    let strays = find_strays(vault, &backup).await?;
    Ok(Verified { folder, standing: backup.standing, objects, bytes, members: None, findings, strays })
}

/// Reads a stored object to its end; compares size and digest, and with an opened index every frame and member.
async fn check_object(
    vault: &Vault,
    folder: &BackupFolder,
    record: &StoredObject,
    frames: Option<(&OpenBackup, (&str, u32))>,
    progress: &dyn Progress,
    task: &str,
) -> Result<u64> {
    let key = folder.of(&record.key);
    let mut stream = vault.stream(&key, record.version.as_deref()).await.map_err(|e| e.expected(&key))?;
    let mut stored = Sha256::new();
    let mut size = 0u64;
    let mut walk = frames.map(|(open, (source, segment))| Walk::new(open, source, segment));
    // The digest of what is stored decides first: what it finds is what an auditor understands.
    let mut inner: Result<()> = Ok(());
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        size += piece.len() as u64;
        // Whatever stands there instead may be endless.
        if size > record.bytes {
            return Err(Error::integrity(format!("it has at least {size} bytes, the manifest says {}", record.bytes)));
        }
        stored.update(&piece);
        progress.advance(task, 0, piece.len() as u64);
        if let (Some(walk), Ok(())) = (&mut walk, &inner) {
            inner = walk.push(&piece).await;
        }
    }
    if size != record.bytes {
        return Err(Error::integrity(format!("it has {size} bytes, the manifest says {}", record.bytes)));
    }
    if <[u8; 32]>::from(stored.finalize()) != record.sha256 {
        return Err(Error::integrity("its SHA-256 is not what the manifest says"));
    }
    inner?;
    match walk {
        Some(walk) => walk.finish(record).await,
        None => Ok(0),
    }
}

/// Goes through a segment's plaintext frame by frame, against the index.
struct Walk<'a> {
    open: &'a OpenBackup,
    opener: Option<Opener>,
    plain: Vec<u8>,
    digest: Sha256,
    frames: std::vec::IntoIter<&'a StoredFrame>,
    next: Option<&'a StoredFrame>,
    at: u64,
    members: u64,
    parts: PartOrder,
}

impl<'a> Walk<'a> {
    fn new(open: &'a OpenBackup, source: &str, segment: u32) -> Self {
        let mine = |f: &&StoredFrame| &*f.source == source && f.segment == segment;
        let mut frames: Vec<_> = open.directory().iter().filter(mine).collect();
        frames.sort_by_key(|f| f.record.offset);
        let mut frames = frames.into_iter();
        let next = frames.next();
        let opener = Some(Opener::new(open.identities()));
        Walk {
            open,
            opener,
            plain: Vec::new(),
            digest: Sha256::new(),
            frames,
            next,
            at: 0,
            members: 0,
            parts: PartOrder::default(),
        }
    }

    async fn push(&mut self, sealed: &[u8]) -> Result<()> {
        let before = self.plain.len();
        if let Some(opener) = &mut self.opener {
            opener.push(sealed, &mut self.plain)?;
        }
        self.digest.update(&self.plain[before..]);
        self.take_frames().await
    }

    async fn take_frames(&mut self) -> Result<()> {
        while let Some(frame) = self.next.take_if(|f| f.record.length <= self.plain.len() as u64) {
            let record = &frame.record;
            if record.offset != self.at {
                return Err(Error::integrity("there are bytes between its frames that the index does not know"));
            }
            let rest = self.plain.split_off(record.length as usize);
            let encoded = std::mem::replace(&mut self.plain, rest);
            let entries = self.open.entries(frame).await?;
            entries.iter().try_for_each(|entry| self.parts.follow(entry))?;
            let begun = begun(&entries);
            let limits = *self.open.limits();
            let (decoded, sha256) = (record.decoded, record.sha256);
            let job = tokio::task::spawn_blocking(move || {
                frame::check_digest(&encoded, &sha256)?;
                let decoded = frame::decode(&encoded, decoded, &limits)?;
                frame::members(&decoded, &entries).map(drop)
            });
            job.await.map_err(|e| Error::failed("check a frame").because(e))??;
            self.members += begun;
            self.at += record.length;
            self.next = self.frames.next();
        }
        Ok(())
    }

    async fn finish(mut self, record: &StoredObject) -> Result<u64> {
        let before = self.plain.len();
        if let Some(opener) = self.opener.take() {
            opener.finish(&mut self.plain)?;
        }
        let tail = self.plain.split_off(before);
        self.digest.update(&tail);
        self.plain.extend(tail);
        self.take_frames().await?;
        if self.next.is_some() {
            return Err(Error::integrity("it ends before the last frame that the index knows"));
        }
        let end = frame::decode(&self.plain, END_OF_TAR.len() as u64, self.open.limits())
            .map_err(|e| e.within("after its last frame"))?;
        self.parts.end()?;
        if end != END_OF_TAR {
            return Err(Error::integrity("it has members that the index does not know"));
        }
        if <[u8; 32]>::from(self.digest.finalize()) != record.plaintext_sha256 {
            return Err(Error::integrity("the SHA-256 of its plaintext is not what the manifest says"));
        }
        Ok(self.members)
    }
}
