//! A folder that is filled out of sight: what it shows in the end is whole.

use std::collections::{BTreeSet, HashSet};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::archive::index::Entry;
use crate::archive::parts::PartOrder;
use crate::error::{Context, Error, Result};
use crate::member::check_path;

/// Where files are gathered until all are there; its name says what it is to whoever finds it.
const STAGE: &str = ".ckbackup-incomplete";

/// A folder that is being filled. Dropped before [`Folder::finish`], it takes everything away again.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    stage: PathBuf,
    made: bool,
    known: HashSet<PathBuf>,
    parts: PartOrder,
    /// Files of which the backup has only the begin.
    cut: BTreeSet<PathBuf>,
}

/// Ends the name of a file of which the backup has only the begin.
const INCOMPLETE: &str = ".ckbackup-incomplete";

/// Refuses a folder with something in it.
pub(super) fn require_free(dir: &Path) -> Result<()> {
    let what = || format!("look into {}", dir.display());
    if dir.symlink_metadata().is_err() {
        return Ok(());
    }
    if !dir.is_dir() {
        return Err(Error::usage(format!("{} is not a folder", dir.display())).hint("give a new or an empty folder"));
    }
    match std::fs::read_dir(dir).context(what)?.next() {
        None => Ok(()),
        Some(entry) => {
            let name = entry.context(what)?.file_name();
            let hint = match name.to_str() {
                Some(STAGE) => "an earlier extract was cut off: remove what it left, then run this again",
                _ => "give a new or an empty folder: nothing is ever mixed or overwritten",
            };
            Err(Error::usage(format!("{} is not empty", dir.display())).hint(hint))
        }
    }
}

impl Folder {
    /// Begins to fill a folder that is new or empty.
    pub(super) fn begin(dir: PathBuf) -> Result<Folder> {
        require_free(&dir)?;
        let made = !dir.exists();
        let stage = dir.join(STAGE);
        make(&stage)?;
        Ok(Folder { dir, stage, made, known: HashSet::new(), parts: PartOrder::default(), cut: BTreeSet::new() })
    }

    /// Adds a file, readable by its owner only, or the next part of one. Filler is left out.
    pub(super) fn write(&mut self, source: &str, entry: &Entry, content: &[u8]) -> Result<()> {
        let path = &entry.path;
        check_path(source)?;
        check_path(path)?;
        self.parts.follow(entry)?;
        let place = self.stage.join(source).join(path);
        if let Some(parent) = place.parent().filter(|parent| !self.known.contains(*parent)) {
            make(parent)?;
            self.known.insert(parent.into());
        }
        let begins = entry.begins_member();
        let opened = OpenOptions::new().append(!begins).write(begins).create_new(begins).mode(0o600).open(&place);
        let filler = entry.part.map_or(0, |part| part.filler) as usize;
        if filler > 0 {
            self.cut.insert(place.clone());
        }
        let real = &content[..content.len().saturating_sub(filler)];
        let written = opened.and_then(|mut file| file.write_all(real));
        written.map_err(|e| {
            let full = e.kind() == std::io::ErrorKind::StorageFull;
            let error = Error::failed(format!("write {}/{source}/{path}", self.dir.display())).because(e);
            if full { error.hint("the disk is full: make room, or give a folder on another disk") } else { error }
        })
    }

    /// Shows what was written. How many files are not whole, and have a name that says so.
    pub(super) fn finish(mut self) -> Result<u64> {
        std::mem::take(&mut self.parts).end()?;
        let what = || format!("finish {}", self.dir.display());
        for place in &self.cut {
            let mut name = place.clone().into_os_string();
            name.push(INCOMPLETE);
            std::fs::rename(place, name).context(what)?;
        }
        for entry in std::fs::read_dir(&self.stage).context(what)? {
            let entry = entry.context(what)?;
            std::fs::rename(entry.path(), self.dir.join(entry.file_name())).context(what)?;
        }
        std::fs::remove_dir(&self.stage).context(what)?;
        Ok(self.cut.len() as u64)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.stage.exists() {
            let _ = std::fs::remove_dir_all(&self.stage);
            if self.made {
                // Only when nothing else came in.
                let _ = std::fs::remove_dir(&self.dir);
            }
        }
    }
}

fn make(dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).context(|| format!("make the folder {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Part;
    use std::os::unix::fs::PermissionsExt;

    fn entry(path: &str) -> Entry {
        Entry { path: path.into(), size: 1, ..Entry::default() }
    }

    #[test]
    fn parts_of_a_file_are_put_together_without_filler() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        let part = |offset, filler| Entry { part: Some(Part { offset, of: 6, filler }), size: 3, ..entry("a") };
        let mut folder = Folder::begin(dir.clone()).unwrap();
        folder.write("logs", &part(0, 0), b"abc").unwrap();
        folder.write("logs", &part(3, 2), b"d\0\0").unwrap();
        folder.finish().unwrap();
        assert_eq!(std::fs::read(dir.join("logs/a.ckbackup-incomplete")).unwrap(), b"abcd");
        assert!(!dir.join("logs/a").exists());
        let mut folder = Folder::begin(root.path().join("cut")).unwrap();
        folder.write("logs", &part(0, 0), b"abc").unwrap();
        assert!(folder.finish().is_err());
        assert!(!root.path().join("cut").exists());
    }

    #[test]
    fn files_show_when_all_are_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        let mut folder = Folder::begin(dir.clone()).unwrap();
        folder.write("platform", &entry("resources/secrets/v1/shop/a.json"), b"{}").unwrap();
        assert!(!dir.join("platform").exists());
        folder.finish().unwrap();
        let file = dir.join("platform/resources/secrets/v1/shop/a.json");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        assert!(Folder::begin(dir).is_err());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        let mut folder = Folder::begin(dir.clone()).unwrap();
        folder.write("platform", &entry("a"), b"x").unwrap();
        assert!(folder.write("platform", &entry("../../b"), b"x").is_err());
        assert!(folder.write("platform", &entry("a"), b"y").is_err(), "a member that stands twice is refused");
        drop(folder);
        assert!(!dir.exists());
    }
}
