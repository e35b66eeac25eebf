//! Reads an index as it was at one moment, in lanes that share nothing: from a point in time, or by scrolling where the server
//! has none.

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::catalog::Index;
use super::hits::{self, PIECE, Page};
use crate::elastic::{Elastic, Product, Refusal, Repeat, in_path, json_content};
use crate::error::{Context, Error, Result};

/// How long the server keeps the moment after each answer. Writing to the vault may hold up the next question.
const KEEP_ALIVE: &str = "15m";

/// How many documents are asked for first; later as many as fill a piece.
const FIRST_PAGE: u64 = 20;

/// The largest answer with several documents that is taken, in bytes: each lane may hold one, and its lines.
const MOST_PAGE: usize = 24 << 20;

/// The largest answer with one document, in bytes: more than a server takes unless told otherwise.
const MOST_DOCUMENT: usize = 128 << 20;

/// Below so many documents, several lanes would only be in each other's way.
const ONE_LANE: u64 = 20_000;

/// An index at a moment.
pub(super) struct Moment {
    server: Arc<Elastic>,
    /// The index, as part of a path.
    path: String,
    page_limit: u64,
    kind: Kind,
    /// When it is.
    pub at: Timestamp,
    /// Documents in all, where the moment itself says.
    pub total: Option<u64>,
    /// How many parts can be read, and how many at the same time.
    pub lanes: u32,
    /// Whether all that was written before it is surely in it.
    pub is_fresh: bool,
    shards: u64,
}

enum Kind {
    /// A point in time, as it is called now, and whether its documents have numbers of their own to begin the next page at.
    Point {
        id: Mutex<String>,
        sort: &'static str,
    },
    Scroll,
}

/// Where a lane is.
pub(super) struct Lane<'a> {
    moment: &'a Moment,
    number: u32,
    size: u64,
    next: Next,
    /// Documents in this lane, where they were counted.
    pub total: Option<u64>,
}

enum Next {
    First,
    After(Box<RawValue>),
    Scroll(String),
    Done,
}

impl Moment {
    /// Fixes the moment. What was written before is in it, whether it could be searched already or not.
    pub async fn fix(server: &Arc<Elastic>, index: &Index, most_lanes: u32) -> Result<Result<Moment, Refusal>> {
        let path = in_path(&index.name);
        let refreshed = server.send(Method::POST, &format!("{path}/_refresh"), &Value::Null, Repeat::Always).await?;
        let is_fresh = match refreshed {
            Ok(answer) => answer["_shards"]["failed"] == 0,
            // Reading alone may be allowed.
            Err(refusal) if refusal.status == StatusCode::FORBIDDEN => false,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut moment = Moment {
            server: server.clone(),
            path,
            page_limit: index.page_limit,
            kind: Kind::Scroll,
            at: Timestamp::now(),
            total: None,
            lanes: 1,
            is_fresh,
            shards: u64::from(index.shards),
        };
        moment.kind = match moment.open_point().await? {
            Ok(kind) => kind,
            Err(refusal) => return Ok(Err(refusal)),
        };
        moment.lanes = match &moment.kind {
            Kind::Point { .. } => {
                let total = moment.count().await?;
                moment.total = Some(total);
                match server.product {
                    _ if total < ONE_LANE && index.shards == 1 => 1,
                    Product::Elasticsearch => most_lanes,
                    // A lane must be one shard: only there do documents have an order that does not change.
                    Product::OpenSearch => index.shards,
                }
            }
            Kind::Scroll => most_lanes.min(index.shards),
        };
        Ok(Ok(moment))
    }

    async fn open_point(&self) -> Result<Result<Kind, Refusal>> {
        let (path, key, sort) = match self.server.product {
            Product::Elasticsearch => ("_pit", "id", "_shard_doc"),
            Product::OpenSearch => ("_search/point_in_time", "pit_id", "_doc"),
        };
        // A shard that is missing would be missed by nobody later on.
        let whole = if self.server.product == Product::OpenSearch { "&allow_partial_pit_creation=false" } else { "" };
        let path = format!("{}/{path}?keep_alive={KEEP_ALIVE}{whole}", self.path);
        let reply = self.server.call(Method::POST, &path, None, Repeat::Always).await?;
        if reply.status.is_success() {
            let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let id = answer[key].as_str().ok_or_else(|| Error::failed("a point in time has no id"))?;
            return Ok(Ok(Kind::Point { id: Mutex::new(id.into()), sort }));
        }
        let refusal = Refusal::of(&reply);
        let has_none = refusal.is_not_served() || reply.status == StatusCode::METHOD_NOT_ALLOWED;
        Ok(if has_none { Ok(Kind::Scroll) } else { Err(refusal) })
    }

    async fn count(&self) -> Result<u64> {
        let mut body = json!({ "size": 0, "track_total_hits": true });
        self.name_point(&mut body).await;
        let answer = self.server.order(Method::POST, SEARCH_POINT, &body, Repeat::Always).await?;
        let total = answer["hits"]["total"]["value"].as_u64();
        // A frozen index has none, and would look empty.
        let is_whole = answer["_shards"]["failed"] == 0 && answer["_shards"]["total"].as_u64() == Some(self.shards);
        total.filter(|_| is_whole).ok_or_else(|| Error::failed("the documents could not be counted on all shards"))
    }

    async fn name_point(&self, body: &mut Value) {
        if let Kind::Point { id, .. } = &self.kind {
            body["pit"] = json!({ "id": *id.lock().await, "keep_alive": KEEP_ALIVE });
        }
    }

    /// A lane, from its begin.
    pub async fn lane(&self, number: u32) -> Result<Lane<'_>> {
        let size = match self.kind {
            Kind::Point { .. } => FIRST_PAGE,
            // It cannot be changed on the way.
            Kind::Scroll => self.size_of_scroll().await?,
        };
        Ok(Lane { moment: self, number, size: size.min(self.page_limit), next: Next::First, total: None })
    }

    /// As many as fill a piece, going by a few of them.
    async fn size_of_scroll(&self) -> Result<u64> {
        let path = format!("{}/_search?size=20", self.path);
        let reply = self.server.call(Method::GET, &path, None, Repeat::Always).await?;
        let sample = hits::read(&reply.body)?;
        Ok(fitting(sample.hits, reply.body.len()))
    }

    /// Lets the server forget it. When it does not, it forgets by itself in a quarter of an hour.
    pub async fn close(self) {
        let Kind::Point { id, .. } = self.kind else { return };
        let id = id.into_inner();
        let (path, body) = match self.server.product {
            Product::Elasticsearch => ("_pit", json!({ "id": id })),
            Product::OpenSearch => ("_search/point_in_time", json!({ "pit_id": [id] })),
        };
        if let Err(e) = self.server.send(Method::DELETE, path, &body, Repeat::WhenRefused).await {
            tracing::debug!(error = %e.one_line(), "close a point in time");
        }
    }
}

/// A part of the answer would look like all of it.
const SEARCH_POINT: &str = "_search?allow_partial_search_results=false";

/// How many such documents fill a piece.
fn fitting(hits: u64, bytes: usize) -> u64 {
    let each = (bytes as u64 / hits.max(1)).max(1);
    (PIECE as u64 / each).max(1)
}

impl Lane<'_> {
    /// The next documents; none when there are no more.
    pub async fn next(&mut self) -> Result<Option<Page>> {
        loop {
            let (path, body, repeat) = match self.question().await {
                Some(question) => question,
                None => return Ok(None),
            };
            let server = &self.moment.server;
            let can_shrink = self.size > 1 && matches!(self.moment.kind, Kind::Point { .. });
            let most = if can_shrink { MOST_PAGE } else { MOST_DOCUMENT };
            let reply = server.call_for(most, Method::POST, &path, Some(json_content(&body)), repeat).await?;
            if reply.is_cut && can_shrink {
                self.size = (self.size / 4).max(1);
                continue;
            }
            if !reply.status.is_success() {
                return Err(server.refused(&self.moment.path, &Refusal::of(&reply)));
            }
            if reply.is_cut {
                return Err(Error::failed("an answer to a search is too large for this program"));
            }
            let bytes = reply.body.len();
            let reading = tokio::task::spawn_blocking(move || hits::read(&reply.body));
            let page = reading.await.context(|| "read an answer to a search".into())??;
            self.advance(&page, bytes).await?;
            return Ok(Some(page).filter(|page| page.hits > 0));
        }
    }

    async fn question(&self) -> Option<(String, Value, Repeat)> {
        let mut body = json!({ "size": self.size });
        if let Kind::Point { sort, .. } = self.moment.kind {
            body["sort"] = json!([{ sort: "asc" }]);
            self.moment.name_point(&mut body).await;
        } else {
            body["sort"] = json!(["_doc"]);
        }
        if self.moment.lanes > 1 {
            body["slice"] = json!({ "id": self.number, "max": self.moment.lanes });
        }
        let is_point = matches!(self.moment.kind, Kind::Point { .. });
        Some(match &self.next {
            Next::Done => return None,
            Next::Scroll(id) => {
                let body = json!({ "scroll": KEEP_ALIVE, "scroll_id": id });
                // An answer that was lost would be a page that is missing.
                ("_search/scroll".into(), body, Repeat::WhenRefused)
            }
            Next::First if is_point => {
                body["track_total_hits"] = false.into();
                (SEARCH_POINT.into(), body, Repeat::Always)
            }
            Next::First => {
                body["track_total_hits"] = true.into();
                let path = format!("{}/{SEARCH_POINT}&scroll={KEEP_ALIVE}", self.moment.path);
                (path, body, Repeat::WhenRefused)
            }
            Next::After(after) => {
                body["track_total_hits"] = false.into();
                body["search_after"] = serde_json::from_str(after.get()).unwrap_or_default();
                (SEARCH_POINT.into(), body, Repeat::Always)
            }
        })
    }

    async fn advance(&mut self, page: &Page, bytes: usize) -> Result<()> {
        let moment = self.moment;
        if matches!(self.next, Next::First) {
            self.total = page.total;
        }
        if page.hits > 0 {
            self.size = fitting(page.hits, bytes).min(moment.page_limit);
        }
        self.next = match (&moment.kind, &page.after, &page.context) {
            (Kind::Point { .. }, ..) if page.hits == 0 => Next::Done,
            (Kind::Point { id, .. }, Some(after), context) => {
                if let Some(context) = context {
                    id.lock().await.clone_from(context);
                }
                Next::After(after.clone())
            }
            (Kind::Scroll, _, Some(context)) if page.hits > 0 => Next::Scroll(context.clone()),
            (Kind::Scroll, _, Some(context)) => {
                let body = json!({ "scroll_id": context });
                // Those that stay count against a limit of the server.
                let _ = moment.server.send(Method::DELETE, "_search/scroll", &body, Repeat::WhenRefused).await;
                Next::Done
            }
            _ => return Err(Error::failed("an answer to a search does not say how it goes on")),
        };
        Ok(())
    }
}
