//! A sealed object, read at any position.

use std::ops::Range;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::archive::age::{self, Header, Identities, PayloadKey};
use crate::error::{Error, Result};
use crate::vault::Vault;
use crate::vault::layout::BackupFolder;
use crate::vault::manifest::StoredObject;

/// An age header has about 200 bytes for each recipient, so most fit into the first read, and small indexes whole.
const FIRST_READ: u64 = 16 << 10;

/// A sealed object whose key is unlocked.
pub struct SealedObject {
    vault: Vault,
    key: String,
    version: Option<String>,
    payload_key: PayloadKey,
    payload_at: u64,
    payload_len: u64,
    head: Bytes,
}

impl SealedObject {
    /// Reads the header and unlocks it.
    pub async fn open(
        vault: &Vault,
        folder: &BackupFolder,
        record: &StoredObject,
        identities: &Identities,
    ) -> Result<SealedObject> {
        let key = folder.of(&record.key);
        let mut want = FIRST_READ;
        let (header, payload_at, head) = loop {
            let range = 0..want.min(record.bytes);
            let read = vault.read_part(&key, record.version.as_deref(), range);
            let (head, bytes) = read.await.map_err(|e| e.expected(&key))?;
            if bytes != record.bytes {
                let sizes = format!("{key} has {bytes} bytes, the manifest says {}", record.bytes);
                return Err(Error::integrity(sizes));
            }
            match Header::parse(&head).map_err(|e| e.within(key.clone()))? {
                Some((header, length)) => break (header, length as u64, head),
                None if want >= record.bytes => return Err(Error::integrity(format!("{key} is cut short"))),
                None => want *= 8,
            }
        };
        let payload_key = header.unlock(identities).map_err(|e| e.within(key.clone()))?;
        let payload_len = record.bytes.saturating_sub(payload_at);
        let version = record.version.clone();
        Ok(SealedObject { vault: vault.clone(), key, version, payload_key, payload_at, payload_len, head })
    }

    /// Part of the plaintext, with one ranged read.
    pub async fn read(&self, plain: Range<u64>) -> Result<Vec<u8>> {
        let length = (plain.end - plain.start) as usize;
        let span = age::chunks_of(plain).within(self.payload_len);
        let range = span.cipher.start + self.payload_at..span.cipher.end + self.payload_at;
        let cipher = self.cipher(range).await?;
        let key = self.payload_key.clone();
        let last = span.is_last(self.payload_len);
        let (first, skip) = (span.first, span.skip);
        let opened = tokio::task::spawn_blocking(move || key.open(first, &cipher, last));
        let opened = opened.await.map_err(|e| Error::failed("open a sealed object").because(e))?;
        let mut opened = opened.map_err(|e| e.within(self.key.clone()))?;
        if opened.len() < skip + length {
            return Err(Error::integrity(format!("{} is shorter than the index says", self.key)));
        }
        opened.truncate(skip + length);
        opened.drain(..skip);
        Ok(opened)
    }

    async fn cipher(&self, range: Range<u64>) -> Result<Bytes> {
        if range.end <= self.head.len() as u64 {
            return Ok(self.head.slice(range.start as usize..range.end as usize));
        }
        let read = self.vault.read_range(&self.key, self.version.as_deref(), range.clone());
        let bytes = read.await.map_err(|e| e.expected(&self.key))?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(Error::integrity(format!("{} is cut short", self.key)));
        }
        Ok(bytes)
    }

    /// A secret that only those know who can open it.
    pub fn secret(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        self.payload_key.derive(purpose)
    }

    /// Size of the plaintext.
    pub fn plain_len(&self) -> Result<u64> {
        age::plain_len(self.payload_len).map_err(|e| e.within(self.key.clone()))
    }
}
