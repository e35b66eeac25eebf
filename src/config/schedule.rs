//! A schedule: which sources of which cluster, when, into which vault, for whose keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::bundle::{self, Bundle};
use super::location::{self, VaultLocation};
use super::names::{ClusterName, Name};
use super::problems::Problems;
use super::raw;
use super::scope::{self, KubernetesScope};
use super::window::{self, Window};

/// How many complete, verified backups are kept, unless the schedule says.
pub const DEFAULT_KEEP: u32 = 3;

/// The source name under which schedule, plans and runbooks themselves are stored with each backup.
pub const CONFIGURATION_SOURCE: &str = "configuration";

/// A schedule file, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The schedule's name, which ends each backup id.
    pub name: Name,
    /// The cluster that is backed up.
    pub cluster: ClusterName,
    /// When a run may start; without one, only when it is told to.
    pub window: Option<Window>,
    /// How many complete, verified backups are kept.
    pub keep: u32,
    /// Where the backups go.
    pub vault: VaultLocation,
    /// The public keys that backups are encrypted for, as they stand in the file: distinct, and two or more unless
    /// `allowSingleRecipient` is set. Whether each is a key is for [`crate::archive`] to say.
    pub recipients: Vec<String>,
    /// The SSH private key that manifests are signed with, relative paths taken from the schedule's folder.
    pub signing_key: PathBuf,
    /// What is backed up; names are unique and there is at least one.
    pub sources: Vec<SourceSpec>,
    /// The plans and runbooks that are stored with every backup.
    pub include: Bundle,
    /// The whole file as it was read, to be stored with the backup.
    pub source_text: String,
    /// The file it was read from.
    pub path: PathBuf,
}

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
}

impl SourceKind {
    /// The kind's key in a schedule, and its name in manifests and output.
    pub fn as_str(&self) -> &'static str {
        match self {
            SourceKind::Kubernetes(_) => "kubernetes",
        }
    }
}

/// Makes a schedule of what was typed, or notes all that is wrong with it.
pub(super) fn validate(
    raw: &raw::Root<raw::Schedule>,
    path: &Path,
    text: &str,
    problems: &mut Problems<'_>,
) -> Option<Schedule> {
    let (spec, folder) = (&raw.spec, super::folder_of(path));
    let name = problems.parse("metadata.name", &raw.metadata.name);
    let cluster = problems.parse("spec.cluster", &spec.cluster);
    let window = match &spec.window {
        None => Some(None),
        Some(window) => window::validate(window, "spec.window", problems).map(Some),
    };
    let keep = keep(spec.keep, problems);
    let vault = location::validate(&spec.vault, "spec.vault", problems);
    let recipients = recipients(&spec.encryption, problems);
    let signing_key = signing_key(&spec.signing.key_file, folder, problems);
    let sources = sources(&spec.sources, problems);
    let include = bundle::validate(&spec.include, folder, problems);
    Some(Schedule {
        name: name?,
        cluster: cluster?,
        window: window?,
        keep: keep?,
        vault: vault?,
        recipients: recipients?,
        signing_key: signing_key?,
        sources: sources?,
        include: include?,
        source_text: text.to_string(),
        path: path.to_path_buf(),
    })
}

fn keep(given: Option<u32>, problems: &mut Problems<'_>) -> Option<u32> {
    let keep = given.unwrap_or(DEFAULT_KEEP);
    if keep == 0 {
        problems.add("spec.keep", "must be at least 1: with 0 no backup would be kept at all");
        return None;
    }
    Some(keep)
}

fn signing_key(file: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<PathBuf> {
    if file.trim().is_empty() {
        problems.add("spec.signing.keyFile", "names no file; `ckbackup keygen` makes a signing key");
        return None;
    }
    Some(folder.join(file))
}

fn recipients(raw: &raw::Encryption, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let path = "spec.encryption.recipients";
    let mut first_at = BTreeMap::new();
    let mut sound = true;
    for (index, recipient) in raw.recipients.iter().map(|text| text.trim()).enumerate() {
        let what = if recipient.is_empty() {
            "the recipient is empty".to_string()
        } else if is_private_key(recipient) {
            "is a private key, and must not stand here: write the public one, and regard this one as leaked".to_string()
        } else if let Some(first) = first_at.insert(recipient, index) {
            format!("is the same recipient as `{path}[{first}]`")
        } else {
            continue;
        };
        problems.add(&format!("{path}[{index}]"), what);
        sound = false;
    }
    match first_at.len() {
        _ if !sound => return None,
        0 => problems.add(path, "names no recipient; `ckbackup keygen` makes one"),
        1 if !raw.allow_single_recipient => problems.add(
            path,
            "names one recipient only, and with that key lost every backup is lost; add an escrow key, or set \
             `allowSingleRecipient: true`",
        ),
        _ => return Some(raw.recipients.iter().map(|text| text.trim().to_string()).collect()),
    }
    None
}

fn is_private_key(text: &str) -> bool {
    text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") || text.contains("PRIVATE KEY-----")
}

fn sources(raw: &[raw::Source], problems: &mut Problems<'_>) -> Option<Vec<SourceSpec>> {
    if raw.is_empty() {
        problems.add("spec.sources", "names no source, so there is nothing to back up");
        return None;
    }
    let mut first_at = BTreeMap::new();
    let mut sources = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("spec.sources[{index}]");
        let name_path = format!("{path}.name");
        if raw.name == CONFIGURATION_SOURCE {
            problems.add(&name_path, "`configuration` is reserved for the files that ckbackup stores with each backup");
        } else if let Some(first) = first_at.insert(raw.name.as_str(), index) {
            problems.add(&name_path, format!("`{}` is already the name of `spec.sources[{first}]`", raw.name));
        }
        let name = problems.parse(&name_path, &raw.name);
        let kind = source_kind(raw, &path, problems);
        sources.push(name.zip(kind).map(|(name, kind)| SourceSpec { name, kind }));
    }
    sources.into_iter().collect()
}

fn source_kind(raw: &raw::Source, path: &str, problems: &mut Problems<'_>) -> Option<SourceKind> {
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
    match (given.as_slice(), &raw.kubernetes) {
        ([], _) => problems.add(path, "the source has no kind; write `kubernetes: {}` to save a cluster's objects"),
        ([_], Some(kubernetes)) => {
            return scope::validate(kubernetes, &format!("{path}.kubernetes"), problems).map(SourceKind::Kubernetes);
        }
        ([kind], None) => problems.add(
            &format!("{path}.{kind}"),
            format!("source kind `{kind}` is not supported by this version; remove the source, or upgrade ckbackup"),
        ),
        (several, _) => {
            let several = super::problems::listed(several);
            problems.add(path, format!("the source has several kinds ({several}); make it one source for each"));
        }
    }
    None
}
