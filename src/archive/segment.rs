//! Segments: frames one after the other, sealed into one age file of bounded size.
//!
//! Packing and sealing run on worker threads; their results are put in order here. What is in flight is bounded by the
//! number of workers and the channels' sizes, so memory does not grow with the source.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::age::{self, PayloadKey, Recipients};
use super::frame::{self, Frame};
use super::index::Entry;
use crate::error::{Context, Error, Result};
use crate::member::{Batch, Member};

/// How many chunks are sealed at once: 1 MiB, enough to be worth a trip to another thread.
const SEAL_BLOCK: usize = 16 * age::CHUNK;

/// How a segment is packed.
#[derive(Debug, Clone)]
pub struct Packing {
    /// How many frames are packed, and blocks sealed, at the same time.
    pub workers: usize,
    /// Once a segment's stored size reaches this, it is closed and the next begun. Bytes.
    pub segment_bytes: u64,
    /// Modification time of the members, seconds since 1970.
    pub modified: u64,
}

/// Sizes and digests of a sealed object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// Size as stored, in bytes.
    pub bytes: u64,
    /// SHA-256 of what is stored: the age file.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// Size of what is inside the age file, in bytes.
    pub plaintext_bytes: u64,
    /// SHA-256 of what is inside the age file: the Zstandard stream.
    #[serde(with = "hex")]
    pub plaintext_sha256: [u8; 32],
}

/// What a sealed stream sends on. Its end is said: a sender that is gone without it has failed.
#[derive(Debug)]
pub enum Piece {
    /// More bytes.
    Bytes(Bytes),
    /// That was all.
    End,
}

/// Seals a stream of bytes into an age file, block by block, on worker threads, and sends the result on in order.
pub struct SealingStream {
    key: PayloadKey,
    pending: Vec<u8>,
    next_chunk: u64,
    jobs: VecDeque<JoinHandle<Result<Vec<u8>>>>,
    workers: usize,
    out: mpsc::Sender<Piece>,
    stored: Sha256,
    stored_len: u64,
    plain: Sha256,
    plain_len: u64,
}

impl SealingStream {
    /// Begins an age file for `recipients`; its header goes to `out` at once.
    pub async fn begin(recipients: &Recipients, workers: usize, out: mpsc::Sender<Piece>) -> Result<Self> {
        let (header, key) = age::begin(recipients)?;
        let mut stream = SealingStream {
            key,
            pending: Vec::with_capacity(SEAL_BLOCK),
            next_chunk: 0,
            jobs: VecDeque::new(),
            workers: workers.max(1),
            out,
            stored: Sha256::new(),
            stored_len: 0,
            plain: Sha256::new(),
            plain_len: 0,
        };
        stream.send(header).await?;
        Ok(stream)
    }

    /// Bytes stored or about to be.
    pub fn stored_so_far(&self) -> u64 {
        age::sealed_len(self.plain_len)
    }

    /// Adds plaintext.
    pub async fn write(&mut self, plaintext: &[u8]) -> Result<()> {
        self.plain.update(plaintext);
        self.plain_len += plaintext.len() as u64;
        let mut rest = plaintext;
        while !rest.is_empty() {
            // A block is only sealed when more follows: the last chunk is sealed differently.
            if self.pending.len() == SEAL_BLOCK {
                let block = std::mem::replace(&mut self.pending, Vec::with_capacity(SEAL_BLOCK));
                self.start(block, false);
                if self.jobs.len() > self.workers {
                    self.drain_one().await?;
                }
            }
            let (now, later) = rest.split_at(rest.len().min(SEAL_BLOCK - self.pending.len()));
            self.pending.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    /// Seals what is left and waits until everything is sent.
    pub async fn finish(mut self) -> Result<Sealed> {
        let block = std::mem::take(&mut self.pending);
        self.start(block, true);
        while !self.jobs.is_empty() {
            self.drain_one().await?;
        }
        self.out.send(Piece::End).await.map_err(|_| gone())?;
        Ok(Sealed {
            bytes: self.stored_len,
            sha256: self.stored.finalize().into(),
            plaintext_bytes: self.plain_len,
            plaintext_sha256: self.plain.finalize().into(),
        })
    }

    fn start(&mut self, block: Vec<u8>, last: bool) {
        let (key, first) = (self.key.clone(), self.next_chunk);
        self.next_chunk += (block.len() / age::CHUNK) as u64;
        self.jobs.push_back(tokio::task::spawn_blocking(move || key.seal(first, &block, last)));
    }

    async fn drain_one(&mut self) -> Result<()> {
        if let Some(job) = self.jobs.pop_front() {
            let sealed = job.await.context(|| "seal a block".into())??;
            self.send(sealed).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.stored.update(&bytes);
        self.stored_len += bytes.len() as u64;
        self.out.send(Piece::Bytes(bytes.into())).await.map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::failed("the receiver of a segment is gone")
}

/// Where a frame went.
#[derive(Debug)]
pub struct PackedFrame {
    /// Where it begins in the Zstandard stream.
    pub offset: u64,
    /// Its encoded size.
    pub length: u64,
    /// Its decoded size.
    pub decoded: u64,
    /// SHA-256 of its encoded form.
    pub sha256: [u8; 32],
    /// Its members.
    pub entries: Vec<Entry>,
}

/// A segment that was packed to its end.
#[derive(Debug)]
pub struct PackedSegment {
    /// Sizes and digests.
    pub sealed: Sealed,
    /// Size of the tar inside, in bytes.
    pub tar_bytes: u64,
    /// Whether the source has more, for the next segment.
    pub more: bool,
}

/// Packs batches into frames ahead of time, across the ends of segments.
pub struct Packer {
    input: mpsc::Receiver<Batch>,
    ahead: VecDeque<JoinHandle<Result<Frame>>>,
    waiting: VecDeque<Vec<Member>>,
    packing: Packing,
    ended: bool,
}

impl Packer {
    /// A packer of what comes through `input`, until its senders are gone.
    pub fn new(input: mpsc::Receiver<Batch>, packing: Packing) -> Self {
        Packer { input, ahead: VecDeque::new(), waiting: VecDeque::new(), packing, ended: false }
    }

    /// Packs one segment: `out` gets the age file's bytes, `frames` each frame's place.
    pub async fn pack_segment(
        &mut self,
        recipients: &Recipients,
        out: mpsc::Sender<Piece>,
        frames: &mpsc::Sender<PackedFrame>,
    ) -> Result<PackedSegment> {
        let mut stream = SealingStream::begin(recipients, self.packing.workers, out).await?;
        let (mut offset, mut tar_bytes) = (0, 0);
        while let Some(frame) = self.next_frame().await? {
            stream.write(&frame.encoded).await?;
            let length = frame.encoded.len() as u64;
            // A file stands in one segment, or no tar that is read by itself would hold it.
            let may_end = !frame.ends_within_a_file();
            tar_bytes += frame.decoded_len;
            let Frame { sha256, decoded_len: decoded, entries, .. } = frame;
            let place = PackedFrame { offset, length, decoded, sha256, entries };
            frames.send(place).await.map_err(|_| Error::failed("the receiver of the index is gone"))?;
            offset += length;
            if may_end && stream.stored_so_far() >= self.packing.segment_bytes {
                break;
            }
        }
        let more = self.has_more().await;
        stream.write(&frame::pack_end()?.encoded).await?;
        Ok(PackedSegment { sealed: stream.finish().await?, tar_bytes: tar_bytes + 1024, more })
    }

    async fn next_frame(&mut self) -> Result<Option<Frame>> {
        loop {
            self.start_jobs();
            let room = !self.ended && self.waiting.is_empty() && self.ahead.len() <= self.packing.workers;
            tokio::select! {
                biased;
                batch = self.input.recv(), if room => self.take(batch),
                frame = async { (&mut self.ahead[0]).await }, if !self.ahead.is_empty() => {
                    self.ahead.pop_front();
                    return frame.context(|| "pack a frame".into())?.map(Some);
                }
                else => return Ok(None),
            }
        }
    }

    /// Whether the source has more; waits until that is known.
    async fn has_more(&mut self) -> bool {
        while self.ahead.is_empty() && self.waiting.is_empty() && !self.ended {
            let batch = self.input.recv().await;
            self.take(batch);
        }
        !(self.ahead.is_empty() && self.waiting.is_empty())
    }

    fn start_jobs(&mut self) {
        while self.ahead.len() <= self.packing.workers {
            let Some(members) = self.waiting.pop_front() else { break };
            let modified = self.packing.modified;
            self.ahead.push_back(tokio::task::spawn_blocking(move || frame::pack(&members, modified)));
        }
    }

    fn take(&mut self, batch: Option<Batch>) {
        match batch {
            Some(batch) => self.waiting.extend(frame::split(batch)),
            None => self.ended = true,
        }
    }
}
