//! Stores one source: read, packed and uploaded at the same time, segment after segment.

use std::time::Instant;

use tokio::sync::mpsc;

use super::index::{self, FRAMES_WAITING, Indexed};
use super::{Run, status};
use crate::archive::segment::{PackedFrame, PackedSegment, Packer, Piece, Sealed};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::sources::{BATCHES_WAITING, Source};
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::{SegmentRecord, SourceRecord, StoredObject};
use crate::vault::{Stored, Upload};

/// Sealed blocks of 1 MiB that wait for the upload, which holds some of its own.
pub(super) const BLOCKS_WAITING: usize = 2;

/// Reads a source to its end and stores it. A source that fails makes its record partial, not the run fail.
pub(super) async fn save(
    run: &Run<'_>,
    folder: &BackupFolder,
    name: &str,
    source: &dyn Source,
) -> Result<SourceRecord> {
    let begin = Instant::now();
    let (batches, input) = mpsc::channel(BATCHES_WAITING);
    let packer = Packer::new(input, run.packing(crate::clock::to_seconds(run.clock.now())));
    let reading = source.read(batches, run.progress, &run.stop);
    let storing = store_segments(run, folder, name, packer);
    let (read, stored) = tokio::join!(reading, storing);
    let segments = stored?;
    let items = segments.iter().map(|s| s.index.members).sum();
    let mut inventory = read.unwrap_or_else(|e| Inventory {
        items,
        problems: vec![Omission { what: name.to_string(), why: e.one_line(), count: None }],
        ..Inventory::default()
    });
    if inventory.items != items {
        let why = format!("{} objects were read, {items} were stored", inventory.items);
        inventory.problems.push(Omission { what: name.to_string(), why, count: None });
    }
    run.progress.end(name, &format!("{} objects, {} problems", inventory.items, inventory.problems.len()));
    Ok(SourceRecord {
        name: name.into(),
        kind: source.kind().into(),
        status: status(&inventory.problems),
        items: inventory.items,
        bytes: inventory.bytes,
        stored_bytes: segments.iter().map(SegmentRecord::stored_bytes).sum(),
        milliseconds: begin.elapsed().as_millis() as u64,
        types: inventory.types,
        skipped: inventory.skipped,
        problems: inventory.problems,
        segments,
    })
}

async fn store_segments(
    run: &Run<'_>,
    folder: &BackupFolder,
    name: &str,
    mut packer: Packer,
) -> Result<Vec<SegmentRecord>> {
    let mut segments = Vec::new();
    for number in 1.. {
        let (key, index_key) = (BackupFolder::segment(name, number), BackupFolder::index(name, number));
        let upload = run.vault.upload(&folder.of(&key)).await?;
        let (out, pieces) = mpsc::channel(BLOCKS_WAITING);
        let (places, frames) = mpsc::channel::<PackedFrame>(FRAMES_WAITING);
        let packing = async {
            let packed = packer.pack_segment(run.recipients, out, &places).await;
            drop(places);
            packed
        };
        let indexing = index::store(run, folder, &index_key, frames);
        let (packed, stored, indexed) = futures::try_join!(packing, send(upload, pieces), indexing)?;
        run.vault.confirm(&folder.of(&key), &stored, &packed.sealed.sha256).await?;
        segments.push(record(&key, &packed, stored.version, indexed));
        if !packed.more {
            break;
        }
    }
    Ok(segments)
}

/// Uploads the pieces; an upload that fails is given up, so that it never becomes an object that looks whole.
pub(super) async fn send(mut upload: Upload, mut pieces: mpsc::Receiver<Piece>) -> Result<Stored> {
    loop {
        let written = match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => upload.write(bytes).await,
            Some(Piece::End) => return upload.finish().await,
            None => Err(Error::failed("what was being stored broke off")),
        };
        if let Err(e) = written {
            upload.abort().await;
            return Err(e);
        }
    }
}

/// What the manifest says about a packed segment.
pub(super) fn record(key: &str, packed: &PackedSegment, version: Option<String>, indexed: Indexed) -> SegmentRecord {
    SegmentRecord {
        object: object(key, &packed.sealed, version),
        tar_bytes: packed.tar_bytes,
        content_bytes: indexed.content_bytes,
        index: indexed.record,
    }
}

/// What the manifest says about a sealed object.
pub(super) fn object(key: &str, sealed: &Sealed, version: Option<String>) -> StoredObject {
    StoredObject {
        key: key.into(),
        version,
        bytes: sealed.bytes,
        sha256: sealed.sha256,
        plaintext_bytes: sealed.plaintext_bytes,
        plaintext_sha256: sealed.plaintext_sha256,
    }
}
