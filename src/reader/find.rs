//! Which backups a vault holds, and whether they can be trusted.

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::vault::layout::{BackupFolder, BackupId, MANIFEST, SIGNATURE};
use crate::vault::manifest::{Manifest, Status};
use crate::vault::signature::{Purpose, SignedBy, Signers};
use crate::vault::{ReadError, Vault};

/// How many manifests are read at the same time.
const AT_ONCE: usize = 8;

/// Why `latest` passes over a backup that lacks something.
const PARTIAL: &str = "it is partial";

/// How far the clock of the job and the clock here may differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

/// Whether the manifest's signature holds.
#[derive(Debug)]
pub enum Standing {
    /// A trusted signer signed it.
    Trusted(SignedBy),
    /// No signers were given, so nobody knows.
    Unchecked,
    /// The signature is missing, wrong, or not by a trusted signer.
    Refused(Error),
}

impl Standing {
    /// Whether a trusted signer signed it.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Standing::Trusted(_))
    }
}

/// A backup that exists: it has a manifest.
#[derive(Debug)]
pub struct Committed {
    /// Where it is.
    pub folder: BackupFolder,
    /// What it holds.
    pub manifest: Manifest,
    /// The manifest as stored.
    pub bytes: Vec<u8>,
    /// Whether its signature holds.
    pub standing: Standing,
}

impl Committed {
    /// The error of a refused signature; otherwise nothing.
    pub fn require_not_refused(self) -> Result<Committed> {
        match self.standing {
            Standing::Refused(e) => Err(e.within(format!("backup {}", self.manifest.id))),
            _ => Ok(self),
        }
    }

    /// Why `latest` does not mean it; none when it could.
    pub fn passed_over_because(&self, now: Timestamp) -> Option<String> {
        match (&self.standing, self.manifest.status) {
            (Standing::Refused(e), _) => Some(e.one_line()),
            _ if self.manifest.started > now + CLOCKS_DIFFER => Some("it says that it was taken in the future".into()),
            (_, Status::Partial) => Some(PARTIAL.into()),
            (_, Status::Complete) => None,
        }
    }

    /// The object that an error is about: errors begin with its key. Where it is about none, the backup's folder.
    pub fn object_of(&self, error: &Error) -> String {
        let said = error.one_line();
        let keys = self.manifest.objects().map(|object| self.folder.of(&object.key));
        keys.into_iter().find(|key| said.starts_with(key)).unwrap_or_else(|| self.folder.key())
    }
}

/// One folder in the vault.
#[derive(Debug)]
pub enum Listing {
    /// A backup.
    Committed(Box<Committed>),
    /// Remains of a run that did not commit, or a run that is under way.
    Uncommitted(BackupFolder),
    /// There is a manifest, but it cannot be read.
    Broken(BackupFolder, Error),
}

impl Listing {
    /// Which folder it is.
    pub fn folder(&self) -> &BackupFolder {
        match self {
            Listing::Committed(backup) => &backup.folder,
            Listing::Uncommitted(folder) | Listing::Broken(folder, _) => folder,
        }
    }
}

/// Every backup of a cluster, oldest first.
pub async fn list(vault: &Vault, cluster: &str, signers: Option<&Signers>) -> Result<Vec<Listing>> {
    read_all(vault, cluster, vault.backup_ids(cluster).await?, signers).await
}

/// The newest backups of a cluster whose ids are wanted, oldest first.
pub async fn list_newest(
    vault: &Vault,
    cluster: &str,
    signers: Option<&Signers>,
    count: usize,
    is_wanted: impl Fn(&BackupId) -> bool,
) -> Result<Vec<Listing>> {
    let mut ids: Vec<_> = vault.backup_ids(cluster).await?.into_iter().filter(is_wanted).collect();
    let ids = ids.split_off(ids.len().saturating_sub(count));
    read_all(vault, cluster, ids, signers).await
}

async fn read_all(vault: &Vault, cluster: &str, ids: Vec<BackupId>, signers: Option<&Signers>) -> Result<Vec<Listing>> {
    let reads = ids.into_iter().map(|id| async move {
        let folder = BackupFolder { cluster: cluster.into(), id };
        match read_committed(vault, &folder, signers).await {
            Ok(Some(committed)) => Ok(Listing::Committed(Box::new(committed))),
            Ok(None) => Ok(Listing::Uncommitted(folder)),
            Err(e) if e.kind() == Kind::Integrity => Ok(Listing::Broken(folder, e)),
            Err(e) => Err(e),
        }
    });
    futures::stream::iter(reads).buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// The backup in a folder; none when it has no manifest.
pub async fn read_committed(
    vault: &Vault,
    folder: &BackupFolder,
    signers: Option<&Signers>,
) -> Result<Option<Committed>> {
    let key = folder.of(MANIFEST);
    let (bytes, signature) = futures::join!(vault.read(&key, None), read_signature(vault, folder));
    let bytes = match bytes {
        Ok(bytes) => bytes.to_vec(),
        Err(ReadError::NotFound) => return Ok(None),
        Err(ReadError::Other(e)) => return Err(e),
    };
    let signature = signature?;
    let place = || format!("{}/{}", folder.key(), MANIFEST);
    let manifest = Manifest::parse(&bytes).map_err(|e| e.within(place()))?;
    if manifest.id != folder.id || manifest.cluster != folder.cluster {
        return Err(Error::integrity(format!(
            "{}: it describes {}/{}, so it was copied from there",
            place(),
            manifest.cluster,
            manifest.id
        )));
    }
    if !manifest.id.began_at(manifest.started) {
        return Err(Error::integrity(format!(
            "{}: it began at {}, which is not what its id says",
            place(),
            manifest.started
        )));
    }
    let standing = judge(&bytes, signature.as_deref(), &manifest, signers);
    Ok(Some(Committed { folder: folder.clone(), manifest, bytes, standing }))
}

async fn read_signature(vault: &Vault, folder: &BackupFolder) -> Result<Option<Vec<u8>>> {
    match vault.read(&folder.of(SIGNATURE), None).await {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(ReadError::NotFound) => Ok(None),
        Err(ReadError::Other(e)) => Err(e),
    }
}

fn judge(bytes: &[u8], signature: Option<&[u8]>, manifest: &Manifest, signers: Option<&Signers>) -> Standing {
    let Some(signers) = signers else { return Standing::Unchecked };
    let Some(signature) = signature else {
        return Standing::Refused(Error::integrity(format!("{SIGNATURE} is missing from the vault")));
    };
    match signers.verify(Purpose::Backup, bytes, signature, manifest.finished) {
        Ok(by) => Standing::Trusted(by),
        Err(e) => Standing::Refused(e),
    }
}

/// A backup that was asked for, and what should be said about the choice.
#[derive(Debug)]
pub struct Found {
    /// The backup.
    pub backup: Committed,
    /// Newer backups that `latest` passed over, and why.
    pub passed_over: Vec<(BackupId, String)>,
}

/// The backup of that id; `latest` is the newest complete one whose signature holds.
pub async fn find(vault: &Vault, cluster: &str, which: &str, signers: Option<&Signers>) -> Result<Found> {
    if which != "latest" {
        let folder = BackupFolder { cluster: cluster.into(), id: which.parse()? };
        let backup = read_committed(vault, &folder, signers).await?;
        let backup = backup.ok_or_else(|| {
            Error::usage(format!("no backup {which} of cluster {cluster} in {}", vault.shown()))
                .hint("`ckbackup list` shows what is there")
        })?;
        return Ok(Found { backup: backup.require_not_refused()?, passed_over: Vec::new() });
    }
    let now = SystemClock.now();
    let mut passed_over = Vec::new();
    let mut refused = None;
    for listing in list(vault, cluster, signers).await?.into_iter().rev() {
        match listing {
            Listing::Uncommitted(_) => {}
            Listing::Broken(folder, e) => {
                passed_over.push((folder.id, e.one_line()));
                refused.get_or_insert(e);
            }
            Listing::Committed(backup) => match backup.passed_over_because(now) {
                None => return Ok(Found { backup: *backup, passed_over }),
                Some(why) => {
                    passed_over.push((backup.folder.id.clone(), why));
                    if let Err(e) = backup.require_not_refused() {
                        refused.get_or_insert(e);
                    }
                }
            },
        }
    }
    let hint = match passed_over.iter().find(|(_, why)| why == PARTIAL) {
        Some((id, _)) => format!("the newest partial one is {id}; name it to use it"),
        None => "`ckbackup list` shows what is there".into(),
    };
    Err(refused.map(|e| e.hint(hint.clone())).unwrap_or_else(|| {
        Error::failed(format!("no complete backup of cluster {cluster} in {}", vault.shown())).hint(hint)
    }))
}
