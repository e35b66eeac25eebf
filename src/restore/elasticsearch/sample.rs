//! Documents picked from all over an index, compared with what the server gives for them: counts alone would not see that
//! contents had changed on the way.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::files::of_the_backup;
use super::contents;
use super::load::Pairs;
use super::target::{Restorer, Target};
use crate::elastic::{Repeat, in_path};
use crate::error::{Error, Result};

/// Frames of an index that are looked into, the first and the last among them.
const FRAMES: usize = 8;

/// Documents of a frame.
const OF_EACH: usize = 16;

/// Longer ones are not sampled, so that the answer is small: bytes.
const LONGEST: usize = 256 << 10;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// How many documents of the backup were asked for.
    pub asked: u64,
    /// How many of them have the same digest in the server.
    pub equal: u64,
    /// The name of the first that has not.
    pub first: Option<String>,
}

/// A document's name, and its routing where it has one.
type Name = (String, Option<String>);

/// SHA-256 of the JSON with sorted keys and without spaces.
type Digests = BTreeMap<Name, [u8; 32]>;

impl Sampled {
    fn of(saved: &Digests, found: &Digests) -> Sampled {
        let mut sampled = Sampled { asked: saved.len() as u64, ..Sampled::default() };
        for (name, digest) in saved {
            match found.get(name) == Some(digest) {
                true => sampled.equal += 1,
                false => drop(sampled.first.get_or_insert_with(|| name.0.clone())),
            }
        }
        sampled
    }

    fn add(&mut self, other: Sampled) {
        self.asked += other.asked;
        self.equal += other.equal;
        self.first = self.first.take().or(other.first);
    }

    /// What is wrong, in words; none when nothing is.
    pub fn wrong(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        let (differ, asked) = (self.asked - self.equal, self.asked);
        Some(format!("{differ} of {asked} sampled documents are not what was saved, the first: {first}"))
    }
}

impl Restorer<'_> {
    /// Compares a sample of what was restored. The server must have been told to refresh.
    pub async fn sample(&self, target: &Target<'_>) -> Result<Sampled> {
        let mut sampled = Sampled::default();
        for (from, index) in &target.parts {
            for at in spread(index.frames.len(), FRAMES) {
                let pieces = contents::documents(self.work, &index.frames[at], from).await;
                let saved = saved(&of_the_backup(self.work, pieces).await?);
                if !saved.is_empty() {
                    sampled.add(Sampled::of(&saved, &self.found(target, &saved).await?));
                }
            }
        }
        Ok(sampled)
    }

    /// By a search, not by `_mget`: data streams have no such thing.
    async fn found(&self, target: &Target<'_>, wanted: &Digests) -> Result<Digests> {
        let names: Vec<_> = wanted.keys().map(|(id, _)| id).collect();
        // The same name may stand in several shards, by other routings.
        let body = json!({"query": {"ids": {"values": names}}, "size": 4 * names.len()});
        let path = format!("{}/_search", in_path(&target.to));
        let answer = self.server.order(Method::POST, &path, &body, Repeat::Always).await?;
        let hits = answer["hits"]["hits"].as_array().ok_or_else(|| Error::failed(format!("search {}", target.to)))?;
        Ok(hits.iter().filter_map(|hit| Some((name_of(hit)?, digest(&hit["_source"])))).collect())
    }
}

/// Up to `most` positions among `count`, evenly, the first and the last included.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let picked = count.min(most);
    (0..picked).map(move |nth| match picked {
        1 => 0,
        _ => nth * (count - 1) / (picked - 1),
    })
}

fn saved(pieces: &[Vec<u8>]) -> Digests {
    let pairs: Vec<_> = pieces.iter().flat_map(|piece| Pairs::of(piece)).collect();
    spread(pairs.len(), OF_EACH).filter_map(|at| read(pairs[at])).collect()
}

/// The action and its document, where they can be sampled.
fn read(pair: &[u8]) -> Option<(Name, [u8; 32])> {
    #[derive(Deserialize)]
    struct Action<'a> {
        #[serde(borrow)]
        index: &'a RawValue,
    }
    let (action, document) = pair.split_at(memchr::memchr(b'\n', pair)? + 1);
    if document.len() > LONGEST {
        return None;
    }
    let action: Action<'_> = serde_json::from_slice(action).ok()?;
    let action: Value = serde_json::from_str(action.index.get()).ok()?;
    Some((name_of(&action)?, digest(&serde_json::from_slice(document).ok()?)))
}

/// Actions say `routing`, answers `_routing`.
fn name_of(of: &Value) -> Option<Name> {
    let routing = of["routing"].as_str().or(of["_routing"].as_str());
    Some((of["_id"].as_str()?.to_string(), routing.map(String::from)))
}

fn digest(document: &Value) -> [u8; 32] {
    Sha256::digest(document.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_reach_from_the_first_to_the_last() {
        let of = |count| spread(count, 4).collect::<Vec<_>>();
        assert_eq!((of(0), of(1), of(3)), (vec![], vec![0], vec![0, 1, 2]));
        assert_eq!(of(100), [0, 33, 66, 99]);
    }

    #[test]
    fn what_differs_or_is_missing_is_counted_whatever_the_order_of_its_keys() {
        let lines = [
            r#"{"index":{"_id":"a"}}"#,
            r#"{"x":1, "y":[1.50]}"#,
            r#"{"index":{"_id":"b","routing":"r"}}"#,
            r#"{"x":2}"#,
            r#"{"index":{"_id":"c"}}"#,
            r#"{"x":3}"#,
        ];
        let saved = saved(&[format!("{}\n", lines.join("\n")).into_bytes()]);
        assert_eq!(saved.len(), 3);
        let hits: Value = serde_json::from_str(
            r#"[{"_id":"a","_source":{"y":[1.50],"x":1}}, {"_id":"b","_routing":"r","_source":{"x":4}}]"#,
        )
        .unwrap();
        let found = hits.as_array().unwrap().iter().map(|hit| (name_of(hit).unwrap(), digest(&hit["_source"])));
        let sampled = Sampled::of(&saved, &found.collect());
        assert_eq!(sampled, Sampled { asked: 3, equal: 1, first: Some("b".into()) });
        assert_eq!(sampled.wrong().unwrap(), "2 of 3 sampled documents are not what was saved, the first: b");
    }
}
