//! Compares what is there with what was saved, and writes what is to be written.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use futures::StreamExt;

use super::fate::{Fate, File};
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::config::Conflict;
use crate::error::{Error, Result};
use crate::reader::StoredFrame;
use crate::restore::apply::EXISTS;
use crate::restore::files::of_the_backup;
use crate::restore::summary::Outcome;
use crate::restore::work::Work;
use crate::storage::{LargeUpload, Object, Objects, Put, Unreadable};

/// Requests for small objects at the same time, in each run of frames.
const AT_ONCE: usize = 8;

/// After so many objects that could not be written, one after the other, the storage is taken for lost.
const FAILED_IN_A_ROW: u32 = 5;

/// Writes runs of frames.
pub(super) struct Writer<'a> {
    work: &'a Work,
    target: &'a Objects,
    files: &'a HashMap<String, File>,
    conflict: Conflict,
    /// The step's name, for progress.
    task: &'a str,
    failed_in_a_row: AtomicU32,
}

/// A large object that is being written.
struct Open {
    path: String,
    upload: LargeUpload,
}

type Fates = HashMap<String, Fate>;

impl<'a> Writer<'a> {
    pub fn new(
        work: &'a Work,
        target: &'a Objects,
        files: &'a HashMap<String, File>,
        conflict: Conflict,
        task: &'a str,
    ) -> Self {
        Writer { work, target, files, conflict, task, failed_in_a_row: AtomicU32::new(0) }
    }

    /// Takes the objects of frames that follow each other; no object goes on in another run. All of them are compared before
    /// any is written.
    pub async fn write_run(&self, run: Vec<StoredFrame>) -> Result<Vec<(String, Outcome)>> {
        let mut frames = Vec::with_capacity(run.len());
        for stored in run {
            let entries = of_the_backup(self.work, self.work.backup.entries(&stored).await).await?;
            frames.push((stored, entries));
        }
        let mut fates = Fates::new();
        for entry in frames.iter().flat_map(|(_, entries)| entries) {
            if let Some(file) = self.files.get(&entry.path).filter(|_| entry.begins_member()) {
                fates.insert(entry.path.clone(), Fate::of(file, self.conflict));
            }
        }
        for (stored, entries) in &frames {
            self.compare(stored, entries, &mut fates).await?;
        }
        let mut outcomes = Vec::new();
        for (path, fate) in &fates {
            match fate {
                Fate::Compare(_) => outcomes.push((path.clone(), Outcome::Unchanged)),
                Fate::Decided(outcome) => outcomes.push((path.clone(), outcome.clone())),
                Fate::Write { .. } => {}
            }
        }
        self.work.progress.advance(self.task, outcomes.len() as u64, 0);
        let mut open = None;
        for (stored, entries) in &frames {
            outcomes.extend(self.write_frame(stored, entries, &mut fates, &mut open).await?);
        }
        Ok(outcomes)
    }

    /// Decides about the objects of a frame of which ones of the same size are there.
    async fn compare(&self, stored: &StoredFrame, entries: &[Entry], fates: &mut Fates) -> Result<()> {
        let is_compared = |entry: &Entry| matches!(fates.get(&entry.path), Some(Fate::Compare(_)));
        if !entries.iter().any(is_compared) {
            return Ok(());
        }
        let decoded = of_the_backup(self.work, self.work.backup.frame(stored).await).await?;
        let contents = of_the_backup(self.work, frame::contents(&decoded, entries)).await?;
        let mut checks = Vec::new();
        for (entry, content) in entries.iter().zip(contents) {
            if let Some(Fate::Compare(there)) = fates.get(&entry.path) {
                checks.push(self.check(entry, there.clone(), content));
            }
        }
        let mut checked = futures::stream::iter(checks).buffer_unordered(AT_ONCE);
        let mut decided = Vec::new();
        while let Some(fate) = checked.next().await {
            decided.extend(fate?);
        }
        drop(checked);
        fates.extend(decided);
        Ok(())
    }

    /// What becomes of an object, when this part of it is another one than what is there.
    async fn check(&self, entry: &Entry, there: Object, content: &[u8]) -> Result<Option<(String, Fate)>> {
        let offset = entry.part.map_or(0, |part| part.offset);
        let fate = match self.target.read(&there, offset..offset + content.len() as u64).await {
            Ok(now) if now == content => return Ok(None),
            Ok(_) => Fate::differs(self.conflict, "its content is another"),
            Err(Unreadable::Gone) => Fate::Write { over: false },
            Err(Unreadable::Changed) => Fate::differs(self.conflict, "it is being written"),
            Err(Unreadable::Refused(e)) => Fate::Decided(Outcome::Failed(e.one_line())),
            Err(Unreadable::Lost(e)) => return Err(e),
        };
        Ok(Some((entry.path.clone(), fate)))
    }

    async fn write_frame(
        &self,
        stored: &StoredFrame,
        entries: &[Entry],
        fates: &mut Fates,
        open: &mut Option<Open>,
    ) -> Result<Vec<(String, Outcome)>> {
        let over = |fates: &Fates, entry: &Entry| match fates.get(&entry.path) {
            Some(Fate::Write { over }) => Some(*over),
            _ => None,
        };
        if !entries.iter().any(|entry| over(fates, entry).is_some()) {
            return Ok(Vec::new());
        }
        let decoded = Bytes::from(of_the_backup(self.work, self.work.backup.frame(stored).await).await?);
        let contents = of_the_backup(self.work, frame::contents(&decoded, entries)).await?;
        let (mut small, mut outcomes) = (Vec::new(), Vec::new());
        for (entry, content) in entries.iter().zip(contents) {
            let Some(over) = over(fates, entry) else { continue };
            if entry.part.is_none() {
                small.push(self.put(entry, decoded.slice_ref(content), over));
            } else if let Some(outcome) = self.write_part(entry, content, over, open).await? {
                // The rest of it is passed over, where it failed.
                fates.insert(entry.path.clone(), Fate::Decided(outcome.clone()));
                outcomes.push((entry.path.clone(), outcome));
            }
        }
        let mut writing = futures::stream::iter(small).buffer_unordered(AT_ONCE);
        while let Some(written) = writing.next().await {
            outcomes.push(written?);
        }
        drop(writing);
        self.work.progress.advance(self.task, outcomes.len() as u64, decoded.len() as u64);
        Ok(outcomes)
    }

    async fn put(&self, entry: &Entry, content: Bytes, over: bool) -> Result<(String, Outcome)> {
        let put = self.target.put(&entry.path, content, over).await;
        Ok((entry.path.clone(), self.outcome(put, over)?))
    }

    /// Adds a part to the object that is being written. The outcome, when it was the last or nothing more comes of it.
    async fn write_part(
        &self,
        entry: &Entry,
        content: &[u8],
        over: bool,
        open: &mut Option<Open>,
    ) -> Result<Option<Outcome>> {
        if entry.begins_member() {
            *open = match self.target.upload(&entry.path).await {
                Ok(upload) => Some(Open { path: entry.path.clone(), upload }),
                Err(e) => return self.outcome(Err(e), over).map(Some),
            };
        }
        let Some(mut current) = open.take().filter(|open| open.path == entry.path) else {
            return Err(Error::integrity(format!("{}: its first part is missing", entry.path)));
        };
        if let Err(e) = current.upload.write(content).await {
            current.upload.abort().await;
            return self.outcome(Err(e), over).map(Some);
        }
        if entry.part.is_none_or(|part| part.is_last(entry.size)) {
            let put = current.upload.finish(over).await;
            return self.outcome(put, over).map(Some);
        }
        *open = Some(current);
        Ok(None)
    }

    /// An error ends the step: the storage takes nothing any more.
    fn outcome(&self, put: Result<Put>, over: bool) -> Result<Outcome> {
        match put {
            Err(e) if self.failed_in_a_row.fetch_add(1, Relaxed) + 1 >= FAILED_IN_A_ROW => Err(e),
            Err(e) => Ok(Outcome::Failed(e.one_line())),
            Ok(put) => {
                self.failed_in_a_row.store(0, Relaxed);
                Ok(match (put, over) {
                    (Put::Done, true) => Outcome::Updated,
                    (Put::Done, false) => Outcome::Created,
                    (Put::Taken, _) => self.came_meanwhile(),
                })
            }
        }
    }

    fn came_meanwhile(&self) -> Outcome {
        let why = "it is there, and differs: it came while the restore was under way".to_string();
        match self.conflict {
            Conflict::Fail => Outcome::Failed(why),
            _ => Outcome::Skipped { rule: EXISTS.into(), why },
        }
    }
}
