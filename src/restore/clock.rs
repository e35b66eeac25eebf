//! The clock: the time since the incident began, set against the recovery time objective.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::summary::RtoSummary;
use crate::clock::Clock;
use crate::config::{Rto, format_duration};

/// Runs from the begin of the incident.
#[derive(Clone)]
pub struct RtoClock {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// When the incident began.
    pub incident_start: Timestamp,
    /// Within how long everything must be done.
    pub rto: Rto,
}

impl RtoClock {
    /// Since the incident began.
    pub fn elapsed(&self) -> Duration {
        Duration::try_from(self.clock.now().duration_since(self.incident_start)).unwrap_or_default()
    }

    /// How long after the begin of the incident that was.
    pub fn since(&self, moment: Timestamp) -> Duration {
        Duration::try_from(moment.duration_since(self.incident_start)).unwrap_or_default()
    }

    /// `3m12s of 4h`.
    pub fn words(&self) -> String {
        let seconds = Duration::from_secs(self.elapsed().as_secs());
        format!("{} of {}", format_duration(seconds), format_duration(self.rto.limit()))
    }

    /// Where the clock stands. Where the plan has a gate that says that people can work again, `usable` is when it opened, and decides.
    pub fn summary(&self, usable: Option<Duration>, has_gate: bool) -> RtoSummary {
        let (elapsed, limit) = (self.elapsed(), self.rto.limit());
        let decisive = if has_gate { usable.unwrap_or(elapsed) } else { elapsed };
        RtoSummary {
            incident_start: self.incident_start,
            limit_seconds: limit.as_secs_f64(),
            elapsed_seconds: super::rounded(elapsed.as_secs_f64()),
            usable_seconds: usable.map(|usable| super::rounded(usable.as_secs_f64())),
            met: decisive <= limit,
        }
    }
}
