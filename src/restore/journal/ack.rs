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

/// How many acknowledgements of a step were seen, on this machine and in the vault: each is heeded once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// On this machine.
    pub here: u32,
    /// In the vault.
    pub vault: u32,
}

/// Acknowledgements of a step are numbered. Names of steps may have `/` in them, names of files may not.
fn file_name(step: &str, number: u32) -> String {
    format!("{}.{number}.ack", step.replace('/', "+"))
}

/// How many acknowledgements a step may have: somebody who says again and again what is not so.
const MOST: u32 = 1000;

/// Writes it into the folder of a restore on this machine, or else into the vault. It is there, whole, or an error says why not.
pub async fn give_ack(state: &StateFolder, id: &RestoreId, vault: Option<&VaultPlace>, ack: &Ack) -> Result<()> {
    let line = serde_json::to_vec(ack).context(|| "write an acknowledgement".into())?;
    for number in 1..=MOST {
        let name = file_name(&ack.step, number);
        let is_given = match vault {
            None => give_here(state, id, &name, &line)?,
            Some(place) => {
                let sealed = seal(place, id, &format!("ack {name}"), &[line.as_slice(), b"\n"].concat())?;
                let key = place.key(id, &format!("acks/{name}"));
                matches!(place.vault().create(&key, sealed.into()).await?, Created::Yes(_))
            }
        };
        if is_given {
            return Ok(());
        }
    }
    Err(Error::failed(format!("step {} of restore {id} has {MOST} acknowledgements already", ack.step)))
}

/// False when one of that name is there.
fn give_here(state: &StateFolder, id: &RestoreId, name: &str, line: &[u8]) -> Result<bool> {
    let folder = state.of(id).join("acks");
    make_folder(&folder)?;
    let (path, beside) = (folder.join(name), folder.join(format!(".{name}.{}", std::process::id())));
    let what = || format!("write {}", path.display());
    std::fs::write(&beside, line).context(what)?;
    // A link is made only where there is none, and shows the whole file at once.
    let linked = std::fs::hard_link(&beside, &path);
    let _ = std::fs::remove_file(&beside);
    match linked {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e).context(what),
    }
}

/// The first acknowledgement of a step that was not seen, on this machine or in the vault, and what is seen then. One that does not hold is
/// none, and is passed over: it must not stand before those that do.
async fn find(
    state: &StateFolder,
    id: &RestoreId,
    vault: Option<&VaultPlace>,
    step: &str,
    seen: Seen,
) -> Result<Option<(Option<Ack>, Seen)>> {
    let path = state.of(id).join("acks").join(file_name(step, seen.here + 1));
    if let Ok(line) = std::fs::read(path) {
        return Ok(Some((parse(&line, step).ok(), Seen { here: seen.here + 1, ..seen })));
    }
    let Some(place) = vault else { return Ok(None) };
    let name = file_name(step, seen.vault + 1);
    let sealed = match place.vault().read(&place.key(id, &format!("acks/{name}")), None).await {
        Ok(sealed) => sealed,
        Err(ReadError::NotFound) => return Ok(None),
        Err(ReadError::Other(e)) => return Err(e),
    };
    let line = unseal(place, id, &format!("ack {name}"), &sealed);
    let ack = line.and_then(|line| parse(&line, step)).ok();
    Ok(Some((ack, Seen { vault: seen.vault + 1, ..seen })))
}

fn parse(line: &[u8], step: &str) -> Result<Ack> {
    let ack: Ack = serde_json::from_slice(line).context(|| "read an acknowledgement".into())?;
    match ack.step == step {
        true => Ok(ack),
        false => Err(Error::integrity(format!("the acknowledgement is for step {}", ack.step))),
    }
}

/// Looks until there is one. A vault that cannot be read, or an acknowledgement that does not hold, is none.
pub(super) async fn wait(
    state: &StateFolder,
    id: &RestoreId,
    vault: Option<&VaultPlace>,
    step: &str,
    mut seen: Seen,
) -> (Ack, Seen) {
    for looks in 0u32.. {
        let vault = vault.filter(|_| looks % LOOKS_PER_VAULT == 0);
        while let Ok(Some((found, now))) = find(state, id, vault, step, seen).await {
            seen = now;
            if let Some(ack) = found {
                return (ack, seen);
            }
        }
        tokio::time::sleep(LOOK_HERE).await;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_acknowledgement_is_heeded_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(folder.path().into());
        let id: RestoreId = "20261121T021500Z-all".parse().unwrap();
        let ack =
            |by: &str| Ack { step: "site/dns".into(), answer: Answer::Done, by: by.into(), at: Timestamp::UNIX_EPOCH };
        give_ack(&state, &id, None, &ack("one")).await.unwrap();
        give_ack(&state, &id, None, &ack("two")).await.unwrap();
        let (first, seen) = wait(&state, &id, None, "site/dns", Seen::default()).await;
        let (second, seen) = wait(&state, &id, None, "site/dns", seen).await;
        assert_eq!((first.by.as_str(), second.by.as_str(), seen.here), ("one", "two", 2));
        assert!(find(&state, &id, None, "site/dns", seen).await.unwrap().is_none());
        assert!(find(&state, &id, None, "dns", Seen::default()).await.unwrap().is_none());
    }
}
