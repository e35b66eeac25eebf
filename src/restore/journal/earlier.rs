//! What a restore had done before it is gone on with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ack::Seen;
use super::entry::{Batch, Begin, Entry, JOURNAL_VERSION};
use super::local::StateFolder;
use super::place::{RestoreId, VaultPlace};
use super::stored::{Parts, read_parts};
use crate::error::{Error, Result};
use crate::restore::summary::{Failure, RestoreStatus, StepSummary};

/// What stands in the journal.
#[derive(Debug, Clone, Default)]
pub struct Earlier {
    /// The last word on each step that ended.
    pub steps: BTreeMap<String, (StepSummary, Vec<Failure>)>,
    /// Steps that began.
    pub began: BTreeSet<String>,
    /// Objects that are done, by step and frame.
    pub batches: HashMap<String, BTreeMap<usize, Vec<Batch>>>,
    /// Steps that were left out when it was gone on with, and why.
    pub left_out: BTreeMap<String, String>,
    /// The acknowledgements that were heeded, by step.
    pub seen: HashMap<String, Seen>,
    /// How it ended, where it did.
    pub ended: Option<RestoreStatus>,
}

impl Earlier {
    /// The batches of a frame in a step.
    pub fn of_frame(&self, step: &str, frame: usize) -> &[Batch] {
        self.batches.get(step).and_then(|frames| frames.get(&frame)).map_or(&[], Vec::as_slice)
    }

    /// Whether a step is over and done with.
    pub fn is_over(&self, step: &str) -> bool {
        self.steps.get(step).is_some_and(|(summary, _)| summary.status.is_over())
    }

    /// Whether anything of a step's objects is done.
    pub fn has_batches(&self, step: &str) -> bool {
        self.batches.contains_key(step)
    }
}

/// A journal that was read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What the restore began with.
    pub begin: Begin,
    /// What it had done.
    pub earlier: Earlier,
    /// How many parts are in the vault.
    pub parts: u32,
    /// What only the vault has of it, as lines: the journal on this machine is made whole with it.
    pub only_in_vault: Vec<u8>,
    /// Parts in the vault that do not hold: somebody has put them there who cannot open the backup.
    pub refused: Vec<String>,
}

/// Reads the journal of a restore from wherever it stands: this machine, the vault, or both. None where neither has it.
pub async fn read(state: &StateFolder, id: &RestoreId, vault: Option<&VaultPlace>) -> Result<Option<Reading>> {
    let local = state.lines(id)?.unwrap_or_default();
    let mut stored = match vault {
        Some(place) => read_parts(place, id).await?,
        None => Parts::default(),
    };
    let lines = merged(&local, &stored.lines);
    if lines.is_empty() {
        return stored.refused.pop().map_or(Ok(None), Err);
    }
    let mut begin = None;
    let mut earlier = Earlier::default();
    for line in lines {
        // A line that a crash cut short says nothing, nor does one of a kind that only a newer version knows.
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
        match entry {
            Entry::Begin(found) => begin = begin.or(Some(*found)),
            entry => earlier.add(entry),
        }
    }
    if begin.is_none()
        && let Some(refused) = stored.refused.pop()
    {
        return Err(refused);
    }
    let begin =
        begin.ok_or_else(|| Error::integrity(format!("the journal of restore {id} does not say how it began")))?;
    if begin.format_version != JOURNAL_VERSION {
        return Err(Error::failed(format!("the journal of restore {id} has format version {}", begin.format_version))
            .hint("go on with the ckbackup that began it, or a newer one"));
    }
    let refused = stored.refused.iter().map(Error::one_line).collect();
    Ok(Some(Reading { begin, earlier, parts: stored.count, only_in_vault: missing(&local, &stored.lines), refused }))
}

/// The lines that only the vault has.
fn missing(local: &[u8], stored: &[u8]) -> Vec<u8> {
    let known = merged(local, b"").len();
    merged(local, stored).into_iter().skip(known).flat_map(|line| [line, b"\n"].concat()).collect()
}

/// What both have in common, what only this machine has, and what only the vault has: a machine that was cut off from the vault knows
/// more than it, and the vault more where another machine went on.
fn merged<'a>(local: &'a [u8], stored: &'a [u8]) -> Vec<&'a [u8]> {
    let lines = |text: &'a [u8]| text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let known: BTreeSet<&[u8]> = lines(local).collect();
    lines(local).chain(lines(stored).filter(|line| !known.contains(line))).collect()
}

impl Earlier {
    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Begin(_) => {}
            Entry::Resumed { left_out, .. } => {
                self.left_out.extend(left_out);
                self.ended = None;
            }
            Entry::StepBegan { step, .. } => {
                self.steps.remove(&step);
                self.began.insert(step);
            }
            Entry::Batch(batch) => {
                let frames = self.batches.entry(batch.step.clone()).or_default();
                let known = frames.entry(batch.frame).or_default();
                known.retain(|other| other.first != batch.first);
                known.push(batch);
            }
            Entry::StepEnded { summary, failures } => {
                self.steps.insert(summary.name.clone(), (*summary, failures));
            }
            Entry::Acknowledged { step, seen, .. } => drop(self.seen.insert(step, seen)),
            Entry::Ended { status, .. } => self.ended = Some(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_of_two_machines_knows_is_known() {
        let lines = merged(b"a\nb\nc\n", b"a\nb\nd\n");
        assert_eq!(lines, [b"a", b"b", b"c", b"d"]);
        assert!(merged(b"", b"").is_empty());
    }

    #[test]
    fn a_line_that_was_cut_short_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(folder.path().into());
        let id: RestoreId = "20261121T021500Z-all".parse().unwrap();
        std::fs::create_dir_all(state.of(&id)).unwrap();
        let began = r#"{"begin":{"formatVersion":1,"id":"20261121T021500Z-all","at":"2026-11-21T02:15:00Z","host":"h",
            "toolVersion":"0","incidentStart":"2026-11-21T02:10:00Z","plan":"all","files":[],"runbooks":[],"targets":[],
            "conflict":"skip","leftOut":{}}}"#;
        let began = began.replace('\n', "");
        let text =
            format!("{began}\n{{\"stepBegan\":{{\"at\":\"2026-11-21T02:15:01Z\",\"step\":\"crds\"}}}}\n{{\"stepEn");
        std::fs::write(state.of(&id).join("journal.jsonl"), text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reading = runtime.block_on(read(&state, &id, None)).unwrap().unwrap();
        assert!(reading.earlier.began.contains("crds") && reading.earlier.steps.is_empty());
        assert_eq!((reading.begin.plan.as_str(), state.all()), ("all", vec![id]));
    }
}
