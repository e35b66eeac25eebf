//! The sources: things that are backed up. Each gives batches of members, and says what it saw and what is missing.

mod kubernetes;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::kubernetes::Kubernetes;
use crate::error::Result;
use crate::inventory::Inventory;
use crate::member::Batch;
use crate::progress::Progress;

/// How many batches wait for the packer. A batch is a page of a list, some MiB at most; two keep the packer busy.
pub const BATCHES_WAITING: usize = 2;

/// Why something is missing that was not read in time.
pub const TIME_IS_UP: &str = "the window closed before it was read";

/// Something that can be backed up.
#[async_trait]
pub trait Source: Send + Sync {
    /// The kind, as in schedules: `kubernetes`.
    fn kind(&self) -> &'static str;

    /// Reads everything that is asked for and hands it on. What cannot be read goes into the inventory's
    /// problems; an error means that the source gave nothing of use. Once `stop` is cancelled, what is not read by then
    /// is such a problem.
    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory>;
}
