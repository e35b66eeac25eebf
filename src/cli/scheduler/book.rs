//! The schedule files of a scheduler, read again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{self, Document, Schedule};
use crate::error::{Context, Error, Result};

/// The schedules in force: of each file, the last state that was valid.
#[derive(Default)]
pub(super) struct Book {
    files: BTreeMap<PathBuf, Vec<Schedule>>,
    /// What is wrong since when it was told.
    told: Vec<String>,
}

impl Book {
    /// Those with a window, by file.
    pub fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        self.files.values().flatten().filter(|schedule| schedule.window.is_some())
    }

    /// Whether everything is in force as it stands.
    pub fn is_valid(&self) -> bool {
        self.told.is_empty()
    }

    /// Reads all of them again, with what they include; gives what is wrong, once. What is wrong leaves in force what was
    /// read before.
    pub fn read(&mut self, paths: &[PathBuf]) -> Vec<Error> {
        let (mut next, mut wrong) = (Book::default(), Vec::new());
        for path in paths {
            match files(path) {
                Ok(files) => files.into_iter().for_each(|file| wrong.extend(self.carry_over(&mut next, file))),
                Err(e) => {
                    let before = self.files.iter().filter(|(file, _)| file.starts_with(path));
                    next.files.extend(before.map(|(file, schedules)| (file.clone(), schedules.clone())));
                    wrong.push(e);
                }
            }
        }
        match next.check() {
            Ok(()) => self.files = next.files,
            Err(e) => wrong.push(e),
        }
        let before = std::mem::replace(&mut self.told, wrong.iter().map(Error::one_line).collect());
        wrong.retain(|e| !before.contains(&e.one_line()));
        wrong
    }

    fn carry_over(&self, next: &mut Book, file: PathBuf) -> Option<Error> {
        match read_schedules(&file) {
            Ok(schedules) => {
                next.files.insert(file, schedules);
                None
            }
            Err(e) => {
                let before = self.files.get(&file).cloned();
                next.files.extend(before.map(|schedules| (file, schedules)));
                Some(e)
            }
        }
    }

    /// Something must be scheduled, and no name by two: their backups could not be told apart.
    fn check(&self) -> Result<()> {
        if self.schedules().next().is_none() {
            return Err(Error::usage("there is no schedule with a window, so nothing would ever start")
                .hint("give `-f` a schedule that has `spec.window`, or a folder with one"));
        }
        let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
        for (file, schedules) in &self.files {
            for schedule in schedules {
                if let Some(first) = seen.insert(schedule.name.as_str(), file) {
                    let (name, first, second) = (&schedule.name, first.display(), file.display());
                    return Err(Error::usage(format!("{second}: schedule {name} stands in {first} already")));
                }
            }
        }
        Ok(())
    }
}

fn read_schedules(file: &Path) -> Result<Vec<Schedule>> {
    let documents = config::read_file(file)?.into_iter();
    Ok(documents
        .filter_map(|document| match document {
            Document::Schedule(schedule) => Some(*schedule),
            _ => None,
        })
        .collect())
}

/// The file, or the YAML files of a folder. Hidden ones are left alone: ConfigMaps are mounted by way of some.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read {}", path.display());
    if !std::fs::metadata(path).map_err(|e| Error::usage(what()).because(e))?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).context(what)? {
        let file = entry.context(what)?.path();
        let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
