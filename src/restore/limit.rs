//! How many writes are in flight: as many as the API server takes.
//!
//! The limit grows by one for each round of successes and is halved when the server says that it is too busy; a
//! `Retry-After` stops new writes for that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Writes in flight at the begin. On two cores an API server is busy with fewer, and more do no harm.
const BEGIN: usize = 32;
/// More than this many writes have not made any server faster.
const MOST: usize = 128;

/// The current limit.
pub struct Limiter {
    semaphore: Arc<Semaphore>,
    limit: AtomicUsize,
    successes: AtomicUsize,
    to_forget: AtomicUsize,
    pause_until: Mutex<Option<Instant>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Limiter {
            semaphore: Arc::new(Semaphore::new(BEGIN)),
            limit: AtomicUsize::new(BEGIN),
            successes: AtomicUsize::new(0),
            to_forget: AtomicUsize::new(0),
            pause_until: Mutex::new(None),
        }
    }
}

impl Limiter {
    /// Waits for a place. None when the limiter was closed.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        let until = *self.pause_until.lock().await;
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        loop {
            let permit = self.semaphore.clone().acquire_owned().await.ok()?;
            let forget = self.to_forget.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
            match forget {
                Ok(_) => permit.forget(),
                Err(_) => return Some(permit),
            }
        }
    }

    /// A write succeeded.
    pub fn succeeded(&self) {
        let limit = self.limit.load(Ordering::Acquire);
        let round = self.successes.fetch_add(1, Ordering::AcqRel) + 1;
        if round >= limit && limit < MOST {
            self.successes.store(0, Ordering::Release);
            self.limit.store(limit + 1, Ordering::Release);
            self.semaphore.add_permits(1);
        }
    }

    /// The server is too busy.
    pub async fn busy(&self, retry_after: Option<Duration>) {
        let limit = self.limit.load(Ordering::Acquire);
        let fewer = (limit / 2).max(1);
        self.limit.store(fewer, Ordering::Release);
        self.to_forget.fetch_add(limit - fewer, Ordering::AcqRel);
        if let Some(wait) = retry_after {
            *self.pause_until.lock().await = Some(Instant::now() + wait);
        }
    }

    #[cfg(test)]
    fn current(&self) -> usize {
        self.limit.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_grows_with_success_and_halves_when_the_server_is_busy() {
        let limiter = Limiter::default();
        for _ in 0..BEGIN {
            limiter.succeeded();
        }
        assert_eq!(limiter.current(), BEGIN + 1);
        limiter.busy(None).await;
        assert_eq!(limiter.current(), BEGIN.div_ceil(2));
        let mut held = Vec::new();
        for _ in 0..limiter.current() {
            held.push(limiter.acquire().await.unwrap());
        }
        let more = tokio::time::timeout(Duration::from_millis(20), limiter.acquire()).await;
        assert!(more.is_err(), "no more than the limit");
    }
}
