//! Sends documents: as many requests at a time as lanes, each item's error kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use memchr::memchr_iter;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::super::files::of_the_backup;
use super::super::work::Work;
use super::contents;
use crate::elastic::{Elastic, Refusal, Repeat, bulk_content, explain, in_path};
use crate::error::{Error, Result};
use crate::reader::StoredFrame;

/// How often the items that a busy server did not take are sent again.
const TRIES: u32 = 8;

/// Where documents go.
pub struct Load<'a> {
    pub work: &'a Work,
    pub server: &'a Elastic,
    /// The step's name, for progress.
    pub task: &'a str,
    /// The index in the backup.
    pub from: &'a str,
    /// The index or data stream in the server.
    pub to: &'a str,
    /// Whether only new documents are taken: those of a data stream.
    pub only_create: bool,
    pub lanes: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Documents that were sent.
    pub sent: u64,
    /// Documents that the server did not take, by the kind of error: how many, and the reason of the first.
    pub refused: BTreeMap<String, (u64, String)>,
}

impl Loaded {
    /// How many it did not take.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.values().map(|(count, _)| count).sum()
    }

    /// Why, in words; none when it took everything.
    pub fn why(&self) -> Option<String> {
        let each = |(kind, (count, first)): (&String, &(u64, String))| format!("{count} × {kind}, the first: {first}");
        let all: Vec<_> = self.refused.iter().map(each).collect();
        Some(all.join("; ")).filter(|_| !all.is_empty())
    }

    /// Adds what came of another part.
    pub fn add(&mut self, other: Loaded) {
        self.sent += other.sent;
        for (kind, (count, first)) in other.refused {
            self.refused.entry(kind).or_insert((0, first)).0 += count;
        }
    }

    fn refuse(&mut self, error: &Value) {
        let kind = error["type"].as_str().unwrap_or("error").to_string();
        self.refused.entry(kind).or_insert_with(|| (0, explain(error))).0 += 1;
    }
}

/// What a busy server says of an item that it may take later.
const BUSY: [u64; 2] = [429, 503];

/// What a server says of a document that is there already.
const IS_THERE: u64 = 409;

#[derive(Deserialize)]
struct Answer<'a> {
    errors: bool,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

impl Load<'_> {
    /// Sends the documents of all frames.
    pub async fn run(&self, frames: &[StoredFrame]) -> Result<Loaded> {
        let (sent, refused) = (AtomicU64::new(0), Mutex::new(Loaded::default()));
        let send = |stored: &StoredFrame| {
            let (sent, refused, stored) = (&sent, &refused, stored.clone());
            async move {
                let pieces = contents::documents(self.work, &stored, self.from).await;
                for piece in of_the_backup(self.work, pieces).await? {
                    let bytes = piece.len() as u64;
                    let piece = if self.only_create { as_new(&piece) } else { piece };
                    let documents = memchr_iter(b'\n', &piece).count() as u64 / 2;
                    self.send(piece.into(), refused).await?;
                    sent.fetch_add(documents, Relaxed);
                    self.work.progress.advance(self.task, documents, bytes);
                }
                Ok::<_, Error>(())
            }
        };
        // Made when it is their turn: a large index has many frames.
        let sending = futures::stream::iter(0..frames.len()).map(|at| send(&frames[at]));
        sending.buffer_unordered(self.lanes).try_collect::<()>().await?;
        Ok(Loaded { sent: sent.into_inner(), ..refused.into_inner() })
    }

    /// Sends lines. Only when something was not taken they are sent once more, to be told what of it: then for each item.
    async fn send(&self, lines: Bytes, refused: &Mutex<Loaded>) -> Result<()> {
        let bulk = format!("{}/_bulk?pipeline=_none", in_path(self.to));
        let reply = self.call(&format!("{bulk}&filter_path=errors"), lines.clone()).await?;
        let answer: Value = serde_json::from_slice(&reply).unwrap_or_default();
        if answer["errors"] == false {
            return Ok(());
        }
        let mut rest = lines;
        for attempt in 1..=TRIES {
            let reply = self.call(&bulk, rest.clone()).await?;
            let answer: Answer<'_> = serde_json::from_slice(&reply).map_err(|e| {
                Error::failed(format!("{} answered a bulk request with no JSON", self.server.shown())).because(e)
            })?;
            if !answer.errors {
                return Ok(());
            }
            rest = self.sort_out(&rest, &answer.items, attempt == TRIES, &mut *refused.lock().await)?;
            if rest.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(250 << attempt)).await;
        }
        Ok(())
    }

    /// The lines of what a busy server may take later; what it will not take is noted.
    fn sort_out(&self, lines: &[u8], items: &[&RawValue], is_last: bool, refused: &mut Loaded) -> Result<Bytes> {
        let mut pairs = Pairs::of(lines);
        let mut again = Vec::new();
        for item in items {
            let pair = pairs.next().ok_or_else(|| Error::failed("a bulk request was answered with too many items"))?;
            let item: Value = serde_json::from_str(item.get()).unwrap_or_default();
            let Some(item) = item.as_object().and_then(|item| item.values().next()) else { continue };
            let status = item["status"].as_u64().unwrap_or_default();
            match status {
                _ if item["error"].is_null() => {}
                // The first time it was taken, and so it is there the second time.
                IS_THERE if self.only_create => {}
                status if BUSY.contains(&status) && !is_last => again.extend_from_slice(pair),
                _ => refused.refuse(&item["error"]),
            }
        }
        Ok(again.into())
    }

    async fn call(&self, path: &str, lines: Bytes) -> Result<Bytes> {
        // Documents have their names: sent twice, they are there once.
        let reply = self.server.call(Method::POST, path, Some(bulk_content(lines)), Repeat::Always).await?;
        match reply.status.is_success() {
            true => Ok(reply.body),
            false => Err(self.server.refused(path, &Refusal::of(&reply))),
        }
    }
}

/// Each action with its document.
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// Those of the lines of a bulk request.
    pub fn of(lines: &'a [u8]) -> Self {
        Pairs { rest: lines }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr_iter(b'\n', self.rest).nth(1)? + 1;
        let (pair, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(pair)
    }
}

const INDEX: &[u8] = b"{\"index\":";
const CREATE: &[u8] = b"{\"create\":";

/// The same lines, to make new documents only.
fn as_new(lines: &[u8]) -> Vec<u8> {
    let mut new = Vec::with_capacity(lines.len() + (lines.len() >> 6));
    for pair in Pairs::of(lines) {
        match pair.strip_prefix(INDEX) {
            Some(rest) => {
                new.extend_from_slice(CREATE);
                new.extend_from_slice(rest);
            }
            None => new.extend_from_slice(pair),
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_may_hold_what_looks_like_an_action() {
        let lines = b"{\"index\":{\"_id\":\"1\"}}\n{\"index\":{\"_id\":\"2\"}}\n{\"index\":{\"_id\":\"3\"}}\n{}\n";
        let new = b"{\"create\":{\"_id\":\"1\"}}\n{\"index\":{\"_id\":\"2\"}}\n{\"create\":{\"_id\":\"3\"}}\n{}\n";
        assert_eq!(as_new(lines), new);
        assert_eq!(Pairs::of(lines).count(), 2);
    }

    #[test]
    fn errors_are_counted_by_their_kind() {
        let mut loaded = Loaded::default();
        for number in 0..3 {
            let error = serde_json::json!({ "type": "parse", "reason": format!("document {number}") });
            loaded.refuse(&error);
        }
        let mut all = Loaded { sent: 10, ..Loaded::default() };
        all.add(loaded);
        assert_eq!((all.refused_in_all(), all.sent), (3, 10));
        assert_eq!(all.why().as_deref(), Some("3 × parse, the first: document 0"));
        assert_eq!(Loaded::default().why(), None);
    }
}
