//! The journal on this machine.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::place::RestoreId;
use crate::error::{Context, Error, Result};

const JOURNAL: &str = "journal.jsonl";

/// The folder in which this user's restores are kept, one folder for each.
#[derive(Debug, Clone)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// The folder need not be there yet.
    pub fn new(path: PathBuf) -> StateFolder {
        StateFolder(path)
    }

    /// The folder of one restore.
    pub fn of(&self, id: &RestoreId) -> PathBuf {
        self.0.join("restores").join(id.as_str())
    }

    /// All restores that are known here, oldest first.
    pub fn all(&self) -> Vec<RestoreId> {
        let entries = std::fs::read_dir(self.0.join("restores")).into_iter().flatten();
        let mut ids: Vec<RestoreId> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok()).collect();
        ids.sort();
        ids
    }

    /// The lines of a restore's journal; none where it is not on this machine.
    pub fn lines(&self, id: &RestoreId) -> Result<Option<Vec<u8>>> {
        let path = self.of(id).join(JOURNAL);
        match std::fs::read(&path) {
            Ok(lines) => Ok(Some(lines)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::failed(format!("read {}", path.display())).because(e)),
        }
    }
}

/// The file, held for this process alone.
pub struct LocalFile {
    file: Mutex<File>,
    path: PathBuf,
}

impl LocalFile {
    /// Opens it to go on with, and locks it. A usage error says that another process has it.
    pub fn open(state: &StateFolder, id: &RestoreId) -> Result<LocalFile> {
        let path = make_folder(&state.of(id))?.join(JOURNAL);
        let what = || format!("open {}", path.display());
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&path).context(what)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::usage(format!("restore {id} is going on in another process on this machine"))
                    .hint("watch that one; or stop it first, and resume then"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::failed(what()).because(e)),
        }
        let local = LocalFile { file: Mutex::new(file), path };
        local.end_the_line()?;
        Ok(local)
    }

    /// A line that a crash cut short ends here, so that the next one is whole.
    fn end_the_line(&self) -> Result<()> {
        let text = std::fs::read(&self.path).context(|| format!("read {}", self.path.display()))?;
        if text.last().is_some_and(|last| *last != b'\n') {
            self.append(b"\n", false)?;
        }
        Ok(())
    }

    /// Adds a line; on the disk before it returns where that is asked for.
    pub fn append(&self, line: &[u8], synced: bool) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        let written = file.write_all(line).and_then(|()| if synced { file.sync_data() } else { Ok(()) });
        written.context(|| format!("write {}", self.path.display()))
    }
}

/// Makes a folder for this user only.
pub(super) fn make_folder(folder: &Path) -> Result<&Path> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}
