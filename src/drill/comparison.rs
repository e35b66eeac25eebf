//! Compares a backup with a cluster, or with another backup: what is missing, what is extra, what changed.
//!
//! What servers and controllers set is not compared: both sides go through the same rules as a restore.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::archive::frame;
use crate::cluster::Cluster;
use crate::cluster::Retry;
use crate::cluster::discovery::ResourceType;
use crate::cluster::list::{Item, ListOptions};
use crate::config::{KubernetesScope, OPT_OUT_LABEL};
use crate::error::{Context, Error, Result};
use crate::inventory::TypeRecord;
use crate::object_path::{ObjectPath, object_path};
use crate::progress::Progress;
use crate::reader::OpenBackup;
use crate::restore::{Facts, Owners, differences, fit};

/// Paths of one changed object that are named.
const PATHS_NAMED: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(60);

/// An object that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// `deployments.apps/shop/web`.
    pub object: String,
    /// Where: `.spec.replicas`.
    pub paths: Vec<String>,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// In the backup, not on the other side.
    pub missing: Vec<String>,
    /// On the other side, not in the backup.
    pub extra: Vec<String>,
    /// On both, and different.
    pub changed: Vec<Changed>,
    /// On both, and equal.
    pub equal: u64,
    /// Not compared, by the rule that says why.
    pub ignored: BTreeMap<String, u64>,
    /// Types that could not be read on the other side, and why.
    pub problems: Vec<String>,
    /// What was compared, by type and namespace; the namespace is empty for objects outside of one.
    #[serde(skip)]
    pub compared: BTreeMap<(String, String), Compared>,
}

/// How many objects were compared, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// On both sides, and equal.
    pub equal: u64,
    /// In the backup, not on the other side.
    pub missing: u64,
    /// On both, and different.
    pub changed: u64,
}

impl Compared {
    /// Adds another count.
    pub fn add(&mut self, other: &Compared) {
        self.equal += other.equal;
        self.missing += other.missing;
        self.changed += other.changed;
    }
}

impl Difference {
    /// Whether both sides say the same.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.changed.is_empty() && self.problems.is_empty()
    }

    /// What came of the objects whose type and namespace are wanted.
    pub fn of(&self, is_wanted: impl Fn(&str, &str) -> bool) -> Compared {
        let mut all = Compared::default();
        let wanted = self.compared.iter().filter(|((resource, namespace), _)| is_wanted(resource, namespace));
        wanted.for_each(|(_, compared)| all.add(compared));
        all
    }
}

/// One side of the comparison of one type: objects by path, ready to be compared; or the rule by which one is not.
type Side = HashMap<String, Result<Value, &'static str>>;

/// What each source of a backup was to save, by the source's name.
pub type Scopes = BTreeMap<String, KubernetesScope>;

/// The facts that both sides of a type share.
struct Common {
    resource: String,
    /// Whom the backup's objects name as their owners.
    owners: Owners,
    volumes: HashSet<String>,
    status_subresource: bool,
}

impl Common {
    fn facts<'a>(&'a self, owners: &'a Owners) -> Facts<'a> {
        Facts {
            resource: &self.resource,
            owners,
            volumes: &self.volumes,
            preserve_node_ports: false,
            status_subresource: self.status_subresource,
        }
    }

    /// Brings an object to the form in which both sides are compared; the rule's name where it is not compared.
    fn prepare(&self, mut object: Value, owners: &Owners) -> Result<Value, &'static str> {
        let references = owner_names(&object);
        fit(&mut object, &self.facts(owners)).map_err(|(rule, _)| rule)?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            labels.remove("kubernetes.io/metadata.name");
        }
        object["metadata"]["ownerReferences"] = references;
        Ok(object)
    }
}

/// Owners have other uids in another cluster; kind and name say who is meant.
fn owner_names(object: &Value) -> Value {
    let references = object["metadata"]["ownerReferences"].as_array();
    let name = |r: &Value| json!({"apiVersion": r["apiVersion"], "kind": r["kind"], "name": r["name"]});
    Value::Array(references.into_iter().flatten().map(name).collect())
}

/// Compares a backup with a cluster, within the scopes of the backup's sources.
pub async fn with_cluster(
    backup: &OpenBackup,
    cluster: &Cluster,
    scopes: &Scopes,
    progress: &dyn Progress,
) -> Result<Difference> {
    let found = cluster.discover(TIMEOUT).await.context(|| format!("learn what {} serves", cluster.server()))?;
    let mut difference = Difference::default();
    let (owners, volumes) = identities(backup).await?;
    let mut common = Common { resource: String::new(), owners, volumes, status_subresource: true };
    progress.begin("diff", Some(backup.manifest.items()));
    for ((resource, version), sources) in types_with_sources(backup) {
        common.resource = resource.clone();
        let kind = found.types.iter().find(|t| t.name() == resource);
        common.status_subresource = kind.is_none_or(|k| k.subresources.iter().any(|s| s == "status"));
        let mut saved = Side::new();
        for source in &sources {
            saved.extend(saved_side(backup, source, &resource, &version, &common, progress).await?);
        }
        let Some(kind) = kind else {
            compare(saved, Side::new(), &mut difference);
            continue;
        };
        // The version of the backup is asked for, so that both sides have the same form.
        let kind = ResourceType { version, ..kind.clone() };
        let scopes = sources.iter().map(|source| scopes.get(source).cloned().unwrap_or_default()).collect::<Vec<_>>();
        match cluster_side(cluster, &kind, &scopes, &common).await {
            Ok(other) => compare(saved, other, &mut difference),
            Err(why) => difference.problems.push(format!("{resource}: {why}")),
        }
    }
    let known: HashSet<_> = kubernetes_types(backup).into_iter().map(|(_, resource, _)| resource).collect();
    for kind in found.types.iter().filter(|t| !known.contains(&t.name())) {
        let reaching = scopes.values().filter(|scope| may_be_extra(kind, scope)).cloned().collect::<Vec<_>>();
        common.resource = kind.name();
        match cluster_side(cluster, kind, &reaching, &common).await {
            Ok(other) => compare(Side::new(), other, &mut difference),
            Err(why) => difference.problems.push(format!("{}: {why}", kind.name())),
        }
    }
    progress.end("diff", "");
    difference.sort();
    Ok(difference)
}

/// Whether objects of a type that the backup does not have would be in one that is taken now.
fn may_be_extra(kind: &ResourceType, scope: &KubernetesScope) -> bool {
    let in_reach = kind.namespaced || scope.cluster_scoped || (kind.kind == "Namespace" && kind.group.is_empty());
    kind.can("list") && in_reach && scope.left_out_because(&kind.plural, &kind.group).is_none()
}

/// Compares two backups.
pub async fn with_backup(one: &OpenBackup, other: &OpenBackup, progress: &dyn Progress) -> Result<Difference> {
    let mut difference = Difference::default();
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (type_names(one), type_names(other));
    for (source, resource) in left.union(&right) {
        let mut sides = Vec::new();
        for backup in [one, other] {
            let (owners, volumes) = (Owners::default(), HashSet::new());
            let common = Common { resource: resource.clone(), owners, volumes, status_subresource: true };
            let record = backup.manifest.source(source).and_then(|s| s.types.get(resource));
            sides.push(match record {
                Some(record) => saved_side(backup, source, resource, &record.version, &common, progress).await?,
                None => Side::new(),
            });
        }
        if let (Some(b), Some(a)) = (sides.pop(), sides.pop()) {
            compare(a, b, &mut difference);
        }
    }
    difference.sort();
    Ok(difference)
}

fn type_names(backup: &OpenBackup) -> BTreeSet<(String, String)> {
    kubernetes_types(backup).into_iter().map(|(source, resource, _)| (source, resource)).collect()
}

fn kubernetes_types(backup: &OpenBackup) -> Vec<(String, String, TypeRecord)> {
    let sources = backup.manifest.sources.iter().filter(|s| s.kind == "kubernetes");
    sources.flat_map(|s| s.types.iter().map(|(n, r)| (s.name.clone(), n.clone(), r.clone()))).collect()
}

/// Each type, in the version that it was saved in, with the sources that hold it.
fn types_with_sources(backup: &OpenBackup) -> BTreeMap<(String, String), Vec<String>> {
    let mut types: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (source, resource, record) in kubernetes_types(backup) {
        types.entry((resource, record.version)).or_default().push(source);
    }
    types
}

/// Uids and names that the rules ask for.
async fn identities(backup: &OpenBackup) -> Result<(Owners, HashSet<String>)> {
    backup.load_index().await?;
    let (mut uids, mut volumes) = (Vec::new(), HashSet::new());
    for stored in backup.directory() {
        for entry in backup.entries(stored).await? {
            if let Some(path) = ObjectPath::parse(&entry.path).filter(|p| p.resource == "persistentvolumes") {
                volumes.insert(path.stem.to_string());
            }
            uids.push(entry.traits.uid);
        }
    }
    Ok((Owners::same(uids), volumes))
}

async fn saved_side(
    backup: &OpenBackup,
    source: &str,
    resource: &str,
    version: &str,
    common: &Common,
    progress: &dyn Progress,
) -> Result<Side> {
    let folder = crate::object_path::type_folder(resource, version);
    let mut side = Side::new();
    for stored in backup.frames_with(source, &folder) {
        let entries = backup.entries(stored).await?;
        if !entries.iter().any(|e| e.path.starts_with(&folder)) {
            continue;
        }
        let decoded = backup.frame(stored).await?;
        for entry in entries.iter().filter(|e| e.path.starts_with(&folder)) {
            let content = frame::member(&decoded, entry)?;
            let object = serde_json::from_slice(content)
                .map_err(|e| Error::integrity(format!("{} is not JSON", entry.path)).because(e))?;
            side.insert(entry.path.clone(), common.prepare(object, &common.owners));
            progress.advance("diff", 1, entry.size);
        }
    }
    Ok(side)
}

async fn cluster_side(
    cluster: &Cluster,
    kind: &ResourceType,
    scopes: &[KubernetesScope],
    common: &Common,
) -> Result<Side, String> {
    let mut side = Side::new();
    for scope in scopes {
        add_listed(&mut side, cluster, kind, scope, common).await?;
    }
    Ok(side)
}

async fn add_listed(
    side: &mut Side,
    cluster: &Cluster,
    kind: &ResourceType,
    scope: &KubernetesScope,
    common: &Common,
) -> Result<(), String> {
    let options = ListOptions {
        page_size: 500,
        label_selector: scope.label_selector.as_ref().map(|s| s.to_query()),
        timeout: TIMEOUT,
        retry: Retry::default(),
    };
    let mut pages = cluster.pages(kind, None, options);
    while let Some(page) = pages.next().await {
        for item in page.map_err(|e| e.message())?.items {
            if !in_scope(kind, &item, scope) {
                continue;
            }
            let path = object_path(&common.resource, &kind.version, &item.namespace, &item.name);
            let mut object: Value = serde_json::from_slice(&item.json).map_err(|e| e.to_string())?;
            object["apiVersion"] = Value::String(kind.api_version());
            object["kind"] = Value::String(kind.kind.clone());
            // What a controller made for an owner there is the cluster's own, whatever uids its owner had before.
            side.insert(path, common.prepare(object, &Owners::living()));
        }
    }
    Ok(())
}

fn in_scope(kind: &ResourceType, item: &Item, scope: &KubernetesScope) -> bool {
    let namespace = match kind.namespaced {
        true => Some(&item.namespace),
        false if kind.kind == "Namespace" => Some(&item.name),
        false => None,
    };
    let controllers = scope.controller_made_left_out_because(&kind.plural, &kind.group).is_some();
    namespace.is_none_or(|ns| scope.namespace(ns))
        && item.labels.get(OPT_OUT_LABEL).is_none_or(|v| v != "true")
        && !(controllers && item.made_by_controller)
}

fn compare(saved: Side, mut other: Side, difference: &mut Difference) {
    for (path, object) in saved {
        let parsed = ObjectPath::parse(&path);
        let shown = parsed.as_ref().map(|p| p.shown()).unwrap_or_default();
        let place = parsed.map(|p| (p.resource.to_string(), p.namespace.unwrap_or_default().to_string()));
        let compared = difference.compared.entry(place.unwrap_or_default()).or_default();
        match (object, other.remove(&path)) {
            // A job that ran to its end since then is there, but is not what would be restored.
            (Err(rule), _) | (Ok(_), Some(Err(rule))) => *difference.ignored.entry(rule.into()).or_default() += 1,
            (Ok(_), None) => {
                compared.missing += 1;
                difference.missing.push(shown);
            }
            (Ok(object), Some(Ok(found))) => match differences(&object, &found, PATHS_NAMED) {
                paths if paths.is_empty() => {
                    compared.equal += 1;
                    difference.equal += 1;
                }
                paths => {
                    compared.changed += 1;
                    difference.changed.push(Changed { object: shown, paths });
                }
            },
        }
    }
    let extra = other.into_iter().filter(|(_, object)| object.is_ok());
    difference.extra.extend(extra.filter_map(|(path, _)| Some(ObjectPath::parse(&path)?.shown())));
}

impl Difference {
    fn sort(&mut self) {
        self.missing.sort();
        self.extra.sort();
        self.changed.sort();
        self.problems.sort();
    }
}
