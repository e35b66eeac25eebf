//! Plans that do not come from a file here: out of the backup, or out of the journal of a restore.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::clock::{Clock, SystemClock};
use crate::config::{self, CONFIGURATION_SOURCE, RestorePlan};
use crate::error::{Context, Error, Result};
use crate::reader::OpenBackup;
use crate::restore::Begin;

/// A folder for files out of a backup. It goes with this value.
pub(in crate::cli) struct Unpacked(PathBuf);

impl Unpacked {
    /// For this user only, and new: nobody else may lay a plan into it.
    fn new() -> Result<Unpacked> {
        let stamp = SystemClock.now().as_nanosecond();
        let folder = std::env::temp_dir().join(format!("ckbackup-plans-{}-{stamp}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder).context(|| format!("make {}", folder.display()))?;
        Ok(Unpacked(folder))
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Only copies: a folder that stays behind does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A plan out of the backup, and the folder with the runbooks that stand beside it there.
pub(in crate::cli) async fn stored_plan(backup: &OpenBackup, name: &str) -> Result<(RestorePlan, Option<Unpacked>)> {
    let folder = Unpacked::new()?;
    let plans = unpack_configuration(backup, &folder.0).await?;
    Ok((find_plan(&plans, name)?, Some(folder)))
}

async fn unpack_configuration(backup: &OpenBackup, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut plans = Vec::new();
    for record in backup.frames_with(CONFIGURATION_SOURCE, "") {
        for entry in backup.entries(record).await? {
            let content = backup.member(record, &entry).await?;
            let file = folder.join(&entry.path);
            let parent = file.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).context(|| format!("make {}", parent.display()))?;
            std::fs::write(&file, content).context(|| format!("write {}", file.display()))?;
            if entry.path.starts_with("restore-plans/") {
                plans.push(file);
            }
        }
    }
    Ok(plans)
}

fn find_plan(files: &[PathBuf], name: &str) -> Result<RestorePlan> {
    let mut names = Vec::new();
    for file in files {
        for document in config::read_file(file)? {
            if let config::Document::RestorePlan(plan) = document {
                if plan.name.as_str() == name {
                    return Ok(*plan);
                }
                names.push(plan.name.to_string());
            }
        }
    }
    Err(Error::usage(format!("the backup holds no plan {name}"))
        .hint(format!("it holds: {}", if names.is_empty() { "none".into() } else { names.join(", ") })))
}

/// The plan that a restore began with, out of its journal.
pub(in crate::cli) fn journalled_plan(begin: &Begin) -> Result<(RestorePlan, Unpacked)> {
    let folder = Unpacked::new()?;
    let plans = folder.0.join("restore-plans");
    let mut first = None;
    for file in &begin.files {
        let path = plans.join(plain(&file.name)?);
        write(&path, &file.text)?;
        first.get_or_insert(path);
    }
    for runbook in &begin.runbooks {
        // One with a path of its own is looked for where it was.
        if let Ok(name) = plain(&runbook.name) {
            write(&plans.join(name), &runbook.text)?;
        }
    }
    let first = first.ok_or_else(|| Error::integrity(format!("the journal of restore {} holds no plan", begin.id)))?;
    Ok((config::read_plan(&first, Some(&begin.plan))?, folder))
}

/// A path that stays in its folder.
fn plain(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    let stays = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    stays.then_some(path).ok_or_else(|| Error::integrity(format!("{name:?} does not stay in its folder")))
}

fn write(file: &Path, text: &str) -> Result<()> {
    let parent = file.parent().unwrap_or(file);
    std::fs::create_dir_all(parent).context(|| format!("make {}", parent.display()))?;
    std::fs::write(file, text).context(|| format!("write {}", file.display()))
}
