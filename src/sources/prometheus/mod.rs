//! Source `prometheus`: the blocks of its time series database, from a snapshot or as they lie in its data directory.
//!
//! A block never changes, so one that was saved before is taken over from the last backup. The newest samples are in no block
//! until Prometheus writes one, every two hours; a snapshot puts them into a block of their own.

mod blocks;
mod snapshot;

use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use self::blocks::{Block, find_blocks, within};
pub use self::blocks::{is_block_name, metrics_of};
use self::snapshot::Snapshot;
use super::file_reader::{Reader, Reading};
use super::{Opened, Source, Unit};
use crate::config::PrometheusScope;
use crate::endpoint::Endpoint;
use crate::error::{Context, Result};
use crate::inventory::{Contents, Identity, Inventory, Omission};
use crate::member::Batch;
use crate::progress::Progress;

/// The metrics of one Prometheus.
pub struct Prometheus {
    name: String,
    scope: PrometheusScope,
    endpoint: Option<Endpoint>,
    snapshot: Mutex<Option<Snapshot>>,
}

impl Prometheus {
    /// A source called `name` in its schedule.
    pub fn new(name: &str, scope: PrometheusScope) -> Result<Prometheus> {
        let endpoint = match &scope.url {
            Some(url) => Some(Endpoint::new(url, &scope.access)?),
            None => None,
        };
        Ok(Prometheus { name: name.into(), scope, endpoint, snapshot: Mutex::default() })
    }

    /// The folder that holds the blocks: a snapshot's, or the data directory itself.
    async fn folder(&self) -> Result<PathBuf> {
        let Some(endpoint) = &self.endpoint else { return Ok(self.scope.data.clone()) };
        // Held while it is made: whoever cleans up waits until it is known what it is called.
        let mut held = self.snapshot.lock().await;
        if let Some(earlier) = held.as_mut() {
            earlier.remove().await?;
        }
        let snapshot = held.insert(Snapshot::begin(endpoint.clone(), self.scope.data.clone(), self.scope.head));
        snapshot.folder().await
    }
}

#[async_trait]
impl Source for Prometheus {
    fn kind(&self) -> &'static str {
        "prometheus"
    }

    async fn open(&self) -> Result<Opened> {
        let folder = self.folder().await?;
        let (looked_at, limits) = (folder.clone(), self.scope.limits);
        let finding = tokio::task::spawn_blocking(move || find_blocks(&looked_at));
        let (blocks, problems) = finding.await.context(|| "look for blocks".into())??;
        let (blocks, skipped) = within(blocks, limits, SystemTime::now());
        let mut inventory = Inventory { skipped, problems, ..Inventory::default() };
        if !self.scope.head {
            let why = "the newest samples, which are in no block yet, are not asked for (head: false)";
            inventory.notices.push(Omission { what: "head".into(), why: why.into(), count: None });
        }
        let unit =
            |block| -> Box<dyn Unit> { Box::new(BlockUnit { name: self.name.clone(), folder: folder.clone(), block }) };
        Ok(Opened { units: blocks.into_iter().map(unit).collect(), inventory })
    }

    async fn close(&self) -> Result<()> {
        match self.snapshot.lock().await.as_mut() {
            Some(snapshot) => snapshot.remove().await,
            None => Ok(()),
        }
    }
}

/// One block.
struct BlockUnit {
    name: String,
    folder: PathBuf,
    block: Block,
}

#[async_trait]
impl Unit for BlockUnit {
    fn identity(&self) -> Option<Identity> {
        Some(self.block.identity)
    }

    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let folder = self.folder.clone();
        let reading = Reading { name: &self.name, folder, live: false, format: None };
        let mut reader = Reader::new(reading, out, progress, stop);
        let files: Vec<_> = self.block.files.iter().map(|file| (file.clone(), file.path.clone())).collect();
        // The last file makes it a block: without one of the others it must not look like one.
        if let Some((meta, others)) = files.split_last() {
            reader.read_all(others).await?;
            if reader.is_sound() {
                reader.read_all(std::slice::from_ref(meta)).await?;
            }
        }
        let is_gone = !reader.take_missed().vanished.is_empty();
        let mut inventory = reader.finish().await?;
        if is_gone {
            inventory.problems.push(Omission {
                what: "a block".into(),
                why: "Prometheus removed it while it was read; with `url`, a snapshot is read, which stays".into(),
                count: None,
            });
        }
        inventory.contents = Contents { metrics: Some(self.block.metrics.clone()), ..Contents::default() };
        Ok(inventory)
    }
}
