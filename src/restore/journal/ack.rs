//! Acknowledgements: somebody says, on another terminal or another machine, that a manual step is done.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::local::{StateFolder, make_folder};
use super::place::{RestoreId, VaultPlace};
use super::stored::{seal, unseal};
use crate::error::{Context, Error, Result};
use crate::vault::{Created, ReadError};

/// Between two looks into the folder on this machine.
const LOOK_HERE: Duration = Duration::from_millis(500);

/// After so many looks here, one into the vault.
const LOOKS_PER_VAULT: u32 = 10;

/// What somebody says of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is done.
    Done,
    /// It is not, and will not be.
    Refused,
}

/// One acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The step.
    pub step: String,
    /// What is said.
    pub answer: Answer,
    /// By whom, as they call themselves.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Names of steps may have `/` in them, names of files may not.
fn file_name(step: &str) -> String {
    format!("{}.ack", step.replace('/', "+"))
}

/// Writes it into the folder of a restore on this machine, or else into the vault. It is there, whole, or an error says why not.
pub async fn give_ack(state: &StateFolder, id: &RestoreId, vault: Option<&VaultPlace>, ack: &Ack) -> Result<()> {
    let line = serde_json::to_vec(ack).context(|| "write an acknowledgement".into())?;
    let name = file_name(&ack.step);
    let Some(place) = vault else {
        let folder = state.of(id).join("acks");
        make_folder(&folder)?;
        let (path, beside) = (folder.join(&name), folder.join(format!(".{name}")));
        let written = std::fs::write(&beside, &line).and_then(|()| std::fs::rename(&beside, &path));
        return written.context(|| format!("write {}", path.display()));
    };
    let sealed = seal(place, id, &format!("ack {name}"), &[line.as_slice(), b"\n"].concat())?;
    let key = place.key(id, &format!("acks/{name}"));
    match place.vault().create(&key, sealed.into()).await? {
        Created::Yes(_) => Ok(()),
        Created::Taken => {
            Err(Error::failed(format!("somebody has acknowledged step {} of restore {id} already", ack.step)))
        }
    }
}

/// What was said of a step, on this machine or in the vault.
pub async fn find_ack(
    state: &StateFolder,
    id: &RestoreId,
    vault: Option<&VaultPlace>,
    step: &str,
) -> Result<Option<Ack>> {
    if let Some(ack) = here(state, id, step) {
        return Ok(Some(ack));
    }
    let Some(place) = vault else { return Ok(None) };
    let name = file_name(step);
    let sealed = match place.vault().read(&place.key(id, &format!("acks/{name}")), None).await {
        Ok(sealed) => sealed,
        Err(ReadError::NotFound) => return Ok(None),
        Err(ReadError::Other(e)) => return Err(e),
    };
    let line = unseal(place, id, &format!("ack {name}"), &sealed)?;
    let ack: Ack = serde_json::from_slice(&line).context(|| "read an acknowledgement".into())?;
    Ok(Some(ack).filter(|ack| ack.step == step))
}

fn here(state: &StateFolder, id: &RestoreId, step: &str) -> Option<Ack> {
    let line = std::fs::read(state.of(id).join("acks").join(file_name(step))).ok()?;
    serde_json::from_slice(&line).ok().filter(|ack: &Ack| ack.step == step)
}

/// Looks until there is one. A vault that cannot be read, or an acknowledgement that does not hold, is none.
pub(super) async fn wait(state: &StateFolder, id: &RestoreId, vault: Option<&VaultPlace>, step: &str) -> Ack {
    for looks in 0u32.. {
        let vault = vault.filter(|_| looks % LOOKS_PER_VAULT == 0);
        if let Ok(Some(ack)) = find_ack(state, id, vault, step).await {
            return ack;
        }
        tokio::time::sleep(LOOK_HERE).await;
    }
    std::future::pending().await
}
