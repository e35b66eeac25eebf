//! The folder of one test, whose logs outlive a failure.

use std::io::Write;
use std::path::{Path, PathBuf};

/// A new folder that is removed at the end of the test. When the test failed, the `.log` files in it are copied to
/// `target/test-logs/<test>/` first.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    kept: PathBuf,
}

impl Scratch {
    /// A folder for the test that runs on this thread.
    pub fn new() -> Self {
        Scratch::named(&test_name())
    }

    /// A folder whose logs are kept under this name.
    pub fn named(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ckbackup-test-").tempdir().unwrap();
        Scratch { dir, kept: kept_logs().join(name) }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Writes a file in it. Whoever reads it meanwhile sees the old or the new one, nothing between.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path().join(name);
        let folder = file.parent().unwrap();
        std::fs::create_dir_all(folder).unwrap();
        let mut written = tempfile::NamedTempFile::new_in(folder).unwrap();
        written.write_all(content.as_ref()).unwrap();
        written.persist(&file).unwrap();
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            keep_logs(self.path(), &self.kept);
        }
    }
}

/// The name libtest gave the thread, as a file name.
fn test_name() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("unnamed").replace("::", ".")
}

/// Beside the folder that cargo offers to integration tests, which is `<target>/tmp`.
fn kept_logs() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-logs")
}

/// Copies what it can: the test has failed already, and its own message must not be replaced.
pub fn keep_logs(from: &Path, to: &Path) {
    let logs = logs_in(from);
    for log in &logs {
        let name = log.strip_prefix(from).unwrap_or(log).to_string_lossy().replace('/', ".");
        let _ = std::fs::create_dir_all(to).and_then(|()| std::fs::copy(log, to.join(name)));
    }
    if !logs.is_empty() {
        eprintln!("logs of the servers of this test: {}", to.display());
    }
}

fn logs_in(dir: &Path) -> Vec<PathBuf> {
    let mut logs = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return logs };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            logs.extend(logs_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    logs
}
