//! The first write of a run: schedule, plans and runbooks, under an id that nobody else has.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::store::record;
use super::{Run, index};
use crate::archive::segment::{PackedFrame, PackedSegment, Packer, Piece};
use crate::clock::to_seconds;
use crate::config::CONFIGURATION_SOURCE;
use crate::error::{Context, Error, Result};
use crate::member::{Batch, Member};
use crate::vault::Created;
use crate::vault::layout::{BackupFolder, BackupId};
use crate::vault::manifest::{SourceRecord, Status};

/// Two runs of one second meet rarely; a third and a fourth are not to be expected.
const TRIES: u32 = 10;

/// An id that belongs to this run.
pub(super) struct Claim {
    pub folder: BackupFolder,
    pub started: Timestamp,
    pub record: SourceRecord,
}

/// Stores the configuration with create-if-absent: whoever writes it first owns the id.
pub(super) async fn claim(run: &Run<'_>) -> Result<Claim> {
    let members = configuration(run)?;
    for _ in 0..TRIES {
        let started = to_seconds(run.clock.now());
        let id = BackupId::new(started, &run.schedule.name);
        let folder = BackupFolder { cluster: run.schedule.cluster.to_string(), id };
        if let Some(claim) = try_claim(run, folder, started, members.clone()).await? {
            // From here on, the log names it where its reader waits for that.
            tracing::Span::current().record("backup", tracing::field::display(&claim.folder.id));
            return Ok(claim);
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    Err(Error::failed(format!("every id of the last {TRIES} seconds is taken"))
        .hint("is another run of the same schedule being started over and over?"))
}

async fn try_claim(
    run: &Run<'_>,
    folder: BackupFolder,
    started: Timestamp,
    members: Vec<Member>,
) -> Result<Option<Claim>> {
    let items = members.len() as u64;
    let bytes = members.iter().map(Member::size).sum();
    let begin = std::time::Instant::now();
    let (key, index_key) =
        (BackupFolder::segment(CONFIGURATION_SOURCE, 1), BackupFolder::index(CONFIGURATION_SOURCE, 1));
    let (object, frames, packed) = pack(run, started, members).await?;
    // Whatever stands there, from a run that was cut off or from somebody else, must neither mix with this run nor be lost.
    if !run.vault.list(&folder.key()).await?.is_empty() {
        return Ok(None);
    }
    let created = run.vault.create(&folder.of(&key), object).await?;
    let Created::Yes(stored) = created else { return Ok(None) };
    // Read back from every kind of storage: one that does not give out what it was given is found before the work begins.
    run.vault.read_back(&folder.of(&key), &stored, &packed.sealed.sha256).await?;
    let indexed = index::store_all(run, &folder, &index_key, frames).await?;
    let segment = record(&key, &packed, stored.version, indexed);
    let record = SourceRecord {
        name: CONFIGURATION_SOURCE.into(),
        kind: CONFIGURATION_SOURCE.into(),
        status: Status::Complete,
        items,
        bytes,
        stored_bytes: segment.stored_bytes(),
        milliseconds: begin.elapsed().as_millis() as u64,
        types: Default::default(),
        skipped: Vec::new(),
        problems: Vec::new(),
        notices: Vec::new(),
        contents: Default::default(),
        units: Vec::new(),
        segments: vec![segment],
    };
    Ok(Some(Claim { folder, started, record }))
}

async fn pack(
    run: &Run<'_>,
    started: Timestamp,
    members: Vec<Member>,
) -> Result<(Bytes, Vec<PackedFrame>, PackedSegment)> {
    let (batches, input) = mpsc::channel(1);
    let (out, mut pieces) = mpsc::channel(8);
    let (places, mut frames) = mpsc::channel(8);
    let mut packer = Packer::new(input, run.packing(started));
    let feed = async move {
        // The packer lives until it has everything.
        let _ = batches.send(Batch { members }).await;
    };
    let collect = async {
        let mut object = Vec::new();
        while let Some(Piece::Bytes(bytes)) = pieces.recv().await {
            object.extend_from_slice(&bytes);
        }
        Bytes::from(object)
    };
    let places_of = async {
        let mut all = Vec::new();
        while let Some(frame) = frames.recv().await {
            all.push(frame);
        }
        all
    };
    let packing = async {
        let packed = packer.pack_segment(run.recipients, out, &places).await;
        drop(places);
        packed
    };
    let ((), packed, object, frames) = tokio::join!(feed, packing, collect, places_of);
    Ok((object, frames, packed?))
}

/// What a laptop needs when the cluster is gone.
fn configuration(run: &Run<'_>) -> Result<Vec<Member>> {
    let schedule = ("schedule.yaml".to_string(), run.schedule.source_text.clone().into_bytes());
    let mut files = vec![schedule];
    for (path, file) in run.schedule.include.entries() {
        let content =
            std::fs::read(file).context(|| format!("read {}, which the schedule includes", file.display()))?;
        files.push((path, content));
    }
    let member = |(path, content): (String, Vec<u8>)| Member::whole(path, vec![content.into()], Default::default());
    Ok(files.into_iter().map(member).collect())
}
