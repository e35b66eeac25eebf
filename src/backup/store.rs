//! Stores one source: read, packed and uploaded at the same time, segment after segment.

use std::time::Instant;

use tokio::sync::mpsc;

use super::index::IndexSender;
use super::{Run, status};
use crate::archive::segment::{PackedFrame, PackedSegment, Packer, Piece};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::sources::{BATCHES_WAITING, Source};
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::{SegmentRecord, SourceRecord};
use crate::vault::{Stored, Upload};

/// Sealed blocks of 1 MiB that wait for the upload.
const BLOCKS_WAITING: usize = 8;

/// Reads a source to its end and stores it. A source that fails makes its record partial, not the run fail.
pub(super) async fn save(
    run: &Run<'_>,
    folder: &BackupFolder,
    name: &str,
    source: &dyn Source,
    index: &IndexSender,
) -> Result<SourceRecord> {
    let begin = Instant::now();
    let (batches, input) = mpsc::channel(BATCHES_WAITING);
    let packer = Packer::new(input, run.packing(crate::clock::to_seconds(run.clock.now())));
    let reading = source.read(batches, run.progress);
    let storing = store_segments(run, folder, name, packer, index);
    let (read, stored) = tokio::join!(reading, storing);
    let (segments, items) = stored?;
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
        stored_bytes: segments.iter().map(|s| s.bytes).sum(),
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
    index: &IndexSender,
) -> Result<(Vec<SegmentRecord>, u64)> {
    let (mut segments, mut items) = (Vec::new(), 0);
    for number in 1.. {
        let key = BackupFolder::segment(name, number);
        let upload = run.vault.upload(&folder.of(&key)).await?;
        let (out, pieces) = mpsc::channel(BLOCKS_WAITING);
        let (places, mut frames) = mpsc::channel::<PackedFrame>(BLOCKS_WAITING);
        let packing = async {
            let packed = packer.pack_segment(run.recipients, out, &places).await;
            drop(places);
            packed
        };
        let indexing = async {
            while let Some(frame) = frames.recv().await {
                items += frame.entries.len() as u64;
                index.add(name, number, frame).await?;
            }
            Ok(())
        };
        let (packed, stored, ()) = futures::try_join!(packing, send(upload, pieces), indexing)?;
        run.vault.confirm(&folder.of(&key), &stored, &packed.sealed.sha256).await?;
        segments.push(record(&key, &packed, stored.version));
        if !packed.more {
            break;
        }
    }
    Ok((segments, items))
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
pub(super) fn record(key: &str, packed: &PackedSegment, version: Option<String>) -> SegmentRecord {
    let sealed = packed.sealed.clone();
    SegmentRecord {
        key: key.into(),
        version,
        bytes: sealed.bytes,
        sha256: sealed.sha256,
        plaintext_bytes: sealed.plaintext_bytes,
        plaintext_sha256: sealed.plaintext_sha256,
        tar_bytes: packed.tar_bytes,
    }
}
