//! The documents of one index, as they were at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::catalog::Index;
use super::hits::LARGEST;
use super::pages::Moment;
use crate::elastic::{Elastic, Repeat, Saved, in_path};
use crate::error::{Error, Result};
use crate::inventory::{Contents, Documents, Identity, Inventory, Omission};
use crate::member::{Batch, Member, Traits};
use crate::progress::Progress;
use crate::sources::{TIME_IS_UP, Unit, in_time};

/// How long the server may take to forget a moment.
const TIME_TO_CLOSE: Duration = Duration::from_secs(10);

/// One index.
pub(super) struct DocumentsUnit {
    pub name: String,
    pub server: Arc<Elastic>,
    pub index: Index,
    pub lanes: u32,
}

/// What was read so far, by all lanes.
#[derive(Default)]
struct Tally {
    members: AtomicU64,
    bytes: AtomicU64,
    documents: AtomicU64,
    too_large: AtomicU64,
    without_source: AtomicU64,
    /// What the lanes counted, where the moment itself did not.
    counted: AtomicU64,
    /// Whether a lane was cut off before it had counted.
    is_cut: AtomicBool,
}

/// Where it goes.
struct Way<'a> {
    out: mpsc::Sender<Batch>,
    progress: &'a dyn Progress,
    stop: &'a CancellationToken,
    tally: Tally,
}

#[async_trait]
impl Unit for DocumentsUnit {
    fn identity(&self) -> Option<Identity> {
        self.index.identity
    }

    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let moment = match in_time(stop, Moment::fix(&self.server, &self.index, self.lanes)).await? {
            Ok(moment) => moment,
            Err(refusal) if refusal.is_missing() => return Ok(self.gone()),
            Err(refusal) => return Err(self.server.refused(&self.index.name, &refusal)),
        };
        let mappings = match in_time(stop, self.mappings_now()).await {
            Ok(mappings) => mappings,
            Err(e) => {
                forget(moment).await;
                return if !stop.is_cancelled() && self.is_gone().await { Ok(self.gone()) } else { Err(e) };
            }
        };
        let way = Way { out, progress, stop, tally: Tally::default() };
        let lanes = (0..moment.lanes).map(|number| self.read_lane(&moment, number, &way));
        let read = futures::stream::iter(lanes).buffer_unordered(self.lanes as usize).try_collect::<()>().await;
        let (at, expected) = (moment.at, moment.total.unwrap_or(way.tally.counted.load(Relaxed)));
        let is_fresh = moment.is_fresh;
        forget(moment).await;
        if let Err(e) = read {
            return if self.is_gone().await { Ok(self.gone_in_the_middle(&way.tally)) } else { Err(e) };
        }
        let documents = way.tally.documents.load(Relaxed);
        let problems = self.problems(&way, expected);
        if problems.is_empty() {
            let identity = self.index.identity.filter(|_| is_fresh).map(|identity| hex::encode(identity.0));
            let mut count = json!({ "count": documents, "at": at, "identity": identity });
            if let Some(mappings) = mappings {
                count["mappings"] = mappings;
            }
            way.send(Saved::count(&self.index.name), count.to_string().into()).await?;
        }
        let mut inventory = way.tally.inventory(problems);
        if !is_fresh {
            // Its numbers count documents that were not found: it must not be taken over for them.
            inventory.is_unsettled = true;
            let why = "may not be refreshed by this user, so that its newest documents may be missing".into();
            inventory.notices.push(Omission { what: format!("index {}", self.index.name), why, count: None });
        }
        let documents = Documents { indices: 1, count: documents, first: at, last: at };
        inventory.contents = Contents { documents: Some(documents), ..Contents::default() };
        Ok(inventory)
    }
}

/// It ends by itself, should the server not answer.
async fn forget(moment: Moment) {
    let _ = tokio::time::timeout(TIME_TO_CLOSE, moment.close()).await;
}

impl DocumentsUnit {
    async fn read_lane(&self, moment: &Moment, number: u32, way: &Way<'_>) -> Result<()> {
        let mut lane = moment.lane(number).await?;
        let mut pieces = 0;
        loop {
            // An answer that comes when the window is closed is of no use.
            let page = tokio::select! {
                biased;
                () = way.stop.cancelled() => {
                    // Nobody has said yet how many there are.
                    way.tally.is_cut.fetch_or(moment.total.is_none() && lane.total.is_none(), Relaxed);
                    break;
                }
                page = lane.next() => page?,
            };
            let Some(page) = page else { break };
            way.tally.documents.fetch_add(page.documents, Relaxed);
            way.tally.too_large.fetch_add(page.too_large, Relaxed);
            way.tally.without_source.fetch_add(page.without_source, Relaxed);
            for piece in page.pieces {
                pieces += 1;
                let size = piece.len() as u64;
                way.send(Saved::documents(&self.index.name, number, pieces), piece.into()).await?;
                way.progress.advance(&self.name, 1, size);
            }
        }
        way.tally.counted.fetch_add(lane.total.unwrap_or_default(), Relaxed);
        Ok(())
    }

    /// The mappings, where they have changed since everything was described: the moment may have documents that need them.
    async fn mappings_now(&self) -> Result<Option<Value>> {
        let all = self.server.get(&format!("{}/_mapping", in_path(&self.index.name))).await?;
        let now = &all[&self.index.name]["mappings"];
        Ok(Some(now.clone()).filter(|now| now.is_object() && *now != self.index.description["mappings"]))
    }

    fn problems(&self, way: &Way<'_>, expected: u64) -> Vec<Omission> {
        let tally = &way.tally;
        let (too_large, without_source) = (tally.too_large.load(Relaxed), tally.without_source.load(Relaxed));
        let saved = tally.documents.load(Relaxed);
        let mut problems = Vec::new();
        let mut problem = |why: String, count: u64| {
            problems.push(Omission { what: format!("documents of {}", self.index.name), why, count: Some(count) });
        };
        if too_large > 0 {
            problem(format!("larger than {} MiB", LARGEST >> 20), too_large);
        }
        if without_source > 0 {
            problem("the server does not keep their content".into(), without_source);
        }
        if tally.is_cut.load(Relaxed) {
            let what = format!("documents of {}", self.index.name);
            return vec![Omission { what, why: TIME_IS_UP.into(), count: None }];
        }
        let missing = expected.saturating_sub(saved + too_large + without_source);
        match way.stop.is_cancelled() {
            true if missing > 0 => problem(TIME_IS_UP.into(), missing),
            false if missing > 0 || saved > expected => {
                problem(format!("{saved} were read, and there were {expected} at that moment"), missing);
            }
            _ => {}
        }
        problems
    }

    fn gone(&self) -> Inventory {
        let why = "it was deleted before it was read".into();
        let problems = vec![Omission { what: format!("index {}", self.index.name), why, count: None }];
        Inventory { problems, ..Inventory::default() }
    }

    fn gone_in_the_middle(&self, tally: &Tally) -> Inventory {
        let why = "it was deleted while it was read; what was read of it is saved".into();
        tally.inventory(vec![Omission { what: format!("index {}", self.index.name), why, count: None }])
    }

    /// Whether the index is not there any more.
    async fn is_gone(&self) -> bool {
        let path = in_path(&self.index.name);
        let asked = self.server.call(Method::HEAD, &path, None, Repeat::Always).await;
        asked.is_ok_and(|reply| reply.status == reqwest::StatusCode::NOT_FOUND)
    }
}

impl Way<'_> {
    async fn send(&self, path: String, content: Bytes) -> Result<()> {
        let member = Member::whole(path, vec![content], Traits::default());
        self.tally.members.fetch_add(1, Relaxed);
        self.tally.bytes.fetch_add(member.size(), Relaxed);
        self.out.send(Batch { members: vec![member] }).await.map_err(|_| Error::failed("the archive is gone"))
    }
}

impl Tally {
    fn inventory(&self, problems: Vec<Omission>) -> Inventory {
        let (items, bytes) = (self.members.load(Relaxed), self.bytes.load(Relaxed));
        Inventory { items, bytes, problems, ..Inventory::default() }
    }
}
