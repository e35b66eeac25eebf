//! How many writes are in flight: as many as the API server takes.
//!
//! The limit grows by one for each round of successes and is halved, once a second at most, when the server says that it
//! is too busy; a `Retry-After` stops new writes for that time.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Writes in flight at the begin. On two cores an API server is busy with fewer, and more do no harm.
const BEGIN: usize = 32;
/// More than this many writes have not made any server faster.
const MOST: usize = 128;
/// Refusals within this time are of one burst: what was in flight when the server became busy.
const BURST: Duration = Duration::from_secs(1);
/// Longest `Retry-After` that is heeded to the letter.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// So many writes may wait for something without a place. Each is an object in memory.
const MOST_ASIDE: usize = 256;

/// The current limit.
#[derive(Clone, Default)]
pub struct Limiter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    freed: Notify,
    /// How many writes wait aside.
    aside: AtomicUsize,
}

struct State {
    limit: usize,
    in_flight: usize,
    successes: usize,
    halved: Option<Instant>,
    pause_until: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        State { limit: BEGIN, in_flight: 0, successes: 0, halved: None, pause_until: None }
    }
}

/// A place among the writes in flight, free again when it is dropped.
pub struct Place(Limiter);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
        self.0.0.freed.notify_one();
    }
}

/// Counts a write that waits aside, until it is dropped.
struct Aside(Limiter);

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.0.aside.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Limiter {
    /// Waits for a place.
    pub async fn acquire(&self) -> Place {
        loop {
            let pause = self.state().pause_until.filter(|until| *until > Instant::now());
            if let Some(until) = pause {
                tokio::time::sleep_until(until).await;
                continue;
            }
            if let Some(place) = self.try_acquire() {
                return place;
            }
            self.0.freed.notified().await;
        }
    }

    /// Waits for something else than the server, and lets another write have the place meanwhile: what waits for a webhook must
    /// not hold up what does not.
    pub async fn aside<T>(&self, place: &mut Option<Place>, waiting: impl Future<Output = T>) -> T {
        let aside = Aside(self.clone());
        if self.0.aside.fetch_add(1, Ordering::AcqRel) >= MOST_ASIDE {
            return waiting.await;
        }
        drop(place.take());
        let result = waiting.await;
        drop(aside);
        *place = Some(self.acquire().await);
        result
    }

    fn try_acquire(&self) -> Option<Place> {
        let mut state = self.state();
        if state.in_flight >= state.limit {
            return None;
        }
        state.in_flight += 1;
        if state.in_flight < state.limit {
            // A freed place was told to one who waits; the next one may find room as well.
            self.0.freed.notify_one();
        }
        Some(Place(self.clone()))
    }

    /// A write succeeded.
    pub fn succeeded(&self) {
        let mut state = self.state();
        state.successes += 1;
        if state.successes >= state.limit && state.limit < MOST {
            state.successes = 0;
            state.limit += 1;
            self.0.freed.notify_one();
        }
    }

    /// The server is too busy.
    pub fn busy(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        if state.halved.is_none_or(|halved| now - halved >= BURST) {
            state.halved = Some(now);
            state.limit = (state.limit / 2).max(1);
            state.successes = 0;
        }
        if let Some(wait) = retry_after {
            state.pause_until = Some(now + wait.min(LONGEST_PAUSE));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn no_place(limiter: &Limiter) -> bool {
        tokio::time::timeout(Duration::from_millis(20), limiter.acquire()).await.is_err()
    }

    #[tokio::test]
    async fn it_grows_with_success_and_halves_when_the_server_is_busy() {
        let limiter = Limiter::default();
        for _ in 0..BEGIN {
            limiter.succeeded();
        }
        assert_eq!(limiter.state().limit, BEGIN + 1);
        limiter.busy(None);
        assert_eq!(limiter.state().limit, BEGIN / 2);
        let mut held = Vec::new();
        for _ in 0..BEGIN / 2 {
            held.push(limiter.acquire().await);
        }
        assert!(no_place(&limiter).await, "no more than the limit");
        held.pop();
        assert!(!no_place(&limiter).await, "a place that was freed is given again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_refusals_counts_once_and_no_pause_is_endless() {
        let limiter = Limiter::default();
        (0..BEGIN).for_each(|_| limiter.busy(Some(Duration::from_secs(u64::MAX))));
        assert_eq!(limiter.state().limit, BEGIN / 2);
        let begin = Instant::now();
        limiter.acquire().await;
        assert_eq!(begin.elapsed().as_secs(), LONGEST_PAUSE.as_secs());
        (0..50).for_each(|_| {
            limiter.state().halved = None;
            limiter.busy(None);
        });
        assert_eq!(limiter.state().limit, 1, "one write is always tried");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_threads_never_exceed_it_nor_lose_a_place() {
        let (limiter, now, most) = (Limiter::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let writes = (0..5000).map(|number| {
            let (limiter, now, most) = (limiter.clone(), now.clone(), most.clone());
            tokio::spawn(async move {
                let _place = limiter.acquire().await;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                if number % 7 == 0 { limiter.busy(None) } else { limiter.succeeded() }
            })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= MOST);
        assert_eq!(limiter.state().in_flight, 0);
    }
}
