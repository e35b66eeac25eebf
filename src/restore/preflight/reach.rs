//! Which webhooks of the target the plan's writes meet, and which of those do not answer.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::Obstacle;
use super::backend::{Backend, Silence, name_of, patience_of};
use crate::cluster::{Cluster, Retry};
use crate::restore::compile::SavedType;
use crate::restore::rules::text;

const GROUP: &str = "admissionregistration.k8s.io";
const TYPES: [&str; 2] = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
const TIMEOUT: Duration = Duration::from_secs(15);

/// The types that register webhooks, written like `deployments.apps`.
pub fn configuration_types() -> [String; 2] {
    TYPES.map(|plural| format!("{plural}.{GROUP}"))
}

/// Whether objects of this type, written like `deployments.apps`, register webhooks.
pub fn is_configuration(resource: &str) -> bool {
    resource.split_once('.').is_some_and(|(plural, group)| group == GROUP && TYPES.contains(&plural))
}

/// A webhook whose backend does not answer.
#[derive(Debug, Clone)]
pub struct Held {
    /// Path of its configuration.
    pub path: String,
    /// Its own name.
    pub name: String,
    /// Who is asked.
    pub backend: Backend,
    /// How long the API server waits for it, in seconds.
    pub patience: u64,
    /// Whether writes fail then; otherwise they go through, each so much later.
    pub refuses: bool,
    /// What it does instead of answering.
    pub why: String,
}

impl Held {
    /// All of it, in words.
    pub fn words(&self) -> String {
        let Held { path, name, backend, why, patience, refuses } = self;
        let what = match refuses {
            true => "would refuse writes".to_string(),
            false => format!("would hold up each write for {patience} s"),
        };
        format!("webhook {name} of {} {what}: {backend}: {why}", shown(path))
    }

    /// As bad as it is: where the API server only waits, everything comes back, hours late.
    pub fn obstacle(&self, what: String, todo: &str) -> Obstacle {
        match self.refuses {
            true => Obstacle::fails(what, todo),
            false => Obstacle::slow(what, todo),
        }
    }
}

/// `validatingwebhookconfigurations/gatekeeper`.
pub fn shown(path: &str) -> String {
    path.rsplitn(3, '/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/")
}

/// What the plan writes.
pub struct Reach<'a> {
    /// The types.
    pub kinds: &'a [&'a SavedType],
    /// The namespaces, as the target calls them.
    pub namespaces: &'a BTreeSet<String>,
}

/// All configurations, by their paths. What may not be read is not known to be in the way.
pub async fn configurations(cluster: &Cluster) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for plural in TYPES {
        let path = format!("/apis/{GROUP}/v1/{plural}");
        let Ok(body) = Retry::brief().run(|| cluster.get(&path, None, TIMEOUT)).await else { continue };
        let mut list: Value = serde_json::from_slice(&body).unwrap_or_default();
        let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        all.extend(items.into_iter().map(|item| (format!("{path}/{}", text(&item["metadata"], "name")), item)));
    }
    all
}

/// Webhooks that the plan's writes meet and whose backend does not answer. Backends are asked side by side. One that may be ignored
/// is in the way only where it hangs: that nobody is there, the API server learns at once, and goes on.
pub async fn held(cluster: &Cluster, reach: &Reach<'_>) -> Vec<Held> {
    let all = configurations(cluster).await;
    let webhooks = all.iter().flat_map(|(path, config)| {
        let webhooks = config["webhooks"].as_array().into_iter().flatten();
        webhooks.filter(|webhook| meets(webhook, reach)).map(move |webhook| (path, webhook))
    });
    let asking = webhooks.filter_map(|(path, webhook)| {
        let (backend, patience) = (Backend::of(webhook)?, patience_of(webhook));
        Some(async move {
            let (refuses, silence) = (refuses(webhook), backend.answers(cluster, patience).await.err()?);
            let why = in_the_way(silence, refuses)?;
            Some(Held { path: path.clone(), name: name_of(webhook).into(), backend, patience, refuses, why })
        })
    });
    futures::future::join_all(asking).await.into_iter().flatten().collect()
}

fn in_the_way(silence: Silence, refuses: bool) -> Option<String> {
    match silence {
        Silence::Hangs(why) => Some(why),
        Silence::Unreachable(why) => refuses.then_some(why),
    }
}

/// A policy of `Ignore` lets writes through, if late.
pub fn refuses(webhook: &Value) -> bool {
    webhook["failurePolicy"] != "Ignore"
}

/// Whether writes of the plan are asked about. What cannot be told from here, such as other labels, is taken for a yes.
fn meets(webhook: &Value, reach: &Reach<'_>) -> bool {
    let rules = || webhook["rules"].as_array().into_iter().flatten();
    let asked = reach.kinds.iter().filter(|kind| rules().any(|rule| covers(rule, kind)));
    let selector = &webhook["namespaceSelector"];
    let mut asked = asked.filter(|kind| !kind.namespaced || reach.namespaces.iter().any(|ns| may_select(selector, ns)));
    asked.next().is_some()
}

fn covers(rule: &Value, kind: &SavedType) -> bool {
    let has = |key: &str, wanted: &[&str]| {
        let all = rule[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.into_iter().any(|entry| wanted.contains(&entry))
    };
    // The API server never asks webhooks about webhooks.
    let is_webhook = kind.group == GROUP && TYPES.contains(&kind.plural());
    let in_scope = match rule["scope"].as_str() {
        Some("Namespaced") => kind.namespaced,
        Some("Cluster") => !kind.namespaced,
        _ => true,
    };
    !is_webhook
        && in_scope
        && has("operations", &["*", "CREATE", "UPDATE"])
        && has("apiGroups", &["*", &kind.group])
        && has("resources", &["*", "*/*", kind.plural()])
}

/// Only the name of a namespace is known before it is there.
fn may_select(selector: &Value, namespace: &str) -> bool {
    const NAME: &str = "kubernetes.io/metadata.name";
    if selector["matchLabels"][NAME].as_str().is_some_and(|name| name != namespace) {
        return false;
    }
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    expressions.filter(|e| e["key"] == NAME).all(|expression| {
        let listed = expression["values"].as_array().into_iter().flatten().any(|value| value == namespace);
        match expression["operator"].as_str() {
            Some("In") => listed,
            Some("NotIn") => !listed,
            Some("DoesNotExist") => false,
            _ => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(resource: &str, kind: &str, namespaced: bool) -> SavedType {
        let group = resource.split_once('.').map_or("", |(_, group)| group);
        let (resource, kind, group) = (resource.into(), kind.into(), group.into());
        SavedType { resource, version: "v1".into(), kind, group, namespaced }
    }

    #[test]
    fn only_webhooks_that_the_plan_meets_are_in_the_way() {
        let (maps, roles) = (
            kind("configmaps", "ConfigMap", true),
            kind("clusterroles.rbac.authorization.k8s.io", "ClusterRole", false),
        );
        let namespaces = BTreeSet::from(["shop".to_string()]);
        let webhook = |groups: &str, resources: &str, selector: Value| {
            let rule = json!({"apiGroups": [groups], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resources]});
            json!({"rules": [rule], "namespaceSelector": selector})
        };
        let meets =
            |kind: &SavedType, webhook: Value| meets(&webhook, &Reach { kinds: &[kind], namespaces: &namespaces });
        assert!(meets(&maps, webhook("", "configmaps", json!({}))));
        assert!(meets(&maps, webhook("*", "*", json!({"matchLabels": {"team": "a"}}))), "its labels are not known");
        assert!(!meets(&maps, webhook("", "secrets", json!({}))) && !meets(&maps, webhook("apps", "*", json!({}))));
        let not = json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["shop"]}]});
        assert!(!meets(&maps, webhook("", "*", not.clone())) && meets(&roles, webhook("*", "*", not)));
        let other = json!({"matchLabels": {"kubernetes.io/metadata.name": "other"}});
        assert!(!meets(&maps, webhook("", "configmaps", other)));
        let own = kind(
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            false,
        );
        assert!(!meets(&own, webhook("*", "*", json!({}))));
    }
}
