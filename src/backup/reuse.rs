//! What earlier runs stored and this one can take over: units of committed backups, and units that a run which was cut off
//! had finished. A unit is copied inside the storage, so that each backup stays whole by itself.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;

use super::Run;
use crate::error::{Error, Result};
use crate::inventory::{Contents, Identity, Inventory, Omission};
use crate::reader::{Committed, Listing, list_newest};
use crate::vault::layout::{BackupFolder, BackupId, RECEIPTS};
use crate::vault::manifest::{FORMAT_VERSION, SegmentRecord, StoredObject, UnitRecord};
use crate::vault::receipt::Receipt;
use crate::vault::signature::Purpose;
use crate::vault::{Created, ReadError, Vault};

/// How many folders are looked at together: last night's backup and tonight's tries are mostly among the newest.
const LOOKED_AT: usize = 8;

/// How old what a run left may be: well before rotation takes it away.
const RECEIPTS_LAST: SignedDuration = SignedDuration::from_hours(24);

/// How many receipts are read at the same time.
const AT_ONCE: usize = 8;

/// What earlier runs stored, the newest first.
#[derive(Default)]
pub(super) struct Reusable {
    /// Units that can be taken over, with the source that each is of.
    units: Vec<(String, StoredUnit)>,
    /// How many items the sources of the last backup had, and the newest that is known of their contents.
    last: HashMap<String, (u64, Contents)>,
}

/// A unit, and where it is stored.
pub(super) struct StoredUnit {
    pub folder: BackupFolder,
    pub unit: UnitRecord,
    pub segments: Vec<SegmentRecord>,
}

impl Reusable {
    /// Looks for what this run's own key signed, for the same recipients. What cannot be read is passed over: then more is
    /// read from the sources.
    pub async fn find_all(run: &Run<'_>, folder: &BackupFolder) -> Reusable {
        let own = run.signer.signers();
        let mut reusable = Reusable::default();
        let mut before = folder.id.clone();
        // A night in which nothing could be committed leaves many tries, and must not hide the last backup.
        loop {
            let is_ours = |id: &BackupId| id.schedule() == run.schedule.name.as_str() && *id < before;
            let listed = match list_newest(run.vault, &folder.cluster, Some(&own), LOOKED_AT, is_ours).await {
                Ok(listed) => listed,
                Err(e) => {
                    tracing::warn!(error = %e.one_line(), "look for what can be taken over");
                    return reusable;
                }
            };
            let Some(oldest) = listed.first() else { return reusable };
            before = oldest.folder().id.clone();
            let mut is_found = false;
            for listing in listed.into_iter().rev() {
                match listing {
                    Listing::Committed(backup) if backup.standing.is_trusted() => {
                        is_found = true;
                        reusable.add_backup(run, *backup);
                    }
                    Listing::Uncommitted(left) => reusable.add_receipts(run, &left).await,
                    Listing::Committed(_) | Listing::Broken(..) => {}
                }
            }
            if is_found {
                return reusable;
            }
        }
    }

    async fn add_receipts(&mut self, run: &Run<'_>, left: &BackupFolder) {
        match receipts(run, left).await {
            Ok(receipts) => receipts.into_iter().for_each(|receipt| self.add_receipt(left, receipt)),
            Err(e) => tracing::warn!(run = %left.id, error = %e.one_line(), "its receipts are passed over"),
        }
    }

    fn add_backup(&mut self, run: &Run<'_>, backup: Committed) {
        let is_for_the_same = is_for_the_same(&backup.manifest.recipients, run);
        for source in backup.manifest.sources {
            let (_, contents) = self.last.entry(source.name.clone()).or_insert((source.items, Contents::default()));
            // A night that lacks them says nothing about what was saved before.
            contents.events = contents.events.take().or(source.contents.events.clone());
            contents.documents = contents.documents.take().or(source.contents.documents.clone());
            if !is_for_the_same {
                continue;
            }
            for unit in source.units {
                let segments = source.segments.iter().filter(|s| s.unit == Some(unit.identity)).cloned().collect();
                let stored = StoredUnit { folder: backup.folder.clone(), unit, segments };
                self.units.push((source.name.clone(), stored));
            }
        }
    }

    fn add_receipt(&mut self, folder: &BackupFolder, receipt: Receipt) {
        let stored = StoredUnit { folder: folder.clone(), unit: receipt.unit, segments: receipt.segments };
        self.units.push((receipt.source, stored));
    }

    /// The unit of that identity, as it was stored last.
    pub fn find(&self, source: &str, identity: Identity) -> Option<&StoredUnit> {
        let wanted = |(name, stored): &&(String, StoredUnit)| name == source && stored.unit.identity == identity;
        self.units.iter().find(wanted).map(|(_, stored)| stored).filter(|stored| !stored.segments.is_empty())
    }
}

impl Reusable {
    /// Events that were lost between the last backup and this one, in words.
    pub fn gap(&self, source: &str, contents: &Contents) -> Option<Omission> {
        let before = self.last.get(source)?.1.events.as_ref()?;
        let last = before.last;
        let why = match &contents.events {
            Some(now) => match now.go_on_from(last) {
                Ok(()) => return None,
                Err(Some(next)) => {
                    format!(
                        "there are no events between {last} and {next}: they were rotated away before they were saved"
                    )
                }
                Err(None) => format!("there are no events since {last}, and the log that ended then is gone"),
            },
            None => format!("there are no events, and the last backup had some up to {last}"),
        };
        Some(Omission { what: "events".into(), why, count: None })
    }

    /// Nothing at all is a problem where there was something: most often a volume that is not mounted, or a server that was made
    /// anew.
    pub fn judge_emptiness(&self, source: &str, inventory: &mut Inventory) {
        let omission = |why: String| Omission { what: source.into(), why, count: None };
        let last = self.last.get(source);
        let documents_before = last.and_then(|(_, contents)| contents.documents.as_ref()).map_or(0, |d| d.count);
        let before = last.map_or(0, |(items, _)| *items);
        if inventory.items > 0 {
            if documents_before > 0 && inventory.contents.documents.is_none() {
                let why = format!("no documents are there, and the last backup had {documents_before}");
                inventory.problems.push(omission(why));
            }
        } else if before > 0 && inventory.skipped.is_empty() {
            inventory.problems.push(omission(format!("nothing is there, and the last backup had {before}")));
        } else {
            inventory.notices.push(omission("nothing is there".into()));
        }
    }
}

fn is_for_the_same(recipients: &[String], run: &Run<'_>) -> bool {
    let sorted = |texts: &[String]| {
        let mut texts = texts.to_vec();
        texts.sort();
        texts
    };
    sorted(recipients) == sorted(run.recipients.texts())
}

impl StoredUnit {
    /// Copies the unit's segments and their indexes; `number` counts the segments of the source.
    pub async fn copy(
        &self,
        vault: &Vault,
        to: &BackupFolder,
        source: &str,
        number: &mut u32,
    ) -> Result<Vec<SegmentRecord>> {
        let mut copied = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            *number += 1;
            let mut segment = segment.clone();
            self.copy_object(vault, to, &mut segment.object, BackupFolder::segment(source, *number)).await?;
            self.copy_object(vault, to, &mut segment.index.object, BackupFolder::index(source, *number)).await?;
            copied.push(segment);
        }
        Ok(copied)
    }

    async fn copy_object(
        &self,
        vault: &Vault,
        to: &BackupFolder,
        object: &mut StoredObject,
        key: String,
    ) -> Result<()> {
        let from = self.folder.of(&object.key);
        let stored = vault.copy(&from, object.version.as_deref(), &to.of(&key), object.bytes, &object.sha256).await?;
        object.key = key;
        object.version = stored.version;
        Ok(())
    }
}

/// Notes that a unit is stored, so that the next run can take it over if this one does not come to its end.
pub(super) async fn write_receipt(
    run: &Run<'_>,
    folder: &BackupFolder,
    source: &str,
    unit: &UnitRecord,
    segments: &[SegmentRecord],
) -> Result<()> {
    let receipt = Receipt {
        format_version: FORMAT_VERSION,
        cluster: folder.cluster.clone(),
        backup: folder.id.clone(),
        recipients: run.recipients.texts().to_vec(),
        at: crate::clock::to_seconds(run.clock.now()),
        source: source.into(),
        unit: unit.clone(),
        segments: segments.to_vec(),
    };
    let bytes = receipt.to_bytes()?;
    let signature = run.signer.sign(Purpose::Receipt, &bytes)?;
    let key = folder.of(&receipt.key());
    // The signature first: a receipt that is there can be checked.
    create(run.vault, &format!("{key}.sig"), signature.into_bytes()).await?;
    create(run.vault, &key, bytes).await
}

async fn create(vault: &Vault, key: &str, bytes: Vec<u8>) -> Result<()> {
    match vault.create(key, Bytes::from(bytes)).await? {
        Created::Yes(_) => Ok(()),
        Created::Taken => Err(Error::integrity(format!("{key} is there already, and is not ours"))
            .hint("find out who else writes to the vault; this run was not committed")),
    }
}

/// The receipts of a run that was cut off. One that is not ours, or too old, does not count.
async fn receipts(run: &Run<'_>, folder: &BackupFolder) -> Result<Vec<Receipt>> {
    let keys = run.vault.list(&folder.of(RECEIPTS)).await?.into_iter().map(|listed| listed.key);
    let keys = keys.filter(|key| key.ends_with(".json"));
    let read = futures::stream::iter(keys).map(|key| read_receipt(run, folder, key)).buffered(AT_ONCE);
    Ok(read.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

async fn read_receipt(run: &Run<'_>, folder: &BackupFolder, key: String) -> Result<Option<Receipt>> {
    let signature_key = format!("{key}.sig");
    let (bytes, signature) = futures::join!(run.vault.read(&key, None), run.vault.read(&signature_key, None));
    let (bytes, signature) = match (bytes, signature) {
        (Ok(bytes), Ok(signature)) => (bytes, signature),
        (Err(ReadError::Other(e)), _) | (_, Err(ReadError::Other(e))) => return Err(e),
        _ => return Ok(None),
    };
    let now = run.clock.now();
    if run.signer.signers().verify(Purpose::Receipt, &bytes, &signature, now).is_err() {
        return Ok(None);
    }
    let receipt = Receipt::parse(&bytes)?;
    let is_its_own =
        receipt.cluster == folder.cluster && receipt.backup == folder.id && folder.of(&receipt.key()) == key;
    let is_fresh = now.duration_since(receipt.at) < RECEIPTS_LAST;
    Ok(Some(receipt).filter(|receipt| is_its_own && is_fresh && is_for_the_same(&receipt.recipients, run)))
}
