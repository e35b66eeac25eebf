//! What the threads share that write: which files are on their way, and what became of them.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;

use super::place::{finish, is_same, name_new, staged, with_end, words, write_part};
use super::{Coming, Fate, Tree, first_folder};
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::reader::{OpenBackup, StoredFrame};
use crate::restore::summary::Outcome;

/// Ends the name of a file of which the backup has only the begin.
const INCOMPLETE: &str = ".ckbackup-incomplete";

/// Frames that are fetched ahead of the one that is decoded and written, in each run. Each is some MiB.
const AHEAD: usize = 2;

/// What the threads that write share.
pub(super) struct Writing {
    tree: Arc<Tree>,
    files: Mutex<HashMap<String, Coming>>,
    /// Files that are shown when all others are there.
    last: Mutex<Vec<(Coming, bool)>>,
    /// Folders in which a file failed, by the first part of their paths.
    failed: Mutex<BTreeSet<String>>,
}

impl Writing {
    pub fn new(tree: Arc<Tree>, files: HashMap<String, Coming>) -> Writing {
        Writing { tree, files: Mutex::new(files), last: Mutex::default(), failed: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Coming>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes frames in their order; the next ones are fetched meanwhile.
    pub async fn take_run(
        self: Arc<Self>,
        backup: &OpenBackup,
        run: Vec<StoredFrame>,
        progress: &dyn Progress,
        task: &str,
    ) -> Result<Vec<(String, Outcome)>> {
        let fetch = |stored: StoredFrame| {
            let writing = self.clone();
            async move {
                let entries = backup.entries(&stored).await?;
                let fetched = match writing.needs(&entries) {
                    true => Some((backup.encoded_frame(&stored).await?, entries)),
                    false => None,
                };
                Ok::<_, Error>(fetched)
            }
        };
        let mut fetched = futures::stream::iter(run).map(fetch).buffered(AHEAD);
        let mut outcomes = Vec::new();
        while let Some(frame) = fetched.next().await {
            let Some((frame, entries)) = frame? else { continue };
            let writing = self.clone();
            let bytes = frame.decoded_len();
            // Decoded where it is written, so that its memory is used again.
            let job = tokio::task::spawn_blocking(move || frame.decode_and(|decoded| writing.take(decoded, &entries)));
            let ended = job.await.context(|| "write files".into())??;
            progress.advance(task, ended.len() as u64, bytes);
            outcomes.extend(ended);
        }
        Ok(outcomes)
    }

    fn needs(&self, entries: &[Entry]) -> bool {
        let files = self.files();
        let open = |entry: &Entry| files.get(&entry.path).is_some_and(|f| !matches!(f.fate, Fate::Decided(_)));
        entries.iter().any(open)
    }

    /// Takes the files, or parts of files, of one frame; gives the outcomes of those files of which that is known by now.
    fn take(&self, decoded: &[u8], entries: &[Entry]) -> Result<Vec<(String, Outcome)>> {
        let mut ended = Vec::new();
        for (entry, content) in entries.iter().zip(frame::contents(decoded, entries)?) {
            let fate = self.files().get(&entry.path).map(|file| file.fate.clone());
            let Some(fate) = fate else { continue };
            let taken = self.take_entry(entry, content, &fate);
            ended.extend(self.count_part(&entry.path, taken).map(|outcome| (entry.path.clone(), outcome)));
        }
        Ok(ended)
    }

    /// Writes or compares one part; what is learned from it about the whole file.
    fn take_entry(&self, entry: &Entry, content: &[u8], fate: &Fate) -> std::io::Result<Option<Outcome>> {
        let offset = entry.part.map_or(0, |part| part.offset);
        let filler = entry.part.map_or(0, |part| part.filler) as usize;
        let content = &content[..content.len().saturating_sub(filler)];
        let place = self.tree.to.join(&entry.path);
        match fate {
            Fate::Write { .. } => {
                write_part(&staged(&place), offset, content)?;
                Ok(None)
            }
            Fate::Compare if is_same(&place, offset, content)? => Ok(None),
            Fate::Compare => Ok(Some(self.tree.differs("its content is another".into()))),
            Fate::Decided(_) => Ok(None),
        }
    }

    /// Notes that a part was taken. The outcome of the file, once that is known; it is told once.
    fn count_part(&self, path: &str, taken: std::io::Result<Option<Outcome>>) -> Option<Outcome> {
        let mut files = self.files();
        let file = files.get_mut(path)?;
        file.parts = file.parts.saturating_sub(1);
        let decided = match taken {
            Ok(decided) => decided,
            Err(e) => Some(Outcome::Failed(words(&e))),
        };
        if let (Some(outcome), false) = (decided, matches!(file.fate, Fate::Decided(_))) {
            file.fate = Fate::Decided(outcome.clone());
            self.note_failure(path, &outcome);
            return Some(outcome);
        }
        if file.parts > 0 || matches!(file.fate, Fate::Decided(_)) {
            return None;
        }
        let file = files.remove(path)?;
        drop(files);
        match file.fate {
            Fate::Write { over } if (self.tree.is_last)(path) => {
                self.last.lock().unwrap_or_else(PoisonError::into_inner).push((file, over));
                None
            }
            Fate::Write { over } => {
                let outcome = self.show(&file, over);
                self.note_failure(path, &outcome);
                Some(outcome)
            }
            _ => Some(Outcome::Unchanged),
        }
    }

    fn note_failure(&self, path: &str, outcome: &Outcome) {
        if matches!(outcome, Outcome::Failed(_)) {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(first_folder(path).to_string());
        }
    }

    /// Gives a file its name.
    fn show(&self, file: &Coming, over: bool) -> Outcome {
        let place = self.tree.to.join(&file.path);
        let name = if file.cut { with_end(&place, INCOMPLETE) } else { place.clone() };
        let staged = staged(&place);
        let shown = finish(&staged, file.bytes, file.modified).and_then(|()| match over || file.cut {
            true => std::fs::rename(&staged, &name),
            false => name_new(&staged, &name),
        });
        match shown {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let _ = std::fs::remove_file(&staged);
                self.tree.differs("it came while the restore was under way".into())
            }
            Err(e) => Outcome::Failed(words(&e)),
            Ok(()) if file.cut => Outcome::Failed(format!(
                "the backup has only its first {} bytes; they are in {}",
                file.bytes,
                name.display()
            )),
            Ok(()) if over => Outcome::Updated,
            Ok(()) => Outcome::Created,
        }
    }

    pub fn show_last(&self) -> Vec<(String, Outcome)> {
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let show = |(file, over): (Coming, bool)| {
            let outcome = match failed.contains(first_folder(&file.path)) {
                true => Outcome::Failed("left out, because another file of its folder failed".into()),
                false => self.show(&file, over),
            };
            (file.path, outcome)
        };
        last.into_iter().map(show).collect()
    }
}
