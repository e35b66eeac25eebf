//! What all figures share: a folder for their data, keys, and a voice.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::ckbackup;
use crate::settings::Settings;

/// A run of measurements. Its folder goes with it.
pub struct Bench {
    pub settings: Settings,
    /// What `ckbackup keygen` made.
    pub keys: PathBuf,
    folder: TempDir,
    begin: Instant,
    folders: AtomicUsize,
}

impl Bench {
    pub fn prepare(settings: Settings) -> Result<Bench> {
        let what = || format!("make a folder in {}", settings.dir.display());
        std::fs::create_dir_all(&settings.dir).with_context(what)?;
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&settings.dir).with_context(what)?;
        let keys = folder.path().join("keys");
        ckbackup::make_keys(&keys)?;
        Ok(Bench { settings, keys, folder, begin: Instant::now(), folders: AtomicUsize::new(0) })
    }

    /// The path of a folder that nobody has used.
    pub fn new_folder(&self, purpose: &str) -> PathBuf {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{number:03}-{purpose}"))
    }

    /// Vaults and servers' data are large, so they go as soon as they are not needed.
    pub fn remove(&self, folder: &Path) -> Result<()> {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
    }

    /// Tells how far it is, with the time since the begin.
    pub fn say(&self, text: impl AsRef<str>) {
        eprintln!("bench: {:>5.0} s  {}", self.begin.elapsed().as_secs_f64(), text.as_ref());
    }
}
