//! Runs a `files` step: the files of a source are put into a folder.

use std::sync::Arc;

use super::summary::Outcome;
use super::tree::{self, Planned, Tree};
use super::work::{Tally, Work};
use crate::config::RestoreFiles;
use crate::error::{Error, Result};
use crate::vault::manifest::SourceRecord;

/// Puts every file of a step in its place. What went wrong with single files is in the tally; an error ends the step.
pub async fn restore_files(work: &Work, step: usize, wanted: &RestoreFiles) -> Result<Tally> {
    require_source_of(work, wanted.source.as_str(), &HOLD_FILES)?;
    let conflict = wanted.conflict.unwrap_or(work.conflict);
    let tree = Tree { to: wanted.to.clone(), conflict, is_last: |_| false };
    let planned = tree::plan(&work.backup, wanted.source.as_str(), |path| wanted.names.allows(path)).await;
    let planned = of_the_backup(work, planned).await?;
    write_tree(work, step, tree, planned).await
}

/// The kinds of source whose members are files as they were, and objects are nothing else.
pub(super) const HOLD_FILES: [&str; 2] = ["files", "objects"];

/// The record of a source that a step wants.
pub(super) fn require_source<'a>(work: &'a Work, name: &str, kind: &str) -> Result<&'a SourceRecord> {
    require_source_of(work, name, &[kind])
}

/// The same where a step takes several kinds.
pub(super) fn require_source_of<'a>(work: &'a Work, name: &str, kinds: &[&str]) -> Result<&'a SourceRecord> {
    let wanted = kinds.join(" or ");
    let manifest = &work.backup.manifest;
    let found = manifest.source(name).ok_or_else(|| {
        let known: Vec<_> =
            manifest.sources.iter().filter(|s| kinds.contains(&&*s.kind)).map(|s| s.name.as_str()).collect();
        let known = if known.is_empty() { format!("it has none of kind {wanted}") } else { known.join(", ") };
        Error::failed(format!("backup {} has no source {name}", manifest.id)).hint(known)
    })?;
    match kinds.contains(&&*found.kind) {
        true => Ok(found),
        false => Err(Error::failed(format!("source {name} is of kind {}, not {wanted}", found.kind))),
    }
}

/// An error of reading the backup ends the restore with it; one of the place where files go only fails the step.
pub(super) async fn of_the_backup<T>(work: &Work, result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(e) => {
            let note = Error::failed(e.one_line());
            work.broken.lock().await.get_or_insert(e);
            Err(note)
        }
    }
}

/// Writes a tree, and tells the step's tally.
pub(super) async fn write_tree(work: &Work, step: usize, tree: Tree, planned: Planned) -> Result<Tally> {
    let name = work.plan.steps[step].name.to_string();
    let tree = Arc::new(tree);
    work.progress.begin(&name, Some(planned.len()));
    let planned = tree.decide(planned).await?;
    // Nobody else needs it while the step runs; of one that is cut off, what stands in it by then is told.
    let mut held = work.tallies[step].lock().await;
    let tally = &mut *held;
    let mut add = |path: &str, outcome: Outcome| tally.add(&name, path, outcome);
    if work.dry_run {
        tree.foresee(&planned).into_iter().for_each(|(path, outcome)| add(&path, outcome));
    } else {
        tree::make_folder(&tree.to)?;
        let written = tree.write(&work.backup, planned, work.progress.as_ref(), &name, add).await;
        of_the_backup(work, written).await?;
    }
    let tally = std::mem::take(&mut *held);
    work.progress.end(&name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok(tally)
}
