//! An opened backup: its index, its frames, its members.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};

use super::find::Committed;
use super::sealed::SealedObject;
use crate::archive::age::Identities;
use crate::archive::frame::{self, Limits};
use crate::archive::index::{self, DirectoryPlace, Entry, FrameRecord};
use crate::error::{Error, Result};
use crate::vault::Vault;
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::{Manifest, SegmentRecord};

/// Source and number of a segment.
type SegmentId = (String, u32);

/// A backup whose index can be read: somebody gave an identity that opens it.
pub struct OpenBackup {
    vault: Vault,
    folder: BackupFolder,
    /// What the backup holds.
    pub manifest: Manifest,
    identities: Arc<Identities>,
    limits: Limits,
    index: SealedObject,
    directory: Vec<FrameRecord>,
    whole_index: OnceCell<Vec<u8>>,
    segments: Mutex<HashMap<SegmentId, Arc<OnceCell<SealedObject>>>>,
}

impl OpenBackup {
    /// Unlocks the index and reads its directory.
    pub async fn open(vault: &Vault, backup: Committed, identities: Arc<Identities>) -> Result<OpenBackup> {
        let Committed { folder, manifest, .. } = backup;
        let limits = Limits::default();
        let record = &manifest.index;
        let index = SealedObject::open(vault, &folder, &record.object, &identities).await?;
        let place = DirectoryPlace {
            offset: record.directory_offset,
            length: record.directory_bytes,
            decoded: record.directory_decoded_bytes,
            sha256: record.directory_sha256,
        };
        let end = place.offset.checked_add(place.length).filter(|end| Some(*end) == index.plain_len().ok());
        let end = end.ok_or_else(|| Error::integrity("the index's directory is not where the manifest says"))?;
        let encoded = index.read(place.offset..end).await?;
        let directory = index::read_directory(&encoded, &place, &limits)?;
        let members = directory.iter().fold(0u64, |all, r| all.saturating_add(r.members));
        if members != record.members {
            return Err(Error::integrity("the index and the manifest disagree on the number of members"));
        }
        Ok(OpenBackup {
            vault: vault.clone(),
            folder,
            manifest,
            identities,
            limits,
            index,
            directory,
            whole_index: OnceCell::new(),
            segments: Mutex::default(),
        })
    }

    /// Where the backup is.
    pub fn folder(&self) -> &BackupFolder {
        &self.folder
    }

    /// The vault that holds it.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The identities that open it.
    pub fn identities(&self) -> Arc<Identities> {
        self.identities.clone()
    }

    /// Limits of what is accepted from the archive.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Every frame, in the order of the segments.
    pub fn directory(&self) -> &[FrameRecord] {
        &self.directory
    }

    /// Frames of a source in which paths with that beginning could stand.
    pub fn frames_with<'a>(&'a self, source: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a FrameRecord> {
        self.directory.iter().filter(move |r| r.source == source && r.may_hold_prefix(prefix))
    }

    /// Reads the index into memory, when all of it will be needed: one read instead of one for each frame.
    pub async fn load_index(&self) -> Result<()> {
        let load = || async { self.index.read(0..self.manifest.index.directory_offset).await };
        if self.manifest.index.directory_offset > 0 {
            self.whole_index.get_or_try_init(load).await?;
        }
        Ok(())
    }

    /// The members of a frame.
    pub async fn entries(&self, record: &FrameRecord) -> Result<Vec<Entry>> {
        let range = record.lines_offset..record.lines_offset.saturating_add(record.lines_length);
        if range.end > self.manifest.index.directory_offset {
            return Err(Error::integrity("the index's directory points outside of the index"));
        }
        if let Some(whole) = self.whole_index.get() {
            let encoded = whole.get(range.start as usize..range.end as usize);
            let encoded = encoded.ok_or_else(|| Error::integrity("the index is cut short"))?;
            return index::read_entries(encoded, record, &self.limits);
        }
        let encoded = self.index.read(range).await?;
        index::read_entries(&encoded, record, &self.limits)
    }

    /// A frame, fetched with one ranged read and decoded.
    pub async fn frame(&self, record: &FrameRecord) -> Result<Vec<u8>> {
        self.limits.check(record.length, record.decoded)?;
        let segment = self.segment(record).await?;
        let segment = segment.get().ok_or_else(|| Error::failed("a segment was not opened"))?;
        let encoded = segment.read(record.offset..record.offset.saturating_add(record.length)).await?;
        let (decoded, limits) = (record.decoded, self.limits);
        let job = tokio::task::spawn_blocking(move || frame::decode(&encoded, decoded, &limits));
        let result = job.await.map_err(|e| Error::failed("decode a frame").because(e))?;
        result.map_err(|e| e.within(self.folder.of(&BackupFolder::segment(&record.source, record.segment))))
    }

    async fn segment(&self, record: &FrameRecord) -> Result<Arc<OnceCell<SealedObject>>> {
        let cell = {
            let mut segments = self.segments.lock().await;
            segments.entry((record.source.clone(), record.segment)).or_default().clone()
        };
        let stored = self.segment_record(&record.source, record.segment)?;
        cell.get_or_try_init(|| SealedObject::open(&self.vault, &self.folder, stored, &self.identities)).await?;
        Ok(cell)
    }

    /// What the manifest says about a segment.
    pub fn segment_record(&self, source: &str, number: u32) -> Result<&SegmentRecord> {
        let segments = self.manifest.source(source).map(|s| &s.segments);
        let found = segments.and_then(|all| all.get((number as usize).wrapping_sub(1)));
        found.ok_or_else(|| {
            Error::integrity(format!("the index names segment {number} of {source}, the manifest does not"))
        })
    }

    /// The content of one member, checked against the index.
    pub async fn member(&self, record: &FrameRecord, entry: &Entry) -> Result<Vec<u8>> {
        let decoded = self.frame(record).await?;
        Ok(frame::member(&decoded, entry)?.to_vec())
    }

    /// Finds a member by its path.
    pub async fn find(&self, source: &str, path: &str) -> Result<Option<(FrameRecord, Entry)>> {
        for record in self.directory.iter().filter(|r| r.source == source && r.may_hold(path)) {
            let entries = self.entries(record).await?;
            if let Some(entry) = entries.into_iter().find(|e| e.path == path) {
                return Ok(Some((record.clone(), entry)));
            }
        }
        Ok(None)
    }
}
