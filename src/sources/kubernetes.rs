//! Source `kubernetes`: the objects of a cluster, as the API server sends them.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Opened, Source, TIME_IS_UP, Unit};
use crate::cluster::discovery::{Discovered, ResourceType};
use crate::cluster::list::{Item, ListOptions, Page};
use crate::cluster::{ApiError, Cluster, Retry};
use crate::config::{KubernetesScope, OPT_OUT_LABEL, Patterns};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission, TypeRecord};
use crate::member::{Batch, Member, Traits};
use crate::object_path::object_path;
use crate::progress::Progress;

/// How often one list is begun anew when its continue token expires.
const RESTARTS: u64 = 5;

/// How long the server may take to show that it is still there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// The objects of a cluster, within a scope.
#[derive(Clone)]
pub struct Kubernetes {
    cluster: Cluster,
    scope: KubernetesScope,
    name: String,
    /// Why the server itself is given up, once it is: without this, every type left would use up its own tries.
    lost: OnceLock<String>,
}

/// What came of one type.
#[derive(Default)]
struct Listed {
    record: Option<TypeRecord>,
    bytes: u64,
    left_out: BTreeMap<&'static str, u64>,
    problem: Option<String>,
}

impl Kubernetes {
    /// A source called `name` in its schedule.
    pub fn new(name: &str, cluster: Cluster, scope: KubernetesScope) -> Self {
        Kubernetes { cluster, scope, name: name.into(), lost: OnceLock::new() }
    }

    /// Why a type is not listed; none when it is.
    fn left_out_because(&self, kind: &ResourceType) -> Option<&'static str> {
        let is_namespace = kind.plural == "namespaces" && kind.group.is_empty();
        if !kind.namespaced && !self.scope.cluster_scoped && !is_namespace {
            return Some("types outside namespaces are off (clusterScoped: false)");
        }
        self.scope.left_out_because(&kind.plural, &kind.group)
    }

    async fn list_type(
        &self,
        kind: &ResourceType,
        out: &mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Listed {
        let mut listed = Listed::default();
        if let Some(why) = self.lost.get() {
            listed.problem = Some(format!("not asked for: {why}"));
            return listed;
        }
        let mut record = TypeRecord {
            version: kind.version.clone(),
            kind: kind.kind.clone(),
            namespaced: kind.namespaced,
            count: 0,
            resource_version: String::new(),
            pages: 0,
            restarts: 0,
        };
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => Err(TIME_IS_UP.into()),
            result = self.list_pages(kind, &mut record, &mut listed, out, progress) => result,
        };
        listed.problem = result.err();
        if listed.problem.is_none() || record.count > 0 {
            listed.record = Some(record);
        }
        listed
    }

    /// Reads page after page. While one is handed on, the next is already on its way.
    async fn list_pages(
        &self,
        kind: &ResourceType,
        record: &mut TypeRecord,
        listed: &mut Listed,
        out: &mpsc::Sender<Batch>,
        progress: &dyn Progress,
    ) -> Result<(), String> {
        let mut seen = HashSet::new();
        let mut pages = self.cluster.pages(kind, None, self.list_options());
        let mut current = pages.next().await;
        while let Some(page) = current {
            let page = match page {
                Ok(page) => page,
                Err(e) if e.code() == Some(410) && record.restarts < RESTARTS => {
                    record.restarts += 1;
                    pages = self.cluster.pages(kind, None, self.list_options());
                    current = pages.next().await;
                    continue;
                }
                Err(e) => return Err(self.give_up(kind, &e).await),
            };
            record.pages += 1;
            if record.resource_version.is_empty() {
                record.resource_version = page.resource_version.clone();
            }
            let batch = self.select(kind, page, &mut seen, listed);
            let (items, bytes) = (batch.members.len() as u64, batch.members.iter().map(Member::size).sum());
            progress.advance(&self.name, items, bytes);
            let hand_on = async {
                if items > 0 {
                    out.send(batch).await.map_err(|_| "the archive is gone".to_string())?;
                }
                // Not before: a list that is stopped counts what the archive has.
                record.count += items;
                listed.bytes += bytes;
                Ok::<_, String>(())
            };
            let (next, handed) = tokio::join!(pages.next(), hand_on);
            handed?;
            current = next;
        }
        Ok(())
    }

    /// Why the type could not be read. Where that may be the whole server's fault, the server is asked.
    async fn give_up(&self, kind: &ResourceType, error: &ApiError) -> String {
        let is_servers = |e: &ApiError| matches!(e.code(), None | Some(401));
        let timeout = self.scope.request_timeout.min(SIGN_OF_LIFE);
        if is_servers(error)
            && let Err(e) = Retry::brief().run(|| self.cluster.get("/version", None, timeout)).await
            && is_servers(&e)
        {
            self.lost.get_or_init(|| format!("{} was lost: {}", self.cluster.server(), explain(kind, &e)));
        }
        explain(kind, error)
    }

    fn list_options(&self) -> ListOptions {
        ListOptions {
            page_size: self.scope.page_size,
            label_selector: self.scope.label_selector.as_ref().map(|s| s.to_query()),
            timeout: self.scope.request_timeout,
            retry: Retry::default(),
        }
    }

    /// The members of a page that are in scope and were not seen before the list was begun anew.
    fn select(&self, kind: &ResourceType, page: Page, seen: &mut HashSet<u64>, listed: &mut Listed) -> Batch {
        let mut members = Vec::with_capacity(page.items.len());
        for item in page.items {
            if !seen.insert(key_of(&item)) {
                continue;
            }
            match self.item_left_out_because(kind, &item) {
                Some(why) => *listed.left_out.entry(why).or_default() += 1,
                None => members.push(into_member(kind, item)),
            }
        }
        Batch { members }
    }

    /// What the schedule names and the server does not know: most often a slip of the pen, which would make a backup that
    /// lacks what was asked for, and looks whole.
    async fn unknown_names(&self, found: &Discovered) -> Vec<Omission> {
        let all = found.types.iter().chain(found.doubles.iter().map(|(kind, _)| kind));
        let served: HashSet<_> = all.filter(|kind| kind.can("list")).map(ResourceType::name).collect();
        let unread = |name: &str| {
            let group = name.split_once('.').map_or("", |(_, group)| group);
            found.problems.iter().any(|(what, _)| what.rsplit_once('/').map_or("", |(group, _)| group) == group)
        };
        let types = self.scope.resources.include.exact().filter(|name| !served.contains(*name) && !unread(name));
        let omission = |what: String, why: &str| Omission { what, why: why.into(), count: None };
        let mut unknown: Vec<_> = types
            .map(|name| {
                omission(
                    name.into(),
                    "the server has no such type that can be listed; see resources.include of the schedule",
                )
            })
            .collect();
        for name in self.scope.namespaces.include.exact() {
            match self.is_no_namespace(name).await {
                Ok(true) => {
                    let why = "there is none; see namespaces.include of the schedule";
                    unknown.push(omission(format!("namespace {name}"), why));
                }
                Ok(false) => {}
                // The lists will say what is wrong with the server; here nothing can be told, and nothing is claimed.
                Err(_) => break,
            }
        }
        unknown
    }

    /// Asked as a list, which is what the account may do.
    async fn is_no_namespace(&self, name: &str) -> Result<bool, ApiError> {
        #[derive(serde::Deserialize)]
        struct Namespaces {
            items: Vec<serde::de::IgnoredAny>,
        }
        let selector: String =
            url::form_urlencoded::byte_serialize(format!("metadata.name={name}").as_bytes()).collect();
        let path = format!("/api/v1/namespaces?limit=1&fieldSelector={selector}");
        let body = Retry::brief().run(|| self.cluster.get(&path, None, self.scope.request_timeout)).await?;
        Ok(serde_json::from_slice::<Namespaces>(&body).is_ok_and(|list| list.items.is_empty()))
    }

    /// The types that are listed; what is left out, or not known, is noted.
    fn choose(&self, found: Discovered, inventory: &mut Inventory) -> Vec<ResourceType> {
        for (what, why) in found.problems {
            let group = what.rsplit_once('/').map_or("", |(group, _)| group);
            match self.group_left_out_because(group) {
                Some(why) => inventory.skipped.push(Omission { what, why: why.into(), count: None }),
                None => inventory.problems.push(Omission { what, why, count: None }),
            }
        }
        let mut wanted: Vec<ResourceType> = Vec::new();
        let firsts = found.types.into_iter().map(|kind| (kind, None));
        let seconds = found.doubles.into_iter().map(|(kind, first)| (kind, Some(first)));
        for (kind, first) in firsts.chain(seconds).filter(|(kind, _)| kind.can("list")) {
            let double = first.filter(|first| wanted.iter().any(|kind| kind.name() == *first));
            let double = double.map(|first| format!("the same objects as `{first}`, which is saved"));
            match double.or_else(|| self.left_out_because(&kind).map(String::from)) {
                Some(why) => inventory.skipped.push(Omission { what: kind.name(), why, count: None }),
                None => wanted.push(kind),
            }
        }
        wanted
    }

    /// Why no type of the group can be in scope. Asked where its types are not known: an API that is left out anyway,
    /// such as that of metrics, may be away without harm.
    fn group_left_out_because(&self, group: &str) -> Option<&'static str> {
        let tail = format!(".{group}");
        // What stands behind the last wildcard of a pattern must be the end of a name.
        let could_be_in = |pattern: &String| {
            let end = pattern.rsplit(['*', '?', ']', '}']).next().unwrap_or_default();
            end.ends_with(&tail) || end.len() < pattern.len() && tail.ends_with(end)
        };
        let mut scope = self.scope.clone();
        if group.is_empty() || scope.resources.include.texts().iter().any(could_be_in) {
            scope.resources.include = Patterns::default();
        }
        scope.left_out_because("*", group)
    }

    fn item_left_out_because(&self, kind: &ResourceType, item: &Item) -> Option<&'static str> {
        let namespace = match kind.namespaced {
            true => Some(&item.namespace),
            false if kind.plural == "namespaces" && kind.group.is_empty() => Some(&item.name),
            false => None,
        };
        if namespace.is_some_and(|ns| !self.scope.namespace(ns)) {
            return Some("in a namespace that the schedule leaves out");
        }
        if item.labels.get(OPT_OUT_LABEL).is_some_and(|v| v == "true") {
            return Some("labelled ckbackup.io/exclude: \"true\"");
        }
        let reason = self.scope.controller_made_left_out_because(&kind.plural, &kind.group)?;
        item.made_by_controller.then_some(reason)
    }
}

#[async_trait]
impl Source for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn noun(&self) -> &'static str {
        "objects"
    }

    async fn open(&self) -> Result<Opened> {
        Ok(Opened { units: vec![Box::new(self.clone())], ..Opened::default() })
    }
}

#[async_trait]
impl Unit for Kubernetes {
    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        // The server may have come back since it was read the last time.
        let source = Kubernetes { lost: OnceLock::new(), ..self.clone() };
        source.read_all(&out, progress, stop).await
    }
}

impl Kubernetes {
    async fn read_all(
        &self,
        out: &mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let found = self.cluster.discover(self.scope.request_timeout).await.map_err(|e| {
            Error::failed(format!("learn which types {} serves", self.cluster.server()))
                .because(e)
                .hint("check that the API server is up and that the account may read discovery")
        })?;
        let mut inventory = Inventory { problems: self.unknown_names(&found).await, ..Inventory::default() };
        let wanted = self.choose(found, &mut inventory);
        let lists = wanted.into_iter().map(|kind| async move {
            let listed = self.list_type(&kind, out, progress, stop).await;
            (kind, listed)
        });
        let mut lists = futures::stream::iter(lists).buffer_unordered(self.scope.parallelism as usize);
        while let Some((kind, listed)) = lists.next().await {
            add(&mut inventory, &kind, listed);
        }
        inventory.skipped.sort_by(|a, b| a.what.cmp(&b.what));
        inventory.problems.sort_by(|a, b| a.what.cmp(&b.what));
        inventory.lost = self.lost.get().cloned();
        Ok(inventory)
    }
}

fn add(inventory: &mut Inventory, kind: &ResourceType, listed: Listed) {
    let what = kind.name();
    for (why, count) in listed.left_out {
        inventory.skipped.push(Omission { what: what.clone(), why: why.into(), count: Some(count) });
    }
    if let Some(why) = listed.problem {
        inventory.problems.push(Omission { what: what.clone(), why, count: None });
    }
    inventory.bytes += listed.bytes;
    if let Some(record) = listed.record {
        inventory.items += record.count;
        inventory.types.insert(what, record);
    }
}

/// Why a list could not be read, with what the account lacks where it is forbidden.
fn explain(kind: &ResourceType, error: &ApiError) -> String {
    match error.code() {
        Some(403) => {
            let group = if kind.group.is_empty() { "the core group".into() } else { format!("group {}", kind.group) };
            format!("forbidden: the account lacks the verb `list` on `{}` of {group}", kind.plural)
        }
        Some(401) => "the log-in is no longer accepted, and reading the token again did not help".into(),
        Some(404) => "the type is no longer served".into(),
        _ => error.message(),
    }
}

fn key_of(item: &Item) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&item.namespace, &item.name).hash(&mut hasher);
    hasher.finish()
}

fn into_member(kind: &ResourceType, item: Item) -> Member {
    let path = object_path(&kind.name(), &kind.version, &item.namespace, &item.name);
    let content = if item.typed {
        vec![item.json]
    } else {
        // A list says the type once for all its items; an object by itself needs its own.
        let head = format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", kind.api_version(), kind.kind);
        vec![Bytes::from(head), item.json.slice(1..)]
    };
    let traits = Traits { labels: item.labels, uid: item.uid, owners: item.owners, ..Traits::default() };
    Member::whole(path, content, traits)
}
