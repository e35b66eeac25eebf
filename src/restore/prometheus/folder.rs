//! Puts blocks into a folder here.

use std::path::{Path, PathBuf};

use super::{META, refusal};
use crate::config::Conflict;
use crate::error::{Context, Error, Result};
use crate::inventory::Metrics;
use crate::restore::files::write_tree;
use crate::restore::tree::{Planned, Tree};
use crate::restore::work::{Tally, Work};
use crate::sources::metrics_of;

/// Writes the blocks, each visible to a Prometheus only when all of it is there.
pub(super) async fn write(work: &Work, step: usize, to: &Path, planned: Planned) -> Result<Tally> {
    require_room(to, &planned).await?;
    let tree = Tree { to: to.into(), conflict: Conflict::Fail, is_last: |path| path.ends_with(META) };
    write_tree(work, step, tree, planned).await
}

/// Refuses a data directory with anything else in it, or that a Prometheus uses: what is there is never mixed with what
/// comes back.
async fn require_room(to: &Path, planned: &Planned) -> Result<()> {
    let (to, blocks) = (to.to_path_buf(), planned.folders());
    let looking = tokio::task::spawn_blocking(move || {
        let entries = match std::fs::read_dir(&to) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::failed(format!("read the folder {}", to.display())).because(e)),
        };
        for entry in entries {
            let name = entry.context(|| format!("read the folder {}", to.display()))?.file_name();
            if let Some(refused) = refusal(&to.display().to_string(), &name.to_string_lossy(), &blocks) {
                return Err(refused);
            }
        }
        Ok(())
    });
    looking.await.context(|| "look into the data directory".into())?
}

/// What the blocks in a folder say of themselves.
pub(super) async fn read_metas(to: &Path, blocks: Vec<String>) -> Result<Vec<Metrics>> {
    let to = to.to_path_buf();
    let reading = tokio::task::spawn_blocking(move || {
        let read = |block: String| {
            let file: PathBuf = to.join(format!("{block}{META}"));
            let meta = std::fs::read(&file).context(|| format!("read {}", file.display()))?;
            metrics_of(&meta)
        };
        blocks.into_iter().map(read).collect()
    });
    reading.await.context(|| "read what was restored".into())?
}
