//! Copies inside a vault: how a backup takes over what has not changed, and still stands by itself.

use futures::TryStreamExt;
use object_store::{CopyMode, CopyOptions, ObjectStore};
use sha2::{Digest, Sha256};

use super::{Stored, Upload, Vault};
use crate::error::{Error, Result};

/// The largest object that S3 copies with one request, in bytes.
const LARGEST_COPY: u64 = 5 << 30;

impl Vault {
    /// Copies an object, and makes sure that the copy has that size and digest: by the storage's word, where it computes
    /// the digest of what it copied; elsewhere the copy is read. Copies are real ones, never links: what damages one leaves
    /// the other whole.
    pub async fn copy(
        &self,
        from: &str,
        version: Option<&str>,
        to: &str,
        bytes: u64,
        sha256: &[u8; 32],
    ) -> Result<Stored> {
        if self.folder.is_some() || bytes > LARGEST_COPY {
            return self.copy_through(from, version, to, sha256).await;
        }
        let Some(s3) = &self.s3 else {
            return self.copy_and_read(from, to, bytes, sha256).await;
        };
        let copied = s3.copy(&self.path(from)?, version, &self.path(to)?).await?;
        let stored = Stored::of(copied.version);
        self.check_size(to, &stored, bytes).await?;
        match copied.sha256 {
            Some(found) if found == *sha256 => {}
            Some(_) => return Err(damaged(from)),
            None => self.read_back(to, &stored, sha256).await.map_err(|_| damaged(from))?,
        }
        Ok(stored)
    }

    /// Where the storage cannot copy: read and written, and never visible when it is not what it should be.
    async fn copy_through(&self, from: &str, version: Option<&str>, to: &str, sha256: &[u8; 32]) -> Result<Stored> {
        let mut stream = self.stream(from, version).await.map_err(|e| e.expected(from))?;
        let mut upload = Upload::begin(self, to).await?;
        let mut digest = Sha256::new();
        let written = async {
            while let Some(piece) = stream.try_next().await? {
                digest.update(&piece);
                upload.write(piece).await?;
            }
            match <[u8; 32]>::from(digest.finalize()) == *sha256 {
                true => Ok(()),
                false => Err(damaged(from)),
            }
        };
        match written.await {
            Ok(()) => upload.finish().await,
            Err(e) => {
                upload.abort().await;
                Err(e)
            }
        }
    }

    async fn copy_and_read(&self, from: &str, to: &str, bytes: u64, sha256: &[u8; 32]) -> Result<Stored> {
        let options = CopyOptions { mode: CopyMode::Overwrite, ..CopyOptions::default() };
        let copied = self.store.copy_opts(&self.path(from)?, &self.path(to)?, options).await;
        copied.map_err(|e| self.explain("copy", from, e))?;
        let stored = Stored::of(None);
        let head = self.check_size(to, &stored, bytes).await?;
        self.read_back(to, &stored, sha256).await.map_err(|_| damaged(from))?;
        Ok(Stored::of(head.version))
    }

    async fn check_size(&self, key: &str, stored: &Stored, bytes: u64) -> Result<super::Head> {
        let head = self.head(key, stored.version.as_deref()).await?;
        if head.bytes != bytes {
            return Err(Error::integrity(format!("the copy {key} has {} bytes instead of {bytes}", head.bytes)));
        }
        Ok(head)
    }
}

fn damaged(from: &str) -> Error {
    Error::integrity(format!("{from} is not what its manifest says")).hint("`ckbackup verify --all` finds what is damaged")
}
