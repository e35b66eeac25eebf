//! Plans that do not come from a file here: out of the backup, or out of the journal of a restore.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Action, BlocksTo, CONFIGURATION_SOURCE, PlanFile, RestorePlan};
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
    let plan = find_plan(&plans, name)?;
    refuse_paths_in(&plan, &folder.0)?;
    Ok((plan, Some(folder)))
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

/// The plan that a restore began with: from where it was, when it still stands there as it was; else out of the journal.
pub(in crate::cli) fn journalled_plan(begin: &Begin) -> Result<(RestorePlan, Option<Unpacked>)> {
    let first = begin.files.first();
    let first = first.ok_or_else(|| Error::integrity(format!("the journal of restore {} holds no plan", begin.id)))?;
    let folder = Path::new(&begin.folder);
    let is_there =
        |file: &PlanFile| std::fs::read_to_string(folder.join(&file.name)).is_ok_and(|text| text == file.text);
    if folder.is_absolute() && begin.files.iter().all(is_there) {
        return Ok((config::read_plan(&folder.join(&first.name), Some(&begin.plan))?, None));
    }
    let unpacked = Unpacked::new()?;
    let plans = unpacked.0.join("restore-plans");
    for file in begin.files.iter().chain(&begin.runbooks) {
        // One with a whole path is looked for where it was.
        if let Some(path) = inside(&unpacked.0, &plans, &file.name) {
            write(&path, &file.text)?;
        }
    }
    let plan = config::read_plan(&plans.join(&first.name), Some(&begin.plan))?;
    refuse_paths_in(&plan, &unpacked.0)?;
    Ok((plan, Some(unpacked)))
}

/// A path as it is meant from `from`, when it stays in `root`.
fn inside(root: &Path, from: &Path, name: &str) -> Option<PathBuf> {
    let mut path = from.to_path_buf();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    path.starts_with(root).then_some(path)
}

/// Data must not go into a folder that is removed afterwards: relative paths begin at the plan's folder, which is not here.
fn refuse_paths_in(plan: &RestorePlan, folder: &Path) -> Result<()> {
    let goes_there = |path: &Path| path.starts_with(folder);
    let step = plan.steps.iter().find(|step| match &step.action {
        Action::Files(files) => goes_there(&files.to),
        Action::Prometheus(metrics) => matches!(&metrics.to, Some(BlocksTo::Folder(to)) if goes_there(to)),
        _ => false,
    });
    match step {
        None => Ok(()),
        Some(step) => Err(Error::usage(format!(
            "step {} of plan {} writes into a folder beside the plan, and the plan's file is not here",
            step.name, plan.name
        ))
        .hint(
            "give the step a whole path (/…), or copy the plan to where its data is to go and restore by its file (-f)",
        )),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    let parent = file.parent().unwrap_or(file);
    std::fs::create_dir_all(parent).context(|| format!("make {}", parent.display()))?;
    std::fs::write(file, text).context(|| format!("write {}", file.display()))
}
