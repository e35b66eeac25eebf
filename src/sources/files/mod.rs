//! Source `files`: the files of a folder, such as logs.
//!
//! Files that nobody has written to for a while are grouped by the day on which they were modified; a day that has not
//! changed since the last backup is taken over from it. What is still being written comes last, up to its last whole line.

mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::walk::{Walked, walk};
use super::file_reader::{Found, Missed, Reader, Reading};
use super::limits::newest;
use super::{Opened, Source, Unit};
use crate::config::FilesScope;
use crate::error::{Context, Result};
use crate::inventory::{Identity, Inventory};
use crate::member::Batch;
use crate::progress::Progress;

/// A file that was modified within this time may be being written.
const LIVE: Duration = Duration::from_secs(3600);

/// The files of a folder.
pub struct Files {
    name: String,
    scope: Arc<FilesScope>,
}

impl Files {
    /// A source called `name` in its schedule.
    pub fn new(name: &str, scope: FilesScope) -> Files {
        Files { name: name.into(), scope: Arc::new(scope) }
    }
}

#[async_trait]
impl Source for Files {
    fn kind(&self) -> &'static str {
        "files"
    }

    async fn open(&self) -> Result<Opened> {
        let scope = self.scope.clone();
        let now = SystemTime::now();
        let looking = tokio::task::spawn_blocking(move || walk(&scope));
        let Walked { files, mut inventory } = looking.await.context(|| "look for files".into())??;
        let (chosen, left_out) = newest(files, "files", self.scope.limits, now);
        inventory.skipped.extend(left_out);
        let seen = Arc::new(Mutex::new(Seen::of(&chosen)));
        let groups = group(chosen, now);
        let unit = |files, live| FilesUnit {
            name: self.name.clone(),
            scope: self.scope.clone(),
            files,
            live,
            seen: seen.clone(),
        };
        let mut units: Vec<Box<dyn Unit>> = Vec::new();
        for files in groups.settled.into_values() {
            units.push(Box::new(unit(files, false)));
        }
        // Also where nothing is being written: it looks for what was renamed while the others were read.
        units.push(Box::new(unit(groups.live, true)));
        Ok(Opened { units, inventory })
    }
}

struct Groups {
    /// By day, in days since 1970.
    settled: BTreeMap<u64, Vec<Found>>,
    live: Vec<Found>,
}

fn group(files: Vec<Found>, now: SystemTime) -> Groups {
    let mut groups = Groups { settled: BTreeMap::new(), live: Vec::new() };
    for file in files {
        match now.duration_since(file.modified) {
            Ok(age) if age >= LIVE => groups.settled.entry(file.modified_seconds() / 86_400).or_default().push(file),
            _ => groups.live.push(file),
        }
    }
    groups
}

/// Which files were seen, so that one that is renamed meanwhile is neither lost nor saved twice.
#[derive(Default)]
struct Seen {
    /// What is stored, or will be: path and node together, for a path may come to belong to another file.
    stored: BTreeSet<(String, Node)>,
    paths: BTreeSet<String>,
    nodes: BTreeSet<Node>,
    /// What was not there any more when its turn came.
    vanished: BTreeSet<Node>,
    /// Something was cut short, as by a rotation that copies and truncates: the copy may be new.
    look_again: bool,
}

/// Device and inode.
type Node = (u64, u64);

impl Seen {
    fn of(files: &[Found]) -> Seen {
        let mut seen = Seen::default();
        files.iter().for_each(|file| seen.store(file));
        seen
    }

    fn store(&mut self, file: &Found) {
        self.stored.insert((file.path.clone(), file.node));
        self.paths.insert(file.path.clone());
        self.nodes.insert(file.node);
    }

    /// Takes note of what a reader did not find as it was.
    fn note(&mut self, missed: Missed) {
        for file in missed.vanished {
            self.stored.remove(&(file.path.clone(), file.node));
            self.paths.remove(&file.path);
            self.vanished.insert(file.node);
        }
        self.look_again |= missed.cut_short;
    }

    /// Those of `files` that still have to be read; from now on they count as stored. Where another file has the path
    /// already, the inode stands behind it.
    fn take_new(&mut self, files: Vec<Found>) -> Vec<(Found, String)> {
        self.look_again = false;
        let mut new = Vec::new();
        for file in files {
            let is_stored = self.stored.contains(&(file.path.clone(), file.node));
            if is_stored || self.nodes.contains(&file.node) && !self.vanished.contains(&file.node) {
                continue;
            }
            self.vanished.remove(&file.node);
            let name = match self.paths.contains(&file.path) {
                true => format!("{}~{}", file.path, file.node.1),
                false => file.path.clone(),
            };
            self.store(&file);
            new.push((file, name));
        }
        new
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Files that are read together.
struct FilesUnit {
    name: String,
    scope: Arc<FilesScope>,
    files: Vec<Found>,
    live: bool,
    seen: Arc<Mutex<Seen>>,
}

/// How often files that were renamed while they were to be read are looked for.
const LOOKS: usize = 3;

#[async_trait]
impl Unit for FilesUnit {
    fn identity(&self) -> Option<Identity> {
        if self.live {
            return None;
        }
        let mut digest = Sha256::new();
        digest.update([self.scope.format.is_some().into()]);
        for file in &self.files {
            file.add_to(&mut digest);
        }
        Some(Identity(digest.finalize().into()))
    }

    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let folder = self.scope.folder.clone();
        let mut reader = Reader::new(
            Reading { name: &self.name, folder, live: self.live, format: self.scope.format },
            out,
            progress,
            stop,
        );
        let named = self.files.iter().map(|file| (file.clone(), file.path.clone())).collect::<Vec<_>>();
        reader.read_all(&named).await?;
        if self.live {
            self.read_renamed(&mut reader).await?;
        } else {
            lock(&self.seen).note(reader.take_missed());
        }
        reader.finish().await
    }
}

impl FilesUnit {
    /// Logs are rotated at any time: what was to be read under one name may have another by now.
    async fn read_renamed(&self, reader: &mut Reader<'_>) -> Result<()> {
        for _ in 0..LOOKS {
            let settled = {
                let mut seen = lock(&self.seen);
                seen.note(reader.take_missed());
                seen.vanished.is_empty() && !seen.look_again
            };
            if settled {
                return Ok(());
            }
            let scope = self.scope.clone();
            let looking = tokio::task::spawn_blocking(move || walk(&scope));
            let again = looking.await.context(|| "look for files again".into())??;
            let new = lock(&self.seen).take_new(again.files);
            reader.read_all(&new).await?;
        }
        let mut seen = lock(&self.seen);
        seen.note(reader.take_missed());
        reader.leave_out("deleted before they were read", seen.vanished.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    /// A file whose size is also its inode.
    fn file(path: &str, size: u64, hours_ago: u64, now: SystemTime) -> Found {
        let modified = now - Duration::from_secs(hours_ago * 3600);
        Found { path: path.into(), size, modified, changed: (0, 0), node: (1, size) }
    }

    #[test]
    fn the_newest_files_stay_within_the_limits() {
        let now = SystemTime::now();
        let files = || vec![file("a", 10, 50, now), file("b", 20, 1, now), file("c", 30, 30, now)];
        let paths = |limits| {
            let (chosen, left_out) = newest(files(), "files", limits, now);
            (chosen.into_iter().map(|f| f.path).collect::<Vec<_>>(), left_out)
        };
        let (all, none) = paths(Limits::default());
        assert_eq!((all, none.len()), (vec!["a".into(), "b".into(), "c".into()], 0));
        let (young, left_out) = paths(Limits { newer_than: Some(Duration::from_secs(40 * 3600)), max_size: None });
        assert_eq!((young, left_out[0].count), (vec!["b".to_string(), "c".into()], Some(1)));
        let (few, left_out) = paths(Limits { newer_than: None, max_size: Some(50) });
        assert_eq!((few, left_out[0].count), (vec!["b".to_string(), "c".into()], Some(1)));
        assert_eq!(left_out[0].why, "beyond the newest 50 bytes");
    }

    #[test]
    fn what_was_modified_within_the_hour_may_be_being_written() {
        let now = SystemTime::now();
        let groups = group(vec![file("a", 1, 0, now), file("b", 2, 2, now), file("c", 3, 49, now)], now);
        assert_eq!(groups.live.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(groups.settled.len(), 2);
    }

    #[test]
    fn a_file_that_is_renamed_is_new_once_and_keeps_apart_from_the_one_that_had_its_path() {
        let now = SystemTime::now();
        // Numbered rotation: a.1 was stored, then a took its name, and a new a began.
        let (a, a1, b) = (file("a", 1, 0, now), file("a.1", 2, 0, now), file("b", 3, 0, now));
        let mut seen = Seen::of(&[a.clone(), a1, b]);
        seen.note(Missed { vanished: vec![a], cut_short: false });
        let found = || vec![file("a", 4, 0, now), file("a.1", 1, 0, now), file("a.2", 2, 0, now), file("b", 3, 0, now)];
        let names: Vec<_> = seen.take_new(found()).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "a.1~1"]);
        assert!(seen.take_new(found()).is_empty());
    }

    #[test]
    fn another_name_of_a_file_that_is_stored_is_not_read_again() {
        let now = SystemTime::now();
        let (one, two) = (file("one", 1, 0, now), file("two", 1, 0, now));
        let mut seen = Seen::of(&[one.clone(), two.clone()]);
        seen.note(Missed { vanished: vec![one], cut_short: false });
        assert!(seen.take_new(vec![two]).is_empty());
    }
}
