//! When a request is sent again.

use std::future::Future;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::ApiError;
use super::answer::Cause;

/// How often and how long a request is tried. An answer that names a time (`Retry-After`) shows a server that is there: it is
/// no failure, and what fails after it has all tries again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Tries that fail in a row, the first one included.
    pub tries: u32,
    /// First wait; doubles each time, up to [`Retry::longest`].
    pub first: Duration,
    /// Longest wait between two tries, `Retry-After` excepted.
    pub longest: Duration,
    /// No try begins later than this after the first that failed in a row.
    pub within: Duration,
    /// How long after the first try a server is believed that says when it wants to be asked again.
    pub busy: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            // Enough for an API server that restarts: refused connections fail at once.
            tries: 20,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            within: Duration::from_secs(45),
            busy: Duration::from_secs(300),
        }
    }
}

/// Longest `Retry-After` that is heeded to the letter.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

impl Retry {
    /// For questions that come before the work: long enough for a hiccup, and a server that is down is told at once.
    pub fn brief() -> Self {
        Retry { tries: 4, within: Duration::from_secs(20), busy: Duration::from_secs(60), ..Retry::default() }
    }

    /// Runs `attempt` until it succeeds, fails for good, or the tries are used up.
    pub async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let begin = Instant::now();
        let (mut failed, mut wait, mut since) = (0, self.first, begin);
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(e) if !e.is_transient() => return Err(e),
                Err(e) => e,
            };
            let pause = match asked_for(&error) {
                Some(pause) if begin.elapsed() + pause <= self.busy => {
                    (failed, wait, since) = (0, self.first, Instant::now() + pause);
                    pause
                }
                Some(_) => return Err(error),
                None => {
                    let pause = jittered(wait);
                    (failed, wait) = (failed + 1, (wait * 2).min(self.longest));
                    if failed >= self.tries || since.elapsed() + pause > self.within {
                        return Err(error);
                    }
                    pause
                }
            };
            tracing::debug!(%error, ?pause, "try again");
            tokio::time::sleep(pause).await;
        }
    }
}

fn asked_for(error: &ApiError) -> Option<Duration> {
    match &error.cause {
        Cause::Status { retry_after, .. } => retry_after.map(|d| d.min(LONGEST_RETRY_AFTER)),
        _ => None,
    }
}

/// Between half and the whole of `wait`, so that many who failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    let mut byte = [0u8];
    // Without randomness the wait is simply not spread.
    let _ = getrandom::fill(&mut byte);
    wait / 2 + wait * u32::from(byte[0]) / 512
}

/// `Retry-After` in seconds; dates are not used by API servers.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::cell::Cell;

    fn answer(code: u16, retry_after: Option<u64>) -> ApiError {
        let call = super::super::Call::get("/api/v1/pods", Duration::from_secs(1));
        let status = StatusCode::from_u16(code).unwrap();
        ApiError::from_status(&call, status, retry_after.map(Duration::from_secs), b"")
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_again_after_the_time_it_names() {
        let (begin, tries) = (Instant::now(), Cell::new(0));
        let result = Retry::default()
            .run(|| async {
                tries.set(tries.get() + 1);
                if tries.get() < 3 { Err(answer(429, Some(7))) } else { Ok(()) }
            })
            .await;
        assert!(result.is_ok());
        assert_eq!((tries.get(), begin.elapsed().as_secs()), (3, 14));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_a_minute_again_and_again_gets_it_and_not_for_ever() {
        let begin = Instant::now();
        let result = Retry::default().run(|| async { Err::<(), _>(answer(503, Some(60))) }).await;
        assert!(result.is_err());
        assert_eq!(begin.elapsed().as_secs(), 300);
    }

    /// As when a log-in expires while the server is busy.
    #[tokio::test(start_paused = true)]
    async fn what_fails_after_a_busy_time_has_all_tries_again() {
        let tries = Cell::new(0);
        let result = Retry::default()
            .run(|| async {
                tries.set(tries.get() + 1);
                match tries.get() {
                    1..=100 => Err(answer(429, Some(1))),
                    101..=105 => Err(answer(401, None)),
                    _ => Ok(()),
                }
            })
            .await;
        assert!(result.is_ok(), "{result:?} after {} tries", tries.get());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_pass_is_not_tried_again_and_what_never_passes_ends() {
        let tries = Cell::new(0);
        let count = |code| {
            tries.set(tries.get() + 1);
            async move { Err::<(), _>(answer(code, None)) }
        };
        assert!(Retry::default().run(|| count(403)).await.is_err());
        assert_eq!(tries.replace(0), 1);
        let begin = Instant::now();
        assert!(Retry::default().run(|| count(503)).await.is_err());
        let waited = begin.elapsed();
        assert!(tries.get() > 8 && waited <= Retry::default().within, "{} tries in {waited:?}", tries.get());
        assert!(waited > Duration::from_secs(30), "a server that restarts is waited for");
    }
}
