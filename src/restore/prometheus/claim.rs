//! Puts blocks into the volume of a workload, which is scaled to zero meanwhile.
//!
//! A workload without pods has none to write through: one is made for it that mounts the volume as the workload does, and goes
//! again. Blocks are written beside the others and moved to their places when all are there.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::refusal;
use super::writer::Writer;
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::cluster::Cluster;
use crate::command::{Input, Place, Running};
use crate::config::DataClaim;
use crate::error::{Context, Error, Result};
use crate::inventory::Metrics;
use crate::reader::StoredFrame;
use crate::restore::files::of_the_backup;
use crate::restore::scale::{self, Need};
use crate::restore::summary::Outcome;
use crate::restore::work::{Tally, Work};
use crate::sources::{SILENCES, metrics_of};

/// How long a question may take.
const QUESTION: Duration = Duration::from_secs(300);

/// Frames that are fetched before they are needed.
const AHEAD: usize = 3;

/// Where blocks wait until all of them are there. What a restore that was cut off left is made anew.
const COMING: &str = ".ckbackup-restore";

/// What a new Prometheus makes at once, and goes on with: its samples are newer than all blocks of a backup.
const NEW: [&str; 6] = ["wal", "wbl", "chunks_head", "lock", "queries.active", "snapshots"];

/// What stands in the data directory: its entries, then the files of the blocks that are asked for.
const LIST: &str = "cd -- \"$1\" || exit 1; shift; \
                    for f in * .*; do if [ -e \"$f\" ] && [ \"$f\" != . ] && [ \"$f\" != .. ]; then echo \"entry $f\"; fi; done; \
                    for b; do if [ -d \"$b\" ]; then find \"$b\" -type f -exec stat -c 'file %s %n' {} + || exit 1; fi; done";

const UNPACK: &str = "cd -- \"$1\" && rm -rf \"$2\" && mkdir \"$2\" && tar -C \"$2\" -xf - && cat >/dev/null";

const SHOW: &str = "cd -- \"$1\" && for b in \"$2\"/*; do mv -- \"$b\" . || exit 1; done && rmdir \"$2\" && sync";

const METAS: &str = "cd -- \"$1\" || exit 1; shift; for b; do cat \"$b/meta.json\" || exit 1; printf '\\0'; done";

/// A block of the backup: its files, and their sizes.
type Blocks = BTreeMap<String, BTreeMap<String, u64>>;

/// Frames with the files in them that are wanted.
type Frames = Vec<(StoredFrame, Vec<Entry>)>;

/// What is to be put where.
struct Putting<'a> {
    work: &'a Work,
    claim: &'a DataClaim,
    blocks: Blocks,
    frames: Frames,
    /// The step's name.
    name: &'a str,
}

/// What came of it: of each block, and what all blocks say of themselves.
struct Put {
    outcomes: Vec<(String, Outcome)>,
    found: Vec<Metrics>,
}

/// Puts whole blocks into the volume, and reads back what they say of themselves; nothing where that is not worth while.
pub(super) async fn write(
    work: &Work,
    step: usize,
    source: &str,
    claim: &DataClaim,
    whole: &[String],
) -> Result<(Tally, Option<Vec<Metrics>>)> {
    let name = work.plan.steps[step].name.to_string();
    let target = work.target.as_ref().ok_or_else(|| Error::failed("no cluster is connected"))?;
    let (frames, blocks) = of_the_backup(work, find(work, source, whole).await).await?;
    let putting = Putting { work, claim, blocks, frames, name: &name };
    let bytes = putting.blocks.values().flat_map(BTreeMap::values).sum();
    work.progress.begin(&name, Some(bytes));
    let writer = Writer::plan(target.cluster(), claim).await?;
    let mut tally = Tally::default();
    let found = if work.dry_run {
        putting.blocks.keys().for_each(|block| tally.add(&name, block, Outcome::Created));
        None
    } else {
        let (cluster, workloads) = (target.cluster(), std::slice::from_ref(&claim.workload));
        let put = match scale::to_zero(cluster, workloads, Need::Meanwhile(&name), &work.interim).await {
            Ok(()) => putting.put_through(cluster, &writer).await,
            Err(e) => Err(e),
        };
        let back = scale::back(cluster, &name, &work.interim).await;
        let Put { outcomes, found } = put?;
        outcomes.into_iter().for_each(|(block, outcome)| tally.add(&name, &block, outcome));
        tally.notes.extend(back?);
        (tally.items.failed == 0).then_some(found)
    };
    work.progress.end(&name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok((tally, found))
}

async fn find(work: &Work, source: &str, whole: &[String]) -> Result<(Frames, Blocks)> {
    let (mut frames, mut blocks) = (Frames::new(), Blocks::new());
    for stored in work.backup.frames_with(source, "") {
        let mut entries = work.backup.entries(stored).await?;
        entries.retain(|entry| entry.path != SILENCES && whole.iter().any(|block| block == block_of(&entry.path)));
        for entry in &entries {
            *blocks.entry(block_of(&entry.path).into()).or_default().entry(entry.path.clone()).or_default() +=
                entry.size;
        }
        if !entries.is_empty() {
            frames.push((stored.clone(), entries));
        }
    }
    Ok((frames, blocks))
}

fn block_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

fn shell(script: &str, more: &[&str]) -> Vec<String> {
    ["sh", "-c", script, "sh"].iter().chain(more).map(ToString::to_string).collect()
}

impl Putting<'_> {
    /// The pod goes again, whatever came of it.
    async fn put_through(&self, cluster: &Cluster, writer: &Writer) -> Result<Put> {
        let put = match writer.start(cluster, &self.work.interim).await {
            Ok(place) => self.put(&place, writer.path()).await,
            Err(e) => Err(e),
        };
        let removed = writer.remove(cluster, &self.work.interim).await;
        let put = put?;
        removed.map(|()| put)
    }

    async fn put(&self, place: &Place, path: &str) -> Result<Put> {
        let outcomes = self.decide(place, path).await?;
        let is_wanted = |block: &str| outcomes.iter().any(|(b, outcome)| b == block && *outcome == Outcome::Created);
        if outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Created) {
            let command = shell(UNPACK, &[path, COMING]);
            let exit = self.send(place.start(&command, true).await?, is_wanted).await?;
            exit.require_success(&command).map_err(|e| e.within(format!("write to {path} {}", place.words())))?;
            place.ask(&shell(SHOW, &[path, COMING]), QUESTION).await?;
        }
        Ok(Put { outcomes, found: self.read_metas(place, path).await? })
    }

    /// What becomes of each block; an error where anything else is there.
    async fn decide(&self, place: &Place, path: &str) -> Result<Vec<(String, Outcome)>> {
        let names: Vec<String> = self.blocks.keys().cloned().collect();
        let arguments: Vec<&str> = std::iter::once(path).chain(names.iter().map(String::as_str)).collect();
        let answer = place.ask(&shell(LIST, &arguments), QUESTION).await?;
        let mut there = Blocks::new();
        for line in answer.lines() {
            if let Some(name) = line.strip_prefix("entry ") {
                let folder = format!("{path} in claim {}/{}", self.claim.workload.namespace, self.claim.claim);
                if name != COMING
                    && !NEW.contains(&name)
                    && let Some(refused) = refusal(&folder, name, &names)
                {
                    return Err(refused);
                }
            } else if let Some((size, file)) = line.strip_prefix("file ").and_then(|file| file.split_once(' ')) {
                let size = size.parse().unwrap_or(u64::MAX);
                there.entry(block_of(file).into()).or_default().insert(file.into(), size);
            }
        }
        let outcome = |(block, files): (&String, &BTreeMap<String, u64>)| {
            let outcome = match there.get(block) {
                None => Outcome::Created,
                Some(same) if same == files => Outcome::Unchanged,
                Some(_) => Outcome::Failed("it is there, and differs: its files are others, or of other sizes".into()),
            };
            (block.clone(), outcome)
        };
        Ok(self.blocks.iter().map(outcome).collect())
    }

    /// Sends files as a tar, and waits until the command has ended.
    async fn send(&self, mut running: Running, is_wanted: impl Fn(&str) -> bool) -> Result<crate::command::Exit> {
        let input = running.input.take().ok_or_else(|| Error::failed("the command has no input"))?;
        let sending = self.send_files(input, is_wanted);
        // What it writes must be taken, or it waits for that.
        let mut rest = [0; 8192];
        let reading =
            async { while let Ok(1..) = tokio::io::AsyncReadExt::read(&mut running.output, &mut rest).await {} };
        let (sent, ()) = tokio::join!(sending, reading);
        let sent = sent?;
        let exit = running.end().await?;
        match exit.success && !sent {
            true => Err(Error::failed("the pod ended before it had read everything")),
            false => Ok(exit),
        }
    }

    /// Whether the command took everything.
    async fn send_files(&self, mut input: Input, is_wanted: impl Fn(&str) -> bool) -> Result<bool> {
        let frames: Vec<_> =
            self.frames.iter().map(|(stored, entries)| self.tar(stored, entries, &is_wanted)).collect();
        let mut frames = futures::stream::iter(frames).buffered(AHEAD);
        while let Some(piece) = frames.next().await {
            let piece = of_the_backup(self.work, piece).await?;
            if input.write_all(&piece).await.is_err() {
                // How it ended says why.
                return Ok(false);
            }
            self.work.progress.advance(self.name, piece.len() as u64, piece.len() as u64);
        }
        // Two blocks of zeros end a tar.
        let ended = input.write_all(&[0; 1024]).await.is_ok();
        Ok(input.shutdown().await.is_ok() && ended)
    }

    /// The files of one frame, or its parts of files, as they stand in a tar.
    async fn tar(&self, stored: &StoredFrame, entries: &[Entry], is_wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>> {
        let wanted: Vec<Entry> = entries.iter().filter(|entry| is_wanted(block_of(&entry.path))).cloned().collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let encoded = self.work.backup.encoded_frame(stored).await?;
        let packing = tokio::task::spawn_blocking(move || {
            encoded.decode_and(|decoded| {
                let mut tar = Vec::new();
                wanted.iter().try_for_each(|entry| append(&mut tar, entry, frame::member(decoded, entry)?))?;
                Ok(tar)
            })
        });
        packing.await.context(|| "unpack blocks".into())?
    }

    async fn read_metas(&self, place: &Place, path: &str) -> Result<Vec<Metrics>> {
        let arguments: Vec<&str> = std::iter::once(path).chain(self.blocks.keys().map(String::as_str)).collect();
        let answer = place.ask(&shell(METAS, &arguments), QUESTION).await?;
        answer.split_terminator('\0').map(|meta| metrics_of(meta.as_bytes())).collect()
    }
}

/// A file begins with its header, and ends at a multiple of tar's blocks; parts follow each other.
fn append(tar: &mut Vec<u8>, entry: &Entry, content: &[u8]) -> Result<()> {
    if entry.begins_member() {
        let mut header = tar::Header::new_gnu();
        header.set_path(&entry.path).context(|| format!("write {}", entry.path))?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(entry.part.map_or(entry.size, |part| part.of));
        header.set_mode(0o644);
        header.set_mtime(entry.traits.modified.unwrap_or_default());
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
    }
    tar.extend_from_slice(content);
    if entry.part.is_none_or(|part| part.is_last(entry.size)) {
        tar.resize(tar.len() + content.len().next_multiple_of(512) - content.len(), 0);
    }
    Ok(())
}
