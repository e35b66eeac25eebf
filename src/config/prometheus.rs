//! Source and restore step `prometheus`: where its data is, how its API is reached, and how it comes back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::command::{self, CommandPlace, Workload};
use super::duration::parse_duration;
use super::folder_of;
use super::names::Name;
use super::plan::DEFAULT_GATE_TIMEOUT;
use super::problems::Problems;
use super::raw;
use super::source::{HttpAccess, Limits, folder_of_data, http_access, http_url, limits};

/// The data directory in a pod, unless the schedule says.
const DEFAULT_PATH: &str = "/prometheus";

/// Which metrics are saved, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusScope {
    /// Where its API is; none when it is not asked for a snapshot.
    pub url: Option<Url>,
    /// Its data directory.
    pub data: PrometheusData,
    /// Whether the newest samples are saved, which no block holds yet.
    pub head: bool,
    /// How much.
    pub limits: Limits,
    /// How to log in.
    pub access: HttpAccess,
    /// The Alertmanager whose silences are saved, too.
    pub alertmanager: Option<HttpServer>,
}

/// Where a data directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrometheusData {
    /// Here; relative paths are taken from the schedule's folder.
    Folder(PathBuf),
    /// In a pod.
    Pod {
        /// The pod.
        place: CommandPlace,
        /// The path in its container.
        path: String,
    },
}

/// A server, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServer {
    /// Where its API is.
    pub url: Url,
    /// How to log in.
    pub access: HttpAccess,
}

/// Where the blocks of a Prometheus are put, and how it is checked that they arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePrometheus {
    /// The source that they are taken from.
    pub source: Name,
    /// The data directory, in which no other block may be; none where only silences are wanted.
    pub to: Option<BlocksTo>,
    /// A Prometheus that is asked afterwards.
    pub check: Option<PrometheusCheck>,
    /// The Alertmanager that gets the silences.
    pub alertmanager: Option<HttpServer>,
}

/// Where blocks are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlocksTo {
    /// A folder here.
    Folder(PathBuf),
    /// The volume of a workload.
    Claim(DataClaim),
}

/// The volume in which a workload has its data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataClaim {
    /// What must not run while blocks are put into it.
    pub workload: Workload,
    /// The claim of the volume.
    pub claim: String,
    /// The data directory; where the workload mounts the volume, unless the plan says.
    pub path: Option<String>,
    /// The image of the pod that writes; the workload's own, unless the plan says.
    pub image: Option<String>,
}

/// A Prometheus that serves the restored data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusCheck {
    /// Where its API is.
    pub url: Url,
    /// How long it may take until it is ready.
    pub timeout: Duration,
    /// How to log in.
    pub access: HttpAccess,
}

/// Makes a scope of what was typed, or notes all that is wrong with it.
pub(super) fn validate(
    raw: &raw::Prometheus,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<PrometheusScope> {
    let url = match &raw.url {
        None => Some(None),
        Some(text) => http_url(text, &format!("{path}.url"), problems).map(Some),
    };
    let data = data(&raw.data, &format!("{path}.data"), folder, problems);
    let head = raw.head.unwrap_or(true);
    if head && raw.url.is_none() {
        problems.add(
            path,
            "the newest hours are in no block yet, and only a snapshot through `url` has them; give it, or accept with \
             `head: false` that they are not in the backup",
        );
        return None;
    }
    let limits = limits(&raw.newer_than, &raw.max_size, path, problems);
    let access = http_access(&raw.access, &format!("{path}.access"), folder, problems);
    let alertmanager = server(raw.alertmanager.as_ref(), &format!("{path}.alertmanager"), folder, problems);
    Some(PrometheusScope {
        url: url?,
        data: data?,
        head,
        limits: limits?,
        access: access?,
        alertmanager: alertmanager?,
    })
}

fn data(raw: &raw::PrometheusData, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<PrometheusData> {
    match (&raw.path, &raw.pod) {
        (Some(text), None) => {
            folder_of_data(text, &format!("{path}.path"), folder, problems).map(PrometheusData::Folder)
        }
        (None, Some(pod)) => {
            let path = format!("{path}.pod");
            let directory = directory(pod.path.as_deref().unwrap_or(DEFAULT_PATH), &format!("{path}.path"), problems);
            let place = command::pod(&pod.namespace, &pod.selector, pod.container.as_deref(), &path, problems);
            Some(PrometheusData::Pod { place: place?, path: directory? })
        }
        _ => {
            problems.add(path, "give the `path` of the data directory, or the `pod` that has it");
            None
        }
    }
}

/// A path in a container, which is absolute.
fn directory(text: &str, path: &str, problems: &mut Problems<'_>) -> Option<String> {
    if text.starts_with('/') && !text.trim_end_matches('/').is_empty() {
        return Some(text.trim_end_matches('/').into());
    }
    problems.add(path, format!("`{text}` is no path of a folder in a container; it begins with `/`"));
    None
}

fn server(
    raw: Option<&raw::HttpServer>,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<Option<HttpServer>> {
    let Some(raw) = raw else { return Some(None) };
    let url = http_url(&raw.url, &format!("{path}.url"), problems);
    let access = http_access(&raw.access, &format!("{path}.access"), folder, problems);
    Some(Some(HttpServer { url: url?, access: access? }))
}

/// The same for a step of a plan.
pub(super) fn validate_step(
    raw: &raw::RestorePrometheus,
    path: &str,
    file: &Path,
    problems: &mut Problems<'_>,
) -> Option<RestorePrometheus> {
    let source = problems.parse(&format!("{path}.source"), &raw.source);
    let to = blocks_to(raw, path, folder_of(file), problems);
    let check = match &raw.check {
        None => Some(None),
        Some(_) if raw.to.is_none() && raw.pod.is_none() => {
            problems.add(&format!("{path}.check"), "there is nothing to check: no blocks are put anywhere");
            None
        }
        Some(raw) => check(raw, &format!("{path}.check"), folder_of(file), problems).map(Some),
    };
    let alertmanager = server(raw.alertmanager.as_ref(), &format!("{path}.alertmanager"), folder_of(file), problems);
    Some(RestorePrometheus { source: source?, to: to?, check: check?, alertmanager: alertmanager? })
}

fn blocks_to(
    raw: &raw::RestorePrometheus,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<Option<BlocksTo>> {
    match (&raw.to, &raw.pod) {
        (Some(text), None) => {
            let to = folder_of_data(text, &format!("{path}.to"), folder, problems);
            to.map(|to| Some(BlocksTo::Folder(to)))
        }
        (None, Some(pod)) => claim(pod, &format!("{path}.pod"), problems).map(|claim| Some(BlocksTo::Claim(claim))),
        (None, None) if raw.alertmanager.is_some() => Some(None),
        (None, None) => {
            problems.add(path, "say where the blocks are put: a folder (`to`), or the volume of a `pod`");
            None
        }
        _ => {
            problems.add(path, "gives both a folder (`to`) and a `pod`; make it one step for each");
            None
        }
    }
}

fn claim(raw: &raw::RestorePod, path: &str, problems: &mut Problems<'_>) -> Option<DataClaim> {
    let workload = command::workload(&raw.workload, &format!("{path}.workload"), problems);
    let directory = match &raw.path {
        None => Some(None),
        Some(text) => directory(text, &format!("{path}.path"), problems).map(Some),
    };
    if raw.claim.trim().is_empty() {
        problems.add(&format!("{path}.claim"), "names no claim of a volume");
        return None;
    }
    Some(DataClaim { workload: workload?, claim: raw.claim.clone(), path: directory?, image: raw.image.clone() })
}

fn check(
    raw: &raw::PrometheusCheck,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<PrometheusCheck> {
    let url = http_url(&raw.url, &format!("{path}.url"), problems);
    let timeout = match &raw.timeout {
        None => Some(DEFAULT_GATE_TIMEOUT),
        Some(text) => problems.check(&format!("{path}.timeout"), parse_duration(text)),
    };
    let access = http_access(&raw.access, &format!("{path}.access"), folder, problems);
    Some(PrometheusCheck { url: url?, timeout: timeout?, access: access? })
}
