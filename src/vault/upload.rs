//! Uploads in parts, with bounded memory; a partial upload is never visible.

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, PutPayloadMut, UploadPart};

use super::{Created, Stored, Vault};
use crate::error::{Error, Result};

/// Size of a part in bytes, as small as may be, since parts are held in memory. In a bucket it is the least that S3
/// allows; 4 GiB are 820 of the 10,000 parts that it allows. A folder takes any.
pub(super) fn part_bytes(folder: bool) -> usize {
    if folder { 1 << 20 } else { 5 << 20 }
}

/// How many parts travel at the same time, while the next is being filled. Each is memory.
const IN_FLIGHT: usize = 2;

/// An upload that is under way. Dropping it leaves nothing visible, and frees what was sent when there is time for it.
pub struct Upload {
    vault: Vault,
    key: String,
    path: Path,
    state: State,
    /// What does not fill a part yet, as it came: nothing is copied.
    pending: PutPayloadMut,
    sent: u64,
    unanswered: bool,
}

enum State {
    /// Nothing sent yet: what stays smaller than one part goes in a single put.
    Small,
    /// Parts are on their way.
    Parts { upload: Box<dyn MultipartUpload>, in_flight: FuturesUnordered<UploadPart> },
    /// It is visible, or was given up.
    Ended,
}

impl Upload {
    pub(super) async fn begin(vault: &Vault, key: &str) -> Result<Upload> {
        let path = vault.path(key)?;
        Ok(Upload {
            vault: vault.clone(),
            key: key.into(),
            path,
            state: State::Small,
            pending: PutPayloadMut::new(),
            sent: 0,
            unanswered: false,
        })
    }

    /// Adds bytes; waits when enough parts are on their way.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.sent += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.vault.part - self.pending.content_length();
            self.pending.push(rest.split_to(room.min(rest.len())));
            if self.pending.content_length() == self.vault.part {
                let part = std::mem::take(&mut self.pending).freeze();
                self.send(part).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, part: PutPayload) -> Result<()> {
        if let State::Small = self.state {
            let begun = self.vault.store.put_multipart(&self.path).await;
            let upload = begun.map_err(|e| self.vault.explain("write", &self.key, e))?;
            self.state = State::Parts { upload, in_flight: FuturesUnordered::new() };
        }
        if let State::Parts { upload, in_flight } = &mut self.state {
            while in_flight.len() >= IN_FLIGHT {
                if let Some(Err(e)) = in_flight.next().await {
                    return Err(self.vault.explain("write", &self.key, e));
                }
            }
            in_flight.push(upload.put_part(part));
        }
        Ok(())
    }

    /// Makes the object visible, and checks that the store holds as much as was sent. What fails is given up.
    pub async fn finish(mut self) -> Result<Stored> {
        match self.complete().await {
            Ok(version) => self.check(version).await,
            Err(e) => {
                self.abort().await;
                Err(e)
            }
        }
    }

    async fn complete(&mut self) -> Result<Option<String>> {
        let rest = std::mem::take(&mut self.pending).freeze();
        if let State::Small = self.state {
            return self.put_small(rest).await;
        }
        if rest.content_length() > 0 {
            self.send(rest).await?;
        }
        let State::Parts { upload, in_flight } = &mut self.state else { return Ok(None) };
        while let Some(part) = in_flight.next().await {
            part.map_err(|e| self.vault.explain("write", &self.key, e))?;
        }
        let version = match upload.complete().await {
            Ok(done) => done.version,
            Err(e) => self.find_completed(e).await?,
        };
        self.state = State::Ended;
        Ok(version)
    }

    /// A storage may finish an upload and fail to say so. Then the object is there, in the size that was sent, and whoever
    /// asked for it has to read it back.
    async fn find_completed(&mut self, e: object_store::Error) -> Result<Option<String>> {
        match self.vault.head(&self.key, None).await {
            Ok(head) if head.bytes == self.sent => {
                self.unanswered = true;
                Ok(head.version)
            }
            _ => Err(self.vault.explain("finish writing", &self.key, e)),
        }
    }

    async fn put_small(&mut self, bytes: PutPayload) -> Result<Option<String>> {
        match self.vault.create(&self.key, bytes.into()).await? {
            Created::Yes(stored) => Ok(stored.version),
            Created::Taken => Err(Error::integrity(format!("{} is there already, and is not ours", self.key))
                .hint("find out who else writes to the vault; this run was not committed")),
        }
    }

    async fn check(self, version: Option<String>) -> Result<Stored> {
        let head = self.vault.head(&self.key, version.as_deref()).await?;
        if head.bytes != self.sent {
            return Err(Error::integrity(format!(
                "{}: {} bytes were sent but the store holds {}",
                self.key, self.sent, head.bytes
            ))
            .hint("run the backup again; this one was not committed"));
        }
        Ok(Stored { version: version.or(head.version), unanswered: self.unanswered })
    }

    /// Gives the upload up and frees what was sent. Errors are of no use here: nothing became visible.
    pub async fn abort(mut self) {
        give_up(std::mem::replace(&mut self.state, State::Ended)).await;
    }
}

async fn give_up(state: State) {
    if let State::Parts { mut upload, in_flight } = state {
        drop(in_flight);
        if let Err(e) = upload.abort().await {
            tracing::debug!(error = %e, "abort an upload");
        }
    }
}

impl Drop for Upload {
    /// Whoever fed it has failed.
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if let (State::Parts { .. }, Ok(runtime)) = (&state, tokio::runtime::Handle::try_current()) {
            runtime.spawn(give_up(state));
        }
    }
}
