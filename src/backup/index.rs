//! Writes the index while the segments are written, so that it never has to be held in memory.

use std::future::Future;

use tokio::sync::mpsc;

use super::Run;
use super::claim::Claim;
use super::store::send;
use crate::archive::index::{DirectoryPlace, IndexWriter};
use crate::archive::segment::{PackedFrame, PackedSegment, SealingStream};
use crate::config::CONFIGURATION_SOURCE;
use crate::error::{Error, Result};
use crate::vault::layout::INDEX;
use crate::vault::manifest::IndexRecord;

/// Frames that wait to be described.
const FRAMES_WAITING: usize = 8;

/// Takes frames to be described.
pub(super) struct IndexSender(mpsc::Sender<(String, u32, PackedFrame)>);

impl IndexSender {
    pub async fn add(&self, source: &str, segment: u32, frame: PackedFrame) -> Result<()> {
        self.0.send((source.into(), segment, frame)).await.map_err(|_| Error::failed("the index could not be written"))
    }
}

/// Begins the index; the future stores it and ends when the sender is dropped.
pub(super) async fn begin<'a>(
    run: &'a Run<'_>,
    claim: &'a Claim,
) -> Result<(IndexSender, impl Future<Output = Result<IndexRecord>> + 'a)> {
    let (sender, receiver) = mpsc::channel(FRAMES_WAITING);
    let upload = run.vault.upload(&claim.folder.of(INDEX)).await?;
    let (out, pieces) = mpsc::channel(FRAMES_WAITING);
    let writing = async move {
        let stream = SealingStream::begin(run.recipients, run.workers, out).await?;
        write(stream, claim, receiver).await
    };
    let both = async move {
        let ((packed, place, members), stored) = futures::try_join!(writing, send(upload, pieces))?;
        run.vault.confirm(&claim.folder.of(INDEX), &stored, &packed.sealed.sha256).await?;
        Ok(IndexRecord {
            object: super::store::record(INDEX, &packed, stored.version),
            members,
            directory_offset: place.offset,
            directory_bytes: place.length,
            directory_decoded_bytes: place.decoded,
            directory_sha256: place.sha256,
        })
    };
    Ok((IndexSender(sender), both))
}

async fn write(
    mut stream: SealingStream,
    claim: &Claim,
    mut frames: mpsc::Receiver<(String, u32, PackedFrame)>,
) -> Result<(PackedSegment, DirectoryPlace, u64)> {
    let mut writer = IndexWriter::default();
    for frame in &claim.frames {
        let lines = writer.add(CONFIGURATION_SOURCE, 1, frame.offset, frame.length, frame.decoded, &frame.entries)?;
        stream.write(&lines).await?;
    }
    while let Some((source, segment, frame)) = frames.recv().await {
        let lines = writer.add(&source, segment, frame.offset, frame.length, frame.decoded, &frame.entries)?;
        stream.write(&lines).await?;
    }
    let members = writer.members();
    let (directory, place) = writer.finish()?;
    stream.write(&directory).await?;
    let sealed = stream.finish().await?;
    Ok((PackedSegment { sealed, tar_bytes: 0, more: false }, place, members))
}
