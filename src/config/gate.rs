//! Gates and checks: what must be true before a plan goes on, or before a manual step counts as done.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::command::{self, CommandPlace};
use super::duration::parse_duration;
use super::filter::Filter;
use super::kinds::KindPattern;
use super::plan::DEFAULT_GATE_TIMEOUT;
use super::problems::{Problems, listed, suggestion};
use super::prometheus::HttpServer;
use super::raw;
use super::scope::{filter, optional_selector};
use super::selector::LabelSelector;
use super::source::{HttpAccess, http_access, http_url};

/// What must be true before the plan goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// What is waited for.
    pub what: Awaited,
    /// How long to wait.
    pub timeout: Duration,
}

/// Something that is looked at until it is true.
#[derive(Debug, Clone, PartialEq)]
pub enum Awaited {
    /// Objects in the cluster are ready, or report a condition.
    Objects(AwaitedObjects),
    /// An HTTP server answers as expected.
    Http(AwaitedAnswer),
    /// An Elasticsearch or OpenSearch is in good health.
    Elasticsearch(AwaitedHealth),
    /// A query to a Prometheus is true.
    Prometheus(AwaitedQuery),
    /// A command succeeds.
    Command(AwaitedCommand),
}

/// Which objects, and what they must report.
#[derive(Debug, Clone, PartialEq)]
pub struct AwaitedObjects {
    /// Their kind.
    pub kind: KindPattern,
    /// The condition that all of them must report as true, such as `Established`; without it, what is known of the kind.
    pub condition: Option<String>,
    /// The namespaces they are in.
    pub namespaces: Filter,
    /// The labels they carry.
    pub labels: Option<LabelSelector>,
}

/// Which answer of which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedAnswer {
    /// What is asked for.
    pub url: Url,
    /// How to log in.
    pub access: HttpAccess,
    /// The statuses that are good.
    pub status: Vec<u16>,
    /// What must stand in the answer.
    pub contains: Option<String>,
}

/// Which health of which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedHealth {
    /// The server.
    pub server: HttpServer,
    /// The least health.
    pub health: Health,
}

/// The health of an Elasticsearch, from the worst on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Every index can be read and written.
    Yellow,
    /// So are all their replicas.
    Green,
}

/// Which query to which Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedQuery {
    /// The server.
    pub server: HttpServer,
    /// It is true when it has results, none of which is zero.
    pub query: String,
}

/// Which command, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedCommand {
    /// Where it runs.
    pub place: CommandPlace,
    /// Program and arguments.
    pub command: Vec<String>,
}

impl Awaited {
    /// Whether it is looked for in a cluster.
    pub fn needs_cluster(&self) -> bool {
        match self {
            Awaited::Objects(_) => true,
            Awaited::Command(command) => command.place != CommandPlace::Here,
            Awaited::Http(_) | Awaited::Elasticsearch(_) | Awaited::Prometheus(_) => false,
        }
    }
}

impl Health {
    /// The word of the server.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Yellow => "yellow",
            Health::Green => "green",
        }
    }
}

/// Makes a gate of what was typed, or notes all that is wrong with it. Relative paths are taken from `folder`.
pub(super) fn validate(raw: &raw::Gate, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<Gate> {
    let what = awaited(raw, path, folder, problems);
    let timeout = match &raw.timeout {
        None => Some(DEFAULT_GATE_TIMEOUT),
        Some(text) => problems.check(&format!("{path}.timeout"), parse_duration(text)),
    };
    Some(Gate { what: what?, timeout: timeout? })
}

/// The same for the check of a manual step, which a person waits for.
pub(super) fn validate_check(
    raw: &raw::Gate,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<Awaited> {
    if raw.timeout.is_some() {
        let what = "a check looks once, each time that the person says it is done; remove this key";
        problems.add(&format!("{path}.timeout"), what);
        return None;
    }
    awaited(raw, path, folder, problems)
}

/// The keys that say what is waited for.
const AWAITED: [&str; 5] = ["kind", "http", "elasticsearch", "prometheus", "command"];

fn awaited(raw: &raw::Gate, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<Awaited> {
    let given = [
        raw.kind.is_some(),
        raw.http.is_some(),
        raw.elasticsearch.is_some(),
        raw.prometheus.is_some(),
        raw.command.is_some(),
    ];
    let keys: Vec<&str> = AWAITED.into_iter().zip(given).filter(|(_, given)| *given).map(|(key, _)| key).collect();
    let [key] = keys.as_slice() else {
        let what = match keys.is_empty() {
            true => format!("waits for nothing; give it one of {}", listed(&AWAITED)),
            false => format!("waits for {}; make it one gate for each", listed(&keys)),
        };
        problems.add(path, what);
        return None;
    };
    if *key != "kind" {
        refuse_keys_of_objects(raw, path, key, problems)?;
    }
    let path = if *key == "kind" { path.to_string() } else { format!("{path}.{key}") };
    match (&raw.kind, &raw.http, &raw.elasticsearch, &raw.prometheus, &raw.command) {
        (Some(kind), ..) => objects(raw, kind, &path, problems).map(Awaited::Objects),
        (_, Some(raw), ..) => answer(raw, &path, folder, problems).map(Awaited::Http),
        (_, _, Some(raw), ..) => health(raw, &path, folder, problems).map(Awaited::Elasticsearch),
        (.., Some(raw), _) => query(raw, &path, folder, problems).map(Awaited::Prometheus),
        (.., raw) => raw.as_ref().and_then(|raw| run(raw, &path, problems)).map(Awaited::Command),
    }
}

/// They would choose nothing, and whoever wrote them means something.
fn refuse_keys_of_objects(raw: &raw::Gate, path: &str, key: &str, problems: &mut Problems<'_>) -> Option<()> {
    let filter = !raw.namespaces.include.is_empty() || !raw.namespaces.exclude.is_empty();
    let given = [("condition", raw.condition.is_some()), ("namespaces", filter), ("labels", raw.labels.is_some())];
    let (misplaced, _) = match given.into_iter().find(|(_, given)| *given) {
        None => return Some(()),
        Some(found) => found,
    };
    problems.add(&format!("{path}.{misplaced}"), format!("goes with `kind`, and the gate waits for `{key}`"));
    None
}

fn objects(raw: &raw::Gate, kind: &str, path: &str, problems: &mut Problems<'_>) -> Option<AwaitedObjects> {
    let kind = problems.check(&format!("{path}.kind"), KindPattern::parse(kind));
    let condition = match &raw.condition {
        None => Some(None),
        Some(text) => condition(text, &format!("{path}.condition"), problems).map(Some),
    };
    if let (Some(kind), Some(Some(_))) = (&kind, &condition) {
        refuse_what_never_comes(kind, &format!("{path}.condition"), problems)?;
    }
    let namespaces = filter(&raw.namespaces, &format!("{path}.namespaces"), problems);
    let labels = optional_selector(raw.labels.as_deref(), &format!("{path}.labels"), problems);
    Some(AwaitedObjects { kind: kind?, condition: condition?, namespaces: namespaces?, labels: labels? })
}

/// Built-in kinds that report no conditions: a gate for one would stay closed for ever.
const WITHOUT_CONDITIONS: [&str; 4] = ["StatefulSet", "DaemonSet", "CronJob", "EndpointSlice"];

fn refuse_what_never_comes(kind: &KindPattern, path: &str, problems: &mut Problems<'_>) -> Option<()> {
    let kind = kind.as_str();
    if !WITHOUT_CONDITIONS.contains(&kind.trim_end_matches(".apps").trim_end_matches(".batch")) {
        return Some(());
    }
    let what = "reports no conditions; without this key the gate knows when it is ready";
    problems.add(path, format!("a {kind} {what}"));
    None
}

/// Condition types are free, so only what cannot be one is refused.
fn condition(text: &str, path: &str, problems: &mut Problems<'_>) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.is_empty() && text.chars().all(fits) {
        return Some(text.to_string());
    }
    problems.add(path, format!("`{text}` is no condition; write it like `Established`, `Available` or `Ready`"));
    None
}

fn answer(raw: &raw::AwaitedAnswer, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<AwaitedAnswer> {
    let url = http_url(&raw.url, &format!("{path}.url"), problems);
    let access = http_access(&raw.access, &format!("{path}.access"), folder, problems);
    let status = match &raw.status {
        None => Some(vec![200]),
        Some(codes) => statuses(codes, &format!("{path}.status"), problems),
    };
    Some(AwaitedAnswer { url: url?, access: access?, status: status?, contains: raw.contains.clone() })
}

/// HTTP statuses, of which there is at least one.
pub(super) fn statuses(codes: &[u16], path: &str, problems: &mut Problems<'_>) -> Option<Vec<u16>> {
    if codes.is_empty() {
        problems.add(path, "names no status, so that no answer would be good");
        return None;
    }
    match codes.iter().find(|code| !(200..=599).contains(*code)) {
        None => Some(codes.to_vec()),
        Some(code) => {
            problems.add(path, format!("{code} is no status of an answer; they go from 200 to 599"));
            None
        }
    }
}

fn server(
    url: &str,
    access: &raw::HttpAccess,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<HttpServer> {
    let url = http_url(url, &format!("{path}.url"), problems);
    let access = http_access(access, &format!("{path}.access"), folder, problems);
    Some(HttpServer { url: url?, access: access? })
}

fn health(raw: &raw::AwaitedHealth, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<AwaitedHealth> {
    let server = server(&raw.url, &raw.access, path, folder, problems);
    let all = [Health::Yellow, Health::Green];
    let health = match &raw.health {
        None => Some(Health::Yellow),
        Some(text) => all.into_iter().find(|health| health.as_str() == text).or_else(|| {
            let near = suggestion(text, &all.map(Health::as_str));
            problems.add(&format!("{path}.health"), format!("`{text}` is no health to wait for{near}"));
            None
        }),
    };
    Some(AwaitedHealth { server: server?, health: health? })
}

fn query(raw: &raw::AwaitedQuery, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<AwaitedQuery> {
    let server = server(&raw.url, &raw.access, path, folder, problems);
    if raw.query.trim().is_empty() {
        problems.add(&format!("{path}.query"), "the query is empty");
        return None;
    }
    Some(AwaitedQuery { server: server?, query: raw.query.clone() })
}

fn run(raw: &raw::AwaitedCommand, path: &str, problems: &mut Problems<'_>) -> Option<AwaitedCommand> {
    let place = command::place(raw.pod.as_ref(), &format!("{path}.pod"), problems);
    if raw.run.is_empty() {
        problems.add(&format!("{path}.run"), "the command is empty");
        return None;
    }
    Some(AwaitedCommand { place: place?, command: raw.run.clone() })
}
