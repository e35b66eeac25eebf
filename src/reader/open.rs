//! An opened backup: its segments, their frames, their members.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use zeroize::Zeroizing;

use super::find::Committed;
use super::segment::OpenSegment;
use crate::archive::age::Identities;
use crate::archive::frame::{self, Limits};
use crate::archive::index::{Entry, FrameRecord};
use crate::error::{Context, Result};
use crate::vault::Vault;
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::Manifest;

/// The largest indexes that are read into memory whole, in bytes: those of about 60,000 objects. Larger ones are read frame
/// by frame, so that memory does not grow with the backup.
const WHOLE_INDEX: u64 = 4 << 20;

/// How many indexes are opened at the same time.
const OPENED_AT_ONCE: usize = 8;

/// A backup whose indexes can be read: somebody gave an identity that opens it.
pub struct OpenBackup {
    vault: Vault,
    folder: BackupFolder,
    /// What the backup holds.
    pub manifest: Manifest,
    identities: Arc<Identities>,
    limits: Limits,
    segments: Vec<OpenSegment>,
    directory: Vec<StoredFrame>,
}

/// A frame that was fetched and not yet looked into.
pub struct EncodedFrame {
    encoded: Vec<u8>,
    decoded: u64,
    sha256: [u8; 32],
    limits: Limits,
    key: String,
}

impl EncodedFrame {
    /// Compares it with its digest, decodes it, and hands the content to `take`. It computes: not for a thread that waits.
    pub fn decode_and<T>(&self, take: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let checked = frame::check_digest(&self.encoded, &self.sha256);
        let decoded = checked.and_then(|()| frame::decode_and(&self.encoded, self.decoded, &self.limits, take));
        decoded.map_err(|e| e.within(&self.key))
    }

    /// Compares it with its digest and decodes it. It computes: not for a thread that waits.
    pub fn decode(&self) -> Result<Vec<u8>> {
        let checked = frame::check_digest(&self.encoded, &self.sha256);
        let decoded = checked.and_then(|()| frame::decode(&self.encoded, self.decoded, &self.limits));
        decoded.map_err(|e| e.within(&self.key))
    }

    /// Size of the decoded frame, in bytes.
    pub fn decoded_len(&self) -> u64 {
        self.decoded
    }
}

/// A frame, in its place in the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFrame {
    /// The source that it belongs to.
    pub source: Arc<str>,
    /// Number of the segment within the source, from 1.
    pub segment: u32,
    /// What the segment's index says about it.
    pub record: FrameRecord,
    /// Which of all segments.
    at: usize,
}

impl OpenBackup {
    /// Unlocks the index of every segment and reads its directory.
    pub async fn open(vault: &Vault, backup: Committed, identities: Arc<Identities>) -> Result<OpenBackup> {
        let Committed { folder, manifest, .. } = backup;
        let limits = Limits::default();
        let opening = manifest.sources.iter().flat_map(|s| &s.segments);
        let opening = opening.map(|record| OpenSegment::open(vault, &folder, record, &identities, &limits));
        let opened: Vec<_> = futures::stream::iter(opening).buffered(OPENED_AT_ONCE).try_collect().await?;
        let (mut segments, mut directory) = (Vec::new(), Vec::new());
        let mut opened = opened.into_iter();
        for source in &manifest.sources {
            let name: Arc<str> = source.name.as_str().into();
            for ((segment, frames), number) in opened.by_ref().take(source.segments.len()).zip(1..) {
                let at = segments.len();
                let frame = |record| StoredFrame { source: name.clone(), segment: number, record, at };
                directory.extend(frames.into_iter().map(frame));
                segments.push(segment);
            }
        }
        Ok(OpenBackup { vault: vault.clone(), folder, manifest, identities, limits, segments, directory })
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

    /// A secret that only those know who can open this backup; none for one without segments. What is authenticated with it
    /// comes from somebody with an identity.
    pub fn secret(&self, purpose: &str) -> Option<Zeroizing<[u8; 32]>> {
        Some(self.segments.first()?.secret(purpose))
    }

    /// Limits of what is accepted from the archive.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Every frame, in the order of the segments.
    pub fn directory(&self) -> &[StoredFrame] {
        &self.directory
    }

    /// Frames of a source in which paths with that beginning could stand.
    pub fn frames_with<'a>(&'a self, source: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a StoredFrame> {
        self.directory.iter().filter(move |f| &*f.source == source && f.record.may_hold_prefix(prefix))
    }

    /// Reads the indexes into memory, when all of them will be needed: one read for each instead of one for each frame.
    /// Very large ones are left where they are, so that memory does not grow with the backup.
    pub async fn load_index(&self) -> Result<()> {
        let lines = self.manifest.sources.iter().flat_map(|s| &s.segments).map(|s| s.index.directory_offset);
        if lines.fold(0u64, u64::saturating_add) > WHOLE_INDEX {
            return Ok(());
        }
        let loading = self.segments.iter().map(OpenSegment::load_lines);
        futures::stream::iter(loading).buffer_unordered(OPENED_AT_ONCE).try_collect().await
    }

    /// The members of a frame.
    pub async fn entries(&self, frame: &StoredFrame) -> Result<Vec<Entry>> {
        self.segments[frame.at].entries(&frame.record, &self.limits).await
    }

    /// A frame, fetched with one ranged read and decoded.
    pub async fn frame(&self, frame: &StoredFrame) -> Result<Vec<u8>> {
        let encoded = self.encoded_frame(frame).await?;
        let job = tokio::task::spawn_blocking(move || encoded.decode());
        job.await.context(|| "decode a frame".into())?
    }

    /// A frame as it is in the archive, fetched with one ranged read, for whoever decodes it elsewhere.
    pub async fn encoded_frame(&self, frame: &StoredFrame) -> Result<EncodedFrame> {
        let segment = &self.segments[frame.at];
        let record = &frame.record;
        let encoded = segment.encoded(&self.vault, &self.folder, record, &self.identities, self.limits).await?;
        let key = self.folder.of(segment.key());
        Ok(EncodedFrame { encoded, decoded: record.decoded, sha256: record.sha256, limits: self.limits, key })
    }

    /// The content of one member, checked against the index.
    pub async fn member(&self, frame: &StoredFrame, entry: &Entry) -> Result<Vec<u8>> {
        let decoded = self.frame(frame).await?;
        Ok(frame::member(&decoded, entry)?.to_vec())
    }

    /// Finds a member by its path.
    pub async fn find(&self, source: &str, path: &str) -> Result<Option<(StoredFrame, Entry)>> {
        for frame in self.directory.iter().filter(|f| &*f.source == source && f.record.may_hold(path)) {
            let entries = self.entries(frame).await?;
            if let Some(entry) = entries.into_iter().find(|e| e.path == path) {
                return Ok(Some((frame.clone(), entry)));
            }
        }
        Ok(None)
    }
}
