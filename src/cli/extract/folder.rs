//! A folder that is filled out of sight: what it shows in the end is whole.

use std::collections::HashSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::archive::frame::check_path;
use crate::error::{Context, Error, Result};

/// Where files are gathered until all are there; its name says what it is to whoever finds it.
const STAGE: &str = ".ckbackup-incomplete";

/// A folder that is being filled. Dropped before [`Folder::finish`], it takes everything away again.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    stage: PathBuf,
    made: bool,
    known: HashSet<PathBuf>,
}

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
        Ok(Folder { dir, stage, made, known: HashSet::new() })
    }

    /// Adds a file, readable by its owner only.
    pub(super) fn write(&mut self, source: &str, path: &str, content: &[u8]) -> Result<()> {
        check_path(source)?;
        check_path(path)?;
        let place = self.stage.join(source).join(path);
        if let Some(parent) = place.parent().filter(|parent| !self.known.contains(*parent)) {
            make(parent)?;
            self.known.insert(parent.into());
        }
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place);
        let written = opened.and_then(|mut file| file.write_all(content));
        written.map_err(|e| {
            let full = e.kind() == std::io::ErrorKind::StorageFull;
            let error = Error::failed(format!("write {}/{source}/{path}", self.dir.display())).because(e);
            if full { error.hint("the disk is full: make room, or give a folder on another disk") } else { error }
        })
    }

    /// Shows what was written.
    pub(super) fn finish(self) -> Result<()> {
        let what = || format!("finish {}", self.dir.display());
        for entry in std::fs::read_dir(&self.stage).context(what)? {
            let entry = entry.context(what)?;
            std::fs::rename(entry.path(), self.dir.join(entry.file_name())).context(what)?;
        }
        std::fs::remove_dir(&self.stage).context(what)
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_show_when_all_are_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        let mut folder = Folder::begin(dir.clone()).unwrap();
        folder.write("platform", "resources/secrets/v1/shop/a.json", b"{}").unwrap();
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
        folder.write("platform", "a", b"x").unwrap();
        assert!(folder.write("platform", "../../b", b"x").is_err());
        assert!(folder.write("platform", "a", b"y").is_err(), "a member that stands twice is refused");
        drop(folder);
        assert!(!dir.exists());
    }
}
