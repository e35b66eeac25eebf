//! A schedule: which sources of which cluster, when, into which vault, for whose keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::bundle::{self, Bundle};
use super::duration::parse_duration;
use super::location::{self, VaultLocation};
use super::names::{ClusterName, Name};
use super::problems::{Problems, suggestion};
use super::raw;
use super::size::parse_size;
use super::source::{self, SourceSpec};
use super::window::{self, Window};
use crate::error::Error;

/// How many complete, verified backups are kept, unless the schedule says.
pub const DEFAULT_KEEP: u32 = 3;

/// A schedule file, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The schedule's name, which ends each backup id.
    pub name: Name,
    /// The cluster that is backed up.
    pub cluster: ClusterName,
    /// When a run may start; without one, only when it is told to.
    pub window: Option<Window>,
    /// What becomes of a night that passed without a run.
    pub catch_up: CatchUp,
    /// What becomes of a run that is not done when its window closes.
    pub on_window_close: OnWindowClose,
    /// How many complete, verified backups are kept.
    pub keep: u32,
    /// When older ones are removed.
    pub rotate: Rotate,
    /// The lease that a run takes; without one, only runs in the window take one, of the usual name.
    pub lease: Option<LeaseNames>,
    /// Where the backups go.
    pub vault: VaultLocation,
    /// The public keys that backups are encrypted for, as they stand in the file: distinct, and two or more unless
    /// `allowSingleRecipient` is set. Whether each is a key is for [`crate::archive`] to say.
    pub recipients: Vec<String>,
    /// The SSH private key that manifests are signed with, relative paths taken from the schedule's folder.
    pub signing_key: PathBuf,
    /// At what stored size a segment is closed and the next begun; bytes.
    pub segment_bytes: u64,
    /// What is backed up; names are unique and there is at least one.
    pub sources: Vec<SourceSpec>,
    /// The plans and runbooks that are stored with every backup.
    pub include: Bundle,
    /// The whole file as it was read, to be stored with the backup.
    pub source_text: String,
    /// The file it was read from.
    pub path: PathBuf,
}

/// What the lease of a cluster's runs is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseNames {
    /// Its namespace; without one, that of the pod, or of the kubeconfig's context.
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Option<Name>,
    /// Without renewal for so long, it is free.
    pub term: Option<Duration>,
}

/// The usual stored size of a segment: large enough for few requests, small enough to be sent again.
const DEFAULT_SEGMENT_BYTES: u64 = 1 << 30;

/// Bounds of that: below, there would be far too many; above, S3 does not copy one with a single request.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=4 << 30;

/// Bounds of a lease's term.
const SHORTEST_TERM: Duration = Duration::from_secs(6);
const LONGEST_TERM: Duration = Duration::from_secs(600);

/// Declares the words that a key can have; the first is meant when nothing is said.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $what:literal: $($(#[$word_doc:meta])* $word:ident = $text:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $($(#[$word_doc])* $word,)+
        }

        impl $type {
            const ALL: &[($type, &str)] = &[$(($type::$word, $text)),+];
        }

        impl Default for $type {
            fn default() -> Self {
                $type::ALL[0].0
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let known: Vec<_> = $type::ALL.iter().map(|(_, word)| *word).collect();
                let found = $type::ALL.iter().find(|(_, word)| *word == text).map(|(meant, _)| *meant);
                found.ok_or_else(|| Error::usage(format!("`{text}` is no {}{}", $what, suggestion(text, &known))))
            }
        }
    };
}

words! {
    /// When backups that are older than those to be kept are removed.
    Rotate, "time to rotate":
    /// When somebody calls `rotate`: a keeper, so that the backup job needs no right to delete.
    ByKeeper = "byKeeper",
    /// At the end of each run.
    AfterBackup = "afterBackup",
}

words! {
    /// What becomes of a night that passed without a run.
    CatchUp, "way to catch up":
    /// It is missed; the next run comes with the next window.
    InWindow = "inWindow",
    /// A run starts as soon as there is something that can start it, at any time of day.
    Always = "always",
}

words! {
    /// What becomes of a run that is not done when its window closes.
    OnWindowClose, "way to end a run":
    /// What is finished is committed as a partial backup that names the rest.
    CommitPartial = "commitPartial",
    /// It goes on.
    Finish = "finish",
}

/// A backup of the backups would grow with each of itself.
fn refuse_vault_as_source(vault: &VaultLocation, sources: &[source::SourceSpec], problems: &mut Problems<'_>) {
    for (index, spec) in sources.iter().enumerate() {
        if let source::SourceKind::Objects(scope) = &spec.kind
            && scope.place.location.overlaps(vault)
        {
            let what = format!("`{}` and the vault, `{vault}`, lie in one another", scope.place.location);
            problems.add(&format!("spec.sources[{index}].objects.url"), what);
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
    let rotate = word(&spec.rotate, "spec.rotate", problems);
    let catch_up = word(&spec.catch_up, "spec.catchUp", problems);
    let on_window_close = word(&spec.on_window_close, "spec.onWindowClose", problems);
    let lease = match &spec.lease {
        None => Some(None),
        Some(raw) => lease(raw, problems).map(Some),
    };
    let vault = location::validate(&spec.vault, "spec.vault", problems);
    let recipients = recipients(&spec.encryption, problems);
    let signing_key = signing_key(&spec.signing.key_file, folder, problems);
    let sources = source::validate(&spec.sources, folder, problems);
    if let (Some(vault), Some(sources)) = (&vault, &sources) {
        refuse_vault_as_source(vault, sources, problems);
    }
    let segment_bytes = segment_bytes(&spec.segment_size, problems);
    let include = bundle::validate(&spec.include, folder, problems);
    Some(Schedule {
        name: name?,
        cluster: cluster?,
        window: window?,
        keep: keep?,
        rotate: rotate?,
        catch_up: catch_up?,
        on_window_close: on_window_close?,
        lease: lease?,
        vault: vault?,
        recipients: recipients?,
        signing_key: signing_key?,
        segment_bytes: segment_bytes?,
        sources: sources?,
        include: include?,
        source_text: text.to_string(),
        path: path.to_path_buf(),
    })
}

fn word<T: Default + FromStr<Err = Error>>(
    given: &Option<String>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<T> {
    match given {
        None => Some(T::default()),
        Some(text) => problems.parse(path, text),
    }
}

fn keep(given: Option<u32>, problems: &mut Problems<'_>) -> Option<u32> {
    let keep = given.unwrap_or(DEFAULT_KEEP);
    if keep == 0 {
        problems.add("spec.keep", "must be at least 1: with 0 no backup would be kept at all");
        return None;
    }
    Some(keep)
}

fn segment_bytes(given: &Option<String>, problems: &mut Problems<'_>) -> Option<u64> {
    let Some(text) = given else { return Some(DEFAULT_SEGMENT_BYTES) };
    let bytes = problems.check("spec.segmentSize", parse_size(text))?;
    if !SEGMENT_BYTES.contains(&bytes) {
        problems.add("spec.segmentSize", "must be from `1MiB` to `4GiB`");
        return None;
    }
    Some(bytes)
}

fn lease(raw: &raw::Lease, problems: &mut Problems<'_>) -> Option<LeaseNames> {
    let mut name = |key: &str, text: &Option<String>| match text {
        None => Some(None),
        Some(text) => problems.parse(&format!("spec.lease.{key}"), text).map(Some),
    };
    let (namespace, name) = (name("namespace", &raw.namespace), name("name", &raw.name));
    let term = match &raw.term {
        None => Some(None),
        Some(text) => term(text, problems).map(Some),
    };
    Some(LeaseNames { namespace: namespace?, name: name?, term: term? })
}

/// Kubernetes counts it in whole seconds; a very short one is lost at each hiccup of the API server.
fn term(text: &str, problems: &mut Problems<'_>) -> Option<Duration> {
    let path = "spec.lease.term";
    let term = problems.check(path, parse_duration(text))?;
    if !(SHORTEST_TERM..=LONGEST_TERM).contains(&term) || term.subsec_nanos() > 0 {
        problems.add(path, "must be whole seconds, from `6s` to `10m`");
        return None;
    }
    Some(term)
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
