//! The journal: what a restore has done, written down as it goes, so that it can be gone on with after anything.
//!
//! It stands twice. The local one is a file of JSON lines in the folder of the restore, written at once. Every few seconds, what is
//! new goes into the vault, too, sealed for the backup's recipients: another machine can go on from there. Each part there ends with
//! a code that whoever can open the backup can make; so nobody who can merely write to the vault can make a restore believe that
//! something is done, nor stop it.

mod ack;
mod earlier;
mod entry;
mod local;
mod place;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

pub use self::ack::{Ack, Answer, Seen, give_ack};
pub use self::earlier::{Earlier, Past, Reading, read};
pub use self::entry::{Batch, Begin, BeginTarget, Entry, Foretold, JOURNAL_VERSION};
pub use self::local::{LocalFile, StateFolder};
pub use self::place::{RestoreId, VaultPlace, all_in_vault};
pub use self::stored::peek_begin;
use crate::error::Result;
use crate::progress::Progress;
use stored::Uploader;

/// Between two parts in the vault.
const UPLOAD_EVERY: Duration = Duration::from_secs(5);

/// How long a request that must not be sent twice waits for the vault to know of it.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// Where a restore writes down what it has done. Entries are taken at once; the vault gets them a little later.
pub struct Journal {
    local: Option<LocalFile>,
    uploader: Option<Mutex<Uploader>>,
    /// Entries that were not handed to the uploader yet, as lines.
    pending: std::sync::Mutex<Vec<u8>>,
    wake: Notify,
    /// Cancelled when somebody else goes on with the same restore.
    taken_over: CancellationToken,
    /// Whether it was said that a request did not wait for the vault.
    is_unsettled: AtomicBool,
    progress: Arc<dyn Progress>,
    /// The acknowledgements that were heeded, by step.
    seen: std::sync::Mutex<HashMap<String, Seen>>,
    /// Where acknowledgements are looked for.
    place: Option<(StateFolder, RestoreId, Option<VaultPlace>)>,
}

impl Journal {
    /// Writes nothing down: for dry runs.
    pub fn none(progress: Arc<dyn Progress>) -> Journal {
        Journal {
            local: None,
            uploader: None,
            pending: Default::default(),
            wake: Notify::new(),
            taken_over: CancellationToken::new(),
            is_unsettled: AtomicBool::new(false),
            progress,
            seen: Default::default(),
            place: None,
        }
    }

    /// Holds the journal on this machine, before it is read: nobody else goes on with the restore here. None where it cannot be written,
    /// which is said: then the vault has it alone.
    pub fn hold(state: &StateFolder, id: &RestoreId, progress: &dyn Progress) -> Result<Option<LocalFile>> {
        match LocalFile::open(state, id) {
            Ok(local) => Ok(Some(local)),
            Err(e) if e.kind() == crate::error::Kind::Usage => Err(e),
            Err(e) => {
                progress.say(&format!("warning: the journal is kept in the vault only: {}", e.one_line()));
                Ok(None)
            }
        }
    }

    /// Opens the journal of a restore, after what stands in it already. What only the vault has of it comes to this machine, too, and what
    /// only this machine has comes into the vault, before anything that is noted from now on.
    pub fn open(
        (state, id): (&StateFolder, &RestoreId),
        local: Option<LocalFile>,
        vault: Option<VaultPlace>,
        before: Option<&Reading>,
        progress: Arc<dyn Progress>,
    ) -> Result<Arc<Journal>> {
        if let (Some(local), Some(before)) = (&local, before) {
            local.append(&before.only_in_vault, true)?;
        }
        let parts = before.map_or(0, |before| before.parts);
        let seen = before.map(|before| before.earlier.seen.clone()).unwrap_or_default();
        let pending = before.map(|before| before.not_in_vault.clone()).unwrap_or_default().into();
        let place = Some((state.clone(), id.clone(), vault.clone()));
        let uploader = vault.map(|place| Mutex::new(Uploader::new(place, id.clone(), parts)));
        Ok(Arc::new(Journal { local, uploader, place, pending, seen: seen.into(), ..Journal::none(progress) }))
    }

    /// Notes an entry. What cannot be written is said, and does not stop the restore.
    pub fn note(&self, entry: &Entry) {
        let Ok(mut line) = serde_json::to_vec(entry) else { return };
        line.push(b'\n');
        if let Some(local) = &self.local
            && let Err(e) = local.append(&line, entry.is_weighty())
        {
            self.progress.say(&format!("warning: {}", e.one_line()));
        }
        if self.uploader.is_some() {
            self.pending.lock().unwrap_or_else(|e| e.into_inner()).extend(line);
        }
        if entry.is_weighty() {
            self.wake.notify_one();
        }
    }

    /// Brings what is new into the vault, again and again, and once more when it is told that there is an end.
    pub async fn keep_up(self: Arc<Self>, end: CancellationToken) {
        while !end.is_cancelled() {
            tokio::select! {
                () = end.cancelled() => {}
                () = tokio::time::sleep(UPLOAD_EVERY) => {}
                () = self.wake.notified() => {}
            }
            self.upload().await;
        }
        self.upload().await;
    }

    /// Brings what is new into the vault, now. Whether all of it is there.
    async fn upload(&self) -> bool {
        let Some(uploader) = &self.uploader else { return true };
        let mut uploader = uploader.lock().await;
        if self.taken_over.is_cancelled() {
            return false;
        }
        let lines = std::mem::take(&mut *self.pending.lock().unwrap_or_else(|e| e.into_inner()));
        let put = match lines.is_empty() && !uploader.owes() {
            // A vault that does not answer says nothing; what is to be stored will tell.
            true => Ok(!uploader.is_taken_over().await.unwrap_or(false)),
            false => uploader.put(lines).await,
        };
        match put {
            Ok(true) => return true,
            Ok(false) => self.taken_over.cancel(),
            Err(e) if uploader.is_first_failure() => {
                let local = if self.local.is_some() { "it is on this machine only" } else { "it is kept nowhere" };
                let why = e.one_line();
                self.progress.say(&format!("warning: the journal cannot be stored in the vault, {local}: {why}"));
            }
            Err(_) => {}
        }
        false
    }

    /// Waits until the vault has all that was noted: then whoever goes on with the restore, from whatever machine, knows it. A vault that
    /// does not take it within 20 s is not waited for, which is said once. False when another machine goes on with the restore already.
    pub async fn settle(&self) -> bool {
        let is_there = tokio::time::timeout(SETTLED_WITHIN, self.upload()).await.unwrap_or(false);
        if self.taken_over.is_cancelled() {
            return false;
        }
        if !is_there && !self.is_unsettled.swap(true, Ordering::AcqRel) {
            self.progress.say(
                "warning: a request is sent of which the vault does not know: should this machine be lost, another machine could \
                 send it again",
            );
        }
        true
    }

    /// Cancelled when another machine goes on with this restore: then this one must not.
    pub fn taken_over(&self) -> &CancellationToken {
        &self.taken_over
    }

    /// Waits until somebody says elsewhere that a step is done, or refuses it. For ever where nobody can.
    pub async fn acknowledged(&self, step: &str) -> Ack {
        let Some((state, id, vault)) = &self.place else { return std::future::pending().await };
        let seen = self.seen().get(step).copied().unwrap_or_default();
        let (ack, seen) = ack::wait(state, id, vault.as_ref(), step, seen).await;
        self.seen().insert(step.into(), seen);
        self.note(&Entry::Acknowledged { step: step.into(), by: ack.by.clone(), seen });
        ack
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The restore's id, where it has one.
    pub fn id(&self) -> Option<&RestoreId> {
        self.place.as_ref().map(|(_, id, _)| id)
    }
}
