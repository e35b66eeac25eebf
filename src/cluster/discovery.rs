//! Which types a cluster serves.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Deserialize;

use super::{ApiError, Cluster, Retry};
use crate::config::resource_name;

/// A type of object, in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceType {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, `v1`.
    pub version: String,
    /// Kind, `Deployment`.
    pub kind: String,
    /// Plural name in paths, `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it: `list`, `create`, …
    pub verbs: Vec<String>,
    /// Subresources, `status`, `scale`, ….
    pub subresources: Vec<String>,
}

impl ResourceType {
    /// `deployments.apps`, `secrets`.
    pub fn name(&self) -> String {
        resource_name(&self.plural, &self.group)
    }

    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Path of its collection over all namespaces, or of a cluster-scoped type.
    pub fn path(&self) -> String {
        format!("{}/{}", group_version_path(&self.group, &self.version), self.plural)
    }

    /// Path of its collection in one namespace; of a cluster-scoped type where there is none.
    pub fn path_in(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(ns) => {
                format!("{}/namespaces/{ns}/{}", group_version_path(&self.group, &self.version), self.plural)
            }
            None => self.path(),
        }
    }

    /// Whether the API server offers the verb on it.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// `/api/v1` or `/apis/apps/v1`.
pub fn group_version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// What a cluster serves.
#[derive(Debug, Clone, Default)]
pub struct Discovered {
    /// Each type in its preferred version.
    pub types: Vec<ResourceType>,
    /// Types that are the same objects again as one of `types`, with that one's name.
    pub doubles: Vec<(ResourceType, &'static str)>,
    /// Groups and versions whose types could not be learned, and why.
    pub problems: Vec<(String, String)>,
    /// Every version in which a type is served, by `plural.group`.
    pub versions: HashMap<String, Vec<String>>,
}

impl Discovered {
    /// The type of that kind and group.
    pub fn by_kind(&self, kind: &str, group: &str) -> Option<&ResourceType> {
        self.types.iter().find(|t| t.kind == kind && t.group == group)
    }

    /// Whether the type is served in that version.
    pub fn serves(&self, name: &str, version: &str) -> bool {
        self.versions.get(name).is_some_and(|all| all.iter().any(|v| v == version))
    }
}

/// Types that one store serves under two groups: the second is the same objects again.
const SAME_OBJECTS: &[(&str, &str)] = &[
    ("events.events.k8s.io", "events"),
    ("ingresses.extensions", "ingresses.networking.k8s.io"),
    ("networkpolicies.extensions", "networkpolicies.networking.k8s.io"),
    ("deployments.extensions", "deployments.apps"),
    ("daemonsets.extensions", "daemonsets.apps"),
    ("replicasets.extensions", "replicasets.apps"),
    ("podsecuritypolicies.extensions", "podsecuritypolicies.policy"),
];

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

impl Cluster {
    /// Learns every type that the cluster serves, with two requests where the server can tell all at once.
    pub async fn discover(&self, timeout: Duration) -> Result<Discovered, ApiError> {
        let mut found = Discovered::default();
        let mut groups = Vec::new();
        for root in ["/api", "/apis"] {
            let body = Retry::default().run(|| self.get(root, Some(AGGREGATED), timeout)).await?;
            match serde_json::from_slice::<Aggregated>(&body) {
                Ok(list) if list.kind == "APIGroupDiscoveryList" => groups.extend(list.items),
                _ => groups.extend(self.discover_by_group(root, &body, timeout, &mut found).await?),
            }
        }
        for group in groups {
            found.add_group(group);
        }
        found.set_doubles_apart();
        Ok(found)
    }

    /// For servers before 1.27: one request for each group and version.
    async fn discover_by_group(
        &self,
        root: &str,
        body: &[u8],
        timeout: Duration,
        found: &mut Discovered,
    ) -> Result<Vec<Group>, ApiError> {
        let legacy: Legacy = match serde_json::from_slice(body) {
            Ok(legacy) => legacy,
            Err(e) => {
                found.problems.push((format!("the groups under {root}"), format!("the answer cannot be read: {e}")));
                return Ok(Vec::new());
            }
        };
        let core = legacy.versions.into_iter().map(|v| (String::new(), v));
        let named = legacy.groups.into_iter().flat_map(|mut g| {
            let preferred = g.preferred_version.version.clone();
            g.versions.sort_by_key(|v| v.version != preferred);
            let name = g.name;
            g.versions.into_iter().map(move |v| (name.clone(), v.version)).collect::<Vec<_>>()
        });
        let mut groups: Vec<Group> = Vec::new();
        for (group, version) in core.chain(named) {
            let path = if root == "/api" { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
            match Retry::default().run(|| self.get(&path, None, timeout)).await {
                Ok(body) => {
                    let list: LegacyResources = match serde_json::from_slice(&body) {
                        Ok(list) => list,
                        Err(e) => {
                            let why = format!("the answer cannot be read: {e}");
                            found.problems.push((format!("{group}/{version}"), why));
                            continue;
                        }
                    };
                    let version = Version { version, freshness: String::new(), resources: list.into_resources(&group) };
                    match groups.iter_mut().find(|g| g.metadata.name == group) {
                        Some(known) => known.versions.push(version),
                        None => groups.push(Group { metadata: Name { name: group }, versions: vec![version] }),
                    }
                }
                Err(e) => found.problems.push((format!("{group}/{version}"), e.message())),
            }
        }
        Ok(groups)
    }
}

impl Discovered {
    fn add_group(&mut self, group: Group) {
        let name = group.metadata.name;
        let mut chosen: BTreeMap<String, ()> = BTreeMap::new();
        for version in group.versions {
            if version.freshness == "Stale" {
                let what = if name.is_empty() { version.version } else { format!("{name}/{}", version.version) };
                self.problems.push((what, "the API behind it does not answer, so its types are not known".into()));
                continue;
            }
            for resource in version.resources {
                let Some(kind) = resource.response_kind else { continue };
                let served = self.versions.entry(resource_name(&resource.resource, &name)).or_default();
                served.push(version.version.clone());
                // Versions come in the server's order of preference, so the first is the preferred one.
                if chosen.insert(resource.resource.clone(), ()).is_some() {
                    continue;
                }
                self.types.push(ResourceType {
                    group: name.clone(),
                    version: version.version.clone(),
                    kind: kind.kind,
                    plural: resource.resource,
                    namespaced: resource.scope == "Namespaced",
                    verbs: resource.verbs,
                    subresources: resource.subresources.into_iter().map(|s| s.subresource).collect(),
                });
            }
        }
    }

    fn set_doubles_apart(&mut self) {
        let names: Vec<_> = self.types.iter().map(ResourceType::name).collect();
        let same_as = |t: &ResourceType| {
            let row =
                SAME_OBJECTS.iter().find(|(second, first)| *second == t.name() && names.iter().any(|n| n == first));
            row.map(|(_, first)| *first)
        };
        for found in std::mem::take(&mut self.types) {
            match same_as(&found) {
                Some(first) => self.doubles.push((found, first)),
                None => self.types.push(found),
            }
        }
    }
}

#[derive(Deserialize)]
struct Aggregated {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Name,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize, Default)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    freshness: String,
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    response_kind: Option<Kind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    subresources: Vec<Subresource>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
struct Subresource {
    subresource: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Legacy {
    versions: Vec<String>,
    groups: Vec<LegacyGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LegacyGroup {
    name: String,
    versions: Vec<LegacyVersion>,
    preferred_version: LegacyVersion,
}

#[derive(Deserialize)]
struct LegacyVersion {
    version: String,
}

#[derive(Deserialize, Default)]
struct LegacyResources {
    resources: Vec<LegacyResource>,
}

#[derive(Deserialize)]
struct LegacyResource {
    name: String,
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

impl LegacyResources {
    fn into_resources(self, _group: &str) -> Vec<Resource> {
        let (subs, wholes): (Vec<_>, Vec<_>) = self.resources.into_iter().partition(|r| r.name.contains('/'));
        let of = |name: &str| {
            subs.iter()
                .filter_map(|s| s.name.strip_prefix(name)?.strip_prefix('/'))
                .map(|s| Subresource { subresource: s.into() })
                .collect()
        };
        wholes
            .into_iter()
            .map(|r| Resource {
                subresources: of(&r.name),
                response_kind: Some(Kind { kind: r.kind }),
                scope: if r.namespaced { "Namespaced".into() } else { "Cluster".into() },
                verbs: r.verbs,
                resource: r.name,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovered(json: &str) -> Discovered {
        let list: Aggregated = serde_json::from_str(json).unwrap();
        let mut found = Discovered::default();
        for group in list.items {
            found.add_group(group);
        }
        found.set_doubles_apart();
        found
    }

    #[test]
    fn the_preferred_version_is_taken_and_stale_ones_are_reported() {
        let found = discovered(
            r#"{"kind":"APIGroupDiscoveryList","items":[
            {"metadata":{"name":"autoscaling"},"versions":[
              {"version":"v2","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","verbs":["list"]}]},
              {"version":"v1","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","verbs":["list"]}]}]},
            {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale"}]}]}"#,
        );
        assert_eq!(found.types.len(), 1);
        assert_eq!(found.types[0].version, "v2");
        assert!(found.serves("horizontalpodautoscalers.autoscaling", "v1"));
        assert_eq!(found.problems[0].0, "metrics.k8s.io/v1beta1");
    }

    #[test]
    fn a_type_served_under_two_groups_is_taken_once() {
        let found = discovered(
            r#"{"items":[{"metadata":{},"versions":[{"version":"v1","resources":[{"resource":"events","responseKind":{"kind":"Event"},"scope":"Namespaced"}]}]},
            {"metadata":{"name":"events.k8s.io"},"versions":[{"version":"v1","resources":[{"resource":"events","responseKind":{"kind":"Event"},"scope":"Namespaced"}]}]}]}"#,
        );
        assert_eq!(found.types.iter().map(ResourceType::name).collect::<Vec<_>>(), ["events"]);
    }
}
