//! What the target lets nobody but others do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use serde_json::{Value, json};

use super::needs::{self, Need, Taker};
use super::{Obstacle, named};
use crate::cluster::{Cluster, Retry};
use crate::restore::compile::SavedType;
use crate::restore::work::Work;

/// Questions at a time.
const AT_ONCE: usize = 16;

/// Questions in all. An administrator is known after the first one.
const MOST: usize = 1000;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What to do about a right that is missing.
const GRANT: &str = "use a log-in that may, or have these rights granted";

/// Asks for the rights that the plan takes, and names those that are missing. `kinds` are the types that it writes.
pub async fn look(work: &Work, cluster: &Cluster, kinds: &[&SavedType]) -> Vec<Obstacle> {
    let asking = Asking { cluster, asked: AtomicUsize::new(0) };
    if asking.may("*", "*.*", None, None).await {
        return Vec::new();
    }
    let needs = needs::of_plan(work, cluster, kinds).await;
    let questions: Vec<_> = needs.into_iter().map(|need| asking.denied(need)).collect();
    let answers: Vec<Option<Denied<'_>>> = futures::stream::iter(questions).buffer_unordered(AT_ONCE).collect().await;
    obstacles(answers.into_iter().flatten(), asking.asked.into_inner() > MOST)
}

/// Who may not do what to what.
type Denied<'p> = (Taker<'p>, &'static str, String);

/// Asks, and counts the questions.
struct Asking<'c> {
    cluster: &'c Cluster,
    asked: AtomicUsize,
}

impl Asking<'_> {
    /// Where the log-in may not do what is needed: the first such place.
    async fn denied<'p>(&self, need: Need<'p>) -> Option<Denied<'p>> {
        let Need { taker, verb, resource, name, namespaces } = &need;
        let may = |namespace| self.may(verb, resource, name.as_deref(), namespace);
        if may(None).await {
            return None;
        }
        if namespaces.is_empty() {
            return Some((*taker, *verb, need.words(None)));
        }
        for namespace in namespaces.iter().copied() {
            if !may(Some(namespace)).await {
                return Some((*taker, *verb, need.words(Some(namespace))));
            }
        }
        None
    }

    /// Whether the log-in may; a server that does not say is taken for a yes, as the deed itself will tell. The type is written like
    /// `deployments.apps` or `pods/exec`.
    async fn may(&self, verb: &str, resource: &str, name: Option<&str>, namespace: Option<&str>) -> bool {
        if self.asked.fetch_add(1, Ordering::Relaxed) >= MOST {
            return true;
        }
        let body = bytes::Bytes::from(review(verb, resource, name, namespace).to_string());
        match Retry::brief().run(|| self.cluster.create(REVIEWS, body.clone())).await {
            Ok(answer) => {
                let review: Value = serde_json::from_slice(&answer).unwrap_or_default();
                review["status"]["allowed"] != false
            }
            Err(_) => true,
        }
    }
}

fn review(verb: &str, resource: &str, name: Option<&str>, namespace: Option<&str>) -> Value {
    let (path, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (plural, subresource) = path.split_once('/').unwrap_or((path, ""));
    let mut attributes = json!({ "verb": verb, "group": group, "resource": plural });
    let more = [("subresource", Some(subresource).filter(|s| !s.is_empty())), ("name", name), ("namespace", namespace)];
    for (key, value) in more {
        if let Some(value) = value {
            attributes[key] = json!(value);
        }
    }
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    })
}

fn obstacles<'p>(denied: impl IntoIterator<Item = Denied<'p>>, is_cut: bool) -> Vec<Obstacle> {
    let mut by_taker: BTreeMap<(Taker<'_>, &str), BTreeSet<String>> = BTreeMap::new();
    for (taker, verb, what) in denied {
        by_taker.entry((taker, verb)).or_default().insert(what);
    }
    let of = |((taker, verb), all): ((Taker<'_>, &str), BTreeSet<String>)| obstacle(taker, verb, &Vec::from_iter(all));
    let mut found: Vec<_> = by_taker.into_iter().map(of).collect();
    if is_cut {
        let what = format!("only the first {MOST} questions about rights were asked");
        found.push(Obstacle::warning(what, "a log-in that may do everything needs one"));
    }
    found
}

fn obstacle(taker: Taker<'_>, verb: &str, all: &[String]) -> Obstacle {
    let what = format!("the log-in may not {verb} {}", named(all));
    match taker {
        Taker::Writers if verb == "patch" => {
            Obstacle::warning(what, "objects that are there cannot be changed, and owners not be set later")
        }
        Taker::Writers => Obstacle::fails(what, GRANT),
        Taker::Step(step) => Obstacle::fails(format!("{what}, which step {step} does"), GRANT),
        Taker::Lookout => Obstacle::warning(what, "webhooks that would refuse writes or hold them up are not found"),
        Taker::Detour => Obstacle::warning(what, "webhooks in the way cannot be gone round"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::Severity;

    #[test]
    fn a_question_names_group_subresource_object_and_namespace_apart() {
        let attributes = |review: Value| review["spec"]["resourceAttributes"].clone();
        let exec = json!({"verb": "create", "group": "", "resource": "pods", "subresource": "exec", "namespace": "a"});
        assert_eq!(attributes(review("create", "pods/exec", None, Some("a"))), exec);
        let web = json!({"verb": "get", "group": "apps", "resource": "deployments", "name": "web", "namespace": "a"});
        assert_eq!(attributes(review("get", "deployments.apps", Some("web"), Some("a"))), web);
        let roles = json!({"verb": "get", "group": "rbac.authorization.k8s.io", "resource": "clusterroles"});
        assert_eq!(attributes(review("get", "clusterroles.rbac.authorization.k8s.io", None, None)), roles);
        assert_eq!(attributes(review("*", "*.*", None, None)), json!({"verb": "*", "group": "*", "resource": "*"}));
    }

    #[test]
    fn what_is_denied_is_told_by_who_does_it_and_each_thing_once() {
        let step = Taker::Step("db");
        let denied = vec![
            (step, "list", "pods (in a)".to_string()),
            (step, "list", "pods (in a)".into()),
            (step, "patch", "deployments.apps/a/web".into()),
            (Taker::Writers, "patch", "secrets (in a)".into()),
        ];
        let told: Vec<_> = obstacles(denied, false).into_iter().map(|found| (found.severity, found.what)).collect();
        let words = |severity, what: &str| (severity, format!("the log-in may not {what}"));
        assert_eq!(
            told,
            [
                words(Severity::Warning, "patch secrets (in a)"),
                words(Severity::Fails, "list pods (in a), which step db does"),
                words(Severity::Fails, "patch deployments.apps/a/web, which step db does"),
            ]
        );
    }
}
