//! Where the journal of a restore stands.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::archive::age::{Identities, Recipients};
use crate::config::Name;
use crate::error::{Error, Result};
use crate::reader::OpenBackup;
use crate::vault::Vault;

/// The name of a restore: `20261121T021500Z-workload-cluster`, after its begin and its plan. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestoreId(String);

impl RestoreId {
    /// The id of a restore by `plan` that begins now.
    pub fn new(begin: Timestamp, plan: &Name) -> RestoreId {
        RestoreId(format!("{}-{plan}", RestoreId::stamp(begin)))
    }

    /// What ids of that time begin with.
    pub fn stamp(time: Timestamp) -> String {
        time.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RestoreId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The same shape as that of a backup: nothing in it can climb out of a folder.
        match text.parse::<crate::vault::layout::BackupId>() {
            Ok(_) => Ok(RestoreId(text.into())),
            Err(_) => Err(Error::usage(format!("{text:?} is not the id of a restore"))
                .hint("an id looks like 20261121T021500Z-workload-cluster; a restore prints its own when it begins")),
        }
    }
}

/// What restores are called in a cluster's folder of the vault.
const RESTORES: &str = "restores";

/// The folder of restores in a vault, with what seals and opens what stands there.
#[derive(Clone)]
pub struct VaultPlace {
    vault: Vault,
    cluster: String,
    recipients: Arc<Recipients>,
    identities: Arc<Identities>,
    secret: Arc<Zeroizing<[u8; 32]>>,
}

impl VaultPlace {
    /// Beside an opened backup, for those who can open it. None for a backup that nothing can be authenticated with.
    pub fn beside(backup: &OpenBackup) -> Result<Option<VaultPlace>> {
        let Some(secret) = backup.secret("ckbackup.io/restore-journal/v1") else { return Ok(None) };
        let (vault, cluster) = (backup.vault().clone(), backup.folder().cluster.clone());
        let recipients = Recipients::parse(&backup.manifest.recipients)?;
        Ok(Some(VaultPlace::new(vault, cluster, recipients, backup.identities(), secret)))
    }

    pub(super) fn new(
        vault: Vault,
        cluster: String,
        recipients: Recipients,
        identities: Arc<Identities>,
        secret: Zeroizing<[u8; 32]>,
    ) -> VaultPlace {
        VaultPlace { vault, cluster, recipients: Arc::new(recipients), identities, secret: Arc::new(secret) }
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The key of something in a restore's folder.
    pub(super) fn key(&self, id: &RestoreId, name: &str) -> String {
        folder_in_vault(&self.cluster, id, name)
    }

    pub(super) fn recipients(&self) -> &Recipients {
        &self.recipients
    }

    pub(super) fn identities(&self) -> &Identities {
        &self.identities
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// The key of something in a restore's folder in the vault.
pub(super) fn folder_in_vault(cluster: &str, id: &RestoreId, name: &str) -> String {
    format!("{cluster}/{RESTORES}/{id}/{name}")
}

/// The names of all restores in a cluster's folder of the vault.
pub async fn all_in_vault(vault: &Vault, cluster: &str) -> Result<Vec<RestoreId>> {
    let under = format!("{cluster}/{RESTORES}");
    let listed = vault.list(&under).await?;
    let id = |key: &str| key.strip_prefix(&under)?.trim_start_matches('/').split('/').next()?.parse().ok();
    let mut ids: Vec<RestoreId> = listed.iter().filter_map(|object| id(&object.key)).collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}
