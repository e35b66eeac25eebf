//! Compares a backup with a cluster, or with another backup: what is missing, what is extra, what changed.
//!
//! What servers and controllers set is not compared: both sides go through the same rules as a restore. What the plan maps
//! and patches on the way is mapped and patched in the backup's side, so that it is compared with what should be there.

mod fields;
mod reach;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::archive::frame;
use crate::cluster::Cluster;
use crate::cluster::Retry;
use crate::cluster::discovery::ResourceType;
use crate::cluster::list::ListOptions;
use crate::config::{KubernetesScope, RestorePlan, Subject};
use crate::error::{Context, Error, Result};
use crate::inventory::TypeRecord;
use crate::object_path::{ObjectPath, object_path};
use crate::progress::Progress;
use crate::reader::OpenBackup;
use crate::restore::{Facts, Owners, Remap, Stage, differences};
use fields::{Taken, fit_and_count};
use reach::{Reach, path_of};

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
    /// Objects that are not compared, by the rule that says why.
    pub ignored: BTreeMap<String, u64>,
    /// Fields of the backup's objects that are not compared, by the rule that takes them away.
    pub ignored_fields: BTreeMap<String, u64>,
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

/// What a restore makes of the backup's objects, and how far it reaches.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// The plan's mappings and patches.
    pub remap: &'a Remap,
    /// What a drill restored to.
    pub stage: Option<Stage>,
    /// Only this namespace of the backup, and nothing outside of it.
    pub only: Option<&'a str>,
    /// The plan that it was restored by, and the position of its target: what none of its steps takes is not compared.
    pub plan: Option<(&'a RestorePlan, usize)>,
}

/// The rule by which an object is not compared that no step of the plan takes.
pub const NOT_SELECTED: &str = "not-selected";

impl<'a> Way<'a> {
    /// The whole backup by a plan's mappings and patches.
    pub fn whole(remap: &'a Remap) -> Self {
        Way { remap, stage: None, only: None, plan: None }
    }
}

/// One side of the comparison of one type: objects by path, ready to be compared; or the rule by which one is not.
type Side = HashMap<String, Result<Value, &'static str>>;

/// The backup's side: objects by the path that they have in the target, with the one that they have in the backup.
type SavedSide = HashMap<String, (String, Result<Value, &'static str>)>;

/// What each source of a backup was to save, by the source's name.
pub type Scopes = BTreeMap<String, KubernetesScope>;

/// The facts that both sides of a type share.
struct Common<'a> {
    way: Way<'a>,
    resource: String,
    /// Whom the backup's objects name as their owners.
    owners: Owners,
    volumes: HashSet<String>,
    /// Uids of objects that the way does not take.
    left: HashSet<String>,
    status_subresource: bool,
}

impl Common<'_> {
    fn facts<'f>(&'f self, owners: &'f Owners) -> Facts<'f> {
        Facts {
            resource: &self.resource,
            owners,
            volumes: &self.volumes,
            preserve_node_ports: false,
            status_subresource: self.status_subresource,
        }
    }

    /// Brings a saved object to the form that the restore writes, and both sides are compared in; the rule's name where it is not compared.
    fn saved(&self, mut object: Value, subject: &Subject<'_>, taken: &mut Taken) -> Result<Value, &'static str> {
        if self.way.plan.is_some_and(|(plan, target)| plan.step_for(target, subject).is_none()) {
            return Err(NOT_SELECTED);
        }
        let references = owner_names(&object, &self.left);
        fit_and_count(&mut object, &self.facts(&self.owners), taken)?;
        self.spare(&object)?;
        // One that cannot be patched was not written, and is missed in the target as it is.
        let _ = self.way.remap.apply(&mut object, &self.resource, subject);
        Ok(comparable(object, references))
    }

    /// The same for an object of the other side.
    fn living(&self, mut object: Value) -> Result<Value, &'static str> {
        let references = owner_names(&object, &self.left);
        // What a controller made for an owner there is the cluster's own, whatever uids its owner had before.
        let owners = Owners::living();
        fit_and_count(&mut object, &self.facts(&owners), &mut Taken::default())?;
        self.spare(&object)?;
        Ok(comparable(object, references))
    }

    /// What the drill did not restore on purpose.
    fn spare(&self, object: &Value) -> Result<(), &'static str> {
        let spared = self.way.stage.and_then(|stage| stage.spares(&self.resource, object));
        spared.map_or(Ok(()), |spared| Err(spared.rule))
    }
}

fn comparable(mut object: Value, references: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
    }
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.remove("kubernetes.io/metadata.name");
    }
    object["metadata"]["ownerReferences"] = references;
    object
}

/// Owners have other uids in another cluster; kind and name say who is meant. Those that the way does not take are not there.
fn owner_names(object: &Value, left: &HashSet<String>) -> Value {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let references = references.filter(|r| !r["uid"].as_str().is_some_and(|uid| left.contains(uid)));
    let name = |r: &Value| json!({"apiVersion": r["apiVersion"], "kind": r["kind"], "name": r["name"]});
    Value::Array(references.map(name).collect())
}

/// Compares a backup with a cluster that it was restored into on that way, within the scopes of the backup's sources.
pub async fn with_cluster(
    backup: &OpenBackup,
    cluster: &Cluster,
    scopes: &Scopes,
    way: Way<'_>,
    progress: &dyn Progress,
) -> Result<Difference> {
    let found = cluster.discover(TIMEOUT).await.context(|| format!("learn what {} serves", cluster.server()))?;
    let mut difference = Difference::default();
    let Identities { owners, volumes, left } = identities(backup, &way).await?;
    let mut common = Common { way, resource: String::new(), owners, volumes, left, status_subresource: true };
    progress.begin("diff", Some(backup.manifest.items()));
    for ((resource, version), sources) in types_with_sources(backup) {
        common.resource = resource.clone();
        let kind = found.types.iter().find(|t| t.name() == resource);
        common.status_subresource = kind.is_none_or(|k| k.subresources.iter().any(|s| s == "status"));
        let (mut saved, mut taken) = (SavedSide::new(), Taken::default());
        for (source, saved_as) in &sources {
            let folder = SavedFolder { source, kind: saved_as, version: &version };
            saved.extend(saved_side(backup, &folder, &common, &mut taken, progress).await?);
        }
        taken
            .into_iter()
            .for_each(|(rule, fields)| *difference.ignored_fields.entry(rule.into()).or_default() += fields);
        let Some(kind) = kind else {
            compare(saved, Side::new(), &mut difference);
            continue;
        };
        // The version of the backup is asked for, so that both sides have the same form.
        let kind = ResourceType { version, ..kind.clone() };
        let scopes = sources.iter().map(|(source, _)| scopes.get(source).cloned().unwrap_or_default());
        match cluster_side(cluster, &kind, &scopes.collect::<Vec<_>>(), &common).await {
            Ok(other) => compare(saved, other, &mut difference),
            Err(why) => difference.problems.push(format!("{resource}: {why}")),
        }
    }
    let known: HashSet<_> = kubernetes_types(backup).into_iter().map(|(_, resource, _)| resource).collect();
    for kind in found.types.iter().filter(|t| !known.contains(&t.name())) {
        let reaching = scopes.values().filter(|scope| may_be_extra(kind, scope)).cloned().collect::<Vec<_>>();
        common.resource = kind.name();
        match cluster_side(cluster, kind, &reaching, &common).await {
            Ok(other) => compare(SavedSide::new(), other, &mut difference),
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
    let as_it_is = Remap::default();
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (type_names(one), type_names(other));
    for (source, resource) in left.union(&right) {
        let mut sides = Vec::new();
        for backup in [one, other] {
            let (way, owners, volumes) = (Way::whole(&as_it_is), Owners::default(), HashSet::new());
            let common = Common {
                way,
                resource: resource.clone(),
                owners,
                volumes,
                left: HashSet::new(),
                status_subresource: true,
            };
            let record = backup.manifest.source(source).and_then(|s| s.types.get(resource));
            sides.push(match record {
                Some(record) => {
                    let folder = SavedFolder { source, kind: &record.kind, version: &record.version };
                    saved_side(backup, &folder, &common, &mut Taken::default(), progress).await?
                }
                None => SavedSide::new(),
            });
        }
        if let (Some(b), Some(a)) = (sides.pop(), sides.pop()) {
            let b = b.into_iter().map(|(path, (_, object))| (path, object)).collect();
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

/// Each type, in the version that it was saved in, with the sources that hold it and the kind that they call it.
fn types_with_sources(backup: &OpenBackup) -> BTreeMap<(String, String), Vec<(String, String)>> {
    let mut types: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (source, resource, record) in kubernetes_types(backup) {
        types.entry((resource, record.version)).or_default().push((source, record.kind));
    }
    types
}

/// Uids and names that the rules ask for, and the uids of objects that the way does not take.
struct Identities {
    owners: Owners,
    volumes: HashSet<String>,
    left: HashSet<String>,
}

async fn identities(backup: &OpenBackup, way: &Way<'_>) -> Result<Identities> {
    backup.load_index().await?;
    let kinds: HashMap<_, _> =
        kubernetes_types(backup).into_iter().map(|(s, resource, r)| ((s, resource), r.kind)).collect();
    let (mut uids, mut volumes, mut left) = (Vec::new(), HashSet::new(), HashSet::new());
    for stored in backup.directory() {
        for entry in backup.entries(stored).await? {
            let Some(path) = ObjectPath::parse(&entry.path) else { continue };
            if path.resource == "persistentvolumes" {
                volumes.insert(path.stem.to_string());
            }
            if let (Some((plan, target)), Some(kind)) =
                (way.plan, kinds.get(&(stored.source.to_string(), path.resource.to_string())))
            {
                let group = path.resource.split_once('.').map_or("", |(_, group)| group);
                let labels = &entry.traits.labels;
                let (namespace, name) = (path.namespace, path.stem);
                let subject = Subject { source: &stored.source, kind, group, namespace, name, labels };
                if plan.step_for(target, &subject).is_none() {
                    left.insert(entry.traits.uid.clone());
                }
            }
            uids.push(entry.traits.uid);
        }
    }
    Ok(Identities { owners: Owners::same(uids), volumes, left })
}

/// Where the objects of a type stand in a backup.
struct SavedFolder<'a> {
    source: &'a str,
    kind: &'a str,
    version: &'a str,
}

async fn saved_side(
    backup: &OpenBackup,
    at: &SavedFolder<'_>,
    common: &Common<'_>,
    taken: &mut Taken,
    progress: &dyn Progress,
) -> Result<SavedSide> {
    let folder = crate::object_path::type_folder(&common.resource, at.version);
    let group = common.resource.split_once('.').map_or("", |(_, group)| group);
    let mut side = SavedSide::new();
    for stored in backup.frames_with(at.source, &folder) {
        let entries = backup.entries(stored).await?;
        let reach = Reach::new(&common.way);
        let wanted: Vec<_> = entries.iter().filter(|e| e.path.starts_with(&folder) && reach.saved(&e.path)).collect();
        if wanted.is_empty() {
            continue;
        }
        let decoded = backup.frame(stored).await?;
        for entry in wanted {
            let content = frame::member(&decoded, entry)?;
            let object: Value = serde_json::from_slice(content)
                .map_err(|e| Error::integrity(format!("{} is not JSON", entry.path)).because(e))?;
            let Some(path) = ObjectPath::parse(&entry.path) else { continue };
            let subject = Subject {
                source: at.source,
                kind: at.kind,
                group,
                namespace: path.namespace,
                name: path.stem,
                labels: &entry.traits.labels,
            };
            let there = (!reach.keeps_paths()).then(|| reach.path_there(&common.resource, at.version, &object));
            let object = common.saved(object, &subject, taken);
            let there = match (&object, there) {
                (_, None) => entry.path.clone(),
                // Names of some kinds are mapped, too.
                (Ok(object), Some(_)) => path_of(&common.resource, at.version, object),
                (Err(_), Some(there)) => there,
            };
            side.insert(there, (entry.path.clone(), object));
            progress.advance("diff", 1, entry.size);
        }
    }
    Ok(side)
}

async fn cluster_side(
    cluster: &Cluster,
    kind: &ResourceType,
    scopes: &[KubernetesScope],
    common: &Common<'_>,
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
    common: &Common<'_>,
) -> Result<(), String> {
    let options = ListOptions {
        page_size: 500,
        label_selector: scope.label_selector.as_ref().map(|s| s.to_query()),
        timeout: TIMEOUT,
        retry: Retry::default(),
    };
    let reach = Reach::new(&common.way);
    if !reach.has(kind) {
        return Ok(());
    }
    let mut pages = cluster.pages(kind, reach.listed(kind), options);
    while let Some(page) = pages.next().await {
        for item in page.map_err(|e| e.message())?.items {
            if !reach.living(kind, &item, scope) {
                continue;
            }
            let path = object_path(&common.resource, &kind.version, &item.namespace, &item.name);
            let mut object: Value = serde_json::from_slice(&item.json).map_err(|e| e.to_string())?;
            object["apiVersion"] = Value::String(kind.api_version());
            object["kind"] = Value::String(kind.kind.clone());
            side.insert(path, common.living(object));
        }
    }
    Ok(())
}

fn compare(saved: SavedSide, mut other: Side, difference: &mut Difference) {
    for (path, (was, object)) in saved {
        let shown = ObjectPath::parse(&path).map(|p| p.shown()).unwrap_or_default();
        // Counted by what it is called in the backup: that is where components are.
        let place = ObjectPath::parse(&was);
        let place = place.map(|p| (p.resource.to_string(), p.namespace.unwrap_or_default().to_string()));
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
