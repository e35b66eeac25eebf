//! The sources: things that are backed up. Each gives batches of members, and says what it saw and what is missing.

mod audit;
mod command;
mod elasticsearch;
mod file_reader;
mod files;
mod kubernetes;
mod limits;
mod objects;
mod outlet;
mod prometheus;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::command::Command;
pub use self::elasticsearch::{Elasticsearch, identity_of};
pub use self::files::Files;
pub use self::kubernetes::Kubernetes;
pub use self::objects::ObjectStorage;
pub use self::prometheus::{Alertmanager, Prometheus, SILENCES, Silence, is_block_name, metrics_of};
use crate::error::{Error, Result};
use crate::inventory::{Identity, Inventory};
use crate::member::Batch;
use crate::progress::Progress;

/// How many batches wait for the packer. A batch is a page of a list, some MiB at most; two keep the packer busy.
pub const BATCHES_WAITING: usize = 2;

/// Why something is missing that was not read in time.
pub const TIME_IS_UP: &str = "the window closed before it was read";

/// What is not there when the window closes comes too late. Only for what hands on nothing in the middle of a member.
pub async fn in_time<T>(stop: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::failed(TIME_IS_UP)),
        done = work => done,
    }
}

/// Something that can be backed up.
#[async_trait]
pub trait Source: Send + Sync {
    /// The kind, as in schedules: `kubernetes`.
    fn kind(&self) -> &'static str;

    /// What its members are called, in the plural.
    fn noun(&self) -> &'static str {
        "files"
    }

    /// Looks at what there is to save, and fixes the moment that is saved where the source can. An error means that nothing
    /// can be read.
    async fn open(&self) -> Result<Opened>;

    /// Takes back what `open` made, whatever came of it. Called once, after everything else.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// What a source has to save.
#[derive(Default)]
pub struct Opened {
    /// The parts, in the order in which they are read. Each has segments of its own.
    pub units: Vec<Box<dyn Unit>>,
    /// What is left out, or missing, before any part was read.
    pub inventory: Inventory,
}

/// A part of a source.
#[async_trait]
pub trait Unit: Send + Sync {
    /// What decides its content, where that is known without reading all of it. A unit of the same identity in an earlier
    /// backup is taken over instead of being read.
    fn identity(&self) -> Option<Identity> {
        None
    }

    /// Reads everything and hands it on. What cannot be read goes into the inventory's problems; an error means that the
    /// unit gave nothing of use. Once `stop` is cancelled, what is not read by then is such a problem.
    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory>;
}
