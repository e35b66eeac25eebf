//! Metrics in a file, as the textfile collector of the node exporter reads them.

use std::path::{Path, PathBuf};

use super::metrics::render;
use super::snapshot::Snapshot;
use crate::error::{Context, Result};

/// Writes the metrics into a file. Whoever reads it sees either what was there before, or all of this.
pub fn write_file(file: &Path, snapshot: Snapshot) -> Result<()> {
    write_metrics_text(file, &render(snapshot)?)
}

/// The same, of metrics that stand as text already.
pub fn write_metrics_text(file: &Path, text: &str) -> Result<()> {
    let fresh = beside(file);
    std::fs::write(&fresh, text).context(|| format!("write {}", fresh.display()))?;
    std::fs::rename(&fresh, file).context(|| format!("rename {} to {}", fresh.display(), file.display()))
}

/// Collectors read `*.prom`, so this one is left alone.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    file.with_file_name(name)
}
