//! The journal in the vault: parts that are sealed, numbered, and never written twice.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::entry::{Begin, Entry};
use super::place::{RestoreId, VaultPlace, folder_in_vault};
use crate::archive::age::{Identities, open_all, seal_all};
use crate::error::{Context, Error, Result};
use crate::vault::{Created, ReadError, Vault};

/// A part of a journal is small; one that is larger was put there to fill the memory; bytes.
const LARGEST_PART: usize = 64 << 20;

/// What every vault has.
const README: &str = "README.txt";

/// The last line of a part: proves who wrote it.
#[derive(Serialize, Deserialize)]
struct Seal {
    mac: String,
}

/// Puts parts into the vault.
pub(super) struct Uploader {
    place: VaultPlace,
    id: RestoreId,
    /// How many parts are there.
    parts: u32,
    failures: u32,
}

impl Uploader {
    pub fn new(place: VaultPlace, id: RestoreId, parts: u32) -> Uploader {
        Uploader { place, id, parts, failures: 0 }
    }

    /// Stores the lines as the next part. False when somebody else has written that part.
    pub async fn put(&mut self, lines: &[u8]) -> Result<bool> {
        let number = self.parts + 1;
        let sealed = seal(&self.place, &self.id, &format!("part {number}"), lines)?;
        let key = self.place.key(&self.id, &part_name(number));
        // A folder that was unmounted must not be made anew for it.
        self.place.vault().head(README, None).await?;
        match self.place.vault().create(&key, sealed.into()).await {
            Ok(Created::Yes(_)) => {
                self.parts = number;
                self.failures = 0;
                Ok(true)
            }
            Ok(Created::Taken) => Ok(false),
            Err(e) => {
                self.failures += 1;
                Err(e)
            }
        }
    }

    /// Whether it began to fail just now.
    pub fn is_first_failure(&self) -> bool {
        self.failures == 1
    }
}

fn part_name(number: u32) -> String {
    format!("{number:04}.jsonl.zst.age")
}

/// All parts of a restore, one after the other, and how many there are.
pub(super) async fn read_parts(place: &VaultPlace, id: &RestoreId) -> Result<(Vec<u8>, u32)> {
    let mut lines = Vec::new();
    for number in 1.. {
        let key = place.key(id, &part_name(number));
        let sealed = match place.vault().read(&key, None).await {
            Ok(sealed) => sealed,
            Err(ReadError::NotFound) => return Ok((lines, number - 1)),
            Err(ReadError::Other(e)) => return Err(e),
        };
        let part = unseal(place, id, &format!("part {number}"), &sealed).map_err(|e| e.within(key))?;
        lines.extend(part);
    }
    Ok((lines, 0))
}

/// What a restore says that it began with, before it can be known whether that is true: the backup that it names tells.
pub async fn peek_begin(vault: &Vault, cluster: &str, id: &RestoreId, identities: &Identities) -> Result<Begin> {
    let key = folder_in_vault(cluster, id, &part_name(1));
    let sealed = vault.read(&key, None).await.map_err(|e| e.expected(&key))?;
    let plain = open_all(identities, &sealed).and_then(|compressed| decompress(&compressed));
    let plain = plain.map_err(|e| e.within(key.clone()))?;
    let first = plain.split(|b| *b == b'\n').next().unwrap_or_default();
    match serde_json::from_slice(first) {
        Ok(Entry::Begin(begin)) => Ok(*begin),
        _ => Err(Error::integrity(format!("{key} does not say how the restore began"))),
    }
}

fn decompress(compressed: &[u8]) -> Result<Vec<u8>> {
    let plain = zstd::bulk::decompress(compressed, LARGEST_PART);
    plain.map_err(|e| Error::integrity("it cannot be decompressed").because(e))
}

/// Compresses and encrypts lines, with a last one that proves that they come from somebody who can open the backup.
pub(super) fn seal(place: &VaultPlace, id: &RestoreId, role: &str, lines: &[u8]) -> Result<Vec<u8>> {
    let last = Seal { mac: hex::encode(mac(place, id, role, lines)?.finalize().into_bytes()) };
    let last = serde_json::to_vec(&last).context(|| "seal a part of the journal".into())?;
    let plain = [lines, &last, b"\n"].concat();
    let compressed = zstd::bulk::compress(&plain, 3).context(|| "compress a part of the journal".into())?;
    seal_all(place.recipients(), &compressed)
}

/// The lines again, when they are what somebody with an identity wrote in that role.
pub(super) fn unseal(place: &VaultPlace, id: &RestoreId, role: &str, sealed: &[u8]) -> Result<Vec<u8>> {
    let forged = || {
        Error::integrity("it was not written by somebody who can open the backup")
            .hint("somebody else put it there: leave the journal in the vault alone, and begin the restore anew")
    };
    let compressed = open_all(place.identities(), sealed)?;
    let mut plain = decompress(&compressed)?;
    let body = plain.strip_suffix(b"\n").and_then(|text| text.iter().rposition(|b| *b == b'\n').map(|at| at + 1));
    let at = body.unwrap_or(0);
    let seal: Seal = serde_json::from_slice(plain.get(at..).unwrap_or_default()).map_err(|_| forged())?;
    let claimed = hex::decode(&seal.mac).map_err(|_| forged())?;
    mac(place, id, role, &plain[..at])?.verify_slice(&claimed).map_err(|_| forged())?;
    plain.truncate(at);
    Ok(plain)
}

/// Over which restore, which part of it, and the lines.
fn mac(place: &VaultPlace, id: &RestoreId, role: &str, lines: &[u8]) -> Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(place.secret()).context(|| "authenticate the journal".into())?;
    mac.update(format!("{id}\n{role}\n").as_bytes());
    mac.update(lines);
    Ok(mac)
}
