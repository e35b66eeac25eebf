//! The tick: every few seconds somebody looks whether a run is due. That it is regular is all that is asked of it; when a
//! run is due does not depend on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::error::{Context, Result};

/// Every five seconds.
const TICKS: &str = "*/5 * * * * *";

/// The longest time between two ticks.
const LONGEST: Duration = Duration::from_secs(15);

/// Ticks until it is dropped.
pub struct Trigger {
    _scheduler: JobScheduler,
    ticks: Arc<Notify>,
}

impl Trigger {
    /// Begins to tick.
    pub async fn start() -> Result<Trigger> {
        let ticks = Arc::new(Notify::new());
        let notify = ticks.clone();
        let job = Job::new(TICKS, move |_, _| notify.notify_one()).context(|| "prepare the scheduler".into())?;
        let scheduler = JobScheduler::new().await.context(|| "prepare the scheduler".into())?;
        scheduler.add(job).await.context(|| "prepare the scheduler".into())?;
        scheduler.start().await.context(|| "start the scheduler".into())?;
        Ok(Trigger { _scheduler: scheduler, ticks })
    }

    /// Waits for the next tick. Ticks that nobody waited for are one. The cron scheduler waits for times of day, which do
    /// not come for long when the clock was set back; then this does not wait for them.
    pub async fn tick(&self) {
        let _ = tokio::time::timeout(LONGEST, self.ticks.notified()).await;
    }
}
