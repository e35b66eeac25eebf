//! The outputs that a backup holds: where their parts are, and what is known of each.

use std::collections::BTreeMap;

use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::super::files::of_the_backup;
use super::super::summary::Outcome;
use super::super::work::Work;
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::command::{Exit, Input, Record, Running, Saved, discard};
use crate::error::{Context, Error, Result};
use crate::reader::StoredFrame;

/// Parts that are fetched and decoded before they are needed.
const AHEAD: usize = 3;

/// An output of the backup.
#[derive(Default)]
struct Output {
    parts: Vec<(StoredFrame, Entry)>,
    record: Option<Record>,
}

/// All of them, by file.
pub struct Outputs<'a> {
    work: &'a Work,
    all: BTreeMap<String, Output>,
}

impl<'a> Outputs<'a> {
    /// Reads the index of a source, and all records.
    pub async fn read(work: &'a Work, source: &str) -> Result<Outputs<'a>> {
        let read = Outputs::read_all(work, source).await;
        of_the_backup(work, read).await
    }

    async fn read_all(work: &'a Work, source: &str) -> Result<Outputs<'a>> {
        let backup = &work.backup;
        backup.load_index().await?;
        let mut all: BTreeMap<String, Output> = BTreeMap::new();
        for stored in backup.frames_with(source, "") {
            for entry in backup.entries(stored).await? {
                match Saved::at(&entry.path) {
                    Some(Saved::Part(file)) => all.entry(file).or_default().parts.push((stored.clone(), entry)),
                    Some(Saved::Record(file)) => {
                        let decoded = backup.frame(stored).await?;
                        let record: Record = serde_json::from_slice(frame::member(&decoded, &entry)?)
                            .map_err(|e| Error::integrity(format!("read {}", entry.path)).because(e))?;
                        all.entry(file).or_default().record = Some(record);
                    }
                    None => tracing::warn!(path = entry.path, "is nothing that this version knows"),
                }
            }
        }
        // As they were written.
        all.values_mut().for_each(|output| output.parts.sort_by(|a, b| a.1.path.cmp(&b.1.path)));
        Ok(Outputs { work, all })
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.all.values().filter_map(|output| output.record.as_ref()).map(|record| record.bytes).sum()
    }

    /// What is known of each whole output.
    pub fn records(&self) -> impl Iterator<Item = (&str, &Record)> {
        self.all.iter().filter_map(|(file, output)| Some((file.as_str(), output.record.as_ref()?)))
    }

    /// Outputs of which the end is missing.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|(_, output)| output.record.is_none()).map(|(file, _)| file.as_str())
    }

    /// What is to become of an output that is fed to whatever takes it.
    pub fn fate(&self, file: &str) -> Outcome {
        match self.all.get(file) {
            Some(Output { record: Some(_), .. }) => Outcome::Created,
            Some(_) => Outcome::Failed(INCOMPLETE.into()),
            None => {
                let known: Vec<_> = self.all.keys().map(String::as_str).collect();
                Outcome::Failed(format!("the backup has no such output; it has: {}", known.join(", ")))
            }
        }
    }

    /// Reads every whole output that is wanted to its end, and compares it with its digest.
    pub async fn prove_readable(&self, is_wanted: impl Fn(&str, &Record) -> bool) -> Result<()> {
        for (file, output) in &self.all {
            if !output.record.as_ref().is_some_and(|record| is_wanted(file, record)) {
                continue;
            }
            let Some(record) = &output.record else { continue };
            let proved = self.prove(output, record).await.map_err(|e| e.within(format!("check {file}")));
            of_the_backup(self.work, proved).await?;
        }
        Ok(())
    }

    async fn prove(&self, output: &Output, record: &Record) -> Result<()> {
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        // Made when it is their turn: there may be many.
        let parts = futures::stream::iter(0..output.parts.len()).map(|at| self.part(&output.parts[at]));
        let mut parts = parts.buffered(AHEAD);
        while let Some(part) = parts.next().await {
            let part = part?;
            digest.update(&part);
            bytes += part.len() as u64;
        }
        match bytes == record.bytes && <[u8; 32]>::from(digest.finalize()) == record.sha256 {
            true => Ok(()),
            false => Err(Error::integrity(format!(
                "it has {bytes} bytes, and is not the one of {} that was saved",
                record.bytes
            ))),
        }
    }

    async fn part(&self, (stored, entry): &(StoredFrame, Entry)) -> Result<Vec<u8>> {
        let encoded = self.work.backup.encoded_frame(stored).await?;
        let entry = entry.clone();
        let cutting = tokio::task::spawn_blocking(move || {
            encoded.decode_and(|decoded| frame::member(decoded, &entry).map(<[u8]>::to_vec))
        });
        cutting.await.context(|| "unpack an output".into())?
    }

    /// An output that is known to be small.
    pub async fn text(&self, file: &str) -> Result<String> {
        let output = self.all.get(file).ok_or_else(|| Error::failed(format!("the backup has no output {file}")))?;
        let mut all = Vec::new();
        for part in &output.parts {
            all.extend(of_the_backup(self.work, self.part(part).await).await?);
        }
        String::from_utf8(all).map_err(|e| Error::failed(format!("{file} is no text")).because(e))
    }

    /// Sends an output to a command that runs, between what stands before and behind it, and waits for its end.
    pub async fn send(
        &self,
        file: &str,
        (before, behind): (&str, &str),
        mut running: Running,
        sent: impl Fn(u64),
    ) -> Result<Exit> {
        let output = self.all.get(file).ok_or_else(|| Error::failed(format!("the backup has no output {file}")))?;
        let input = running.input.take().ok_or_else(|| Error::failed("the command has no input"))?;
        let sending = self.send_parts(output, (before, behind), input, sent);
        let reading = async {
            discard(&mut running.output).await;
            Ok(())
        };
        let (sent_all, ()) = tokio::try_join!(sending, reading)?;
        let exit = running.end().await?;
        match exit.success && !sent_all {
            true => Err(Error::failed("the command ended before it had read everything")),
            false => Ok(exit),
        }
    }
}

impl Outputs<'_> {
    /// Whether the command took everything. Its input is closed in the end.
    async fn send_parts(
        &self,
        output: &Output,
        (before, behind): (&str, &str),
        mut input: Input,
        sent: impl Fn(u64),
    ) -> Result<bool> {
        if input.write_all(before.as_bytes()).await.is_err() {
            return Ok(false);
        }
        // Made when it is their turn: there may be many.
        let parts = futures::stream::iter(0..output.parts.len()).map(|at| self.part(&output.parts[at]));
        let mut parts = parts.buffered(AHEAD);
        while let Some(part) = parts.next().await {
            let part = of_the_backup(self.work, part).await?;
            if input.write_all(&part).await.is_err() {
                // It wants no more: how it ended says why.
                return Ok(false);
            }
            sent(part.len() as u64);
        }
        Ok(input.write_all(behind.as_bytes()).await.is_ok() && input.shutdown().await.is_ok())
    }
}

/// Why an output without a record is not restored.
pub const INCOMPLETE: &str = "it was not saved to its end";
