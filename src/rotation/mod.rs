//! Rotation: the promised number of complete, verified backups stays, older ones are removed.
//!
//! ```text
//! list (any error stops) → plan (pure), which asks to read back what could count → apply: manifest first, data after
//! ```
//!
//! What was half removed has no manifest, is no backup, and goes with a later rotation like the remains of a run.

mod apply;
mod plan;

use std::collections::BTreeMap;

use futures::StreamExt;
use jiff::Timestamp;

pub use self::apply::{Outcome, Removal};
pub use self::plan::{APART, Decision, REMAINS_STAY};
use self::plan::{Candidate, Plan, State, plan};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::reader::{self, Committed, Counted, Standing};
use crate::vault::Vault;
use crate::vault::attestation::Level;
use crate::vault::layout::{BackupFolder, BackupId, MANIFEST};
use crate::vault::manifest::{Status, digest};
use crate::vault::signature::{Signer, Signers};

/// How many manifests are read at the same time.
const AT_ONCE: usize = 8;

/// How far this machine's clock may be behind the storage's.
const CLOCKS_DIFFER: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// What is rotated, and by what measure.
pub struct Rotation<'a> {
    /// Where the backups are.
    pub vault: &'a Vault,
    /// Whose backups.
    pub cluster: &'a str,
    /// Only those of this schedule.
    pub schedule: Option<&'a str>,
    /// How many copies are promised.
    pub keep: u32,
    /// Whose backups can count.
    pub signers: &'a Signers,
    /// Who signs what was verified; nobody when it is not to be recorded.
    pub attester: Option<&'a Signer>,
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// Who is told how it goes.
    pub progress: &'a dyn Progress,
}

/// What rotation decided, newest first, and what it found out on the way.
#[derive(Debug, Default)]
pub struct Decided {
    /// For each folder.
    pub decisions: Vec<Decision>,
    /// How many copies each schedule has.
    pub copies: BTreeMap<String, u32>,
    /// What is wrong with backups that could have counted.
    pub damage: Vec<(BackupId, Error)>,
}

/// A folder with what was read of it.
struct Folder {
    candidate: Candidate,
    /// What can be read back.
    sound: Option<Committed>,
}

impl Rotation<'_> {
    /// Reads what is there, verifies what could count, and decides, for each schedule by itself: one must not push out what
    /// another saved. Nothing is removed.
    pub async fn decide(&self) -> Result<Decided> {
        let mut by_schedule: BTreeMap<String, Vec<Folder>> = BTreeMap::new();
        for folder in self.read_folders().await? {
            by_schedule.entry(folder.candidate.id.schedule().to_string()).or_default().push(folder);
        }
        let now = self.now(by_schedule.values().flatten().map(|f| f.candidate.stored).max()).await?;
        let mut decided = Decided::default();
        for (schedule, mut folders) in by_schedule {
            let decisions = self.decide_one(&mut folders, now, &mut decided.damage).await?;
            decided.copies.insert(schedule, decisions.iter().filter(|d| d.counts).count() as u32);
            decided.decisions.extend(decisions);
        }
        decided.decisions.sort_by(|a, b| (b.stored, &b.id).cmp(&(a.stored, &a.id)));
        Ok(decided)
    }

    async fn decide_one(
        &self,
        folders: &mut [Folder],
        now: Timestamp,
        damage: &mut Vec<(BackupId, Error)>,
    ) -> Result<Vec<Decision>> {
        loop {
            let candidates: Vec<_> = folders.iter().map(|f| f.candidate.clone()).collect();
            match plan(&candidates, self.keep, now) {
                Plan::Decided(decisions) => return Ok(decisions),
                Plan::Verify(at) => {
                    let found = self.read_back(&mut folders[at]).await?;
                    damage.extend(found.map(|e| (folders[at].candidate.id.clone(), e)));
                }
            }
        }
    }

    /// The storage's own time, where it tells. Otherwise this machine's, which must not be behind it.
    async fn now(&self, newest: Option<Timestamp>) -> Result<Timestamp> {
        if let Some(now) = self.vault.time().await? {
            return Ok(now);
        }
        let now = self.clock.now();
        match newest.filter(|newest| *newest > now + CLOCKS_DIFFER) {
            None => Ok(now),
            Some(newest) => Err(Error::failed(format!("the storage has something of {newest}, and here it is {now}"))
                .hint("set this machine's clock: rotation goes by the age of backups")),
        }
    }

    async fn read_folders(&self) -> Result<Vec<Folder>> {
        let times = self.vault.times(self.cluster).await?;
        let folders = by_folder(self.cluster, &times).into_iter();
        let wanted = folders.filter(|(id, _)| self.schedule.is_none_or(|schedule| id.schedule() == schedule));
        let reads = wanted.map(|(id, times)| self.read_folder(id, times));
        let read = futures::stream::iter(reads).buffered(AT_ONCE).collect::<Vec<_>>().await;
        read.into_iter().collect()
    }

    async fn read_folder(&self, id: BackupId, times: Times) -> Result<Folder> {
        let folder = BackupFolder { cluster: self.cluster.into(), id: id.clone() };
        let unfit = |why: String| (State::Unfit(why), None);
        let (state, sound) = match times.manifest {
            // Somebody deleted it by its key, as rotation never does: it can be brought back, and goes when it is old.
            None if self.vault.had(&folder.of(MANIFEST)).await? => unfit("its manifest was deleted".into()),
            None => (State::Remains, None),
            Some(_) => match reader::read_committed(self.vault, &folder, Some(self.signers)).await {
                Ok(None) => {
                    let text = format!("{} is listed, and cannot be read", folder.of(MANIFEST));
                    return Err(Error::failed(text).hint("nothing was removed; run it again"));
                }
                Ok(Some(backup)) => match state_of(&backup) {
                    sound @ State::Sound { .. } => (sound, Some(backup)),
                    state => (state, None),
                },
                Err(e) if e.kind() == Kind::Integrity => unfit(e.one_line()),
                Err(e) => return Err(e),
            },
        };
        Ok(Folder { candidate: Candidate { id, stored: times.manifest.unwrap_or(times.newest), state }, sound })
    }

    /// Reads a backup back; gives what is wrong with it.
    async fn read_back(&self, folder: &mut Folder) -> Result<Option<Error>> {
        let State::Sound { intact, .. } = &mut folder.candidate.state else { return Ok(None) };
        let Some(backup) = folder.sound.take() else { return Ok(None) };
        let (own, manifest) = (format!("{}/", backup.folder.key()), digest(&backup.bytes));
        let verified = reader::verify(self.vault, backup, Some(self.signers), None, self.progress).await?;
        // A broken chain is the fault of the backup before.
        let finding = verified.findings.into_iter().find(|finding| finding.object.starts_with(&own));
        *intact = Some(finding.is_none());
        if let (Some(attester), None) = (self.attester, &finding) {
            let counted = Counted { objects: verified.objects, bytes: verified.bytes, members: None };
            let (folder, now) = (&verified.folder, self.clock.now());
            reader::attest(self.vault, folder, manifest, attester, Level::Intact, counted, now).await?;
        }
        Ok(finding.map(|finding| finding.error.within(finding.object)))
    }
}

fn state_of(backup: &Committed) -> State {
    match (&backup.standing, backup.manifest.status) {
        (Standing::Refused(e), _) => State::Unfit(e.one_line()),
        (Standing::Unchecked, _) => State::Unfit("its signature was not checked".into()),
        (_, Status::Partial) => State::Unfit("it is partial".into()),
        (Standing::Trusted(_), Status::Complete) => State::Sound { finished: backup.manifest.finished, intact: None },
    }
}

/// When the storage took what is in a folder.
struct Times {
    manifest: Option<Timestamp>,
    newest: Timestamp,
}

/// What is no backup's is left alone.
fn by_folder(cluster: &str, times: &[(String, Timestamp)]) -> BTreeMap<BackupId, Times> {
    let mut folders = BTreeMap::new();
    for (key, time) in times {
        let inside = key.strip_prefix(cluster).and_then(|rest| rest.strip_prefix('/'));
        let Some((folder, relative)) = inside.and_then(|inside| inside.split_once('/')) else { continue };
        let Ok(id) = folder.parse::<BackupId>() else { continue };
        let times = folders.entry(id).or_insert(Times { manifest: None, newest: *time });
        times.newest = times.newest.max(*time);
        if relative == MANIFEST {
            times.manifest = Some(*time);
        }
    }
    folders
}
