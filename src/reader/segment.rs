//! A segment that can be read at any position: what is in it, and where.

use std::sync::Arc;

use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::sealed::SealedObject;
use crate::archive::age::Identities;
use crate::archive::frame::Limits;
use crate::archive::index::{self, DirectoryPlace, Entry, FrameRecord};
use crate::error::{Error, Result};
use crate::vault::Vault;
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::SegmentRecord;

/// A segment whose index is unlocked.
pub(super) struct OpenSegment {
    record: SegmentRecord,
    index: SealedObject,
    /// The lines of all frames, where they were read at once.
    lines: OnceCell<Vec<u8>>,
    /// Unlocked when something of it is read for the first time.
    data: OnceCell<SealedObject>,
}

impl OpenSegment {
    /// Unlocks the index, and reads its directory.
    pub async fn open(
        vault: &Vault,
        folder: &BackupFolder,
        record: &SegmentRecord,
        identities: &Identities,
        limits: &Limits,
    ) -> Result<(OpenSegment, Vec<FrameRecord>)> {
        let stored = &record.index;
        let index = SealedObject::open(vault, folder, &stored.object, identities).await?;
        let place = DirectoryPlace {
            offset: stored.directory_offset,
            length: stored.directory_bytes,
            decoded: stored.directory_decoded_bytes,
            sha256: stored.directory_sha256,
        };
        let of = |e: Error| e.within(folder.of(&stored.object.key));
        let end = place.offset.checked_add(place.length).filter(|end| Some(*end) == index.plain_len().ok());
        let end = end.ok_or_else(|| of(Error::integrity("its directory is not where the manifest says")))?;
        let encoded = index.read(place.offset..end).await?;
        let directory = index::read_directory(&encoded, &place, limits).map_err(of)?;
        let members = directory.iter().fold(0u64, |all, frame| all.saturating_add(frame.members));
        if members != stored.members {
            return Err(of(Error::integrity("it and the manifest disagree on the number of members")));
        }
        let segment = OpenSegment { record: record.clone(), index, lines: OnceCell::new(), data: OnceCell::new() };
        Ok((segment, directory))
    }

    /// Key of the segment, relative to the backup's folder.
    pub fn key(&self) -> &str {
        &self.record.object.key
    }

    /// A secret that only those know who can open its index.
    pub fn secret(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        self.index.secret(purpose)
    }

    /// Reads the lines of all frames into memory.
    pub async fn load_lines(&self) -> Result<()> {
        let end = self.record.index.directory_offset;
        if end > 0 {
            self.lines.get_or_try_init(|| self.index.read(0..end)).await?;
        }
        Ok(())
    }

    /// The members of a frame.
    pub async fn entries(&self, frame: &FrameRecord, limits: &Limits) -> Result<Vec<Entry>> {
        let of = |e: Error| e.within(&self.record.index.object.key);
        let range = frame.lines_offset..frame.lines_offset.saturating_add(frame.lines_length);
        if range.end > self.record.index.directory_offset {
            return Err(of(Error::integrity("its directory points outside of it")));
        }
        if let Some(lines) = self.lines.get() {
            let encoded = lines.get(range.start as usize..range.end as usize);
            let encoded = encoded.ok_or_else(|| of(Error::integrity("it is cut short")))?;
            return index::read_entries(encoded, frame, limits).map_err(of);
        }
        index::read_entries(&self.index.read(range).await?, frame, limits).map_err(of)
    }

    /// The encoded frame, fetched with one ranged read, and not yet compared with its digest.
    pub async fn encoded(
        &self,
        vault: &Vault,
        folder: &BackupFolder,
        frame: &FrameRecord,
        identities: &Arc<Identities>,
        limits: Limits,
    ) -> Result<Vec<u8>> {
        limits.check(frame.length, frame.decoded)?;
        let open = || SealedObject::open(vault, folder, &self.record.object, identities);
        let data = self.data.get_or_try_init(open).await?;
        data.read(frame.offset..frame.offset.saturating_add(frame.length)).await
    }
}
