//! Objects that are written down as done together, and found again to be there when a restore is gone on with.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::apply::EXISTS;
use super::journal::Batch;
use super::summary::{Items, Outcome, Standing};
use super::work::Work;
use crate::archive::index::Entry;
use crate::cluster::Retry;
use crate::cluster::list::ListOptions;
use crate::object_path::ObjectPath;

/// Objects of one batch at most: so many are looked at again when a restore was cut off in the middle of one.
const BATCH: u32 = 25;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A batch on its way.
pub struct OpenBatch {
    step: String,
    frame: usize,
    range: Range<u32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ended: u32,
    /// Something in it must be done again.
    is_open: bool,
    items: Items,
    skipped: BTreeMap<String, Vec<u32>>,
    standing: Vec<Standing>,
}

impl OpenBatch {
    /// The places of its objects in the frame.
    pub fn range(&self) -> Range<u32> {
        self.range.clone()
    }

    /// It does not count as done, whatever comes of its objects: one of them waits for its owner.
    pub fn keep_open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_open = true;
    }

    /// Notes what came of an object. The whole batch, when that was the last one and all is well.
    pub fn add(&self, at: u32, shown: &str, outcome: &Outcome) -> Option<Batch> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended += 1;
        match outcome {
            Outcome::Created => state.items.created += 1,
            Outcome::Updated => state.items.updated += 1,
            Outcome::Unchanged => state.items.unchanged += 1,
            Outcome::Failed(_) => state.is_open = true,
            Outcome::Skipped { rule, why } => {
                state.items.skipped += 1;
                if rule == EXISTS {
                    state.standing.push(Standing { object: shown.into(), why: why.clone() });
                }
                state.skipped.entry(rule.clone()).or_default().push(at);
            }
        }
        let is_done = state.ended == self.range.end - self.range.start && !state.is_open;
        is_done.then(|| Batch {
            step: self.step.clone(),
            frame: self.frame,
            first: self.range.start,
            count: self.range.end - self.range.start,
            items: state.items,
            skipped: state.skipped.clone(),
            standing: state.standing.clone(),
        })
    }
}

/// The batches of a frame that are still to be done. Those that the journal calls done are looked at, and counted.
pub async fn to_do(work: &Work, step: usize, frame: usize, mine: &[Entry]) -> Vec<Arc<OpenBatch>> {
    let name = work.plan.steps[step].name.to_string();
    let known = work.earlier.of_frame(&name, frame);
    let mut batches = Vec::new();
    let count = mine.len() as u32;
    for first in (0..count).step_by(BATCH as usize) {
        let range = first..count.min(first + BATCH);
        let done = known.iter().find(|batch| (batch.first..batch.first + batch.count) == range);
        match done {
            Some(batch) if is_there(work, batch, mine).await => count_again(work, step, batch).await,
            _ => batches.push(Arc::new(OpenBatch { step: name.clone(), frame, range, state: Mutex::default() })),
        }
    }
    batches
}

async fn count_again(work: &Work, step: usize, batch: &Batch) {
    let is_first = work.counted.lock().await.insert((step, batch.frame, batch.first));
    let mut tally = work.tallies[step].lock().await;
    let Items { created, updated, unchanged, .. } = batch.items;
    // By an earlier try of this step it was counted already, and is found there now.
    let found = Items { created: 0, updated: 0, unchanged: created + updated + unchanged, ..batch.items };
    tally.items.add(if is_first { &batch.items } else { &found });
    tally.found += batch.items.total();
    for (rule, skipped) in &batch.skipped {
        *tally.skipped.entry(rule.clone()).or_default() += skipped.len() as u64;
    }
    tally.standing.extend(batch.standing.iter().cloned());
    drop(tally);
    work.progress.advance(&batch.step, u64::from(batch.count), 0);
}

/// Whether all of a batch that was written is in the target. Owners among it are known by their new uids then.
async fn is_there(work: &Work, batch: &Batch, mine: &[Entry]) -> bool {
    let is_skipped = |at: u32| batch.skipped.iter().any(|(rule, all)| rule != EXISTS && all.contains(&at));
    for at in batch.first..batch.first + batch.count {
        if is_skipped(at) {
            continue;
        }
        let entry = &mine[at as usize];
        match work.present.find(work, entry).await {
            Some(uid) => work.compiled.owners.restored(&entry.traits.uid, &uid),
            None => return false,
        }
    }
    true
}

/// What is in the target, by type; each type is listed once, when it is asked for.
#[derive(Default)]
pub struct Present(tokio::sync::Mutex<HashMap<String, Arc<OnceCell<Listed>>>>);

/// Uids by the digest of namespace and name. None where the type could not be listed: then nothing of it counts as there.
type Listed = Option<HashMap<[u8; 16], Box<str>>>;

impl Present {
    /// The uid of an object of the backup in the target, where it is there.
    async fn find(&self, work: &Work, entry: &Entry) -> Option<String> {
        let path = ObjectPath::parse(&entry.path)?;
        let cell = self.0.lock().await.entry(path.resource.into()).or_default().clone();
        let listed = cell.get_or_init(|| list(work, &path)).await;
        // Where the plan gives namespaces other names, it is there under the new one.
        let mappings = work.remap.mappings();
        let name = if path.resource == "namespaces" { mappings.namespace(path.stem) } else { path.stem };
        let namespace = path.namespace.map(|namespace| mappings.namespace(namespace));
        let uid = listed.as_ref()?.get(&key(namespace.unwrap_or_default(), name))?;
        Some(uid.to_string())
    }
}

fn key(namespace: &str, name: &str) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(format!("{namespace}/{name}")).into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

async fn list(work: &Work, path: &ObjectPath<'_>) -> Listed {
    let kind = work.compiled.types.values().find_map(|types| types.get(path.resource))?;
    let target = work.target.as_ref()?;
    let served = target.served(kind, false).await.ok()?;
    let options = ListOptions { page_size: 5000, label_selector: None, timeout: TIMEOUT, retry: Retry::default() };
    let mut pages = target.cluster().pages_of_metadata(&served.collection(None), options);
    let mut found = HashMap::new();
    while let Some(page) = pages.next().await {
        for item in page.ok()?.items {
            found.insert(key(&item.namespace, &item.name), item.uid.into());
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> OpenBatch {
        OpenBatch { step: "secrets".into(), frame: 3, range: 100..102, state: Mutex::default() }
    }

    #[test]
    fn a_batch_is_done_when_its_last_object_is() {
        let open = batch();
        assert!(open.add(100, "a", &Outcome::Created).is_none());
        let skipped = Outcome::Skipped { rule: "finished".into(), why: "it had come to its end".into() };
        let done = open.add(101, "b", &skipped).unwrap();
        assert_eq!((done.first, done.count, done.items.created, done.items.skipped), (100, 2, 1, 1));
        assert_eq!(done.skipped["finished"], [101]);
    }

    #[test]
    fn one_with_something_left_to_do_is_never_done() {
        let failed = batch();
        failed.add(100, "a", &Outcome::Failed("no".into()));
        assert!(failed.add(101, "b", &Outcome::Created).is_none());
        let waits = batch();
        waits.keep_open();
        waits.add(100, "a", &Outcome::Created);
        assert!(waits.add(101, "b", &Outcome::Created).is_none());
    }
}
