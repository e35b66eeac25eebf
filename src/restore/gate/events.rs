//! The last Events about objects that did not become ready, and about what they made.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde_json::Value;
use tokio::time::Instant;

use super::Unready;
use super::objects::{built_in, list};
use super::readiness::{Verdict, judge};
use crate::cluster::Cluster;
use crate::restore::rules::text;
use crate::restore::summary::NotReady;

/// Of so many objects the events are looked for: a person reads no more.
const EXPLAINED: usize = 20;

/// So many events are told of each.
const TOLD: usize = 3;

/// So many pods of a workload are asked about: they mostly have the same trouble.
const PODS: usize = 3;

/// Objects that are asked about at the same time.
const AT_ONCE: usize = 4;

/// How much of a message is told, in characters.
const LINE: usize = 300;

/// Events are worth a moment and no more: the gate is closed already.
const WITHIN: Duration = Duration::from_secs(10);

/// Makes a report of each object.
pub(super) async fn explain(cluster: Option<&Cluster>, objects: &[Unready]) -> Vec<NotReady> {
    let deadline = Instant::now() + WITHIN;
    let asked: Vec<BoxFuture<'_, NotReady>> = objects
        .iter()
        .enumerate()
        .map(|(at, object)| report(cluster.filter(|_| at < EXPLAINED), object, deadline).boxed())
        .collect();
    futures::stream::iter(asked).buffered(AT_ONCE).collect().await
}

async fn report(cluster: Option<&Cluster>, object: &Unready, deadline: Instant) -> NotReady {
    let events = match cluster {
        Some(cluster) => tokio::time::timeout_at(deadline, last_events(cluster, object)).await.unwrap_or_default(),
        None => Vec::new(),
    };
    NotReady { object: object.words(), why: object.why.clone(), events }
}

/// The newest first.
async fn last_events(cluster: &Cluster, object: &Unready) -> Vec<String> {
    let mut events = events_of(cluster, &object.namespace, &object.kind, &object.name).await;
    for (kind, name) in made_by(cluster, object).await {
        events.extend(events_of(cluster, &object.namespace, kind, &name).await);
    }
    events.sort_by(|a, b| time(b).cmp(time(a)));
    events.iter().take(TOLD).map(words).collect()
}

async fn events_of(cluster: &Cluster, namespace: &str, kind: &str, name: &str) -> Vec<Value> {
    let mut selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
    if !namespace.is_empty() {
        selector.push_str(&format!(",involvedObject.namespace={namespace}"));
    }
    let query = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect::<String>();
    // Those about objects without a namespace stand in any.
    let place = if namespace.is_empty() { "events".into() } else { format!("namespaces/{namespace}/events") };
    let asked = cluster.get(&format!("/api/v1/{place}?fieldSelector={query}"), None, WITHIN).await;
    let answer: Value = asked.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    answer["items"].as_array().cloned().unwrap_or_default()
}

/// Replica sets and pods of a workload: the trouble is mostly told of them.
async fn made_by(cluster: &Cluster, object: &Unready) -> Vec<(&'static str, String)> {
    let Some(selector) = &object.pods else { return Vec::new() };
    let mut made = Vec::new();
    if object.kind == "Deployment" {
        let sets = built_in("apps", "ReplicaSet", "replicasets");
        let sets = list(cluster, &sets, Some(&object.namespace), Some(selector.clone())).await;
        made.extend(sets.unwrap_or_default().iter().take(PODS).map(|set| ("ReplicaSet", name(set))));
    }
    let pods = list(cluster, &built_in("", "Pod", "pods"), Some(&object.namespace), Some(selector.clone())).await;
    let pods = pods.unwrap_or_default();
    let unready = pods.iter().filter(|pod| judge("Pod", "", pod) != Verdict::Ready);
    made.extend(unready.take(PODS).map(|pod| ("Pod", name(pod))));
    made
}

fn name(object: &Value) -> String {
    text(&object["metadata"], "name").into()
}

/// When it was last seen. All are in UTC and of one form, so that their texts sort.
fn time(event: &Value) -> &str {
    let series = event["series"]["lastObservedTime"].as_str();
    let times = [series, event["lastTimestamp"].as_str(), event["eventTime"].as_str()];
    times.into_iter().flatten().next().unwrap_or_else(|| text(&event["metadata"], "creationTimestamp"))
}

/// `FailedScheduling: 0/3 nodes are available`.
fn words(event: &Value) -> String {
    let message: String = text(event, "message").split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("{}: {message}", text(event, "reason"));
    line.chars().take(LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_told_in_one_line_by_its_last_time() {
        let event = json!({"reason": "BackOff", "message": "Back-off\npulling", "lastTimestamp": null,
            "eventTime": "2026-11-26T00:00:01.000000Z", "metadata": {"creationTimestamp": "2026-11-26T00:00:00Z"}});
        assert_eq!(
            (words(&event).as_str(), time(&event)),
            ("BackOff: Back-off pulling", "2026-11-26T00:00:01.000000Z")
        );
        assert_eq!(time(&json!({"metadata": {"creationTimestamp": "2026"}})), "2026");
    }
}
