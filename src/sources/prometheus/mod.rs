//! Source `prometheus`: the blocks of its time series database, from a snapshot or as they lie in its data directory.
//!
//! A block never changes, so one that was saved before is taken over from the last backup. The newest samples are in no block
//! until Prometheus writes one, every two hours; a snapshot puts them into a block of their own.

mod blocks;
mod contents;
mod data;
mod pod;
mod pod_block;
mod silences;
mod snapshot;

use std::time::SystemTime;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use self::blocks::{Block, within};
pub use self::blocks::{is_block_name, metrics_of};
use self::data::Folder;
use self::pod_block::PodBlock;
use self::silences::SilencesUnit;
pub use self::silences::{Alertmanager, SILENCES, Silence};
use self::snapshot::Snapshot;
use super::file_reader::{Reader, Reading};
use super::{Opened, Source, Unit};
use crate::cluster::Cluster;
use crate::config::PrometheusScope;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::inventory::{Contents, Identity, Inventory, Omission};
use crate::member::Batch;
use crate::progress::Progress;

/// The metrics of one Prometheus.
pub struct Prometheus {
    name: String,
    scope: PrometheusScope,
    cluster: Option<Cluster>,
    endpoint: Option<Endpoint>,
    snapshot: Mutex<Option<Snapshot>>,
}

impl Prometheus {
    /// A source called `name` in its schedule.
    pub fn new(name: &str, scope: PrometheusScope, cluster: Option<Cluster>) -> Result<Prometheus> {
        let endpoint = match &scope.url {
            Some(url) => Some(Endpoint::new(url, &scope.access)?),
            None => None,
        };
        Ok(Prometheus { name: name.into(), scope, cluster, endpoint, snapshot: Mutex::default() })
    }

    /// The folder that holds the blocks: a snapshot's, or the data directory itself. And what is missing there.
    async fn folder(&self) -> Result<(Folder, Option<Omission>)> {
        let data = Folder::find(&self.scope.data, self.cluster.as_ref()).await?;
        let Some(endpoint) = &self.endpoint else { return Ok((data, None)) };
        // Held while it is made: whoever cleans up waits until it is known what it is called.
        let mut held = self.snapshot.lock().await;
        if let Some(earlier) = held.as_mut() {
            earlier.remove().await?;
        }
        snapshot::remove_left(&data, Timestamp::now()).await;
        let snapshot = held.insert(Snapshot::begin(endpoint.clone(), &data, self.scope.head));
        Ok(match snapshot.folder().await? {
            Some(folder) => (folder, None),
            None => (data, self.scope.head.then(|| without_head(endpoint))),
        })
    }
}

/// Blocks alone are better than nothing, and not what was asked for.
fn without_head(endpoint: &Endpoint) -> Omission {
    let why = format!(
        "the newest samples, which are in no block yet: {} makes no snapshots, as its admin API is disabled. Start Prometheus \
         with --web.enable-admin-api; or leave out `url` and accept it with `head: false`",
        endpoint.shown()
    );
    Omission { what: "head".into(), why, count: None }
}

#[async_trait]
impl Source for Prometheus {
    fn kind(&self) -> &'static str {
        "prometheus"
    }

    async fn open(&self) -> Result<Opened> {
        let (folder, missing) = self.folder().await?;
        let (blocks, mut problems) = folder.find_blocks().await?;
        problems.extend(missing);
        let (blocks, skipped) = within(blocks, self.scope.limits, SystemTime::now());
        let mut inventory = Inventory { skipped, problems, ..Inventory::default() };
        if !self.scope.head {
            let why = "the newest samples, which are in no block yet, are not asked for (head: false)";
            inventory.notices.push(Omission { what: "head".into(), why: why.into(), count: None });
        }
        let unit =
            |block| -> Box<dyn Unit> { Box::new(BlockUnit { name: self.name.clone(), folder: folder.clone(), block }) };
        let mut units: Vec<_> = blocks.into_iter().map(unit).collect();
        if let Some(server) = &self.scope.alertmanager {
            let (name, alertmanager) = (self.name.clone(), Alertmanager::new(server)?);
            units.push(Box::new(SilencesUnit { name, alertmanager }));
        }
        Ok(Opened { units, inventory })
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
    folder: Folder,
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
        let mut inventory = match &self.folder {
            Folder::Here(folder) => {
                let reading = Reading { name: &self.name, folder: folder.clone(), live: false, format: None };
                self.read_here(Reader::new(reading, out, progress, stop)).await?
            }
            Folder::Pod(folder) => {
                let (name, inventory) = (&self.name, Inventory::default());
                let block = PodBlock { name, folder, out, progress, stop, inventory, is_final: false };
                block.read(self.block.name(), &self.block.files).await?
            }
        };
        inventory.contents = Contents { metrics: Some(self.block.metrics.clone()), ..Contents::default() };
        Ok(inventory)
    }
}

impl BlockUnit {
    async fn read_here(&self, mut reader: Reader<'_>) -> Result<Inventory> {
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
        Ok(inventory)
    }
}
