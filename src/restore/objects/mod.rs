//! Runs an `objects` step: the objects or files of a source are written to a bucket, or a prefix in one, or a folder.

mod fate;
mod writer;

use std::collections::HashMap;

use futures::StreamExt;

use self::fate::{Fate, File};
use self::writer::Writer;
use super::files::{HOLD_FILES, of_the_backup, require_source_of};
use super::summary::Outcome;
use super::tree::{self, Planned, in_runs};
use super::work::{Tally, Work};
use crate::config::RestoreObjects;
use crate::error::Result;
use crate::storage::{Object, Objects};

/// Runs of frames that are written at the same time.
const LANES: usize = 2;

/// Writes every object of a step. What went wrong with single ones is in the tally; an error ends the step.
pub async fn restore_objects(work: &Work, step: usize, wanted: &RestoreObjects) -> Result<Tally> {
    let source = wanted.source.as_str();
    require_source_of(work, source, &HOLD_FILES)?;
    let planned = tree::plan(&work.backup, source, |path| wanted.names.allows(path)).await;
    let Planned { frames, files } = of_the_backup(work, planned).await?;
    let name = work.plan.steps[step].name.to_string();
    work.progress.begin(&name, Some(files.len() as u64));
    let (target, there) = look_at_target(work, wanted, |path| files.contains_key(path)).await?;
    let mut there: HashMap<_, _> = there.into_iter().map(|object| (object.path.to_string(), object)).collect();
    let files: HashMap<_, _> = files
        .into_values()
        .map(|file| {
            let there = there.remove(&file.path);
            (file.path, File { bytes: file.bytes, cut: file.cut, there })
        })
        .collect();
    let conflict = wanted.conflict.unwrap_or(work.conflict);
    // Nobody else needs it while the step runs; of one that is cut off, what stands in it by then is told.
    let mut held = work.tallies[step].lock().await;
    if let Some(target) = target.filter(|_| !work.dry_run) {
        let writer = Writer::new(work, &target, &files, conflict, &name);
        let runs: Vec<_> = in_runs(frames).into_iter().map(|run| writer.write_run(run)).collect();
        let mut runs = futures::stream::iter(runs).buffer_unordered(LANES);
        while let Some(outcomes) = runs.next().await {
            outcomes?.into_iter().for_each(|(path, outcome)| held.add(&name, &path, outcome));
        }
    } else {
        for (path, file) in &files {
            held.add(&name, path, foreseen(Fate::of(file, conflict)));
        }
    }
    let tally = std::mem::take(&mut *held);
    work.progress.end(&name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok(tally)
}

/// The place, and what is there of what is going to be written. A dry run makes no folder: one that is missing is empty.
async fn look_at_target(
    work: &Work,
    wanted: &RestoreObjects,
    is_mine: impl Fn(&str) -> bool,
) -> Result<(Option<Objects>, Vec<Object>)> {
    if work.dry_run && wanted.place.location.folder().is_some_and(|folder| !folder.exists()) {
        return Ok((None, Vec::new()));
    }
    let target = Objects::connect(&wanted.place, &work.storage, !work.dry_run)?;
    let there = target.list(is_mine).await?.objects;
    Ok((Some(target), there))
}

/// What would become of an object; of one that has the same size as the one that is there, as if they were equal.
fn foreseen(fate: Fate) -> Outcome {
    match fate {
        Fate::Write { over: false } => Outcome::Created,
        Fate::Write { over: true } => Outcome::Updated,
        Fate::Compare(_) => Outcome::Unchanged,
        Fate::Decided(outcome) => outcome,
    }
}
