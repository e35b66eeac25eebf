//! Where objects are met that are there already.
//!
//! After one that was there the next one of its type probably is, too: it is looked at before it is created, which spares the
//! server a write in vain. Where many were there, their type is listed page by page beside the backup, which is in the
//! same order: that costs the server far less than to look at each.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::cluster::list::{Item, ListOptions, Pages};
use crate::cluster::{ApiError, Cluster, Retry};

/// So many objects of a type must have been there before it is listed. A restore that is gone on with meets almost as many that its
/// journal does not know, and the rest of them is not there.
const MANY: u32 = 500;

/// Objects of one page at most.
const PAGE: u32 = 500;

/// Pages of a list that are kept: writes overtake one another by less than one.
const PAGES_KEPT: usize = 2;

/// Lists that are open at a time. Each keeps its pages in memory.
const LISTS_OPEN: usize = 3;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What was met of each type, by the path of its collection over all namespaces.
#[derive(Default)]
pub struct Met {
    types: std::sync::Mutex<HashMap<String, Arc<OfType>>>,
    open: Mutex<VecDeque<Arc<OfType>>>,
}

#[derive(Default)]
struct OfType {
    /// Whether the last object that was looked for was there.
    is_found: AtomicBool,
    /// How many were there.
    found: AtomicU32,
    list: Mutex<List>,
}

#[derive(Default)]
enum List {
    #[default]
    Unread,
    Open(Reading),
    /// It could not be read, or others came after it.
    Closed,
}

struct Reading {
    pages: Pages,
    /// By namespace and name.
    kept: VecDeque<HashMap<String, Item>>,
    /// The last that was listed.
    last: String,
    ended: bool,
}

impl Met {
    /// Whether the next object of a collection is probably there.
    pub fn expects(&self, collection: &str) -> bool {
        self.of(&split(collection).0).is_found.load(Ordering::Acquire)
    }

    /// An object was there.
    pub fn found(&self, collection: &str) {
        let of = self.of(&split(collection).0);
        of.is_found.store(true, Ordering::Release);
        of.found.fetch_add(1, Ordering::AcqRel);
    }

    /// An object was not there.
    pub fn missed(&self, collection: &str) {
        self.of(&split(collection).0).is_found.store(false, Ordering::Release);
    }

    /// The object of that name as a list shows it, once. None says nothing: whoever asks must look by himself.
    pub async fn listed(&self, cluster: &Cluster, collection: &str, name: &str) -> Option<Item> {
        let (all, namespace) = split(collection);
        let of = self.of(&all);
        if of.found.load(Ordering::Acquire) < MANY {
            return None;
        }
        let mut list = of.list.lock().await;
        if matches!(*list, List::Unread) {
            *list = List::Open(Reading::begin(cluster, &all));
            self.close_others(&of).await;
        }
        let List::Open(reading) = &mut *list else { return None };
        match reading.find(&key(namespace, name)).await {
            Ok(found) => found,
            Err(e) => {
                tracing::debug!(error = %e.message(), collection, "objects are looked at one by one");
                *list = List::Closed;
                None
            }
        }
    }

    /// No list waits here for one that was opened after it, so none waits for itself.
    async fn close_others(&self, newest: &Arc<OfType>) {
        let mut open = self.open.lock().await;
        open.push_back(newest.clone());
        if open.len() > LISTS_OPEN
            && let Some(oldest) = open.pop_front()
        {
            *oldest.list.lock().await = List::Closed;
        }
    }

    fn of(&self, all: &str) -> Arc<OfType> {
        let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        match types.get(all) {
            Some(of) => of.clone(),
            None => types.entry(all.into()).or_default().clone(),
        }
    }
}

/// The collection over all namespaces, and the namespace; empty where there is none.
fn split(collection: &str) -> (Cow<'_, str>, &str) {
    let parts = collection.split_once("/namespaces/").and_then(|(base, rest)| Some((base, rest.split_once('/')?)));
    match parts {
        Some((base, (namespace, plural))) => (format!("{base}/{plural}").into(), namespace),
        None => (collection.into(), ""),
    }
}

/// In the order of these the server lists objects.
fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Reading {
    fn begin(cluster: &Cluster, collection: &str) -> Reading {
        let options = ListOptions { page_size: PAGE, label_selector: None, timeout: TIMEOUT, retry: Retry::default() };
        let pages = cluster.pages_of(collection, options);
        Reading { pages, kept: VecDeque::new(), last: String::new(), ended: false }
    }

    async fn find(&mut self, key: &str) -> Result<Option<Item>, ApiError> {
        while !self.ended && self.last.as_str() < key {
            self.read_on().await?;
        }
        Ok(self.kept.iter_mut().find_map(|page| page.remove(key)))
    }

    async fn read_on(&mut self) -> Result<(), ApiError> {
        let Some(page) = self.pages.next().await else {
            self.ended = true;
            return Ok(());
        };
        let items = page?.items;
        if let Some(last) = items.last() {
            self.last = key(&last.namespace, &last.name);
        }
        if self.kept.len() == PAGES_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(items.into_iter().map(|item| (key(&item.namespace, &item.name), item)).collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_expected_to_be_as_it_was_last_met() {
        let met = Met::default();
        let secrets = "/api/v1/namespaces/shop/secrets";
        assert!(!met.expects(secrets), "an empty cluster is not asked for anything");
        met.found(secrets);
        assert!(met.expects(secrets) && met.expects("/api/v1/namespaces/billing/secrets"));
        assert!(!met.expects("/api/v1/namespaces/shop/services") && !met.expects("/api/v1/namespaces"));
        met.missed("/api/v1/namespaces/billing/secrets");
        assert!(!met.expects(secrets));
    }

    #[test]
    fn a_collection_is_part_of_that_over_all_namespaces() {
        let of_group = "/apis/apps/v1/namespaces/shop/deployments";
        assert_eq!(split(of_group), ("/apis/apps/v1/deployments".into(), "shop"));
        assert_eq!(split("/api/v1/namespaces"), ("/api/v1/namespaces".into(), ""));
        assert_eq!(split("/api/v1/nodes"), ("/api/v1/nodes".into(), ""));
    }
}
