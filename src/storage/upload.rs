//! Objects that are written: small ones with one request, large ones in parts. Neither is visible before it is whole.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};
use sha2::{Digest, Sha256};

use super::{Objects, is_unanswered};
use crate::error::{Error, Result};

/// Size of a part in bytes: the least that S3 allows is 5 MiB, and of the 10,000 parts that it takes an object of 40 GiB uses
/// half.
const PART: usize = 8 << 20;

/// How many parts travel at the same time. Each is memory.
const IN_FLIGHT: usize = 2;

/// How often a put is sent again when its answer was lost.
const REPEATED: u32 = 3;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of an object that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there.
    Done,
    /// Another one came meanwhile, and stays.
    Taken,
}

impl Objects {
    /// Writes a small object; with `over` also over one that is there.
    pub async fn put(&self, path: &str, content: Bytes, over: bool) -> Result<Put> {
        let whole = self.whole(path)?;
        let mode = if over { PutMode::Overwrite } else { PutMode::Create };
        let options = PutOptions { mode, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(content.clone());
        let mut put = self.store.put_opts(&whole, payload.clone(), options.clone()).await;
        for _ in 0..REPEATED {
            // The client gives up a conditional put that was not answered. Sent again, it finds out what became of it.
            if !put.as_ref().is_err_and(is_unanswered) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            put = self.store.put_opts(&whole, payload.clone(), options.clone()).await;
        }
        let sha256 = Sha256::digest(&content).into();
        match put {
            Ok(_) => self.confirm(path, content.len() as u64, &sha256).await.map(|()| Put::Done),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                // A put whose answer was lost is sent again, and then finds its own object.
                let is_ours = self.digest(path, &whole).await? == (sha256, content.len() as u64);
                Ok(if is_ours { Put::Done } else { Put::Taken })
            }
            Err(e) => Err(self.place.explain("write", path, e)),
        }
    }

    /// Begins a large object.
    pub async fn upload(&self, path: &str) -> Result<LargeUpload> {
        let whole = self.whole(path)?;
        let begun = self.store.put_multipart(&whole).await.map_err(|e| self.place.explain("write", path, e))?;
        let parts = WriteMultipart::new_with_chunk_size(begun, PART);
        Ok(LargeUpload { objects: self.clone(), path: path.into(), parts: Some(parts), digest: Sha256::new(), sent: 0 })
    }

    /// SHA-256 of an object's content, and its size.
    async fn digest(&self, path: &str, whole: &Path) -> Result<([u8; 32], u64)> {
        let explain = |e| self.place.explain("read back", path, e);
        let size = self.store.head(whole).await.map_err(explain)?.size;
        let (mut digest, mut at) = (Sha256::new(), 0);
        while at < size {
            let end = (at + PART as u64).min(size);
            let piece = self.store.get_range(whole, at..end).await.map_err(explain)?;
            digest.update(&piece);
            at = end;
        }
        Ok((digest.finalize().into(), size))
    }

    /// Makes sure that an object is there as it was sent. S3 compared digests when it arrived; elsewhere it is read back.
    pub async fn confirm(&self, path: &str, bytes: u64, sha256: &[u8; 32]) -> Result<()> {
        let is_right = match self.checks_arrival() {
            true => self.look_at(path).await?.is_some_and(|there| there.size == bytes),
            false => self.digest(path, &self.whole(path)?).await? == (*sha256, bytes),
        };
        match is_right {
            true => Ok(()),
            false => Err(Error::failed(format!("{path}: the storage does not hold what was sent"))),
        }
    }
}

/// A large object on its way. Dropping it leaves nothing visible, and frees what was sent when there is time for it.
pub struct LargeUpload {
    objects: Objects,
    path: String,
    parts: Option<WriteMultipart>,
    digest: Sha256,
    sent: u64,
}

impl LargeUpload {
    /// Adds bytes; waits when enough parts are on their way.
    pub async fn write(&mut self, content: &[u8]) -> Result<()> {
        self.sent += content.len() as u64;
        self.digest.update(content);
        let Some(parts) = &mut self.parts else { return Err(Error::failed("the upload was given up")) };
        let room = parts.wait_for_capacity(IN_FLIGHT).await;
        room.map_err(|e| self.objects.place.explain("write", &self.path, e))?;
        parts.write(content);
        Ok(())
    }

    /// Makes the object visible, and makes sure that it is what was sent. Without `over`, one that came meanwhile stays.
    pub async fn finish(mut self, over: bool) -> Result<Put> {
        if !over && self.objects.look_at(&self.path).await?.is_some() {
            self.abort().await;
            return Ok(Put::Taken);
        }
        if let Some(parts) = self.parts.take() {
            parts.finish().await.map_err(|e| self.objects.place.explain("write", &self.path, e))?;
        }
        let sha256 = std::mem::take(&mut self.digest).finalize().into();
        self.objects.confirm(&self.path, self.sent, &sha256).await?;
        Ok(Put::Done)
    }

    /// Gives it up, and frees what was sent. Errors are of no use here: nothing became visible.
    pub async fn abort(mut self) {
        if let Some(parts) = self.parts.take() {
            give_up(parts).await;
        }
    }
}

async fn give_up(parts: WriteMultipart) {
    if let Err(e) = parts.abort().await {
        tracing::debug!(error = %e, "abort an upload");
    }
}

impl Drop for LargeUpload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(give_up(parts));
        }
    }
}
