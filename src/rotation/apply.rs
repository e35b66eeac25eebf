//! Removes what was decided to go.

use super::{Decided, Decision, REMAINS_STAY, Rotation};
use crate::error::{Error, Result};
use crate::vault::layout::{BackupFolder, BackupId, MANIFEST, SIGNATURE};
use crate::vault::{Removable, Removed};
use jiff::Timestamp;

/// What became of a folder that was to go.
#[derive(Debug)]
pub struct Removal {
    /// Its id.
    pub id: BackupId,
    /// Objects that were removed.
    pub objects: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a removal ended.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing is left.
    Removed,
    /// Something is locked: the next rotation after that time goes on. A legal hold has no end.
    Locked(Option<Timestamp>),
    /// It failed; what is left goes with the next rotation.
    Failed(Error),
}

impl Rotation<'_> {
    /// Removes, oldest first. A removal that fails does not keep the others from going.
    pub async fn apply(&self, decided: &Decided) -> Result<Vec<Removal>> {
        let gone: Vec<_> = decided.decisions.iter().rev().filter(|d| d.remove).collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        self.require_copies(&decided.decisions).await?;
        let mut removals = Vec::with_capacity(gone.len());
        for decision in gone {
            let folder = BackupFolder { cluster: self.cluster.into(), id: decision.id.clone() };
            self.progress.begin(&decision.id.to_string(), None);
            let mut objects = 0;
            let outcome = self.remove(&folder, &mut objects).await.unwrap_or_else(Outcome::Failed);
            self.progress.end(&decision.id.to_string(), "");
            removals.push(Removal { id: decision.id.clone(), objects, outcome });
        }
        Ok(removals)
    }

    /// Ends the uploads of dead runs, as old as remains must be; how many.
    pub async fn end_uploads(&self) -> Result<u64> {
        let now = self.vault.time().await?.unwrap_or_else(|| self.clock.now());
        self.vault.end_uploads(self.cluster, now - REMAINS_STAY).await
    }

    /// Reading back takes time: what was counted must still be there.
    async fn require_copies(&self, decisions: &[Decision]) -> Result<()> {
        for copy in decisions.iter().filter(|d| d.counts) {
            let folder = BackupFolder { cluster: self.cluster.into(), id: copy.id.clone() };
            self.vault.head(&folder.of(MANIFEST), None).await.map_err(|e| {
                e.within(format!("{} was counted, and cannot be found any more: nothing was removed", copy.id))
            })?;
        }
        Ok(())
    }

    /// The manifest goes first: from then on there is no backup that could be taken for whole.
    async fn remove(&self, folder: &BackupFolder, objects: &mut u64) -> Result<Outcome> {
        let mut all = self.vault.removable(&folder.key()).await?;
        let rank = |object: &Removable| [MANIFEST, SIGNATURE].iter().position(|k| folder.of(k) == object.key);
        all.sort_by_key(|object| rank(object).unwrap_or(usize::MAX));
        let mut locked = None;
        for object in &all {
            match self.vault.remove(object).await? {
                Removed::Yes => *objects += 1,
                // A manifest that stays keeps what it names.
                Removed::Locked(until) if object.key == folder.of(MANIFEST) => return Ok(Outcome::Locked(until)),
                Removed::Locked(until) => locked = Some(later(locked, until)),
            }
            self.progress.advance(&folder.id.to_string(), 1, 0);
        }
        self.vault.remove_empty_folders(&folder.key()).await?;
        Ok(locked.map_or(Outcome::Removed, Outcome::Locked))
    }
}

/// The later of two ends; none is never.
fn later(one: Option<Option<Timestamp>>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (None, other) => other,
        (Some(one), other) => Some(one?.max(other?)),
    }
}
