//! What a restore had done before it is gone on with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::ack::Seen;
use super::entry::{Batch, Begin, Entry, Foretold, JOURNAL_VERSION};
use super::local::StateFolder;
use super::place::{RestoreId, VaultPlace};
use super::stored::{Parts, read_parts};
use crate::error::{Error, Result};
use crate::restore::summary::{Failure, RestoreStatus, StepRun, StepStatus, StepSummary};

/// What stands in the journal.
#[derive(Debug, Clone, Default)]
pub struct Earlier {
    /// When the restore began; none for one that is not gone on with.
    pub since: Option<Timestamp>,
    /// What was foretold before the first step.
    pub foretold: Option<Foretold>,
    /// The last word on each step that ended.
    pub steps: BTreeMap<String, (StepSummary, Vec<Failure>)>,
    /// What each step has taken.
    past: BTreeMap<String, Past>,
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

/// What a step has taken before the restore was gone on with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// When it first began.
    pub started: Option<Timestamp>,
    /// When it was first done.
    pub done: Option<Timestamp>,
    /// When it was under way, as far as that was written down: of a run that was killed it was not.
    pub runs: Vec<StepRun>,
    /// How long it has taken in those; seconds.
    pub seconds: f64,
    /// How much of that was spent waiting for people; seconds.
    pub people_seconds: f64,
}

impl Past {
    fn begin(&mut self, at: Timestamp) {
        self.started = earlier(self.started, Some(at));
    }

    /// A summary counts what was before it, too.
    fn add(&mut self, summary: &StepSummary) {
        self.started = earlier(self.started, summary.started);
        if summary.status == StepStatus::Done {
            self.done = earlier(self.done, summary.ended);
        }
        let runs = summary.under_way();
        if runs.len() >= self.runs.len() {
            self.runs = runs;
        }
        self.seconds = self.seconds.max(summary.seconds);
        self.people_seconds = self.people_seconds.max(summary.people_seconds);
    }

    /// All runs of the step with this one; none where this is its first: then its begin and its end say it.
    pub fn runs_with(&self, this: StepRun) -> Vec<StepRun> {
        match self.started {
            Some(_) => self.runs.iter().copied().chain([this]).collect(),
            None => Vec::new(),
        }
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

impl Earlier {
    /// What a step has taken until now.
    pub fn past(&self, step: &str) -> Past {
        self.past.get(step).cloned().unwrap_or_default()
    }

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
    /// What the vault lacks of it, as lines: it comes there before anything else.
    pub not_in_vault: Vec<u8>,
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
    earlier.since = Some(begin.at);
    Ok(Some(Reading {
        only_in_vault: joined(only_in(&stored.lines, &local)),
        not_in_vault: joined(not_in_vault(&local, &stored.lines)),
        refused: stored.refused.iter().map(Error::one_line).collect(),
        parts: stored.count,
        begin,
        earlier,
    }))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

fn joined(lines: Vec<&[u8]>) -> Vec<u8> {
    lines.into_iter().flat_map(|line| [line, b"\n"].concat()).collect()
}

/// The lines of one text that are not in the other.
fn only_in<'a>(text: &'a [u8], other: &[u8]) -> Vec<&'a [u8]> {
    let known: BTreeSet<&[u8]> = lines(other).collect();
    lines(text).filter(|line| !known.contains(line)).collect()
}

/// What both have in common, what only this machine has, and what only the vault has: a machine that was cut off from the vault knows
/// more than it, and the vault more where another machine went on. Where the vault has all, its order counts.
fn merged<'a>(local: &'a [u8], stored: &'a [u8]) -> Vec<&'a [u8]> {
    match only_in(local, stored).is_empty() {
        true => lines(stored).collect(),
        false => lines(local).chain(only_in(stored, local)).collect(),
    }
}

/// What only this machine has. What only the vault has follows once more, as it came later: so whoever reads the vault finds the order
/// of [`merged`].
fn not_in_vault<'a>(local: &'a [u8], stored: &'a [u8]) -> Vec<&'a [u8]> {
    let only_here = only_in(local, stored);
    let again = if only_here.is_empty() { Vec::new() } else { only_in(stored, local) };
    only_here.into_iter().chain(again).collect()
}

impl Earlier {
    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Begin(_) => {}
            Entry::Foretold(foretold) => self.foretold = self.foretold.take().or(Some(foretold)),
            Entry::Resumed { left_out, .. } => {
                self.left_out.extend(left_out);
                self.ended = None;
            }
            Entry::StepBegan { at, step } => {
                self.steps.remove(&step);
                self.past.entry(step.clone()).or_default().begin(at);
                self.began.insert(step);
            }
            Entry::Batch(batch) => {
                let frames = self.batches.entry(batch.step.clone()).or_default();
                let known = frames.entry(batch.frame).or_default();
                known.retain(|other| other.first != batch.first);
                known.push(batch);
            }
            Entry::StepEnded { summary, failures } => {
                self.past.entry(summary.name.clone()).or_default().add(&summary);
                self.steps.insert(summary.name.clone(), (*summary, failures));
            }
            Entry::Acknowledged { step, seen, .. } => drop(self.seen.insert(step, seen)),
            Entry::Ended { status, .. } => self.ended = Some(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ended;
    use super::*;

    #[test]
    fn what_one_of_two_machines_knows_is_known() {
        let lines = merged(b"a\nb\nc\n", b"a\nb\nd\n");
        assert_eq!(lines, [b"a", b"b", b"c", b"d"]);
        assert!(merged(b"", b"").is_empty());
        assert_eq!(not_in_vault(b"a\nb\nc\n", b"a\nb\nd\n"), [b"c", b"d"]);
        assert_eq!(merged(b"a\nb\nd\n", b"a\nb\nd\nc\nd\n"), [b"a", b"b", b"d", b"c", b"d"]);
        assert!(not_in_vault(b"a\n", b"a\nb\n").is_empty());
    }

    /// Of a gate that was looked at in every run, the first opening counts.
    #[test]
    fn what_a_step_took_in_all_runs_counts() {
        let at = |minute: i64| Timestamp::from_second(60 * minute).unwrap();
        let mut earlier = Earlier::default();
        let mut run = |from, to, took: f64, status| {
            earlier.add(Entry::StepBegan { at: at(from), step: "open".into() });
            let past = earlier.past("open");
            let Entry::StepEnded { mut summary, failures } = ended("open", status) else { unreachable!() };
            (summary.started, summary.ended) = (past.started, Some(at(to)));
            (summary.seconds, summary.people_seconds) = (past.seconds + took, past.people_seconds + took / 2.0);
            summary.runs = past.runs_with(StepRun { started: at(from), ended: at(to) });
            earlier.add(Entry::StepEnded { summary, failures });
        };
        run(1, 2, 60.0, StepStatus::Failed);
        run(5, 6, 60.0, StepStatus::Done);
        run(9, 9, 1.0, StepStatus::Done);
        // Killed in the middle.
        earlier.add(Entry::StepBegan { at: at(20), step: "open".into() });
        let runs = [(1, 2), (5, 6), (9, 9)].map(|(from, to)| StepRun { started: at(from), ended: at(to) });
        let past = earlier.past("open");
        assert_eq!((past.started, past.done, past.runs), (Some(at(1)), Some(at(6)), runs.to_vec()));
        assert_eq!((past.seconds, past.people_seconds), (121.0, 60.5));
        assert!(!earlier.is_over("open") && earlier.past("other") == Past::default());
    }

    #[test]
    fn what_was_foretold_first_counts() {
        let foretold = |finish_seconds| Foretold { finish_seconds, critical_path: vec!["open".into()] };
        let mut earlier = Earlier::default();
        [600.5, 7.0].into_iter().for_each(|seconds| earlier.add(Entry::Foretold(foretold(seconds))));
        assert_eq!(earlier.foretold, Some(foretold(600.5)));
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
