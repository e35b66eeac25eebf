//! The journal in the vault: parts that are sealed, numbered, and never written twice.

use bytes::Bytes;
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
    /// Lines that stand in no part yet.
    unsent: Vec<u8>,
    /// The next part, until it is known what became of it.
    on_its_way: Option<Sealed>,
    failures: u32,
}

/// A part that may have arrived, though nobody said so. It is sent again as it is: the same lines sealed anew are other bytes, and what
/// stands there of the first time would look like somebody else's.
struct Sealed {
    lines: Vec<u8>,
    bytes: Bytes,
}

impl Uploader {
    pub fn new(place: VaultPlace, id: RestoreId, parts: u32) -> Uploader {
        Uploader { place, id, parts, unsent: Vec::new(), on_its_way: None, failures: 0 }
    }

    /// Whether something that was given to it is not known to be in the vault.
    pub fn owes(&self) -> bool {
        self.on_its_way.is_some() || !self.unsent.is_empty()
    }

    /// Stores the lines, and what could not be stored before, as the next parts. False when somebody who can open the backup has written
    /// such a part: another machine goes on with the restore. What somebody else has put there is passed over. After an error, or when
    /// this is given up half-way, the lines are kept for the next time.
    pub async fn put(&mut self, lines: Vec<u8>) -> Result<bool> {
        self.unsent.extend(lines);
        let put = self.put_all().await;
        self.failures = if put.is_err() { self.failures + 1 } else { 0 };
        put
    }

    async fn put_all(&mut self) -> Result<bool> {
        // A folder that was unmounted must not be made anew for it.
        self.place.vault().head(README, None).await?;
        while self.owes() {
            match self.put_next().await? {
                Put::Stored => self.next_part(),
                Put::Genuine => return Ok(false),
                Put::PassedOver => {
                    let lines = self.on_its_way.take().map(|part| part.lines).unwrap_or_default();
                    let newer = std::mem::replace(&mut self.unsent, lines);
                    self.unsent.extend(newer);
                    self.next_part();
                }
            }
        }
        Ok(true)
    }

    fn next_part(&mut self) {
        self.on_its_way = None;
        self.parts += 1;
    }

    /// Whether another machine goes on with the restore: the next part is there, and is not ours.
    pub async fn is_taken_over(&mut self) -> Result<bool> {
        loop {
            match self.read_next().await? {
                None => return Ok(false),
                Some(true) => return Ok(true),
                Some(false) => self.parts += 1,
            }
        }
    }

    /// Whether the next part is there, and if so, whether it is genuine.
    async fn read_next(&self) -> Result<Option<bool>> {
        let number = self.parts + 1;
        match self.place.vault().read(&self.place.key(&self.id, &part_name(number)), None).await {
            Ok(sealed) => Ok(Some(unseal(&self.place, &self.id, &role(number), &sealed).is_ok())),
            Err(ReadError::NotFound) => Ok(None),
            Err(ReadError::Other(e)) => Err(e),
        }
    }

    async fn put_next(&mut self) -> Result<Put> {
        let (key, bytes) = (self.place.key(&self.id, &part_name(self.parts + 1)), self.seal_next()?);
        if let Created::Yes(_) = self.place.vault().create(&key, bytes).await? {
            return Ok(Put::Stored);
        }
        Ok(match self.read_next().await? {
            Some(false) => Put::PassedOver,
            _ => Put::Genuine,
        })
    }

    /// The next part: the one that is on its way, or all lines that stand in none.
    fn seal_next(&mut self) -> Result<Bytes> {
        if let Some(part) = &self.on_its_way {
            return Ok(part.bytes.clone());
        }
        let bytes = Bytes::from(seal(&self.place, &self.id, &role(self.parts + 1), &self.unsent)?);
        self.on_its_way = Some(Sealed { lines: std::mem::take(&mut self.unsent), bytes: bytes.clone() });
        Ok(bytes)
    }

    /// Whether it began to fail just now.
    pub fn is_first_failure(&self) -> bool {
        self.failures == 1
    }
}

/// What became of a part.
enum Put {
    /// It is there.
    Stored,
    /// Another one is there, by somebody who can open the backup.
    Genuine,
    /// Another one is there, by somebody who cannot.
    PassedOver,
}

fn role(number: u32) -> String {
    format!("part {number}")
}

fn part_name(number: u32) -> String {
    format!("{number:04}.jsonl.zst.age")
}

/// What stands in the vault.
#[derive(Default)]
pub(super) struct Parts {
    /// The lines of all parts that hold, one after the other.
    pub lines: Vec<u8>,
    /// How many parts there are.
    pub count: u32,
    /// Parts that do not hold, and why.
    pub refused: Vec<Error>,
}

/// All parts of a restore. One that somebody has put there who cannot open the backup says nothing.
pub(super) async fn read_parts(place: &VaultPlace, id: &RestoreId) -> Result<Parts> {
    let mut parts = Parts::default();
    for number in 1.. {
        let key = place.key(id, &part_name(number));
        let sealed = match place.vault().read(&key, None).await {
            Ok(sealed) => sealed,
            Err(ReadError::NotFound) => break,
            Err(ReadError::Other(e)) => return Err(e),
        };
        match unseal(place, id, &role(number), &sealed) {
            Ok(part) => parts.lines.extend(part),
            Err(e) => parts.refused.push(e.within(key)),
        }
        parts.count = number;
    }
    Ok(parts)
}

/// What a restore says that it began with, before it can be known whether that is true: the backup that it names tells. Parts that cannot
/// be opened are passed over, as are those that do not say it.
pub async fn peek_begin(vault: &Vault, cluster: &str, id: &RestoreId, identities: &Identities) -> Result<Begin> {
    let mut refused = None;
    for number in 1.. {
        let key = folder_in_vault(cluster, id, &part_name(number));
        let sealed = match vault.read(&key, None).await {
            Ok(sealed) => sealed,
            Err(e) if number == 1 => return Err(e.expected(&key)),
            Err(ReadError::NotFound) => break,
            Err(ReadError::Other(e)) => return Err(e),
        };
        let plain = open_all(identities, &sealed).and_then(|compressed| decompress(&compressed));
        match plain.map(|plain| begin_in(&plain)) {
            Ok(Some(begin)) => return Ok(begin),
            Ok(None) => {}
            Err(e) => refused = refused.or(Some(e.within(key))),
        }
    }
    Err(refused.unwrap_or_else(|| Error::integrity(format!("the journal of restore {id} does not say how it began"))))
}

fn begin_in(lines: &[u8]) -> Option<Begin> {
    lines.split(|b| *b == b'\n').find_map(|line| match serde_json::from_slice(line) {
        Ok(Entry::Begin(begin)) => Some(*begin),
        _ => None,
    })
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

#[cfg(test)]
mod tests {
    use super::super::tests::{begin, id, place_in};
    use super::*;
    use crate::error::Kind;

    /// The next part arrives, and nobody says so.
    async fn send_unanswered(uploader: &mut Uploader, lines: &[u8]) -> Result<()> {
        uploader.unsent.extend(lines);
        let bytes = uploader.seal_next()?;
        let key = uploader.place.key(&uploader.id, &part_name(uploader.parts + 1));
        uploader.place.vault().create(&key, bytes).await.map(drop)
    }

    async fn lines(place: &VaultPlace) -> (String, u32) {
        let parts = read_parts(place, &id()).await.unwrap();
        (String::from_utf8(parts.lines).unwrap(), parts.count)
    }

    #[tokio::test]
    async fn a_part_that_arrived_without_an_answer_is_known_as_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path()).await;
        let mut uploader = Uploader::new(place.clone(), id(), 0);
        send_unanswered(&mut uploader, b"one\n").await.unwrap();
        assert!(uploader.owes());
        assert!(uploader.put(b"two\n".to_vec()).await.unwrap(), "nobody else goes on with it");
        assert_eq!(lines(&place).await, ("one\ntwo\n".into(), 2));
        assert!(!uploader.owes() && !uploader.is_taken_over().await.unwrap());
    }

    #[tokio::test]
    async fn what_the_vault_does_not_take_comes_with_what_is_next() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path()).await;
        let mut uploader = Uploader::new(place.clone(), id(), 0);
        let in_the_way = folder.path().join("c");
        std::fs::write(&in_the_way, "").unwrap();
        for (line, is_first) in [("one\n", true), ("two\n", false)] {
            uploader.put(line.into()).await.unwrap_err();
            assert_eq!((uploader.owes(), uploader.is_first_failure()), (true, is_first));
        }
        std::fs::remove_file(in_the_way).unwrap();
        assert!(uploader.put(Vec::new()).await.unwrap());
        assert_eq!(lines(&place).await.0, "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_part_on_its_way_goes_past_garbage_and_stops_at_another_machines() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path()).await;
        let (mut here, mut elsewhere) = (Uploader::new(place.clone(), id(), 0), Uploader::new(place.clone(), id(), 0));
        here.unsent.extend(b"one\n");
        here.seal_next().unwrap();
        place.vault().create(&place.key(&id(), &part_name(1)), Bytes::from_static(b"garbage")).await.unwrap();
        assert!(here.put(b"two\n".to_vec()).await.unwrap());
        assert_eq!(lines(&place).await, ("one\ntwo\n".into(), 2));
        assert!(!elsewhere.put(b"three\n".to_vec()).await.unwrap(), "the other one has written its part");
    }

    #[tokio::test]
    async fn how_a_restore_began_is_found_behind_garbage() {
        let folder = tempfile::tempdir().unwrap();
        let place = place_in(folder.path()).await;
        let peek = async || peek_begin(place.vault(), "c", &id(), place.identities()).await;
        place.vault().create(&place.key(&id(), &part_name(1)), Bytes::from_static(b"garbage")).await.unwrap();
        assert_eq!(peek().await.unwrap_err().kind(), Kind::Integrity);
        let mut uploader = Uploader::new(place.clone(), id(), 0);
        assert!(uploader.put(b"{\"resumed\":{}}\n".to_vec()).await.unwrap());
        peek().await.unwrap_err();
        let mut line = serde_json::to_vec(&Entry::Begin(Box::new(begin()))).unwrap();
        line.push(b'\n');
        assert!(uploader.put(line).await.unwrap());
        assert_eq!(peek().await.unwrap().plan, "all");
    }
}
