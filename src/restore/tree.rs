//! Writes the files of a source below a folder: out of sight first, each shown under its name when it is whole.

mod place;
mod writing;

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;

pub use self::place::make_folder;
use self::writing::Writing;
use super::apply::EXISTS;
use super::summary::Outcome;
use crate::archive::parts::PartOrder;
use crate::config::Conflict;
use crate::error::{Context, Error, Result};
use crate::member::check_path;
use crate::progress::Progress;
use crate::reader::{OpenBackup, StoredFrame};

/// Runs of frames that are written at the same time: while some wait for the disk, others decode.
const LANES: usize = 4;

/// So many frames make a run, and more when a file goes on.
const RUN_FRAMES: usize = 8;

/// What is written where.
pub struct Tree {
    /// The folder.
    pub to: PathBuf,
    /// What happens to a file that is there already and differs.
    pub conflict: Conflict,
    /// Whether a file is shown only when all others are there.
    pub is_last: fn(&str) -> bool,
}

/// One file on its way.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) path: String,
    fate: Fate,
    /// Parts that are still to come.
    parts: usize,
    /// Bytes of its content that the backup has.
    pub(super) bytes: u64,
    /// Whether the backup lacks its end.
    pub(super) cut: bool,
    modified: Option<u64>,
}

/// What is to become of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It is written; `over` one that is there.
    Write { over: bool },
    /// One of the same size is there, and equal as far as is known.
    Compare,
    /// It was decided without its content.
    Decided(Outcome),
}

/// The frames that hold wanted files, and the files.
pub struct Planned {
    pub(super) frames: Vec<Wanted>,
    pub(super) files: HashMap<String, Coming>,
}

impl Planned {
    /// How many files.
    pub fn len(&self) -> u64 {
        self.files.len() as u64
    }

    /// The folders that they begin with, each once.
    pub fn folders(&self) -> Vec<String> {
        let folders: BTreeSet<_> = self.files.keys().map(|path| first_folder(path)).collect();
        folders.into_iter().map(String::from).collect()
    }

    /// Whether a file of that path is among them.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
}

/// A frame with wanted files in it.
pub(super) struct Wanted {
    frame: StoredFrame,
    /// Whether its last file goes on in the next one.
    goes_on: bool,
}

/// Reads the index of a source, and says which of its files are wanted.
pub async fn plan(backup: &OpenBackup, source: &str, wanted: impl Fn(&str) -> bool) -> Result<Planned> {
    backup.load_index().await?;
    let mut planned = Planned { frames: Vec::new(), files: HashMap::new() };
    let mut order = PartOrder::default();
    for stored in backup.frames_with(source, "") {
        let entries = backup.entries(stored).await?;
        entries.iter().try_for_each(|entry| order.follow(entry))?;
        for entry in entries.iter().filter(|entry| wanted(&entry.path)) {
            check_path(&entry.path)?;
            if entry.begins_member() && planned.files.contains_key(&entry.path) {
                return Err(Error::integrity(format!("{} stands in the backup twice", entry.path)));
            }
            let filler = entry.part.map_or(0, |part| part.filler);
            let file = planned.files.entry(entry.path.clone()).or_insert_with(|| Coming {
                path: entry.path.clone(),
                fate: Fate::Write { over: false },
                parts: 0,
                bytes: 0,
                cut: false,
                modified: entry.traits.modified,
            });
            file.parts += 1;
            file.bytes += entry.size.saturating_sub(filler);
            file.cut |= filler > 0;
        }
        if entries.iter().any(|entry| wanted(&entry.path)) {
            let goes_on = entries.last().is_some_and(|last| last.part.is_some_and(|part| !part.is_last(last.size)));
            planned.frames.push(Wanted { frame: stored.clone(), goes_on });
        }
    }
    order.end()?;
    Ok(planned)
}

impl Tree {
    /// Looks at what is there, and decides what can be decided without the content. Nothing is written.
    pub async fn decide(self: &Arc<Self>, mut planned: Planned) -> Result<Planned> {
        let tree = self.clone();
        let deciding = tokio::task::spawn_blocking(move || {
            for file in planned.files.values_mut() {
                file.fate = tree.fate(file);
            }
            planned
        });
        deciding.await.context(|| "look at the target folder".into())
    }

    fn fate(&self, file: &Coming) -> Fate {
        let decided = |outcome| Fate::Decided(outcome);
        let parents = Path::new(&file.path).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        for parent in parents {
            match self.to.join(parent).symlink_metadata() {
                Ok(there) if there.is_dir() => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                // A link could lead anywhere.
                Ok(_) => return decided(Outcome::Failed(format!("{} is not a folder", parent.display()))),
                Err(e) => return decided(Outcome::Failed(e.to_string())),
            }
        }
        match self.to.join(&file.path).symlink_metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => Fate::Write { over: false },
            Err(e) => decided(Outcome::Failed(e.to_string())),
            Ok(there) if !there.is_file() => decided(Outcome::Failed("something else of that name is there".into())),
            Ok(_) if self.conflict == Conflict::Overwrite => Fate::Write { over: true },
            Ok(there) if there.len() == file.bytes && !file.cut => Fate::Compare,
            Ok(there) => {
                decided(self.differs(format!("it has {} bytes, and the saved one {}", there.len(), file.bytes)))
            }
        }
    }

    /// What the conflict policy makes of a file that is there and differs.
    fn differs(&self, how: String) -> Outcome {
        let why = format!("it is there, and differs: {how}");
        match self.conflict {
            Conflict::Fail => Outcome::Failed(why),
            _ => Outcome::Skipped { rule: EXISTS.into(), why },
        }
    }

    /// What would become of each file; that of those which have the same size as one that is there, as if they were equal.
    pub fn foresee(&self, planned: &Planned) -> Vec<(String, Outcome)> {
        let outcome = |file: &Coming| match &file.fate {
            Fate::Write { over: false } => Outcome::Created,
            Fate::Write { over: true } => Outcome::Updated,
            Fate::Compare => Outcome::Unchanged,
            Fate::Decided(outcome) => outcome.clone(),
        };
        planned.files.values().map(|file| (file.path.clone(), outcome(file))).collect()
    }

    /// Writes what is to be written, and says of each file what became of it.
    pub async fn write(
        self: Arc<Self>,
        backup: &OpenBackup,
        planned: Planned,
        progress: &dyn Progress,
        task: &str,
        mut done: impl FnMut(&str, Outcome),
    ) -> Result<()> {
        let Planned { frames, files } = planned;
        for file in files.values() {
            if let Fate::Decided(outcome) = &file.fate {
                progress.advance(task, 1, 0);
                done(&file.path, outcome.clone());
            }
        }
        let writing = Arc::new(Writing::new(self, files));
        let lane = |run: Vec<StoredFrame>| writing.clone().take_run(backup, run, progress, task);
        let mut runs = futures::stream::iter(in_runs(frames)).map(lane).buffer_unordered(LANES);
        while let Some(outcomes) = runs.next().await {
            outcomes?.into_iter().for_each(|(path, outcome)| done(&path, outcome));
        }
        drop(runs);
        let shown = tokio::task::spawn_blocking(move || writing.show_last());
        for (path, outcome) in shown.await.context(|| "show the last files".into())? {
            done(&path, outcome);
        }
        Ok(())
    }
}

/// Frames that are written one after the other, each file in one run only: two threads that write to one file stand in each
/// other's way, in the kernel, where waiting costs CPU time.
pub(super) fn in_runs(frames: Vec<Wanted>) -> Vec<Vec<StoredFrame>> {
    let mut runs: Vec<Vec<StoredFrame>> = Vec::new();
    let mut may_end = true;
    for Wanted { frame, goes_on } in frames {
        match runs.last_mut() {
            Some(run) if !may_end || run.len() < RUN_FRAMES => run.push(frame),
            _ => runs.push(vec![frame]),
        }
        may_end = !goes_on;
    }
    runs
}

fn first_folder(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}
