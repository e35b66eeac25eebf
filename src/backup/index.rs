//! Writes a segment's index while the segment is written, so that it never has to be held in memory.

use tokio::sync::mpsc;

use super::Run;
use super::store::{BLOCKS_WAITING, object, send};
use crate::archive::index::{DirectoryPlace, IndexWriter, begun};
use crate::archive::segment::{PackedFrame, Sealed, SealingStream};
use crate::error::{Error, Result};
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::IndexRecord;

/// Frames that wait to be described.
pub(super) const FRAMES_WAITING: usize = 2;

/// What was described, and where.
pub(super) struct Indexed {
    pub record: IndexRecord,
    /// Bytes of the members' content.
    pub content_bytes: u64,
}

/// Describes frames until their sender is gone, and stores the index under `key`.
pub(super) async fn store(
    run: &Run<'_>,
    folder: &BackupFolder,
    key: &str,
    frames: mpsc::Receiver<PackedFrame>,
) -> Result<Indexed> {
    let upload = run.vault.upload(&folder.of(key)).await?;
    let (out, pieces) = mpsc::channel(BLOCKS_WAITING);
    let writing = async {
        let stream = SealingStream::begin(run.recipients, run.workers, out).await?;
        write(stream, frames).await
    };
    let (written, stored) = futures::try_join!(writing, send(upload, pieces))?;
    run.vault.confirm(&folder.of(key), &stored, &written.sealed.sha256).await?;
    let place = written.directory;
    let record = IndexRecord {
        object: object(key, &written.sealed, stored.version),
        members: written.members,
        directory_offset: place.offset,
        directory_bytes: place.length,
        directory_decoded_bytes: place.decoded,
        directory_sha256: place.sha256,
    };
    Ok(Indexed { record, content_bytes: written.content_bytes })
}

/// [`store`], of frames that are all there.
pub(super) async fn store_all(
    run: &Run<'_>,
    folder: &BackupFolder,
    key: &str,
    frames: Vec<PackedFrame>,
) -> Result<Indexed> {
    let (sender, receiver) = mpsc::channel(FRAMES_WAITING);
    let feed = async move {
        for frame in frames {
            sender.send(frame).await.map_err(|_| Error::failed("the index could not be written"))?;
        }
        Ok(())
    };
    let ((), indexed) = futures::try_join!(feed, store(run, folder, key, receiver))?;
    Ok(indexed)
}

struct Written {
    sealed: Sealed,
    directory: DirectoryPlace,
    members: u64,
    content_bytes: u64,
}

async fn write(mut stream: SealingStream, mut frames: mpsc::Receiver<PackedFrame>) -> Result<Written> {
    let mut writer = IndexWriter::default();
    let (mut members, mut content_bytes) = (0, 0);
    while let Some(frame) = frames.recv().await {
        let lines = writer.add(&frame)?;
        stream.write(&lines).await?;
        members += begun(&frame.entries);
        content_bytes += frame.entries.iter().map(|entry| entry.size).sum::<u64>();
    }
    let (lines, directory) = writer.finish()?;
    stream.write(&lines).await?;
    Ok(Written { sealed: stream.finish().await?, directory, members, content_bytes })
}
