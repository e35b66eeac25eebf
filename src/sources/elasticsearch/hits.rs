//! An answer to a search, turned into lines of bulk requests. Documents are passed on as they came, byte for byte.

use memchr::memchr2;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Context, Error, Result};

/// The largest document that is saved, in bytes: a frame of the archive holds all of it.
pub(super) const LARGEST: usize = 32 << 20;

/// How many bytes of lines are kept together: one member of the archive, and one bulk request of a restore.
pub(super) const PIECE: usize = 4 << 20;

/// What is needed of an answer.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Pairs of lines, what is to be done and the document, in pieces of about [`PIECE`] bytes.
    pub pieces: Vec<Vec<u8>>,
    /// Documents in it.
    pub documents: u64,
    /// Documents that are too large.
    pub too_large: u64,
    /// Documents that came without their content.
    pub without_source: u64,
    /// Hits in the answer; none means that there are no more.
    pub hits: u64,
    /// Documents in all, where that was asked for.
    pub total: Option<u64>,
    /// Where the next page begins.
    pub after: Option<Box<RawValue>>,
    /// How the search is called from now on.
    pub context: Option<String>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    hits: Hits<'a>,
    #[serde(alias = "_scroll_id")]
    pit_id: Option<String>,
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Hits<'a> {
    total: Option<Total>,
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(borrow, rename = "_id")]
    id: &'a RawValue,
    #[serde(borrow, rename = "_routing")]
    routing: Option<&'a RawValue>,
    #[serde(borrow, rename = "_source")]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    sort: Option<&'a RawValue>,
}

/// Reads an answer. One that lacks a shard, or was given up for time, is an error: it would only look whole.
pub(super) fn read(body: &[u8]) -> Result<Page> {
    let answer: Answer<'_> = serde_json::from_slice(body).context(|| "read an answer to a search".into())?;
    if answer.timed_out || answer.shards.failed > 0 {
        return Err(Error::failed("a search gave only a part of what there is"));
    }
    let Hits { total, hits } = answer.hits;
    let mut page = Page {
        hits: hits.len() as u64,
        total: total.map(|total| total.value),
        after: hits.last().and_then(|hit| hit.sort).map(ToOwned::to_owned),
        context: answer.pit_id,
        ..Page::default()
    };
    let mut lines = Vec::with_capacity(body.len().min(PIECE + (PIECE >> 2)));
    for hit in &hits {
        page.add(hit, &mut lines);
        if lines.len() >= PIECE {
            page.pieces.push(std::mem::take(&mut lines));
        }
    }
    if !lines.is_empty() {
        page.pieces.push(lines);
    }
    Ok(page)
}

impl Page {
    fn add(&mut self, hit: &Hit<'_>, lines: &mut Vec<u8>) {
        let Some(source) = hit.source else {
            self.without_source += 1;
            return;
        };
        if source.get().len() > LARGEST {
            self.too_large += 1;
            return;
        }
        self.documents += 1;
        lines.extend_from_slice(b"{\"index\":{\"_id\":");
        lines.extend_from_slice(hit.id.get().as_bytes());
        if let Some(routing) = hit.routing {
            lines.extend_from_slice(b",\"routing\":");
            lines.extend_from_slice(routing.get().as_bytes());
        }
        lines.extend_from_slice(b"}}\n");
        add_line(lines, source.get().as_bytes());
    }
}

/// A document may have been sent on several lines. Between its parts a line's end says as much as a space, and within its
/// texts none can stand.
fn add_line(lines: &mut Vec<u8>, text: &[u8]) {
    let at = lines.len();
    lines.extend_from_slice(text);
    if memchr2(b'\n', b'\r', text).is_some() {
        let ends = lines[at..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r'));
        ends.for_each(|byte| *byte = b' ');
    }
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hits: &str, failed: u32) -> String {
        format!(
            "{{\"took\":3,\"timed_out\":false,\"_shards\":{{\"total\":2,\"failed\":{failed}}},\"pit_id\":\"p\",\
             \"hits\":{{\"total\":{{\"value\":2,\"relation\":\"eq\"}},\"hits\":[{hits}]}}}}"
        )
    }

    #[test]
    fn documents_become_lines_as_they_are() {
        let hits = "{\"_index\":\"a\",\"_id\":\"1\\\"\",\"_routing\":\"r\",\"_source\":{\"a\": \n 1.10},\"sort\":[4]},\
                    {\"_id\":\"2\",\"_source\":{\"b\":\"x\\ny\"},\"sort\":[7,1]}";
        let page = read(answer(hits, 0).as_bytes()).unwrap();
        let lines = "{\"index\":{\"_id\":\"1\\\"\",\"routing\":\"r\"}}\n{\"a\":   1.10}\n\
                     {\"index\":{\"_id\":\"2\"}}\n{\"b\":\"x\\ny\"}\n";
        assert_eq!(String::from_utf8(page.pieces.concat()).unwrap(), lines);
        assert_eq!((page.documents, page.hits, page.total), (2, 2, Some(2)));
        assert_eq!((page.after.unwrap().get(), page.context.as_deref()), ("[7,1]", Some("p")));
    }

    #[test]
    fn an_answer_that_is_not_whole_is_refused_and_a_document_without_content_counted() {
        assert!(read(answer("", 1).as_bytes()).is_err());
        assert!(read(answer("", 0).replace("false", "true").as_bytes()).is_err());
        assert!(read(b"{").is_err());
        let page = read(answer("{\"_id\":\"1\"}", 0).as_bytes()).unwrap();
        assert_eq!((page.documents, page.hits, page.without_source), (0, 1, 1));
    }
}
