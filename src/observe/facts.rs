//! What a vault says about the backups of one schedule.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};

use crate::config::CONFIGURATION_SOURCE;
use crate::error::{Kind, Result};
use crate::reader::{self, Committed, Proof, Standing};
use crate::scheduler::WasRun;
use crate::vault::Vault;
use crate::vault::attestation::Level;
use crate::vault::layout::{BackupFolder, BackupId};
use crate::vault::manifest::{Manifest, Status, WindowRecord};
use crate::vault::signature::Signers;

/// How many of the newest backups are looked at. Rotation leaves far fewer.
const LOOKED_AT: usize = 100;

/// Of how many of the newest the attestations are read.
const PROOFS_OF: usize = 20;

/// How many manifests are in memory at the same time.
const AT_ONCE: usize = 4;

/// How far clocks may differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

/// Whose word counts.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Who may have made backups.
    pub backups: &'a Signers,
    /// Who may have verified them. Nobody's proof counts without: whoever can write to the vault could have made it.
    pub proofs: Option<&'a Signers>,
}

/// What a vault says about the backups of one schedule.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The trusted backups as runs, oldest first.
    pub runs: Vec<WasRun>,
    /// How many folders are what.
    pub held: Held,
    /// When the newest complete backup was finished.
    pub last_success: Option<Timestamp>,
    /// When the newest run began, committed or not.
    pub last_begun: Option<Timestamp>,
    /// The newest backup.
    pub newest: Option<Newest>,
    /// The part of its window that the newest run in a window had used when it was finished.
    pub window_used: Option<f64>,
    /// What was proved, for each level.
    pub proved: BTreeMap<Level, Proved>,
}

/// How many backups are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Signed, with everything.
    pub complete: u32,
    /// Signed, with something missing.
    pub partial: u32,
    /// With a manifest that cannot be read.
    pub broken: u32,
    /// With a signature that does not hold, or by somebody else.
    pub untrusted: u32,
}

/// The newest backup that was committed.
#[derive(Debug, Clone)]
pub struct Newest {
    /// When its run began.
    pub started: Timestamp,
    /// When everything was stored.
    pub finished: Timestamp,
    /// Whether it has everything.
    pub status: Status,
    /// Its sources.
    pub sources: Vec<SourceFacts>,
}

/// What a backup has of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFacts {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Objects, files or blocks.
    pub items: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes in the vault.
    pub stored_bytes: u64,
    /// What could not be read.
    pub problems: u64,
    /// How long it took.
    pub seconds: f64,
}

/// What was proved at a level, or at one above it, which includes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proved {
    /// When, the last time.
    pub at: Timestamp,
    /// When the newest backup was finished of which it was proved.
    pub backup: Timestamp,
}

/// Reads what the vault says.
pub async fn read_facts(
    vault: &Vault,
    cluster: &str,
    schedule: &str,
    trust: Trust<'_>,
    now: Timestamp,
) -> Result<Facts> {
    // What claims to be of a later time must not hide the others.
    let is_wanted =
        |id: &BackupId| id.schedule() == schedule && id.started().is_some_and(|start| start <= now + CLOCKS_DIFFER);
    let mut ids: Vec<_> = vault.backup_ids(cluster).await?.into_iter().filter(is_wanted).collect();
    let ids = ids.split_off(ids.len().saturating_sub(LOOKED_AT));
    let with_proofs = ids.len().saturating_sub(PROOFS_OF);
    let last_begun = ids.last().and_then(BackupId::started);
    let reads = ids.into_iter().enumerate().map(|(at, id)| {
        let folder = BackupFolder { cluster: cluster.into(), id };
        let proofs = trust.proofs.filter(|_| at >= with_proofs);
        read_folder(vault, folder, Trust { proofs, ..trust })
    });
    let folders: Vec<_> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    let mut facts = Facts { last_begun, ..Facts::default() };
    folders.into_iter().for_each(|folder| facts.add(folder));
    Ok(facts)
}

/// What a folder in the vault is.
enum Folder {
    Remains,
    Broken,
    Untrusted,
    Backup(Box<Backup>),
}

struct Backup {
    newest: Newest,
    window: Option<WindowRecord>,
    proofs: Vec<Proof>,
}

async fn read_folder(vault: &Vault, folder: BackupFolder, trust: Trust<'_>) -> Result<Folder> {
    let committed = match reader::read_committed(vault, &folder, Some(trust.backups)).await {
        Ok(Some(committed)) => committed,
        Ok(None) => return Ok(Folder::Remains),
        Err(e) if e.kind() == Kind::Integrity => return Ok(Folder::Broken),
        Err(e) => return Err(e),
    };
    match committed.standing {
        Standing::Trusted(_) => {}
        Standing::Unchecked | Standing::Refused(_) => return Ok(Folder::Untrusted),
    }
    let proofs = match trust.proofs {
        Some(signers) => reader::proofs(vault, &committed, Some(signers)).await?.good,
        None => Vec::new(),
    };
    let Committed { manifest, .. } = committed;
    Ok(Folder::Backup(Box::new(Backup { newest: Newest::of(&manifest), window: manifest.window, proofs })))
}

impl Newest {
    fn of(manifest: &Manifest) -> Newest {
        let sources = manifest.sources.iter().filter(|source| source.kind != CONFIGURATION_SOURCE);
        let facts = sources.map(|source| SourceFacts {
            name: source.name.clone(),
            kind: source.kind.clone(),
            items: source.items,
            bytes: source.bytes,
            stored_bytes: source.stored_bytes,
            problems: source.problems.len() as u64,
            seconds: source.milliseconds as f64 / 1000.0,
        });
        let Manifest { started, finished, status, .. } = *manifest;
        Newest { started, finished, status, sources: facts.collect() }
    }
}

impl Facts {
    /// Folders come oldest first.
    fn add(&mut self, folder: Folder) {
        match folder {
            Folder::Remains => {}
            Folder::Broken => self.held.broken += 1,
            Folder::Untrusted => self.held.untrusted += 1,
            Folder::Backup(backup) => self.add_backup(*backup),
        }
    }

    fn add_backup(&mut self, backup: Backup) {
        let Backup { newest, window, proofs } = backup;
        let complete = newest.status == Status::Complete;
        match complete {
            true => {
                self.held.complete += 1;
                self.last_success = self.last_success.max(Some(newest.finished));
                proofs.iter().for_each(|proof| self.add_proof(proof, newest.finished));
            }
            false => self.held.partial += 1,
        }
        if let Some(window) = &window {
            self.window_used = Some(used(window, newest.finished));
        }
        let window_opened = window.map(|window| window.opens);
        self.runs.push(WasRun { started: newest.started, window_opened, complete });
        self.newest = Some(newest);
    }

    fn add_proof(&mut self, proof: &Proof, finished: Timestamp) {
        let at = proof.attestation.at;
        for level in Level::ALL.into_iter().filter(|level| *level <= proof.attestation.level) {
            let proved = self.proved.entry(level).or_insert(Proved { at, backup: finished });
            *proved = Proved { at: proved.at.max(at), backup: proved.backup.max(finished) };
        }
    }
}

fn used(window: &WindowRecord, finished: Timestamp) -> f64 {
    let length = window.closes.duration_since(window.opens).as_secs_f64();
    finished.duration_since(window.opens).as_secs_f64() / length.max(1.0)
}
