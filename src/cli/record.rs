//! What runs come to is recorded in the vault, where it outlives the backups. A record that cannot be written is said, and changes
//! nothing.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::config::Schedule;
use crate::error::{Error, Result};
use crate::reader::append_record;
use crate::storage::StoreSettings;
use crate::vault::Vault;
use crate::vault::record::RecordBody;
use crate::vault::signature::Signer;

/// A vault that is out of reach must not hold up the end of a run.
const PATIENCE: Duration = Duration::from_secs(30);

/// Records what a run of a schedule came to.
pub(super) async fn record(vault: &Vault, signer: &Signer, schedule: &Schedule, body: RecordBody) {
    let at = SystemClock.now();
    let writing = append_record(vault, signer, schedule.cluster.as_str(), &schedule.name, at, body);
    tell(tokio::time::timeout(PATIENCE, writing).await.unwrap_or_else(|_| Err(too_slow())));
}

/// The same, where neither the vault nor the key is at hand. A vault that is not there is not made for it.
pub(super) async fn record_apart(schedule: &Schedule, settings: &StoreSettings, body: RecordBody) {
    let writing = async {
        let signer = Signer::read(&schedule.signing_key)?;
        let vault = Vault::open(&schedule.vault, settings).await?;
        append_record(&vault, &signer, schedule.cluster.as_str(), &schedule.name, SystemClock.now(), body).await
    };
    tell(tokio::time::timeout(PATIENCE, writing).await.unwrap_or_else(|_| Err(too_slow())));
}

fn too_slow() -> Error {
    Error::failed(format!("the vault did not answer within {} s", PATIENCE.as_secs()))
}

fn tell(written: Result<String>) {
    if let Err(e) = written {
        tracing::warn!(error = %e.one_line(), "what the run came to is not recorded in the vault");
    }
}
