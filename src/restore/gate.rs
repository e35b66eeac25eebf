//! Gates: what must be true before a plan goes on.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::rules::text;
use super::work::Work;
use super::write::PATIENCE;
use crate::cluster::discovery::{Discovered, ResourceType};
use crate::cluster::list::ListOptions;
use crate::cluster::{ApiError, Cause, Cluster, Retry};
use crate::config::{Gate, KindPattern, format_duration};

const POLL: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many of the objects that are not ready are named.
const NAMED: usize = 5;

/// Why a gate did not open.
#[derive(Debug)]
pub enum Closed {
    /// The time is over; says what was not ready.
    NotReady(String),
    /// The API server does not answer.
    Lost(String),
}

/// Waits until every object that the gate selects reports the condition.
pub async fn wait(cluster: &Cluster, gate: &Gate) -> Result<String, Closed> {
    let deadline = Instant::now() + gate.timeout;
    let mut last_answer = Instant::now();
    loop {
        let state = look(cluster, gate).await;
        match &state {
            Err(ApiError { cause: Cause::Transport(why), .. }) if last_answer.elapsed() > PATIENCE => {
                return Err(Closed::Lost(why.clone()));
            }
            Err(ApiError { cause: Cause::Transport(_), .. }) => {}
            _ => last_answer = Instant::now(),
        }
        match &state {
            Ok(seen) if seen.opens(gate) => return Ok(format!("{} {}", seen.all, gate.condition)),
            _ if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            Ok(seen) => return Err(Closed::NotReady(seen.words(gate))),
            Err(e) => return Err(Closed::NotReady(e.message())),
        }
    }
}

/// Whether the target serves one of the kinds now.
pub async fn serves(work: &Work, kinds: &[KindPattern]) -> bool {
    let Some(target) = &work.target else { return false };
    let Ok(found) = target.cluster().discover(TIMEOUT).await else { return false };
    found.types.iter().any(|t| kinds.iter().any(|kind| kind.matches(&t.kind, &t.group)))
}

/// What a gate sees.
#[derive(Default)]
struct Seen {
    /// Whether the server serves the kind.
    served: bool,
    /// How many objects are selected.
    all: usize,
    /// Those that do not report the condition, and why.
    waiting: Vec<String>,
}

impl Seen {
    /// A gate for all objects of a kind opens when there are none. One that selects some waits for them to come: where
    /// they failed to be restored, or a label is misspelt, it must not open.
    fn opens(&self, gate: &Gate) -> bool {
        let selects = gate.labels.is_some() || !gate.namespaces.is_everything();
        self.served && self.waiting.is_empty() && (self.all > 0 || !selects)
    }

    fn words(&self, gate: &Gate) -> String {
        let (condition, limit) = (&gate.condition, format_duration(gate.timeout));
        if !self.served {
            return format!("the cluster does not serve {} after {limit}", gate.kind);
        }
        if self.all == 0 {
            return format!("no {} is selected by the gate after {limit}", gate.kind);
        }
        let named = self.waiting[..self.waiting.len().min(NAMED)].join("; ");
        let more = match self.waiting.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        format!("not {condition} after {limit}, {} of {}: {named}{more}", self.waiting.len(), self.all)
    }
}

/// Looks at the objects of the gate.
async fn look(cluster: &Cluster, gate: &Gate) -> Result<Seen, ApiError> {
    let found = cluster.discover(TIMEOUT).await?;
    let mut seen = Seen::default();
    for kind in found.types.iter().filter(|t| gate.kind.matches(&t.kind, &t.group) && t.can("list")) {
        seen.served = true;
        for object in objects(cluster, kind, gate).await? {
            seen.all += 1;
            if let Some(why) = not_ready(&object, kind, gate, &found) {
                let metadata = &object["metadata"];
                let place = match text(metadata, "namespace") {
                    "" => text(metadata, "name").to_string(),
                    ns => format!("{ns}/{}", text(metadata, "name")),
                };
                seen.waiting.push(format!("{} {place}: {why}", kind.kind));
            }
        }
    }
    Ok(seen)
}

async fn objects(cluster: &Cluster, kind: &ResourceType, gate: &Gate) -> Result<Vec<Value>, ApiError> {
    let options = ListOptions {
        page_size: 500,
        label_selector: gate.labels.as_ref().map(|s| s.to_query()),
        timeout: TIMEOUT,
        retry: Retry::default(),
    };
    let mut pages = cluster.pages(kind, None, options);
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let selected = page?.items.into_iter().filter(|i| !kind.namespaced || gate.namespaces.allows(&i.namespace));
        found.extend(selected.filter_map(|i| serde_json::from_slice(&i.json).ok()));
    }
    Ok(found)
}

/// Why an object does not report the condition; none when it does.
fn not_ready(object: &Value, kind: &ResourceType, gate: &Gate, found: &Discovered) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array();
    let condition = conditions.into_iter().flatten().find(|c| text(c, "type").eq_ignore_ascii_case(&gate.condition));
    let phase = text(&object["status"], "phase");
    match condition {
        Some(c) if text(c, "status") == "True" => {}
        Some(c) => {
            let why =
                format!("{} is {} {} {}", gate.condition, text(c, "status"), text(c, "reason"), text(c, "message"));
            return Some(why.trim_end().into());
        }
        None if phase.eq_ignore_ascii_case(&gate.condition) => {}
        None if phase.is_empty() => return Some("no such condition yet".into()),
        None => return Some(format!("its phase is {phase}")),
    }
    let definition = kind.kind == "CustomResourceDefinition" && gate.condition.eq_ignore_ascii_case("Established");
    if definition { not_served(object, found) } else { None }
}

/// An established definition is not yet a served one: the API server opens its paths a moment later.
fn not_served(definition: &Value, found: &Discovered) -> Option<String> {
    let name = text(&definition["metadata"], "name");
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let mut missing = versions.filter(|v| v["served"] == true && !found.serves(name, text(v, "name")));
    missing.next().map(|v| format!("version {} is not served yet", text(v, "name")))
}
