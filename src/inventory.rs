//! What a source says it saw: counts, and what is missing. It stands in the manifest as it is here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that is not in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Omission {
    /// What: a type, a pod, a path.
    pub what: String,
    /// Why.
    pub why: String,
    /// How many objects, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What was listed of one type of Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeRecord {
    /// API version within the group, `v1`.
    pub version: String,
    /// Kind, `Deployment`.
    pub kind: String,
    /// Whether objects of the type live in namespaces.
    pub namespaced: bool,
    /// Objects saved.
    pub count: u64,
    /// The resourceVersion at which the list was read.
    pub resource_version: String,
    /// How many pages it took.
    pub pages: u64,
    /// How often the list had to be begun anew because its continue token expired; later objects are then from a later time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
}

/// What need not be written down.
pub(crate) fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What decides the content of a part of a source: equal when nothing in it has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity(#[serde(with = "hex")] pub [u8; 32]);

/// Events of a log, as they stand in what was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Lines that are events.
    pub count: u64,
    /// When the earliest happened.
    pub first: Timestamp,
    /// When the latest happened.
    pub last: Timestamp,
    /// From when to when each file goes, where these are of several: what is taken over from a backup counts as one.
    #[serde(skip)]
    pub files: Vec<(Timestamp, Timestamp)>,
}

impl Events {
    /// Adds those of other files.
    pub fn add(&mut self, more: &Events) {
        if self.files.is_empty() {
            self.files = self.spans();
        }
        self.files.extend(more.spans());
        self.count += more.count;
        self.first = self.first.min(more.first);
        self.last = self.last.max(more.last);
    }

    /// Within one of these nothing is missing; between two of them something may be.
    fn spans(&self) -> Vec<(Timestamp, Timestamp)> {
        match self.files.is_empty() {
            true => vec![(self.first, self.last)],
            false => self.files.clone(),
        }
    }

    /// Whether the file is among them that had `last` as its newest event. An error otherwise: when the next one happened,
    /// if there is one.
    pub fn go_on_from(&self, last: Timestamp) -> Result<(), Option<Timestamp>> {
        let spans = self.spans();
        match spans.iter().any(|(first, until)| *first <= last && last <= *until) {
            true => Ok(()),
            false => Err(spans.iter().map(|(first, _)| *first).filter(|first| *first > last).min()),
        }
    }
}

/// What a time series database says of what was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Blocks.
    pub blocks: u64,
    /// Series in them; one that is in several blocks counts several times.
    pub series: u64,
    /// Samples in them.
    pub samples: u64,
    /// The earliest sample.
    pub first: Timestamp,
    /// The end of the latest block: all samples are before it.
    pub last: Timestamp,
}

/// Documents of a search server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Documents {
    /// Indices that they are in.
    pub indices: u64,
    /// How many.
    pub count: u64,
    /// The moment at which the first index was read: each is saved as it was at one moment.
    pub first: Timestamp,
    /// The moment at which the last index was read.
    pub last: Timestamp,
}

/// The last list of what a source had: everything in it is in the backup, or told as missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// How many objects were in it that the schedule asks for.
    pub count: u64,
    /// When it was begun.
    pub at: Timestamp,
}

/// What is inside, in the words of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Events of logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Documents>,
    /// The list that the backup is true to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
}

impl Contents {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Contents::default()
    }

    /// Adds what another part holds.
    pub fn add(&mut self, other: &Contents) {
        add_to(&mut self.events, &other.events, Events::add);
        add_to(&mut self.metrics, &other.metrics, |all, more| {
            all.blocks += more.blocks;
            all.series += more.series;
            all.samples += more.samples;
            all.first = all.first.min(more.first);
            all.last = all.last.max(more.last);
        });
        add_to(&mut self.listed, &other.listed, |all, more| *all = more.clone());
        add_to(&mut self.documents, &other.documents, |all, more| {
            all.indices += more.indices;
            all.count += more.count;
            all.first = all.first.min(more.first);
            all.last = all.last.max(more.last);
        });
    }
}

fn add_to<T: Clone>(all: &mut Option<T>, more: &Option<T>, add: impl FnOnce(&mut T, &T)) {
    match (all.as_mut(), more) {
        (Some(all), Some(more)) => add(all, more),
        (None, Some(more)) => *all = Some(more.clone()),
        (_, None) => {}
    }
}

/// What a source gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Members.
    pub items: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// For each type of Kubernetes object, by `deployments.apps`.
    pub types: BTreeMap<String, TypeRecord>,
    /// What was left out on purpose.
    pub skipped: Vec<Omission>,
    /// What was asked for but could not be read.
    pub problems: Vec<Omission>,
    /// What is worth knowing, though nothing is missing.
    pub notices: Vec<Omission>,
    /// What is inside.
    pub contents: Contents,
    /// Whether it changed while it was read, so that no later backup may take it over.
    pub is_unsettled: bool,
    /// Why it may be worth while to read it once more: the server was lost, and may come back.
    pub lost: Option<String>,
}

impl Inventory {
    /// Adds what another part of the same source gave.
    pub fn add(&mut self, other: Inventory) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.types.extend(other.types);
        self.skipped.extend(other.skipped);
        self.problems.extend(other.problems);
        self.notices.extend(other.notices);
        self.contents.add(&other.contents);
        self.is_unsettled |= other.is_unsettled;
        self.lost = self.lost.take().or(other.lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: u64, first: i64, last: i64) -> Contents {
        let at = |second| Timestamp::from_second(second).unwrap();
        Contents {
            events: Some(Events { count, first: at(first), last: at(last), files: Vec::new() }),
            ..Contents::default()
        }
    }

    #[test]
    fn contents_of_parts_add_up() {
        let mut all = Contents::default();
        for part in [Contents::default(), events(2, 50, 60), events(3, 10, 55)] {
            all.add(&part);
        }
        assert!(Contents::default().is_empty() && !all.is_empty());
        let all = all.events.unwrap();
        assert_eq!((all.count, all.first.as_second(), all.last.as_second()), (5, 10, 60));
    }

    #[test]
    fn a_gap_is_where_no_file_has_the_last_event() {
        let of = |files: &[(i64, i64)]| {
            let mut all = Contents::default();
            files.iter().for_each(|(first, last)| all.add(&events(1, *first, *last)));
            move |last: i64| {
                let at = Timestamp::from_second(last).unwrap();
                all.events.as_ref().unwrap().go_on_from(at).map_err(|next| next.map(Timestamp::as_second))
            }
        };
        let archive = of(&[(0, 10), (12, 20), (40, 50)]);
        for (last, expected) in [(20, Ok(())), (15, Ok(())), (30, Err(Some(40))), (11, Err(Some(12))), (60, Err(None))]
        {
            assert_eq!(archive(last), expected, "{last}");
        }
        assert_eq!(of(&[(5, 9)])(2), Err(Some(5)));
        assert_eq!(of(&[(5, 9)])(9), Ok(()));
    }
}
