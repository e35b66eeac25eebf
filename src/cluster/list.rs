//! Lists, page by page, as the bytes that the server sent.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::discovery::ResourceType;
use super::{ApiError, Cause, Cluster, Retry};

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
const PAGE_TARGET: u64 = 4 << 20;

/// The response size at which a page is given up and asked for again with fewer objects: sizes within a list vary, and
/// the page before says nothing certain about the next. A single object is always taken.
const PAGE_LIMIT: usize = 3 * PAGE_TARGET as usize;

/// Objects of the first page: not yet knowing how large they are, it asks for few.
const FIRST_PAGE: u32 = 100;

/// A list under way. Ask for [`Pages::next`] until it gives none.
pub struct Pages {
    cluster: Cluster,
    path: String,
    options: ListOptions,
    state: Where,
    limit: u32,
}

enum Where {
    Begin,
    At(String),
    End,
}

impl Cluster {
    /// Lists a type over all namespaces, or in one.
    pub fn pages(&self, kind: &ResourceType, namespace: Option<&str>, options: ListOptions) -> Pages {
        let limit = options.page_size.min(FIRST_PAGE);
        Pages { cluster: self.clone(), path: kind.path_in(namespace), options, state: Where::Begin, limit }
    }
}

impl Pages {
    /// The next page. A continue token that expired gives an error with reason `Expired`: begin the list anew.
    pub async fn next(&mut self) -> Option<Result<Page, ApiError>> {
        let token = match &self.state {
            Where::Begin => None,
            Where::At(token) => Some(token.clone()),
            Where::End => return None,
        };
        let mut page = self.fetch(token.as_deref()).await;
        while self.limit > 1 && page.as_ref().is_err_and(|e| matches!(e.cause, Cause::TooLong(_))) {
            self.limit = (self.limit / 4).max(1);
            page = self.fetch(token.as_deref()).await;
        }
        if let Ok(page) = &page {
            self.state = page.next.clone().map_or(Where::End, Where::At);
            self.limit = next_limit(self.options.page_size, page.bytes, page.items.len() as u64);
        }
        Some(page)
    }

    async fn fetch(&self, token: Option<&str>) -> Result<Page, ApiError> {
        let mut query = form_urlencoded(&[("limit", &self.limit.to_string())]);
        if let Some(token) = token {
            query += &form_urlencoded(&[("continue", token)]);
        }
        if let Some(selector) = &self.options.label_selector {
            query += &form_urlencoded(&[("labelSelector", selector)]);
        }
        let path = format!("{}?{}", self.path, query.trim_start_matches('&'));
        let most = if self.limit > 1 { PAGE_LIMIT } else { usize::MAX };
        let body = self.options.retry.run(|| self.cluster.get_at_most(&path, most, self.options.timeout)).await?;
        parse_page(body).map_err(|e| ApiError {
            method: http::Method::GET,
            path: self.path.clone(),
            cause: Cause::Transport(format!("the list cannot be read: {e}")),
        })
    }
}

fn next_limit(page_size: u32, bytes: u64, items: u64) -> u32 {
    if items == 0 {
        return page_size;
    }
    let each = (bytes / items).max(1);
    (PAGE_TARGET / each).clamp(5, u64::from(page_size)) as u32
}

fn form_urlencoded(pairs: &[(&str, &str)]) -> String {
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("&{encoded}")
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
    fn large_objects_come_in_small_pages() {
        assert_eq!(next_limit(500, 100 << 20, 100), 5);
        assert_eq!(next_limit(500, 50 * 2048, 50), 500);
        assert_eq!(next_limit(500, 0, 0), 500);
    }
}
