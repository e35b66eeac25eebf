//! Lists, page by page, as the bytes that the server sent.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::discovery::ResourceType;
use super::{ApiError, Call, Cause, Cluster, Retry};

/// How a type is listed.
#[derive(Debug, Clone)]
pub struct ListOptions {
    /// Objects of one page at most.
    pub page_size: u32,
    /// Label selector, in the API's syntax.
    pub label_selector: Option<String>,
    /// Time-out of each request.
    pub timeout: Duration,
    /// How failing requests are repeated.
    pub retry: Retry,
}

/// One object of a page.
#[derive(Debug, Clone)]
pub struct Item {
    /// The object's JSON, as the server sent it; lists leave out `apiVersion` and `kind` of built-in types.
    pub json: Bytes,
    /// Whether `json` begins with its own `apiVersion` and `kind`.
    pub typed: bool,
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// UIDs of its owners.
    pub owners: Vec<String>,
    /// Whether it has an annotation of that kind that controllers leave on what they make.
    pub made_by_controller: bool,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// Its objects.
    pub items: Vec<Item>,
    /// At which the list was read; the same for all pages of one list.
    pub resource_version: String,
    /// Bytes of the response.
    pub bytes: u64,
    /// Continues the list; none on its last page.
    pub next: Option<String>,
}

/// The response size that pages are made for: large objects come in smaller pages, so that memory is bounded.
const PAGE_TARGET: u64 = 3 << 20;

/// The response size at which a page is given up and asked for again with fewer objects: sizes within a list vary, and
/// the page before says nothing certain about the next. A single object is always taken.
const PAGE_LIMIT: usize = 2 * PAGE_TARGET as usize;

/// Objects of the first page: not yet knowing how large they are, it asks for few.
const FIRST_PAGE: u32 = 100;

/// A list under way. Ask for [`Pages::next`] until it gives none.
pub struct Pages {
    list: Arc<List>,
    state: Where,
    limit: u32,
}

/// What is listed, and how.
struct List {
    cluster: Cluster,
    path: String,
    options: ListOptions,
    accept: Option<&'static str>,
}

enum Where {
    Begin,
    At(String),
    /// The page after the last one is on its way already.
    Ahead(Fetch),
    End,
}

/// A page on its way.
struct Fetch {
    token: Option<String>,
    /// The token of the page after it, as soon as that is seen; closed when it is not seen before the end.
    next: oneshot::Receiver<String>,
    page: AbortOnDropHandle<Result<Page, ApiError>>,
}

impl Cluster {
    /// Lists a type over all namespaces, or in one.
    pub fn pages(&self, kind: &ResourceType, namespace: Option<&str>, options: ListOptions) -> Pages {
        Pages::begin(List { cluster: self.clone(), path: kind.path_in(namespace), options, accept: None })
    }

    /// Lists a collection by its path.
    pub fn pages_of(&self, collection: &str, options: ListOptions) -> Pages {
        Pages::begin(List { cluster: self.clone(), path: collection.into(), options, accept: None })
    }

    /// Lists what objects say of themselves, without what they are: names, uids, labels, owners.
    pub fn pages_of_metadata(&self, collection: &str, options: ListOptions) -> Pages {
        Pages::begin(List { cluster: self.clone(), path: collection.into(), options, accept: Some(METADATA) })
    }
}

/// In which form metadata alone is sent; a server that does not know it sends whole objects, which say the same and more.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl Pages {
    fn begin(list: List) -> Pages {
        let limit = list.options.page_size.min(FIRST_PAGE);
        Pages { list: Arc::new(list), state: Where::Begin, limit }
    }

    /// The next page. A continue token that expired gives an error with reason `Expired`: begin the list anew.
    ///
    /// A page of a built-in type begins with the token of the one after it, which is asked for then, while this one is
    /// still being sent.
    pub async fn next(&mut self) -> Option<Result<Page, ApiError>> {
        let mut fetch = match std::mem::replace(&mut self.state, Where::End) {
            Where::Begin => self.list.fetch(None, self.limit),
            Where::At(token) => self.list.fetch(Some(token), self.limit),
            Where::Ahead(fetch) => fetch,
            Where::End => return None,
        };
        loop {
            let ahead = (&mut fetch.next).await.ok().map(|token| self.list.fetch(Some(token), self.limit));
            let page = fetch.page.await.unwrap_or_else(|e| Err(self.list.unreadable(e)));
            match page {
                Err(e) if self.limit > 1 && matches!(e.cause, Cause::TooLong(_)) => {
                    self.limit = (self.limit / 4).max(1);
                    fetch = self.list.fetch(fetch.token, self.limit);
                }
                Ok(page) => {
                    self.limit = next_limit(self.list.options.page_size, page.bytes, page.items.len() as u64);
                    self.state = match (page.next.clone(), ahead) {
                        (Some(next), Some(ahead)) if ahead.token.as_ref() == Some(&next) => Where::Ahead(ahead),
                        (next, _) => next.map_or(Where::End, Where::At),
                    };
                    return Some(Ok(page));
                }
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

impl List {
    /// Asks for a page, and parses it on another thread, so that several lists share the cores.
    fn fetch(self: &Arc<Self>, token: Option<String>, limit: u32) -> Fetch {
        let (path, most) = (self.page_path(token.as_deref(), limit), if limit > 1 { PAGE_LIMIT } else { usize::MAX });
        let (sender, next) = oneshot::channel();
        // A page that is asked for again shows its token again, which changes nothing.
        let sender = Mutex::new(Some(sender));
        let list = self.clone();
        let page = tokio::spawn(async move {
            let see = |begin: &[u8]| {
                if let (Some(token), Ok(mut sender)) = (early_token(begin), sender.lock())
                    && let Some(sender) = sender.take()
                {
                    // Nobody waits for it when the list was given up.
                    let _ = sender.send(token);
                }
            };
            let timeout = list.options.timeout;
            let get = || {
                let call = Call { most, glimpse: Some(&see), accept: list.accept, ..Call::get(&path, timeout) };
                list.cluster.send(call)
            };
            let body = list.options.retry.run(get).await?;
            let page = tokio::task::spawn_blocking(move || parse_page(body)).await;
            page.map_err(|e| list.unreadable(e))?.map_err(|e| list.unreadable(e))
        });
        Fetch { token, next, page: AbortOnDropHandle::new(page) }
    }

    fn page_path(&self, token: Option<&str>, limit: u32) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        if let Some(token) = token {
            query.append_pair("continue", token);
        }
        if let Some(selector) = &self.options.label_selector {
            query.append_pair("labelSelector", selector);
        }
        format!("{}?{}", self.path, query.finish())
    }

    fn unreadable(&self, why: impl fmt::Display) -> ApiError {
        let cause = Cause::Transport(format!("the list cannot be read: {why}"));
        ApiError { method: http::Method::GET, path: self.path.clone(), cause }
    }
}

/// The continue token of a page of which only the begin is there; none where it comes after the items, or not at all.
fn early_token(begin: &[u8]) -> Option<String> {
    const ITEMS: &[u8] = b",\"items\":";
    let before_items = begin.windows(ITEMS.len()).position(|window| window == ITEMS)?;
    let closed = [&begin[..before_items], b"}"].concat();
    let page: RawPage<'_> = serde_json::from_slice(&closed).ok()?;
    Some(page.metadata.next).filter(|token| !token.is_empty())
}

fn next_limit(page_size: u32, bytes: u64, items: u64) -> u32 {
    if items == 0 {
        return page_size;
    }
    let each = (bytes / items).max(1);
    // Not fewer than five, or a list of large objects would need a request for each.
    (PAGE_TARGET / each).max(5).min(u64::from(page_size)) as u32
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(default)]
    metadata: RawListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawItem<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: RawMeta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(borrow, default)]
    annotations: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow, default)]
    owner_references: Option<Vec<RawOwner<'a>>>,
}

#[derive(Deserialize)]
struct RawOwner<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
}

/// Marks that controllers leave on Endpoints and EndpointSlices that they make.
const CONTROLLER_ANNOTATIONS: [&str; 1] = ["endpoints.kubernetes.io/last-change-trigger-time"];
const CONTROLLER_LABELS: [(&str, &str); 3] = [
    ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
    ("endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io"),
    ("endpoints.kubernetes.io/managed-by", "endpoint-controller"),
];

fn parse_page(body: Bytes) -> serde_json::Result<Page> {
    let raw: RawPage<'_> = serde_json::from_slice(&body)?;
    let mut items = Vec::with_capacity(raw.items.as_ref().map_or(0, Vec::len));
    for json in raw.items.unwrap_or_default() {
        items.push(parse_item(&body, json)?);
    }
    let next = (!raw.metadata.next.is_empty()).then_some(raw.metadata.next);
    Ok(Page { items, resource_version: raw.metadata.resource_version, bytes: body.len() as u64, next })
}

fn parse_item(body: &Bytes, json: &RawValue) -> serde_json::Result<Item> {
    let raw: RawItem<'_> = serde_json::from_str(json.get())?;
    let meta = raw.metadata;
    let labels = meta.labels.unwrap_or_default();
    let annotated = |a: &HashMap<Cow<'_, str>, &RawValue>| CONTROLLER_ANNOTATIONS.iter().any(|n| a.contains_key(*n));
    let made_by_controller = meta.annotations.as_ref().is_some_and(annotated)
        || CONTROLLER_LABELS.iter().any(|(k, v)| labels.get(*k).is_some_and(|found| found == v));
    Ok(Item {
        json: body.slice_ref(json.get().as_bytes()),
        typed: raw.kind.is_some(),
        namespace: meta.namespace.into_owned(),
        name: meta.name.into_owned(),
        uid: meta.uid.into_owned(),
        labels,
        owners: meta.owner_references.unwrap_or_default().into_iter().map(|o| o.uid.into_owned()).collect(),
        made_by_controller,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_the_servers_own_bytes() {
        let body = Bytes::from_static(
            br#"{"kind":"SecretList","metadata":{"resourceVersion":"7","continue":"t"},"items":[{"metadata":{"name":"a","namespace":"n","labels":{"x":"y"}},"n": 9007199254740993 , "f":1.0}]}"#,
        );
        let page = parse_page(body).unwrap();
        assert_eq!(page.next.as_deref(), Some("t"));
        let item = &page.items[0];
        assert!(item.json.ends_with(br#""n": 9007199254740993 , "f":1.0}"#));
        assert!(!item.typed);
        assert_eq!((item.namespace.as_str(), item.name.as_str()), ("n", "a"));
    }

    #[test]
    fn the_token_is_seen_before_the_items() {
        let seen = |text: &str| early_token(text.as_bytes());
        let meta = r#"{"kind":"SecretList","metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":3}"#;
        assert_eq!(seen(&format!(r#"{meta},"items":[{{"metadata":{{"na"#)).as_deref(), Some("abc"));
        assert_eq!(seen(r#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"na"#), None);
        assert_eq!(
            seen(r#"{"kind":"WidgetList","items":[{"spec":{"continue":"x"}}],"metadata":{"continue":"abc"}}"#),
            None
        );
        assert_eq!(seen(&meta[..40]), None);
    }

    #[test]
    fn large_objects_come_in_small_pages() {
        assert_eq!(next_limit(500, 100 << 20, 100), 5);
        assert_eq!(next_limit(500, 50 * 2048, 50), 500);
        assert_eq!(next_limit(500, 0, 0), 500);
    }
}
