//! Stores one source, unit after unit: read, packed and uploaded at the same time, or taken over from an earlier backup.

use std::time::Instant;

use tokio::sync::mpsc;

use super::index::{self, FRAMES_WAITING, Indexed};
use super::reuse::{Reusable, write_receipt};
use super::{Run, status};
use crate::archive::segment::{PackedFrame, PackedSegment, Packer, Piece, Sealed};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::sources::{BATCHES_WAITING, Opened, Source, TIME_IS_UP, Unit, in_time};
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::{SegmentRecord, SourceRecord, StoredObject, UnitRecord};
use crate::vault::{Stored, Upload};

/// Sealed blocks of 1 MiB that wait for the upload, which holds some of its own.
pub(super) const BLOCKS_WAITING: usize = 2;

/// What is stored of a source so far.
#[derive(Default)]
struct Saved {
    inventory: Inventory,
    units: Vec<UnitRecord>,
    segments: Vec<SegmentRecord>,
    /// The number of the last segment, counting those of tries that were given up.
    number: u32,
}

/// Where a source goes.
struct Place<'a> {
    run: &'a Run<'a>,
    folder: &'a BackupFolder,
    name: &'a str,
    reusable: &'a Reusable,
}

/// Reads a source to its end and stores it. A source that fails makes its record partial, not the run fail.
pub(super) async fn save(
    run: &Run<'_>,
    folder: &BackupFolder,
    name: &str,
    source: &dyn Source,
    reusable: &Reusable,
) -> Result<SourceRecord> {
    let begin = Instant::now();
    run.progress.begin(name, None);
    let place = Place { run, folder, name, reusable };
    let mut saved = Saved::default();
    match place.open(source).await {
        Ok(opened) => place.save_units(opened, &mut saved).await?,
        Err(e) => saved.inventory.problems.push(missing(name, e.one_line())),
    }
    let Saved { mut inventory, units, segments, .. } = saved;
    if inventory.problems.is_empty() {
        inventory.notices.extend(reusable.gap(name, &inventory.contents));
        reusable.judge_emptiness(name, &mut inventory);
    }
    let count = inventory.problems.len();
    run.progress.end(name, &format!("{} {}, {count} problems", inventory.items, source.noun()));
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
        notices: inventory.notices,
        contents: inventory.contents,
        units,
        segments,
    })
}

fn missing(what: &str, why: impl Into<String>) -> Omission {
    Omission { what: what.into(), why: why.into(), count: None }
}

impl Place<'_> {
    async fn open(&self, source: &dyn Source) -> Result<Opened> {
        for pause in &self.run.retries {
            match in_time(&self.run.stop, source.open()).await {
                Err(e) if self.wait(*pause, &e.one_line()).await => {}
                opened => return opened,
            }
        }
        in_time(&self.run.stop, source.open()).await
    }

    /// Waits before the next try; false when the window closes before it could begin.
    async fn wait(&self, pause: std::time::Duration, why: &str) -> bool {
        tracing::warn!(source = self.name, error = why, again_in = ?pause, "could not be read");
        tokio::select! {
            () = self.run.stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    async fn save_units(&self, opened: Opened, saved: &mut Saved) -> Result<()> {
        saved.inventory = opened.inventory;
        let count = opened.units.len();
        for (done, unit) in opened.units.into_iter().enumerate() {
            if self.run.stop.is_cancelled() {
                let count = Some((count - done) as u64).filter(|_| count > 1);
                saved.inventory.problems.push(Omission { count, ..missing(self.name, TIME_IS_UP) });
                break;
            }
            if !self.take_over(unit.as_ref(), saved).await? {
                self.read(unit.as_ref(), saved).await?;
            }
        }
        Ok(())
    }

    /// Takes a unit over from where it was stored before, if it was.
    async fn take_over(&self, unit: &dyn Unit, saved: &mut Saved) -> Result<bool> {
        let Some(stored) = unit.identity().and_then(|identity| self.reusable.find(self.name, identity)) else {
            return Ok(false);
        };
        let begun = saved.number;
        let copied = match stored.copy(self.run.vault, self.folder, self.name, &mut saved.number).await {
            Ok(copied) => copied,
            Err(e) => {
                // Whatever is wrong with the old one: what it was made from is still there.
                tracing::warn!(source = self.name, error = %e.one_line(), "read again instead of taken over");
                saved.number = saved.number.max(begun + stored.segments.len() as u32);
                return Ok(false);
            }
        };
        let unit = UnitRecord { copied_from: Some(stored.folder.id.clone()), ..stored.unit.clone() };
        self.run.progress.advance(self.name, unit.items, unit.bytes);
        write_receipt(self.run, self.folder, self.name, &unit, &copied).await?;
        saved.inventory.items += unit.items;
        saved.inventory.bytes += unit.bytes;
        saved.inventory.contents.add(&unit.contents);
        saved.units.push(unit);
        saved.segments.extend(copied);
        Ok(true)
    }

    /// Reads a unit, again where that may help and there is time.
    async fn read(&self, unit: &dyn Unit, saved: &mut Saved) -> Result<()> {
        let mut best = self.try_reading(unit, &mut saved.number).await?;
        for pause in &self.run.retries {
            let Some(why) = best.0.lost.clone() else { break };
            if !self.wait(*pause, &why).await {
                break;
            }
            let next = self.try_reading(unit, &mut saved.number).await?;
            // What was read before the server was lost is better than nothing.
            if next.0.lost.is_none() || next.0.items >= best.0.items {
                best = next;
            }
        }
        let (inventory, segments) = best;
        let is_whole = inventory.problems.is_empty() && inventory.skipped.is_empty() && !inventory.is_unsettled;
        if let Some(identity) = unit.identity().filter(|_| is_whole) {
            let (items, bytes, contents) = (inventory.items, inventory.bytes, inventory.contents.clone());
            let unit = UnitRecord { identity, items, bytes, contents, copied_from: None };
            write_receipt(self.run, self.folder, self.name, &unit, &segments).await?;
            saved.units.push(unit);
        }
        saved.inventory.add(inventory);
        saved.segments.extend(segments);
        Ok(())
    }

    async fn try_reading(&self, unit: &dyn Unit, number: &mut u32) -> Result<(Inventory, Vec<SegmentRecord>)> {
        let run = self.run;
        let (batches, input) = mpsc::channel(BATCHES_WAITING);
        let packer = Packer::new(input, run.packing(crate::clock::to_seconds(run.clock.now())));
        let reading = unit.read(batches, run.progress, &run.stop);
        let storing = self.store_segments(packer, number);
        let (read, stored) = tokio::join!(reading, storing);
        let mut segments = stored?;
        let items = segments.iter().map(|s| s.index.members).sum();
        let mut inventory = read.unwrap_or_else(|e| Inventory {
            items,
            bytes: segments.iter().map(|s| s.content_bytes).sum(),
            problems: vec![missing(self.name, e.one_line())],
            lost: Some(e.one_line()),
            ..Inventory::default()
        });
        if inventory.items != items {
            let why = format!("{} were read, {items} were stored", inventory.items);
            inventory.problems.push(missing(self.name, why));
        }
        for segment in &mut segments {
            segment.unit = unit.identity();
        }
        Ok((inventory, segments))
    }

    async fn store_segments(&self, mut packer: Packer, number: &mut u32) -> Result<Vec<SegmentRecord>> {
        let mut segments = Vec::new();
        loop {
            *number += 1;
            let (segment, more) = self.store_segment(&mut packer, *number).await?;
            segments.push(segment);
            if !more {
                return Ok(segments);
            }
        }
    }

    async fn store_segment(&self, packer: &mut Packer, number: u32) -> Result<(SegmentRecord, bool)> {
        let Place { run, folder, name, .. } = *self;
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
        Ok((record(&key, &packed, stored.version, indexed), packed.more))
    }
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
        unit: None,
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
