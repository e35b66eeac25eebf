//! The restore plans and runbooks that are stored with every backup, so that the vault is enough to restore from.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobMatcher};

use super::problems::Problems;
use super::raw;
use crate::error::{Error, Result};

/// The files that go into every backup beside the schedule; sorted, and each file name once per folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Restore plans.
    pub plans: Vec<PathBuf>,
    /// Runbooks.
    pub runbooks: Vec<PathBuf>,
}

impl Bundle {
    /// Each file, with the name it is stored under: `restore-plans/…` or `runbooks/…`, so that a plan finds its
    /// runbooks in an unpacked backup as it does in the repository.
    pub fn entries(&self) -> impl Iterator<Item = (String, &Path)> {
        let named = |folder: &'static str, paths: &'_ [PathBuf]| {
            let names = paths.iter().map(move |path| format!("{folder}/{}", file_name(path)));
            names.collect::<Vec<_>>()
        };
        let plans = named("restore-plans", &self.plans).into_iter().zip(&self.plans);
        let runbooks = named("runbooks", &self.runbooks).into_iter().zip(&self.runbooks);
        plans.chain(runbooks).map(|(name, path)| (name, path.as_path()))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn validate(raw: &raw::Include, folder: &Path, problems: &mut Problems<'_>) -> Option<Bundle> {
    let plans = files(&raw.plans, folder, "spec.include.plans", problems);
    let runbooks = files(&raw.runbooks, folder, "spec.include.runbooks", problems);
    Some(Bundle { plans: plans?, runbooks: runbooks? })
}

fn files(patterns: &[String], folder: &Path, path: &str, problems: &mut Problems<'_>) -> Option<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut sound = true;
    for (index, pattern) in patterns.iter().enumerate() {
        match problems.check(&format!("{path}[{index}]"), expand(pattern, folder)) {
            Some(files) => found.extend(files),
            None => sound = false,
        }
    }
    found.sort();
    found.dedup();
    found.sort_by_key(|path| file_name(path));
    for pair in found.windows(2).filter(|pair| file_name(&pair[0]) == file_name(&pair[1])) {
        let (one, two) = (pair[0].display(), pair[1].display());
        problems.add(path, format!("{one} and {two} have the same file name, and would be stored as one"));
        sound = false;
    }
    sound.then_some(found)
}

/// The files that `pattern` names, from `folder`. One that names none is an error: a promise that is not kept.
fn expand(pattern: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let none = || Error::usage(format!("`{pattern}` names no file under {}", shown(folder)));
    let (parent, last) = pattern.rsplit_once('/').map_or(("", pattern), |(parent, last)| (parent, last));
    if parent.contains(['*', '?', '[', '{']) {
        let error = Error::usage(format!("`{pattern}` has a wildcard in a folder's name"));
        return Err(error.hint("wildcards stand in the last part only; give each folder a line of its own"));
    }
    let folder = if pattern.starts_with('/') { PathBuf::from(format!("{parent}/")) } else { folder.join(parent) };
    let bad = |why: globset::Error| Error::usage(format!("`{pattern}` cannot be read: {}", why.kind()));
    let matcher = Glob::new(last).map_err(bad)?.compile_matcher();
    let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder });
    let entries = entries.map_err(|why| none().because(why))?;
    let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
    let files: Vec<PathBuf> = names
        .filter(|name| takes(&matcher, last, &name.to_string_lossy()))
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .collect();
    if files.is_empty() { Err(none()) } else { Ok(files) }
}

/// Hidden files are left alone unless they are named: editors and Kubernetes volumes keep their own there.
fn takes(matcher: &GlobMatcher, pattern: &str, name: &str) -> bool {
    matcher.is_match(name) && (!name.starts_with('.') || pattern.starts_with('.'))
}

fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "the current folder".to_string() } else { folder.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_the_files_of_one_folder() {
        let root = tempfile::tempdir().unwrap();
        for name in ["plans/a.yaml", "plans/b.yaml", "plans/c.txt", "plans/.d.yaml"] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let mut found = expand("plans/*.yaml", root.path()).unwrap();
        found.sort();
        assert_eq!(found, ["plans/a.yaml", "plans/b.yaml"].map(|name| root.path().join(name)));
        assert!(expand("plans/*.md", root.path()).is_err());
        assert!(expand("*/a.yaml", root.path()).is_err());
        assert!(expand("gone/*", root.path()).is_err());
    }

    #[test]
    fn stored_names_keep_plans_and_runbooks_where_a_plan_looks_for_them() {
        let bundle = Bundle { plans: vec!["/x/p.yaml".into()], runbooks: vec!["/y/dns.md".into()] };
        let names: Vec<String> = bundle.entries().map(|(name, _)| name).collect();
        assert_eq!(names, ["restore-plans/p.yaml", "runbooks/dns.md"]);
    }
}
