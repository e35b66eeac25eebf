//! Compares a backup with a cluster, or with another backup: what is missing, what is extra, what changed.
//!
//! What servers and controllers set is not compared: both sides go through the same rules as a restore. What the plan maps
//! and patches on the way is mapped and patched in the backup's side, so that it is compared with what should be there.

mod difference;
mod fields;
mod form;
mod known;
mod others;
mod pair;
mod reach;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

pub use self::difference::{Changed, Compared, Difference};
use self::form::{Form, Served};
use self::known::Known;
use self::others::Others;
use self::pair::{Pair, SavedFolder};
use crate::cluster::Cluster;
use crate::cluster::discovery::{Discovered, ResourceType};
use crate::config::{KubernetesScope, RestorePlan};
use crate::error::{Context, Result};
use crate::inventory::TypeRecord;
use crate::progress::Progress;
use crate::reader::OpenBackup;
use crate::restore::{Remap, Stage, moved};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Types that are listed and compared at the same time: while the server sends one, another is computed.
const TYPES_AT_ONCE: usize = 3;

/// What a restore makes of the backup's objects, and how far it reaches. By default: the whole backup, as it is.
#[derive(Clone, Default)]
pub struct Way {
    /// The plan's mappings and patches.
    pub remap: Arc<Remap>,
    /// What a drill restored to.
    pub stage: Option<Stage>,
    /// Only this namespace of the backup, and nothing outside of it.
    pub only: Option<String>,
    /// The plan that it was restored by, and the position of its target: what none of its steps takes is not compared.
    pub plan: Option<(Arc<RestorePlan>, usize)>,
}

impl Way {
    /// By a plan, into one of its targets.
    pub fn by(plan: &Arc<RestorePlan>, target: usize) -> Way {
        Way { remap: Arc::new(Remap::new(plan)), plan: Some((plan.clone(), target)), ..Way::default() }
    }
}

/// The rule by which an object is not compared that no step of the plan takes.
pub const NOT_SELECTED: &str = "not-selected";

/// What each source of a backup was to save, by the source's name.
pub type Scopes = BTreeMap<String, KubernetesScope>;

/// Compares a backup with a cluster that it was restored into on that way, within the scopes of the backup's sources.
pub async fn with_cluster(
    backup: &OpenBackup,
    cluster: &Cluster,
    scopes: &Scopes,
    way: Way,
    progress: &dyn Progress,
) -> Result<Difference> {
    let found = cluster.discover(TIMEOUT).await.context(|| format!("learn what {} serves", cluster.server()))?;
    let known = Arc::new(Known::read(backup, &way).await?);
    progress.begin("diff", Some(backup.manifest.items()));
    let types = types_of_both(backup, &found, scopes);
    let comparing = types.into_iter().map(|it| with_living(backup, cluster, it, &way, &known, progress));
    let mut comparing = futures::stream::iter(comparing).buffer_unordered(TYPES_AT_ONCE);
    let mut difference = Difference::default();
    while let Some(found) = comparing.try_next().await? {
        difference.add(found);
    }
    progress.end("diff", "");
    difference.sort();
    Ok(difference)
}

/// A type that the backup has, or the cluster, or both.
struct Type {
    resource: String,
    version: String,
    /// Where the backup has objects of it.
    folders: Vec<SavedFolder>,
    /// What the cluster serves of it.
    served: Option<Served>,
    /// Which of the cluster's objects would be in a backup that is taken now.
    scopes: Vec<KubernetesScope>,
}

fn types_of_both(backup: &OpenBackup, found: &Discovered, scopes: &Scopes) -> Vec<Type> {
    let scope_of = |folder: &SavedFolder| scopes.get(&folder.source).cloned().unwrap_or_default();
    let mut all = Vec::new();
    let mut known = HashSet::new();
    for ((resource, version), folders) in types_with_folders(backup) {
        let served = served_as(found, &resource, &version);
        known.insert(resource.clone());
        known.extend(served.as_ref().map(|served| served.kind.name()));
        let scopes = folders.iter().map(scope_of).collect();
        all.push(Type { resource, version, folders, served, scopes });
    }
    for kind in found.types.iter().filter(|kind| !known.contains(&kind.name())).cloned() {
        let scopes = scopes.values().filter(|scope| may_be_extra(&kind, scope)).cloned().collect();
        let (resource, version, folders) = (kind.name(), kind.version.clone(), Vec::new());
        all.push(Type { resource, version, folders, served: Some(Served { kind, moved: None }), scopes });
    }
    all
}

/// How a cluster serves a type of the backup, as a restore finds it: in the version of the backup, so that both sides have the same
/// form; where that is gone, as what it became, or in another version.
fn served_as(found: &Discovered, resource: &str, version: &str) -> Option<Served> {
    let kind = |resource: &str, version: Option<&str>, moved| {
        let kind = found.types.iter().find(|kind| kind.name() == resource)?.clone();
        let version = version.map_or(kind.version.clone(), String::from);
        Some(Served { kind: ResourceType { version, ..kind }, moved })
    };
    match moved(resource, version) {
        _ if found.serves(resource, version) => kind(resource, Some(version), None),
        Some(moved) if found.serves(moved.to, moved.version) => kind(moved.to, Some(moved.version), Some(moved)),
        _ => kind(resource, None, None),
    }
}

/// Whether objects of a type that the backup does not have would be in one that is taken now.
fn may_be_extra(kind: &ResourceType, scope: &KubernetesScope) -> bool {
    let in_reach = kind.namespaced || scope.cluster_scoped || (kind.kind == "Namespace" && kind.group.is_empty());
    kind.can("list") && in_reach && scope.left_out_because(&kind.plural, &kind.group).is_none()
}

async fn with_living(
    backup: &OpenBackup,
    cluster: &Cluster,
    it: Type,
    way: &Way,
    known: &Arc<Known>,
    progress: &dyn Progress,
) -> Result<Difference> {
    let form = Form::of_cluster(way, known, &it.resource, &it.version, it.served.clone());
    let others = match &it.served {
        None => Others::default(),
        Some(Served { kind, .. }) => match Others::of_cluster(cluster, kind, &it.scopes, &form).await {
            Ok(others) => others,
            Err(why) => {
                let problems = vec![format!("{}: {why}", it.resource)];
                return Ok(Difference { problems, ..Difference::default() });
            }
        },
    };
    Pair { form: Arc::new(form), others: Arc::new(others) }.compare(backup, &it.folders, progress).await
}

/// Compares two backups.
pub async fn with_backup(one: &OpenBackup, other: &OpenBackup, progress: &dyn Progress) -> Result<Difference> {
    let mut difference = Difference::default();
    let (mine, theirs) = (records(one), records(other));
    let all: BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
    for (source, resource) in all.iter().map(|key| (&key.0, &key.1)) {
        let key = (source.clone(), resource.clone());
        let others = match theirs.get(&key) {
            Some(record) => Others::of_backup(other, source, resource, &record.version).await?,
            None => Others::default(),
        };
        let folder = |record: &TypeRecord| SavedFolder {
            source: source.clone(),
            kind: record.kind.clone(),
            version: record.version.clone(),
        };
        let folders: Vec<_> = mine.get(&key).map(folder).into_iter().collect();
        let version = mine.get(&key).or(theirs.get(&key)).map_or("", |record| &record.version);
        let pair = Pair { form: Arc::new(Form::of_backup(resource, version)), others: Arc::new(others) };
        difference.add(pair.compare(one, &folders, progress).await?);
    }
    difference.sort();
    Ok(difference)
}

/// What a backup says of its types, by source and type.
fn records(backup: &OpenBackup) -> BTreeMap<(String, String), TypeRecord> {
    kubernetes_types(backup).into_iter().map(|(source, resource, record)| ((source, resource), record)).collect()
}

fn kubernetes_types(backup: &OpenBackup) -> Vec<(String, String, TypeRecord)> {
    let sources = backup.manifest.sources.iter().filter(|s| s.kind == "kubernetes");
    sources.flat_map(|s| s.types.iter().map(|(n, r)| (s.name.clone(), n.clone(), r.clone()))).collect()
}

/// Each type, in the version that it was saved in, with the places where it stands.
fn types_with_folders(backup: &OpenBackup) -> BTreeMap<(String, String), Vec<SavedFolder>> {
    let mut types: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (source, resource, TypeRecord { kind, version, .. }) in kubernetes_types(backup) {
        let folder = SavedFolder { source, kind, version: version.clone() };
        types.entry((resource, version)).or_default().push(folder);
    }
    types
}
