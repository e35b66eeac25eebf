//! A copy of a backup in a vault of its own, some of whose objects somebody wrote over.

use std::collections::BTreeSet;
use std::path::Path;

use super::{checked, counted};
use crate::config::VaultLocation;
use crate::error::{Context, Error, Kind, Result};
use crate::reader::{Committed, Verified, read_committed};
use crate::report::model::{CountCheck, DifferenceNamed, Verification, VerificationKind, VerificationOutcome};
use crate::storage::StoreSettings;
use crate::vault::layout::{BackupFolder, MANIFEST, SIGNATURE};
use crate::vault::manifest::Manifest;
use crate::vault::signature::Signers;
use crate::vault::{Created, Vault};

/// How much of an object is copied with one request.
const PART: u64 = 8 << 20;

/// The copy.
pub struct Overwritten {
    /// The vault that it is in.
    pub vault: Vault,
    folder: BackupFolder,
    /// Keys of the objects that were overwritten.
    keys: BTreeSet<String>,
}

/// Copies a backup into a folder, and writes over objects of it there: the first segment with Kubernetes objects in it, and another
/// one. Their sizes stay as they were, so that only their digests tell.
pub async fn overwrite_a_copy(
    from: &Vault,
    backup: &BackupFolder,
    manifest: &Manifest,
    into: &Path,
) -> Result<Overwritten> {
    let vault = Vault::open_or_create(&VaultLocation::in_folder(into)?, &StoreSettings::default()).await?;
    for object in manifest.objects() {
        copy(from, &vault, &backup.of(&object.key), object.version.as_deref(), object.bytes).await?;
    }
    for name in [SIGNATURE, MANIFEST] {
        let key = backup.of(name);
        let bytes = from.read(&key, None).await.map_err(|e| e.expected(&key))?;
        require_new(vault.create(&key, bytes).await?, &key)?;
    }
    let chosen = chosen(manifest).ok_or_else(|| {
        Error::usage(format!("backup {} holds no Kubernetes objects, so none can be overwritten", manifest.id))
    })?;
    let keys: BTreeSet<String> = chosen.iter().map(|key| backup.of(key)).collect();
    for key in &keys {
        write_over(&into.join(key))?;
    }
    Ok(Overwritten { vault, folder: backup.clone(), keys })
}

/// What is overwritten: a segment that a restore has to read, and another one where there is one.
fn chosen(manifest: &Manifest) -> Option<Vec<&str>> {
    let of_objects = manifest.sources.iter().filter(|source| source.kind == "kubernetes");
    let first = of_objects.flat_map(|source| &source.segments).map(|segment| segment.object.key.as_str()).next()?;
    let all = manifest.sources.iter().flat_map(|source| &source.segments);
    let other = all.map(|segment| segment.object.key.as_str()).find(|key| *key != first);
    Some(std::iter::once(first).chain(other).collect())
}

async fn copy(from: &Vault, to: &Vault, key: &str, version: Option<&str>, bytes: u64) -> Result<()> {
    let mut upload = to.upload(key).await?;
    let mut at = 0;
    while at < bytes {
        let end = bytes.min(at + PART);
        let part = from.read_range(key, version, at..end).await.map_err(|e| e.expected(key))?;
        upload.write(part).await?;
        at = end;
    }
    upload.finish().await.map(drop)
}

fn require_new(created: Created, key: &str) -> Result<()> {
    match created {
        Created::Yes(_) => Ok(()),
        Created::Taken => Err(Error::failed(format!("copy {key}: the scratch vault has another one"))),
    }
}

/// Other bytes, as many as there were.
fn write_over(path: &Path) -> Result<()> {
    let what = || format!("write over {}", path.display());
    let mut bytes = std::fs::read(path).context(what)?;
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    // Objects of a vault are written once, and their files may be read-only.
    std::fs::remove_file(path).context(what)?;
    std::fs::write(path, bytes).context(what)
}

impl Overwritten {
    /// The copy's manifest, as whoever restores from it finds it.
    pub async fn committed(&self, signers: Option<&Signers>) -> Result<Committed> {
        let found = read_committed(&self.vault, &self.folder, signers).await?;
        found.ok_or_else(|| Error::failed("the copy of the backup has no manifest"))
    }

    /// Whether verification finds what was overwritten, and nothing else.
    pub fn found_by(&self, verified: &Verified) -> Verification {
        let found: BTreeSet<String> = verified.findings.iter().map(|finding| finding.object.clone()).collect();
        let counts = vec![
            counted("overwritten objects that verification finds", self.keys.len() as u64, common(&self.keys, &found)),
            counted("sound objects that it takes for damaged", 0, (found.len() as u64) - common(&self.keys, &found)),
        ];
        let named = |key: &String| DifferenceNamed { object: key.clone(), what: "overwritten, and found".into() };
        let both = self.keys.intersection(&found).map(named).collect();
        Verification {
            differences: both,
            ..checked("verification of the overwritten copy", VerificationKind::Check, counts, None)
        }
    }

    /// Whether a restore from the copy was refused.
    pub fn refused(&self, outcome: Result<(), Error>) -> Verification {
        let subject = "restore from the overwritten copy";
        match outcome {
            Err(e) if e.kind() == Kind::Integrity => Verification {
                compared: 1,
                equal: 1,
                counts: vec![CountCheck { name: "restores that were refused".into(), expected: 1, found: Some(1) }],
                note: Some(format!("refused: {}", e.one_line())),
                ..Verification::new(subject, VerificationKind::Check, VerificationOutcome::Passed)
            },
            other => {
                let why = other.err().map_or("it was restored as if it were sound".into(), |e| e.one_line());
                let failed = Verification::new(subject, VerificationKind::Check, VerificationOutcome::Failed);
                Verification { compared: 1, changed: 1, note: Some(why), ..failed }
            }
        }
    }
}

fn common(one: &BTreeSet<String>, other: &BTreeSet<String>) -> u64 {
    one.intersection(other).count() as u64
}
