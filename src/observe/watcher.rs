//! Reads vaults in the background, so that the board stays true: somebody else may verify, rotate or lose backups.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::facts::{Facts, Trust, read_facts};
use crate::clock::{Clock, SystemClock};
use crate::config::Schedule;
use crate::error::{Context, Error, Result};
use crate::storage::StoreSettings;
use crate::vault::Vault;
use crate::vault::signature::{Signer, Signers};

/// How often vaults are read when nothing happens.
const EVERY: Duration = Duration::from_secs(600);

/// A vault that takes longer than this does not answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// How soon one that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(60);

/// Reads vaults for a board.
pub struct Watcher {
    /// Where it is written down.
    pub board: Arc<Board>,
    /// How vaults are opened.
    pub settings: StoreSettings,
    /// Who may have made and verified backups; without them a schedule's own key makes them, and no proof counts.
    pub signers: Option<Signers>,
}

impl Watcher {
    /// Reads, again and again.
    pub async fn watch(&self) {
        loop {
            let mut all = true;
            for schedule in self.board.schedules() {
                all &= self.refresh(&schedule).await;
            }
            let pause = if all { EVERY } else { AGAIN };
            tokio::select! {
                () = self.board.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn refresh(&self, schedule: &Schedule) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.read(schedule)).await;
        let read = read.unwrap_or_else(|_| Err(Error::failed(format!("no answer within {} s", PATIENCE.as_secs()))));
        let (facts, failure) = match read {
            Ok(facts) => (Some(facts), None),
            Err(e) => (None, Some(e)),
        };
        let is_news = self.board.refreshed(schedule, facts, SystemClock.now());
        if let (Some(e), true) = (&failure, is_news) {
            tracing::warn!(schedule = %schedule.name, error = %e.one_line(), "the vault cannot be read for the metrics");
        }
        failure.is_none()
    }

    async fn read(&self, schedule: &Schedule) -> Result<Facts> {
        let own = match &self.signers {
            Some(signers) => signers.clone(),
            None => Signer::read(&schedule.signing_key).context(|| "read the schedule's own key".into())?.signers(),
        };
        let vault = Vault::open(&schedule.vault, &self.settings).await?;
        let trust = Trust { backups: &own, proofs: self.signers.as_ref() };
        read_facts(&vault, schedule.cluster.as_str(), schedule.name.as_str(), trust, SystemClock.now()).await
    }
}
