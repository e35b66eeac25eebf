//! Source and restore step `objects`: which objects of which bucket or folder, and where they come back.

use std::path::{Path, PathBuf};

use super::location::{self, VaultLocation};
use super::names::Name;
use super::paths::{self, PathFilter};
use super::plan::{Conflict, optional_conflict};
use super::problems::Problems;
use super::raw;
use super::source::{Limits, LogFormat, limits, log_format};

/// A bucket, a prefix in one, or a folder, and where its credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectsPlace {
    /// Where it is.
    pub location: VaultLocation,
    /// The file with its credentials, where they are not those of the environment.
    pub credentials_file: Option<PathBuf>,
}

/// Which objects of a place are saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectsScope {
    /// Where they are.
    pub place: ObjectsPlace,
    /// Which of them.
    pub names: PathFilter,
    /// How much of them.
    pub limits: Limits,
    /// What is inside, where ckbackup looks into it.
    pub format: Option<LogFormat>,
}

/// Which objects or files of a source are written to a bucket or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreObjects {
    /// The source that they are taken from.
    pub source: Name,
    /// Where they go.
    pub place: ObjectsPlace,
    /// Which of them.
    pub names: PathFilter,
    /// What happens to one that is there already and differs; without it, what the command line says.
    pub conflict: Option<Conflict>,
}

/// Makes a scope of what was typed, or notes all that is wrong with it. Relative paths are taken from `folder`.
pub(super) fn validate(
    raw: &raw::Objects,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<ObjectsScope> {
    let given = raw::Vault {
        url: raw.url.clone(),
        endpoint: raw.endpoint.clone(),
        region: raw.region.clone(),
        allow_http: raw.allow_http,
    };
    let place = place(&given, raw.credentials_file.as_deref(), path, folder, problems);
    let names = paths::validate(&raw.names, &format!("{path}.names"), problems);
    let limits = limits(&raw.newer_than, &raw.max_size, path, problems);
    let format = log_format(raw.format.as_deref(), path, problems);
    Some(ObjectsScope { place: place?, names: names?, limits: limits?, format: format? })
}

/// The same for a step of a plan.
pub(super) fn validate_step(
    raw: &raw::RestoreObjects,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<RestoreObjects> {
    let source = problems.parse(&format!("{path}.source"), &raw.source);
    let given = raw::Vault {
        url: raw.url.clone(),
        endpoint: raw.endpoint.clone(),
        region: raw.region.clone(),
        allow_http: raw.allow_http,
    };
    let place = place(&given, raw.credentials_file.as_deref(), path, folder, problems);
    let names = paths::validate(&raw.names, &format!("{path}.names"), problems);
    let conflict = optional_conflict(raw.conflict.as_ref(), &format!("{path}.conflict"), problems);
    Some(RestoreObjects { source: source?, place: place?, names: names?, conflict: conflict? })
}

fn place(
    given: &raw::Vault,
    credentials_file: Option<&str>,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<ObjectsPlace> {
    let location = location::validate(given, path, problems)?;
    if credentials_file.is_some() && location.folder().is_some() {
        problems.add(&format!("{path}.credentialsFile"), "a folder needs no credentials; remove this key");
        return None;
    }
    Some(ObjectsPlace { location, credentials_file: credentials_file.map(|text| folder.join(text)) })
}
