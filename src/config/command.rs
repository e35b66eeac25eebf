//! Source and restore step `command`: what runs where, and what counts as its end.

use std::time::Duration;

use super::duration::parse_duration;
use super::names::Name;
use super::plan::{Conflict, optional_conflict};
use super::problems::{Problems, listed, suggestion};
use super::raw;

/// How long a command may run, unless the schedule or plan says.
pub const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long a hook may run, unless the schedule says.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// What the output is called in the archive, unless the schedule says.
const DEFAULT_FILE: &str = "output";

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandPlace {
    /// Beside ckbackup.
    Here,
    /// In a pod of the cluster.
    Pod {
        /// Its namespace.
        namespace: Name,
        /// The labels that it carries.
        selector: String,
        /// Its container, where it has several.
        container: Option<String>,
    },
}

/// What is run, and what its output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandScope {
    /// Where.
    pub place: CommandPlace,
    /// What.
    pub program: Program,
    /// How long it may run.
    pub timeout: Duration,
    /// Run before.
    pub before: Option<Hook>,
    /// Run after, whatever came of it.
    pub after: Option<Hook>,
}

/// What makes the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A command, whose output is saved as it comes.
    Run {
        /// Program and arguments.
        command: Vec<String>,
        /// What the output is called in the archive.
        file: String,
        /// What must stand in the last 4 KiB of a whole output.
        marker: Option<String>,
    },
    /// The databases of a PostgreSQL.
    Postgres(Postgres),
    /// The databases of an InfluxDB 1.x.
    Influxdb,
}

/// How a PostgreSQL is reached, in its own pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// The superuser.
    pub user: String,
    /// Its databases; all but templates when none is named.
    pub databases: Vec<String>,
}

/// A command beside the main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments.
    pub command: Vec<String>,
    /// How long it may run.
    pub timeout: Duration,
}

/// How the output of a command comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreCommand {
    /// The source that it is taken from.
    pub source: Name,
    /// Where it is fed into.
    pub place: CommandPlace,
    /// What takes it.
    pub program: RestoreProgram,
    /// How long it may run.
    pub timeout: Duration,
    /// What must not run meanwhile: scaled to zero, and back to what it was.
    pub scale: Vec<Workload>,
    /// What happens to what is there already; without it, what the command line says.
    pub conflict: Option<Conflict>,
}

/// What takes what was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreProgram {
    /// A command that reads the saved output from its standard input.
    Run {
        /// Program and arguments.
        command: Vec<String>,
        /// Which output.
        file: String,
    },
    /// The databases of a PostgreSQL.
    Postgres(Postgres),
    /// The databases of an InfluxDB 1.x.
    Influxdb,
}

/// Something that has replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment` or `StatefulSet`.
    pub kind: String,
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: String,
}

impl Workload {
    /// Where the API has it.
    pub fn path(&self) -> String {
        let plural = if self.kind == "StatefulSet" { "statefulsets" } else { "deployments" };
        format!("/apis/apps/v1/namespaces/{}/{plural}/{}", self.namespace, self.name)
    }
}

const PROFILES: [&str; 2] = ["postgres", "influxdb"];

/// Makes a scope of what was typed, or notes all that is wrong with it.
pub(super) fn validate(raw: &raw::Command, path: &str, problems: &mut Problems<'_>) -> Option<CommandScope> {
    let key = |name: &str| format!("{path}.{name}");
    let place = place(raw.pod.as_ref(), &key("pod"), problems);
    let program = match profile(raw.profile.as_deref(), &raw.run, path, problems)? {
        None => Program::Run {
            command: raw.run.clone(),
            file: file(raw.file.as_deref(), &key("file"), problems)?,
            marker: raw.marker.clone(),
        },
        Some("postgres") => Program::Postgres(postgres(raw.user.as_deref(), &raw.databases)),
        Some(_) => Program::Influxdb,
    };
    let timeout = timeout(raw.timeout.as_deref(), DEFAULT_COMMAND_TIMEOUT, &key("timeout"), problems);
    let before = hook(raw.before.as_ref(), &key("before"), problems);
    let after = hook(raw.after.as_ref(), &key("after"), problems);
    Some(CommandScope { place: place?, program, timeout: timeout?, before: before?, after: after? })
}

/// The same for a step of a plan.
pub(super) fn validate_step(
    raw: &raw::RestoreCommand,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<RestoreCommand> {
    let key = |name: &str| format!("{path}.{name}");
    let source = problems.parse(&key("source"), &raw.source);
    let place = place(raw.pod.as_ref(), &key("pod"), problems);
    let program = match profile(raw.profile.as_deref(), &raw.run, path, problems)? {
        None => {
            let file = file(raw.file.as_deref(), &key("file"), problems)?;
            RestoreProgram::Run { command: raw.run.clone(), file }
        }
        Some("postgres") => RestoreProgram::Postgres(postgres(raw.user.as_deref(), &raw.databases)),
        Some(_) => RestoreProgram::Influxdb,
    };
    let timeout = timeout(raw.timeout.as_deref(), DEFAULT_COMMAND_TIMEOUT, &key("timeout"), problems);
    let workload = |(at, raw)| workload(raw, &format!("{path}.scale[{at}]"), problems);
    let scale: Vec<_> = raw.scale.iter().enumerate().map(workload).collect();
    let conflict = optional_conflict(raw.conflict.as_ref(), &key("conflict"), problems);
    Some(RestoreCommand {
        source: source?,
        place: place?,
        program,
        timeout: timeout?,
        scale: scale.into_iter().collect::<Option<_>>()?,
        conflict: conflict?,
    })
}

/// The profile; none for a command that is given. One of both there must be.
fn profile<'r>(
    given: Option<&'r str>,
    run: &[String],
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Option<&'r str>> {
    match given {
        Some(profile) if !PROFILES.contains(&profile) => {
            let near = suggestion(profile, &PROFILES);
            problems.add(&format!("{path}.profile"), format!("`{profile}` is no profile that is known{near}"));
            None
        }
        Some(_) if !run.is_empty() => {
            problems.add(&format!("{path}.run"), "a profile runs its own commands; give one of `profile` and `run`");
            None
        }
        None if run.is_empty() => {
            let what = format!("give the command in `run`, or a `profile`: {}", listed(&PROFILES));
            problems.add(path, what);
            None
        }
        given => Some(given),
    }
}

fn postgres(user: Option<&str>, databases: &[String]) -> Postgres {
    Postgres { user: user.unwrap_or("postgres").into(), databases: databases.to_vec() }
}

/// Where a command runs: here, unless a pod is given.
pub(super) fn place(raw: Option<&raw::PodPlace>, path: &str, problems: &mut Problems<'_>) -> Option<CommandPlace> {
    let Some(raw) = raw else { return Some(CommandPlace::Here) };
    pod(&raw.namespace, &raw.selector, raw.container.as_deref(), path, problems)
}

/// A pod as a schedule or plan names it.
pub(super) fn pod(
    namespace: &str,
    selector: &str,
    container: Option<&str>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<CommandPlace> {
    let namespace = problems.parse(&format!("{path}.namespace"), namespace);
    // Read as it will be read, so that a mistake is told now.
    problems.parse::<super::LabelSelector>(&format!("{path}.selector"), selector).map(drop)?;
    Some(CommandPlace::Pod { namespace: namespace?, selector: selector.into(), container: container.map(String::from) })
}

/// A name of one part: it becomes a folder of the archive.
fn file(given: Option<&str>, path: &str, problems: &mut Problems<'_>) -> Option<String> {
    let file = given.unwrap_or(DEFAULT_FILE);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !file.is_empty() && file.chars().all(fits) && !file.starts_with('.') {
        return Some(file.into());
    }
    problems.add(path, format!("`{file}` is no file name of letters, digits, `-`, `_` and `.`"));
    None
}

fn timeout(given: Option<&str>, default: Duration, path: &str, problems: &mut Problems<'_>) -> Option<Duration> {
    match given {
        None => Some(default),
        Some(text) => problems.check(path, parse_duration(text)),
    }
}

fn hook(raw: Option<&raw::Hook>, path: &str, problems: &mut Problems<'_>) -> Option<Option<Hook>> {
    let Some(raw) = raw else { return Some(None) };
    if raw.run.is_empty() {
        problems.add(&format!("{path}.run"), "the command is empty");
        return None;
    }
    let timeout = timeout(raw.timeout.as_deref(), DEFAULT_HOOK_TIMEOUT, &format!("{path}.timeout"), problems)?;
    Some(Some(Hook { command: raw.run.clone(), timeout }))
}

/// Something that has replicas, as a plan names it.
pub(super) fn workload(raw: &raw::Workload, path: &str, problems: &mut Problems<'_>) -> Option<Workload> {
    let kinds = ["Deployment", "StatefulSet"];
    if !kinds.contains(&raw.kind.as_str()) {
        let near = suggestion(&raw.kind, &kinds);
        problems.add(&format!("{path}.kind"), format!("`{}` has no replicas that could be scaled{near}", raw.kind));
        return None;
    }
    let namespace = problems.parse(&format!("{path}.namespace"), &raw.namespace)?;
    Some(Workload { kind: raw.kind.clone(), namespace, name: raw.name.clone() })
}
