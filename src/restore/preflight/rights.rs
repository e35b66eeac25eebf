//! What the target lets nobody but others do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use serde_json::{Value, json};

use super::{Obstacle, named};
use crate::cluster::{Cluster, Retry};
use crate::restore::compile::SavedType;

/// What a restore does with objects of each type.
const VERBS: [&str; 3] = ["create", "get", "patch"];

/// Questions at a time.
const AT_ONCE: usize = 16;

/// Questions in all. An administrator is known after the first one.
const MOST: usize = 1000;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Asks for the rights that the plan needs, and names those that are missing.
pub async fn look(cluster: &Cluster, kinds: &[&SavedType], namespaces: &BTreeSet<String>) -> Vec<Obstacle> {
    let asked = AtomicUsize::new(0);
    let ask = |verb: String, group: String, plural: String, namespace: Option<String>| {
        let asked = &asked;
        async move {
            if asked.fetch_add(1, Ordering::Relaxed) >= MOST {
                return true;
            }
            may(cluster, &verb, &group, &plural, namespace.as_deref()).await
        }
    };
    if ask("*".into(), "*".into(), "*".into(), None).await {
        return Vec::new();
    }
    let all = kinds.iter().flat_map(|kind| VERBS.map(|verb| (*kind, verb)));
    let asking = all.map(|(kind, verb)| {
        let ask = &ask;
        async move {
            let (group, plural) = (kind.group.clone(), kind.plural().to_string());
            if ask(verb.into(), group.clone(), plural.clone(), None).await {
                return None;
            }
            if !kind.namespaced {
                return Some((verb, format!("{} (cluster-wide)", kind.resource)));
            }
            for namespace in namespaces {
                if !ask(verb.into(), group.clone(), plural.clone(), Some(namespace.clone())).await {
                    return Some((verb, format!("{} (in {namespace})", kind.resource)));
                }
            }
            None
        }
    });
    let denied: Vec<_> =
        futures::stream::iter(asking).buffer_unordered(AT_ONCE).filter_map(async |d| d).collect().await;
    obstacles(denied, asked.into_inner() > MOST)
}

fn obstacles(denied: Vec<(&'static str, String)>, is_cut: bool) -> Vec<Obstacle> {
    let mut by_verb: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (verb, what) in denied {
        by_verb.entry(verb).or_default().push(what);
    }
    let mut found = Vec::new();
    for (verb, mut all) in by_verb {
        all.sort();
        let what = format!("the log-in may not {verb} {}", named(&all));
        found.push(match verb {
            "patch" => Obstacle::warning(what, "objects that are there cannot be changed, and owners not be set later"),
            _ => Obstacle::fails(what, "use a log-in that may, or have these rights granted"),
        });
    }
    if is_cut {
        let what = format!("only the first {MOST} questions about rights were asked");
        found.push(Obstacle::warning(what, "a log-in that may do everything needs one"));
    }
    found
}

/// Whether the log-in may; a server that does not say is taken for a yes, as the write itself will tell.
async fn may(cluster: &Cluster, verb: &str, group: &str, plural: &str, namespace: Option<&str>) -> bool {
    let mut attributes = json!({ "verb": verb, "group": group, "resource": plural });
    if let Some(namespace) = namespace {
        attributes["namespace"] = json!(namespace);
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    });
    let body = bytes::Bytes::from(review.to_string());
    match Retry::brief().run(|| cluster.create(REVIEWS, body.clone())).await {
        Ok(answer) => {
            let review: Value = serde_json::from_slice(&answer).unwrap_or_default();
            review["status"]["allowed"] != false
        }
        Err(_) => true,
    }
}
