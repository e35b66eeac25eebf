//! Gates: what must be true before a plan goes on.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::rules::text;
use super::write::PATIENCE;
use crate::cluster::discovery::{Discovered, ResourceType};
use crate::cluster::list::ListOptions;
use crate::cluster::{ApiError, Cause, Cluster, Retry};
use crate::config::{Gate, format_duration};

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
            Ok((all, waiting)) if waiting.is_empty() => return Ok(format!("{all} {}", gate.condition)),
            _ if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            Ok((all, waiting)) => {
                let more = waiting.len().saturating_sub(NAMED);
                let named = waiting[..waiting.len().min(NAMED)].join("; ");
                let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                let limit = format_duration(gate.timeout);
                return Err(Closed::NotReady(format!(
                    "not {} after {limit}, {} of {all}: {named}{more}",
                    gate.condition,
                    waiting.len()
                )));
            }
            Err(e) => return Err(Closed::NotReady(e.message())),
        }
    }
}

/// How many objects the gate looks at, and which do not report the condition.
async fn look(cluster: &Cluster, gate: &Gate) -> Result<(usize, Vec<String>), ApiError> {
    let found = cluster.discover(TIMEOUT).await?;
    let (mut all, mut waiting) = (0, Vec::new());
    for kind in found.types.iter().filter(|t| gate.kind.matches(&t.kind, &t.group) && t.can("list")) {
        for object in objects(cluster, kind, gate).await? {
            all += 1;
            if let Some(why) = not_ready(&object, kind, gate, &found) {
                let metadata = &object["metadata"];
                let place = match text(metadata, "namespace") {
                    "" => text(metadata, "name").to_string(),
                    ns => format!("{ns}/{}", text(metadata, "name")),
                };
                waiting.push(format!("{} {place}: {why}", kind.kind));
            }
        }
    }
    Ok((all, waiting))
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
