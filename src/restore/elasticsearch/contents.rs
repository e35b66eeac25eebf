//! What a backup holds of a server: small things read, and for each index the frames that hold its documents.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::work::Work;
use crate::archive::frame;
use crate::config::{Filter, RestoreElasticsearch};
use crate::elastic::{Kept, Saved};
use crate::error::{Context, Error, Result};
use crate::reader::StoredFrame;

/// All that a step brings back.
#[derive(Default)]
pub struct Held {
    /// Templates, pipelines and policies, in the order in which they come back.
    pub kept: Vec<(Kept, String, Value)>,
    /// Data streams by name.
    pub streams: BTreeMap<String, Value>,
    /// Indices by name.
    pub indices: BTreeMap<String, HeldIndex>,
}

/// An index of the backup.
#[derive(Default)]
pub struct HeldIndex {
    /// Settings, mappings, aliases; null when the backup lacks them.
    pub description: Value,
    /// Its mappings when its documents were read, where they had changed by then.
    pub later_mappings: Value,
    /// How many documents it had, and as of when; none when they were not all saved.
    pub count: Option<u64>,
    /// What decided its documents.
    pub identity: Option<String>,
    /// Where its documents are.
    pub frames: Vec<StoredFrame>,
}

impl HeldIndex {
    /// The data stream that it is part of.
    pub fn stream(&self) -> Option<&str> {
        self.description["dataStream"].as_str()
    }
}

/// Reads everything but documents.
pub async fn read(work: &Work, wanted: &RestoreElasticsearch) -> Result<Held> {
    let backup = &work.backup;
    backup.load_index().await?;
    let mut held = Held::default();
    for stored in backup.frames_with(wanted.source.as_str(), "") {
        let entries = backup.entries(stored).await?;
        let mut small = Vec::new();
        for entry in entries {
            match Saved::at(&entry.path) {
                Some(Saved::Documents(index)) => {
                    let frames = &mut held.indices.entry(index).or_default().frames;
                    if frames.last() != Some(stored) {
                        frames.push(stored.clone());
                    }
                }
                Some(saved) => small.push((saved, entry)),
                // A newer version may save more.
                None => tracing::warn!(path = entry.path, "is nothing that this version knows"),
            }
        }
        if small.is_empty() {
            continue;
        }
        let decoded = backup.frame(stored).await?;
        for (saved, entry) in small {
            let content = frame::member(&decoded, &entry)?;
            let value: Value = serde_json::from_slice(content)
                .map_err(|e| Error::integrity(format!("{} is not JSON", entry.path)).because(e))?;
            held.add(saved, value);
        }
    }
    held.kept.sort_by_key(|(kept, name, _)| (crate::elastic::KEPT.iter().position(|k| k == kept), name.clone()));
    held.choose(&wanted.indices);
    Ok(held)
}

impl Held {
    fn add(&mut self, saved: Saved, value: Value) {
        match saved {
            Saved::Server | Saved::Documents(_) => {}
            Saved::Index(name) => self.indices.entry(name).or_default().description = value,
            Saved::Count(name) => {
                let index = self.indices.entry(name).or_default();
                index.count = value["count"].as_u64();
                index.identity = value["identity"].as_str().map(String::from);
                index.later_mappings = value["mappings"].clone();
            }
            Saved::DataStream(name) => drop(self.streams.insert(name, value)),
            Saved::Kept(kept, name) => self.kept.push((kept, name, value)),
        }
    }

    fn choose(&mut self, filter: &Filter) {
        self.indices
            .retain(|name, index| filter.allows(index.stream().unwrap_or(name)) || filter.include.matches(name));
        self.streams.retain(|name, _| filter.allows(name));
    }

    /// Documents in all.
    pub fn documents(&self) -> u64 {
        self.indices.values().filter_map(|index| index.count).sum()
    }
}

/// The documents of a frame: lines of bulk requests, one piece for each member.
pub async fn documents(work: &Work, stored: &StoredFrame, index: &str) -> Result<Vec<Vec<u8>>> {
    let entries = work.backup.entries(stored).await?;
    let encoded = work.backup.encoded_frame(stored).await?;
    let index = index.to_string();
    let cutting = tokio::task::spawn_blocking(move || {
        encoded.decode_and(|decoded| {
            let of_the_index = |path: &str| Saved::at(path) == Some(Saved::Documents(index.clone()));
            let mine = entries.iter().filter(|entry| of_the_index(&entry.path));
            mine.map(|entry| frame::member(decoded, entry).map(<[u8]>::to_vec)).collect()
        })
    });
    cutting.await.context(|| "unpack documents".into())?
}
