//! Looks at the objects that a gate selects.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use super::claims::{PendingClaim, without_consumer};
use super::readiness::{Verdict, judge, judge_condition};
use super::{Look, Unready, Waiting};
use crate::cluster::discovery::{Discovered, ResourceType};
use crate::cluster::list::ListOptions;
use crate::cluster::{ApiError, Cause, Cluster, Retry};
use crate::config::{AwaitedObjects, Filter};
use crate::restore::rules::text;
use crate::restore::scale::selector_of;

/// How long one request may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Objects of a gate, watched.
pub struct ObjectWatch<'a> {
    cluster: &'a Cluster,
    wanted: &'a AwaitedObjects,
    /// The types that are meant, as soon as they are known to be served: what else the cluster serves, or cannot say, is not
    /// asked for again.
    types: Vec<ResourceType>,
}

/// What one look saw.
#[derive(Default)]
struct Seen {
    /// How many objects are selected.
    all: usize,
    not_yet: Vec<Unready>,
    failed: Vec<Unready>,
    /// Claims that have no volume yet, with their position in `not_yet`.
    pending: Vec<(PendingClaim, usize)>,
    /// How many claims wait for a pod, which is fine.
    without_consumer: usize,
    /// Whether a type is not served any more, and must be looked for anew.
    is_gone: bool,
    /// Definitions that are established, with the versions that they should be served in.
    definitions: Vec<(String, Vec<String>)>,
}

impl<'a> ObjectWatch<'a> {
    /// Nothing is asked yet.
    pub fn new(cluster: &'a Cluster, wanted: &'a AwaitedObjects) -> Self {
        ObjectWatch { cluster, wanted, types: Vec::new() }
    }

    /// Looks once.
    pub async fn look(&mut self) -> Look {
        match self.see().await {
            Ok(look) => look,
            Err(ApiError { cause: Cause::Transport(why), .. }) => Look::Silent(why),
            Err(e) => Look::NotYet(Waiting::because(self.head(), e.message())),
        }
    }

    async fn see(&mut self) -> Result<Look, ApiError> {
        if self.types.is_empty() || !self.wanted.kind.is_exact() {
            self.types = self.types_of(self.cluster.discover(TIMEOUT).await?);
        }
        if self.types.is_empty() {
            return Ok(Look::NotYet(Waiting::that(format!("the cluster does not serve {}", self.wanted.kind))));
        }
        let mut seen = Seen::default();
        for (kind, found) in self.types.iter().zip(join_all(self.types.iter().map(|kind| self.see_type(kind))).await) {
            match found {
                Ok(found) => seen.merge(found),
                Err(e) if matches!(e.cause, Cause::Transport(_)) => return Err(e),
                // One type of several that does not answer hides nothing of the others.
                Err(e) => seen.add_unlisted(kind, &e),
            }
        }
        if seen.is_gone {
            self.types.clear();
        }
        self.pass_claims_without_consumer(&mut seen).await;
        if seen.not_yet.is_empty() && !seen.definitions.is_empty() {
            seen.add_unserved(&self.cluster.discover(TIMEOUT).await?);
        }
        Ok(self.judge(seen))
    }

    /// Looks at the objects of one type page by page: there may be more of them than fit in memory.
    async fn see_type(&self, kind: &ResourceType) -> Result<Seen, ApiError> {
        let AwaitedObjects { condition, namespaces, labels, .. } = self.wanted;
        let only = only_namespace(namespaces).filter(|_| kind.namespaced);
        let mut pages = self.cluster.pages(kind, only, options(labels.as_ref().map(|labels| labels.to_query())));
        let mut seen = Seen::default();
        while let Some(page) = pages.next().await {
            let objects = page?.items.into_iter().filter(|item| !kind.namespaced || namespaces.allows(&item.namespace));
            for object in objects.filter_map(|item| serde_json::from_slice::<Value>(&item.json).ok()) {
                seen.add(kind, &object, condition.as_deref());
            }
        }
        Ok(seen)
    }

    fn types_of(&self, found: Discovered) -> Vec<ResourceType> {
        let is_meant = |t: &ResourceType| self.wanted.kind.matches(&t.kind, &t.group) && t.can("list");
        found.types.into_iter().filter(is_meant).collect()
    }

    async fn pass_claims_without_consumer(&self, seen: &mut Seen) {
        if seen.pending.is_empty() || self.wanted.condition.is_some() {
            return;
        }
        let claims: Vec<PendingClaim> = seen.pending.iter().map(|(claim, _)| claim.clone()).collect();
        let fine = match without_consumer(self.cluster, &claims).await {
            Ok(fine) => fine,
            Err(e) => {
                for (_, at) in &seen.pending {
                    let why = &mut seen.not_yet[*at].why;
                    why.push_str(&format!(", and whether it waits for a pod is not known: {}", e.message()));
                }
                return;
            }
        };
        let passed: HashSet<usize> =
            seen.pending.iter().filter(|(claim, _)| fine.contains(claim)).map(|(_, at)| *at).collect();
        let mut at = 0..;
        seen.not_yet.retain(|_| !at.next().is_some_and(|at| passed.contains(&at)));
        seen.without_consumer = passed.len();
    }

    /// A gate for all objects of a kind opens when there are none. One that selects some waits for them to come: where
    /// they failed to be restored, or a label is misspelt, it must not open.
    fn judge(&self, seen: Seen) -> Look {
        let selects = self.wanted.labels.is_some() || !self.wanted.namespaces.is_everything();
        let Seen { all, not_yet, mut failed, without_consumer, .. } = seen;
        if !failed.is_empty() {
            let said = failed.len();
            failed.extend(not_yet);
            return Look::Never(Waiting { said, ..Waiting::of("failed".into(), all, failed) });
        }
        if !not_yet.is_empty() {
            return Look::NotYet(Waiting::of(self.head(), all, not_yet));
        }
        if all == 0 && selects {
            return Look::NotYet(Waiting::that(format!("no {} is selected by the gate", self.wanted.kind)));
        }
        let ready = self.wanted.condition.as_deref().unwrap_or("ready");
        Look::Open(match without_consumer {
            0 => format!("{all} {ready}"),
            1 => format!("{all} {ready}, of which 1 waits for its first consumer"),
            some => format!("{all} {ready}, of which {some} wait for their first consumer"),
        })
    }

    fn head(&self) -> String {
        format!("not {}", self.wanted.condition.as_deref().unwrap_or("ready"))
    }
}

impl Seen {
    fn add(&mut self, kind: &ResourceType, object: &Value, condition: Option<&str>) {
        self.all += 1;
        let verdict = match condition {
            Some(condition) => judge_condition(&kind.kind, &kind.group, object, condition),
            None => judge(&kind.kind, &kind.group, object),
        };
        match verdict {
            Verdict::Ready if kind.kind == "CustomResourceDefinition" => {
                if condition.is_none_or(|condition| condition.eq_ignore_ascii_case("Established")) {
                    self.definitions.push(definition(object));
                }
            }
            Verdict::Ready => {}
            Verdict::Failed(why) => self.failed.push(unready(kind, object, why)),
            Verdict::NotYet(why) => {
                if (kind.kind.as_str(), kind.group.as_str()) == ("PersistentVolumeClaim", "") {
                    self.pending.extend(PendingClaim::of(object).map(|claim| (claim, self.not_yet.len())));
                }
                self.not_yet.push(unready(kind, object, why));
            }
        }
    }

    fn merge(&mut self, other: Seen) {
        let begin = self.not_yet.len();
        self.all += other.all;
        self.pending.extend(other.pending.into_iter().map(|(claim, at)| (claim, begin + at)));
        self.not_yet.extend(other.not_yet);
        self.failed.extend(other.failed);
        self.definitions.extend(other.definitions);
    }

    fn add_unlisted(&mut self, kind: &ResourceType, error: &ApiError) {
        self.all += 1;
        self.is_gone |= error.code() == Some(404);
        let why = error.message();
        self.not_yet.push(Unready { kind: kind.kind.clone(), name: "(all)".into(), why, ..Unready::default() });
    }

    /// An established definition is not yet a served one: the API server opens its paths a moment later.
    fn add_unserved(&mut self, found: &Discovered) {
        for (name, versions) in &self.definitions {
            if let Some(version) = versions.iter().find(|version| !found.serves(name, version)) {
                let why = format!("version {version} is not served yet");
                let kind = "CustomResourceDefinition".into();
                self.not_yet.push(Unready { kind, name: name.clone(), why, ..Unready::default() });
            }
        }
    }
}

fn definition(object: &Value) -> (String, Vec<String>) {
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let served = versions.filter(|version| version["served"] == true).map(|version| text(version, "name").to_string());
    (text(&object["metadata"], "name").into(), served.collect())
}

fn unready(kind: &ResourceType, object: &Value, why: String) -> Unready {
    let metadata = &object["metadata"];
    Unready {
        kind: kind.kind.clone(),
        namespace: text(metadata, "namespace").into(),
        name: text(metadata, "name").into(),
        pods: selector_of(object).ok().filter(|_| matches!(kind.group.as_str(), "apps" | "batch")),
        why,
    }
}

/// The namespace outside of which nothing need be listed: where a gate names one, and names it whole.
pub fn only_namespace(namespaces: &Filter) -> Option<&str> {
    let include = &namespaces.include;
    include.exact().next().filter(|_| include.texts().len() == 1)
}

/// A type of Kubernetes itself, which need not be discovered.
pub fn built_in(group: &str, kind: &str, plural: &str) -> ResourceType {
    ResourceType {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        namespaced: true,
        verbs: Vec::new(),
        subresources: Vec::new(),
    }
}

/// Whoever asks will ask again, so that a request need not be repeated for long.
fn options(label_selector: Option<String>) -> ListOptions {
    ListOptions { page_size: 500, label_selector, timeout: TIMEOUT, retry: Retry::brief() }
}

/// Objects of a type, in all namespaces or in one.
pub async fn list(
    cluster: &Cluster,
    kind: &ResourceType,
    namespace: Option<&str>,
    label_selector: Option<String>,
) -> Result<Vec<Value>, ApiError> {
    let mut pages = cluster.pages(kind, namespace, options(label_selector));
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        found.extend(page?.items.into_iter().filter_map(|item| serde_json::from_slice(&item.json).ok()));
    }
    Ok(found)
}
