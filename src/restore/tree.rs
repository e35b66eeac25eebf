//! Writes the files of a source below a folder: out of sight first, each shown under its name when it is whole.

use std::collections::{BTreeSet, HashMap};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::apply::EXISTS;
use super::summary::Outcome;
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::archive::parts::PartOrder;
use crate::config::Conflict;
use crate::error::{Context, Error, Result};
use crate::member::check_path;
use crate::progress::Progress;
use crate::reader::{OpenBackup, StoredFrame};

/// Begins and ends the name of a file whose content is still coming; between stands a digest of its name, which may be as long
/// as names can be. What a restore that was cut off leaves is overwritten by the next.
const COMING: (&str, &str) = (".ckbackup-", ".part");

/// Ends the name of a file of which the backup has only the begin.
const INCOMPLETE: &str = ".ckbackup-incomplete";

/// Runs of frames that are written at the same time.
const LANES: usize = 2;

/// Frames that are fetched ahead of the one that is decoded and written, in each of them. Each is some MiB.
const AHEAD: usize = 2;

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
struct Coming {
    path: String,
    fate: Fate,
    /// Parts that are still to come.
    parts: usize,
    /// Bytes of its content that the backup has.
    bytes: u64,
    /// Whether the backup lacks its end.
    cut: bool,
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
    frames: Vec<Wanted>,
    files: HashMap<String, Coming>,
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
struct Wanted {
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
        let (last, failed) = Default::default();
        let writing = Arc::new(Writing { tree: self, files: Mutex::new(files), last, failed });
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
fn in_runs(frames: Vec<Wanted>) -> Vec<Vec<StoredFrame>> {
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

/// What the threads that write share.
struct Writing {
    tree: Arc<Tree>,
    files: Mutex<HashMap<String, Coming>>,
    /// Files that are shown when all others are there.
    last: Mutex<Vec<(Coming, bool)>>,
    /// Folders in which a file failed, by the first part of their paths.
    failed: Mutex<BTreeSet<String>>,
}

impl Writing {
    fn files(&self) -> MutexGuard<'_, HashMap<String, Coming>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes frames in their order; the next ones are fetched meanwhile.
    async fn take_run(
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
                open_to_write(&staged(&place))?.write_all_at(content, offset)?;
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
        let shown = set_time(&staged, file).and_then(|()| match over || file.cut {
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

    fn show_last(&self) -> Vec<(String, Outcome)> {
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

fn first_folder(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

/// Gives a file a name that nothing has by now. A name that came meanwhile is somebody else's.
fn name_new(staged: &Path, name: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(staged, name) {
        Ok(()) => std::fs::remove_file(staged),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(e),
        // Not every file system has links.
        Err(_) if name.symlink_metadata().is_err() => std::fs::rename(staged, name),
        Err(_) => Err(ErrorKind::AlreadyExists.into()),
    }
}

/// Where the content of a file is until it is whole.
fn staged(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().as_encoded_bytes();
    let (begin, end) = COMING;
    place.with_file_name(format!("{begin}{}{end}", hex::encode(&Sha256::digest(name)[..12])))
}

fn with_end(place: &Path, end: &str) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_os_string();
    name.push(end);
    place.with_file_name(name)
}

/// Readable by its owner only, and not through a link.
fn open_to_write(place: &Path) -> std::io::Result<File> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(place)
    };
    match open() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let parent = place.parent().unwrap_or(place);
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            open()
        }
        opened => opened,
    }
}

/// Cuts off what an earlier try left behind the end, and sets the time at which the file was modified.
fn set_time(place: &Path, file: &Coming) -> std::io::Result<()> {
    // An empty file has no part that would have made it.
    let opened = open_to_write(place)?;
    opened.set_len(file.bytes)?;
    match file.modified {
        Some(seconds) => opened.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        None => Ok(()),
    }
}

fn is_same(place: &Path, offset: u64, content: &[u8]) -> std::io::Result<bool> {
    let mut file = File::open(place)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut there = vec![0; content.len()];
    match file.read_exact(&mut there) {
        Ok(()) => Ok(there == content),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn words(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::StorageFull => "the disk is full".into(),
        _ => e.to_string(),
    }
}

/// Makes the folder that files are put into, unless it is there.
pub fn make_folder(to: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(|e| {
        Error::failed(format!("make the folder {}", to.display()))
            .because(e)
            .hint("check the path in the plan, and that this user may write there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_took_meanwhile_stays_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let (staged, name) = (folder.path().join("staged"), folder.path().join("name"));
        std::fs::write(&staged, b"ours").unwrap();
        name_new(&staged, &name).unwrap();
        assert!(!staged.exists());
        std::fs::write(&staged, b"again").unwrap();
        assert_eq!(name_new(&staged, &name).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&name).unwrap(), b"ours");
    }

    #[test]
    fn a_file_of_the_longest_name_has_a_place_to_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["n".repeat(255), "m".repeat(255)].map(|name| staged(&folder.path().join(name)));
        assert_ne!(one, two);
        open_to_write(&one).unwrap();
    }
}
