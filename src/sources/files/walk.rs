//! Looks which files there are.

use std::path::Path;

use crate::config::FilesScope;
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::check_path;
use crate::sources::file_reader::Found;

/// What a walk found.
pub(super) struct Walked {
    pub files: Vec<Found>,
    pub inventory: Inventory,
}

/// Every file below the folder that is wanted. Names go to the log only: the manifest, where problems stand, is not
/// encrypted.
pub(super) fn walk(scope: &FilesScope) -> Result<Walked> {
    let folder = &scope.folder;
    let opened = std::fs::metadata(folder).and_then(|_| std::fs::read_dir(folder));
    opened.map_err(|e| {
        Error::failed(format!("read the folder {}", folder.display()))
            .because(e)
            .hint("check its path in the schedule, that it is mounted, and that this user may read it")
    })?;
    let mut walk = Walk { scope, files: Vec::new(), unreadable: 0, unnameable: 0, others: 0 };
    walk.enter(folder, "");
    let mut inventory = Inventory::default();
    let omission = |what: &str, why: &str, count| Omission { what: what.into(), why: why.into(), count: Some(count) };
    if walk.unreadable > 0 {
        inventory.problems.push(omission("folders", "could not be read", walk.unreadable));
    }
    if walk.unnameable > 0 {
        inventory.problems.push(omission("files", "their names cannot stand in an archive", walk.unnameable));
    }
    if walk.others > 0 {
        inventory.skipped.push(omission("links and devices", "only plain files are saved", walk.others));
    }
    Ok(Walked { files: walk.files, inventory })
}

struct Walk<'a> {
    scope: &'a FilesScope,
    files: Vec<Found>,
    unreadable: u64,
    unnameable: u64,
    others: u64,
}

impl Walk<'_> {
    fn enter(&mut self, folder: &Path, path: &str) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            // A folder that was removed meanwhile is no loss.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
            Err(e) => return self.cannot_read(folder, &e),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.look_at(&entry, path),
                Err(e) => self.cannot_read(folder, &e),
            }
        }
    }

    fn cannot_read(&mut self, folder: &Path, e: &std::io::Error) {
        tracing::warn!(folder = %folder.display(), error = %e, "could not be read");
        self.unreadable += 1;
    }

    fn look_at(&mut self, entry: &std::fs::DirEntry, parent: &str) {
        let name = entry.file_name();
        let below = |name: &str| if parent.is_empty() { name.into() } else { format!("{parent}/{name}") };
        // Patterns come first: what nobody asks for can be called whatever it likes.
        let shown = below(&name.to_string_lossy());
        let path = name.to_str().map(below).filter(|path| check_path(path).is_ok());
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
            Err(e) => return self.cannot_read(&entry.path(), &e),
        };
        if metadata.is_dir() {
            // The root of every ext4 volume has one that only root may read.
            if !self.scope.names.leaves_out(&shown) && shown != "lost+found" {
                self.enter(&entry.path(), &path.unwrap_or(shown));
            }
        } else if !self.scope.names.allows(&shown) {
            // Not asked for.
        } else if !metadata.is_file() {
            self.others += 1;
        } else if let Some(path) = path {
            self.files.push(Found::new(path, &metadata));
        } else {
            tracing::warn!(file = %entry.path().display(), "its name cannot stand in an archive");
            self.unnameable += 1;
        }
    }
}
