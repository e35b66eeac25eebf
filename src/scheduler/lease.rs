//! One run at a time for each cluster: a Lease in it, renewed while the run lasts.
//!
//! As in Kubernetes' own leader election, nobody compares clocks: a lease that another holds is free once it was not
//! renewed for a whole term *while we watched*. Whoever could not renew it for two thirds of a term stops: nobody else can
//! have taken it by then.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::lease::{LeaseObject, LeasePlace, LeaseSpec, micro_time};
use crate::cluster::{ApiError, Cluster};
use crate::error::{Error, Kind, Result};

/// How long a lease lasts, how often it is renewed, and how it is watched.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// Without renewal for so long, it is free.
    pub lasts: Duration,
    /// How often it is renewed.
    pub renew: Duration,
}

/// How often a renewal is tried before a commit.
const RENEWALS: u32 = 5;

/// Between two of them: an answer that was lost is known at the next.
const RENEWAL_PAUSE: Duration = Duration::from_millis(200);

impl Default for Term {
    fn default() -> Self {
        Term::of(Duration::from_secs(60))
    }
}

impl Term {
    /// A lease that lasts so long, and is renewed six times as often.
    pub fn of(lasts: Duration) -> Term {
        Term { lasts, renew: lasts / 6 }
    }

    /// Without renewal for so long, its holder stops.
    fn patience(self) -> Duration {
        self.lasts * 2 / 3
    }
}

/// A lease that is held, and renewed until it is released or dropped.
pub struct Lease {
    shared: Arc<Shared>,
    _renewing: AbortOnDropHandle<()>,
}

struct Shared {
    cluster: Cluster,
    place: LeasePlace,
    holder: String,
    term: Term,
    held: tokio::sync::Mutex<LeaseObject>,
    /// When it was renewed for the last time.
    renewed: Mutex<Instant>,
    lost: CancellationToken,
}

impl Lease {
    /// Takes the lease. When another holds it, waits up to one term for signs of life, and fails with
    /// [`Kind::LeaseHeld`] at the first.
    pub async fn take(cluster: &Cluster, place: LeasePlace, holder: String, term: Term) -> Result<Lease> {
        let mut seen = None::<(LeaseSpec, Instant)>;
        loop {
            let found = cluster.lease(&place).await.map_err(|e| explain(e, &place))?;
            if let Some(other) = found.as_ref().map(|lease| &lease.spec).filter(|spec| spec.holder().is_some()) {
                let (first, since) = seen.get_or_insert_with(|| (other.clone(), Instant::now()));
                if first != other {
                    return Err(held(&place, other));
                }
                let lasts = other.lease_duration_seconds.map_or(term.lasts, |s| Duration::from_secs(u64::from(s)));
                if since.elapsed() <= lasts {
                    tokio::time::sleep(term.renew.min(Duration::from_secs(1))).await;
                    continue;
                }
            }
            let spec = taken(found.as_ref(), &holder, term);
            let sent = Instant::now();
            match cluster.write_lease(&place, found.as_ref(), spec).await {
                Ok(lease) => return Ok(Lease::holding(cluster.clone(), place, holder, term, lease, sent)),
                // Somebody was faster: look again.
                Err(e) if e.code() == Some(409) => {}
                Err(e) => return Err(explain(e, &place)),
            }
        }
    }

    fn holding(
        cluster: Cluster,
        place: LeasePlace,
        holder: String,
        term: Term,
        lease: LeaseObject,
        renewed: Instant,
    ) -> Lease {
        let (held, renewed, lost) = (tokio::sync::Mutex::new(lease), Mutex::new(renewed), CancellationToken::new());
        let shared = Arc::new(Shared { cluster, place, holder, term, held, renewed, lost });
        let renewing = tokio::spawn(keep(shared.clone()));
        Lease { shared, _renewing: AbortOnDropHandle::new(renewing) }
    }

    /// Cancelled once the lease may be somebody else's.
    pub fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }

    /// The failure of a run that lost it.
    pub fn loss(&self) -> Error {
        Error::new(Kind::LeaseHeld, format!("the lease {} was lost", self.shared.place))
            .hint("nothing was committed; another run may be under way, or the API server was away for too long")
    }

    /// Renews the lease now, and says until when nobody else can have it.
    pub async fn renew(&self) -> Result<Instant> {
        let mut tried = 0;
        while let Err(e) = self.shared.renew().await {
            tried += 1;
            if tried == RENEWALS || self.shared.lost.is_cancelled() {
                return Err(self.loss().because(e));
            }
            tracing::debug!(error = %e, "renew the lease again");
            tokio::time::sleep(RENEWAL_PAUSE).await;
        }
        let renewed = self.shared.renewed.lock().map(|renewed| *renewed).map_err(|_| self.loss())?;
        match self.shared.lost.is_cancelled() {
            true => Err(self.loss()),
            false => Ok(renewed + self.shared.term.patience()),
        }
    }

    /// Lets others have it at once.
    pub async fn release(self) {
        let Lease { shared, _renewing } = self;
        drop(_renewing);
        if shared.lost.is_cancelled() {
            return;
        }
        let held = shared.held.lock().await;
        let spec = LeaseSpec { holder_identity: Some(String::new()), ..held.spec.clone() };
        if let Err(e) = shared.cluster.write_lease(&shared.place, Some(&held), spec).await {
            tracing::debug!(error = %e, "release the lease");
        }
    }
}

impl Shared {
    async fn renew(&self) -> Result<(), ApiError> {
        let mut held = self.held.lock().await;
        let sent = Instant::now();
        let spec = LeaseSpec { renew_time: Some(micro_time(Timestamp::now())), ..held.spec.clone() };
        match self.cluster.write_lease(&self.place, Some(&held), spec).await {
            Ok(lease) => {
                *held = lease;
                if let Ok(mut renewed) = self.renewed.lock() {
                    *renewed = sent;
                }
                Ok(())
            }
            Err(e) if e.code() == Some(409) => self.conflict(&mut held, e).await,
            Err(e) => Err(e),
        }
    }

    /// A renewal whose answer was lost is found to be our own; anything else is somebody else's.
    async fn conflict(&self, held: &mut LeaseObject, conflict: ApiError) -> Result<(), ApiError> {
        match self.cluster.lease(&self.place).await? {
            Some(found) if found.spec.holder() == Some(&self.holder) => {
                *held = found;
                Err(conflict)
            }
            _ => {
                self.lost.cancel();
                Err(conflict)
            }
        }
    }

    fn is_overdue(&self) -> bool {
        self.renewed.lock().is_ok_and(|renewed| renewed.elapsed() > self.term.patience())
    }
}

async fn keep(shared: Arc<Shared>) {
    let mut pause = shared.term.renew;
    loop {
        tokio::time::sleep(pause).await;
        // After a process was stopped, this comes first: it must not renew what was somebody else's meanwhile.
        if shared.is_overdue() {
            shared.lost.cancel();
        }
        if shared.lost.is_cancelled() {
            return;
        }
        pause = match tokio::time::timeout(shared.term.renew, shared.renew()).await {
            Ok(Ok(())) => shared.term.renew,
            failed => {
                tracing::warn!(lease = %shared.place, ?failed, "the lease could not be renewed");
                shared.term.renew.min(Duration::from_secs(1))
            }
        };
    }
}

fn taken(found: Option<&LeaseObject>, holder: &str, term: Term) -> LeaseSpec {
    let now = micro_time(Timestamp::now());
    let before = found.map(|lease| lease.spec.clone()).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(term.lasts.as_secs().max(1) as u32),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.map_or(0, |n| n.saturating_add(1))),
    }
}

fn held(place: &LeasePlace, spec: &LeaseSpec) -> Error {
    let holder = spec.holder().unwrap_or("somebody");
    let since = spec.acquire_time.as_deref().map(|time| format!(" since {time}")).unwrap_or_default();
    Error::new(Kind::LeaseHeld, format!("another run is under way: {holder} holds the lease {place}{since}"))
        .hint("wait until it has ended; a run that died loses the lease after a minute")
}

fn explain(e: ApiError, place: &LeasePlace) -> Error {
    let error = Error::failed(format!("take the lease {place}"));
    match e.code() {
        Some(403) => {
            let hint = format!("allow get, create and update on leases.coordination.k8s.io in {}", place.namespace);
            error.because(e).hint(hint)
        }
        Some(404) => error.because(e).hint(format!(
            "make the namespace {}, or name another one with spec.lease.namespace of the schedule",
            place.namespace
        )),
        _ => error.because(e),
    }
}
