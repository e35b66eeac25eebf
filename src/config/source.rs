//! The sources of a schedule: what is backed up, and of which kind each is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::command::{self, CommandPlace, CommandScope};
use super::duration::parse_duration;
use super::elasticsearch::{self, ElasticsearchScope};
use super::names::Name;
use super::objects::{self, ObjectsScope};
use super::paths::{self, PathFilter};
use super::problems::{Problems, listed};
use super::prometheus::{self, PrometheusData, PrometheusScope};
use super::raw;
use super::scope::{self, KubernetesScope};
use super::size::parse_size;

/// The source name under which schedule, plans and runbooks themselves are stored with each backup.
pub const CONFIGURATION_SOURCE: &str = "configuration";

/// Names that are folders of other things in a backup.
const RESERVED: [(&str, &str); 3] = [
    (CONFIGURATION_SOURCE, "the files that ckbackup stores with each backup"),
    ("attestations", "what is proved of a backup"),
    ("receipts", "what a run has finished"),
];

/// One thing that is backed up.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceSpec {
    /// The source's name, which is its folder in the backup.
    pub name: Name,
    /// What it is, and how it is read.
    pub kind: SourceKind,
}

/// The kinds of source.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SourceKind {
    /// The objects of a cluster.
    Kubernetes(KubernetesScope),
    /// Files in a folder.
    Files(FilesScope),
    /// The metrics of a Prometheus.
    Prometheus(Box<PrometheusScope>),
    /// The indices of an Elasticsearch or OpenSearch.
    Elasticsearch(ElasticsearchScope),
    /// The objects of a bucket or folder.
    Objects(ObjectsScope),
    /// The output of a command.
    Command(CommandScope),
}

impl SourceKind {
    /// The kind's key in a schedule, and its name in manifests and output.
    pub fn as_str(&self) -> &'static str {
        match self {
            SourceKind::Kubernetes(_) => "kubernetes",
            SourceKind::Files(_) => "files",
            SourceKind::Prometheus(_) => "prometheus",
            SourceKind::Elasticsearch(_) => "elasticsearch",
            SourceKind::Objects(_) => "objects",
            SourceKind::Command(_) => "command",
        }
    }

    /// Whether it is read from the cluster's API.
    pub fn needs_cluster(&self) -> bool {
        match self {
            SourceKind::Kubernetes(_) => true,
            SourceKind::Command(scope) => scope.place != CommandPlace::Here,
            SourceKind::Prometheus(scope) => matches!(scope.data, PrometheusData::Pod { .. }),
            _ => false,
        }
    }
}

/// Which files of a folder are saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesScope {
    /// The folder; relative paths are taken from the schedule's folder.
    pub folder: PathBuf,
    /// Which of its files.
    pub names: PathFilter,
    /// How much of them.
    pub limits: Limits,
    /// What is inside, where ckbackup looks into it.
    pub format: Option<LogFormat>,
}

/// How much of a source is saved: the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Only what is not older.
    pub newer_than: Option<Duration>,
    /// Not more than so many bytes; what is older is left out.
    pub max_size: Option<u64>,
}

/// What log files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Audit events of Kubernetes, one JSON object on a line.
    KubernetesAudit,
}

/// How to log in to an HTTP server. Secrets stand in files of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAccess {
    /// User name, and the file with the password.
    pub basic: Option<(String, PathBuf)>,
    /// The file with a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// The file with an API key of Elasticsearch, as encoded by it.
    pub api_key_file: Option<PathBuf>,
    /// The file with the certificate authorities that are trusted, beside the usual ones.
    pub ca_file: Option<PathBuf>,
}

/// Makes sources of what was typed, or notes all that is wrong with them. Relative paths are taken from `folder`.
pub(super) fn validate(raw: &[raw::Source], folder: &Path, problems: &mut Problems<'_>) -> Option<Vec<SourceSpec>> {
    if raw.is_empty() {
        problems.add("spec.sources", "names no source, so there is nothing to back up");
        return None;
    }
    let mut first_at = BTreeMap::new();
    let mut sources = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("spec.sources[{index}]");
        let name_path = format!("{path}.name");
        if let Some((name, what)) = RESERVED.iter().find(|(name, _)| *name == raw.name) {
            problems.add(&name_path, format!("`{name}` is reserved for {what}"));
        } else if let Some(first) = first_at.insert(raw.name.as_str(), index) {
            problems.add(&name_path, format!("`{}` is already the name of `spec.sources[{first}]`", raw.name));
        }
        let name = problems.parse(&name_path, &raw.name);
        let kind = source_kind(raw, &path, folder, problems);
        sources.push(name.zip(kind).map(|(name, kind)| SourceSpec { name, kind }));
    }
    sources.into_iter().collect()
}

fn source_kind(raw: &raw::Source, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<SourceKind> {
    let kinds = [
        ("kubernetes", raw.kubernetes.is_some()),
        ("prometheus", raw.prometheus.is_some()),
        ("elasticsearch", raw.elasticsearch.is_some()),
        ("objects", raw.objects.is_some()),
        ("files", raw.files.is_some()),
        ("command", raw.command.is_some()),
        ("etcd", raw.etcd.is_some()),
    ];
    let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
    let kind = match given.as_slice() {
        [kind] => *kind,
        [] => {
            problems.add(path, "the source has no kind; write `kubernetes: {}` to save a cluster's objects");
            return None;
        }
        several => {
            let several = listed(several);
            problems.add(path, format!("the source has several kinds ({several}); make it one source for each"));
            return None;
        }
    };
    let path = format!("{path}.{kind}");
    match (&raw.kubernetes, &raw.files, &raw.prometheus, &raw.objects, &raw.elasticsearch, &raw.command) {
        (Some(raw), ..) => scope::validate(raw, &path, problems).map(SourceKind::Kubernetes),
        (_, Some(raw), ..) => files(raw, &path, folder, problems).map(SourceKind::Files),
        (_, _, Some(raw), ..) => {
            prometheus::validate(raw, &path, folder, problems).map(|scope| SourceKind::Prometheus(Box::new(scope)))
        }
        (.., Some(raw), _, _) => objects::validate(raw, &path, folder, problems).map(SourceKind::Objects),
        (.., Some(raw), _) => elasticsearch::validate(raw, &path, folder, problems).map(SourceKind::Elasticsearch),
        (.., Some(raw)) => command::validate(raw, &path, problems).map(SourceKind::Command),
        _ => {
            let what = "is not supported by this version; remove the source, or upgrade ckbackup";
            problems.add(&path, format!("source kind `{kind}` {what}"));
            None
        }
    }
}

fn files(raw: &raw::Files, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<FilesScope> {
    let place = folder_of_data(&raw.path, &format!("{path}.path"), folder, problems);
    let names = paths::validate(&raw.names, &format!("{path}.names"), problems);
    let limits = limits(&raw.newer_than, &raw.max_size, path, problems);
    let format = log_format(raw.format.as_deref(), path, problems);
    Some(FilesScope { folder: place?, names: names?, limits: limits?, format: format? })
}

/// What is inside, if the schedule says.
pub(super) fn log_format(given: Option<&str>, path: &str, problems: &mut Problems<'_>) -> Option<Option<LogFormat>> {
    match given {
        None => Some(None),
        Some("kubernetesAudit") => Some(Some(LogFormat::KubernetesAudit)),
        Some(other) => {
            let near = super::problems::suggestion(other, &["kubernetesAudit"]);
            problems.add(&format!("{path}.format"), format!("`{other}` is no format that is known{near}"));
            None
        }
    }
}

/// A folder that must be named; relative paths are taken from `folder`.
pub(super) fn folder_of_data(text: &str, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<PathBuf> {
    if text.trim().is_empty() {
        problems.add(path, "names no folder");
        return None;
    }
    Some(folder.join(text))
}

/// How much of a source is saved.
pub(super) fn limits(
    newer_than: &Option<String>,
    max_size: &Option<String>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Limits> {
    let newer_than = match newer_than {
        None => Some(None),
        Some(text) => problems.check(&format!("{path}.newerThan"), parse_duration(text)).map(Some),
    };
    let max_size = match max_size {
        None => Some(None),
        Some(text) => problems.check(&format!("{path}.maxSize"), parse_size(text)).map(Some),
    };
    Some(Limits { newer_than: newer_than?, max_size: max_size? })
}

/// A URL of an HTTP server; a password in it would stand in the schedule, which goes into every backup.
pub(super) fn http_url(text: &str, path: &str, problems: &mut Problems<'_>) -> Option<Url> {
    let wrong = match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => format!("`{text}` is no URL of an HTTP server"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "holds a user or password; credentials stand in files, see `access`".to_string()
        }
        Ok(url) => return Some(url),
        Err(e) => format!("`{text}` is no URL: {e}"),
    };
    problems.add(path, wrong);
    None
}

/// How to log in; relative paths are taken from `folder`.
pub(super) fn http_access(
    raw: &raw::HttpAccess,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<HttpAccess> {
    let file = |text: &Option<String>| text.as_ref().map(|text| folder.join(text));
    let basic = match (&raw.username, file(&raw.password_file)) {
        (Some(user), Some(password)) => Some((user.clone(), password)),
        (None, None) => None,
        _ => {
            problems.add(path, "`username` and `passwordFile` go together");
            return None;
        }
    };
    let (bearer_token_file, api_key_file) = (file(&raw.bearer_token_file), file(&raw.api_key_file));
    let given = [basic.is_some(), bearer_token_file.is_some(), api_key_file.is_some()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        problems.add(path, "has several ways to log in; give one of a password, a token and an API key");
        return None;
    }
    Some(HttpAccess { basic, bearer_token_file, api_key_file, ca_file: file(&raw.ca_file) })
}
