//! Which backup is meant.

use super::{Global, telemetry};
use crate::error::Result;
use crate::reader::{self, Committed, Found};
use crate::vault::Vault;
use crate::vault::signature::Signers;

/// The backup of that id, or the one that `latest` means; what `latest` passed over is said.
pub async fn choose(
    vault: &Vault,
    cluster: &str,
    which: &str,
    signers: Option<&Signers>,
    global: &Global,
) -> Result<Committed> {
    let Found { backup, passed_over } = reader::find(vault, cluster, which, signers).await?;
    telemetry::about_backup(&backup.manifest.id);
    for (id, why) in passed_over {
        global.warn(format!("{id} is newer than {}, but was passed over: {why}", backup.manifest.id));
    }
    Ok(backup)
}
