//! What is read leaves by this: small files together, parts of large ones one by one. On the way it looks into logs.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::audit::{AuditLog, Compression};
use crate::config::LogFormat;
use crate::error::{Context, Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::{Batch, Member, Part, Traits};
use crate::progress::Progress;

/// Small files are handed on together, about so many bytes at a time.
const BATCH_BYTES: u64 = 1 << 20;

/// Where the files of one unit go.
pub(super) struct Outlet<'a> {
    /// The source's name.
    name: &'a str,
    /// What its members are called, in the plural.
    noun: &'static str,
    out: mpsc::Sender<Batch>,
    progress: &'a dyn Progress,
    audit: Option<AuditLog>,
    pending: Vec<Member>,
    pending_bytes: u64,
    /// What was handed on, and what was noted of it.
    pub inventory: Inventory,
}

impl<'a> Outlet<'a> {
    pub fn new(
        name: &'a str,
        noun: &'static str,
        format: Option<LogFormat>,
        out: mpsc::Sender<Batch>,
        progress: &'a dyn Progress,
    ) -> Self {
        Outlet {
            name,
            noun,
            out,
            progress,
            audit: format.map(|LogFormat::KubernetesAudit| AuditLog::default()),
            pending: Vec::new(),
            pending_bytes: 0,
            inventory: Inventory::default(),
        }
    }

    /// Whether a format is known, so that it looks into what is handed on.
    pub fn looks_inside(&self) -> bool {
        self.audit.is_some()
    }

    /// The next file begins.
    pub fn begin(&mut self, path: &str) {
        self.progress.advance(self.name, 1, 0);
        if let Some(audit) = &mut self.audit {
            audit.begin(Compression::of(path));
        }
    }

    /// All of a file.
    pub async fn whole(&mut self, path: String, content: Bytes, traits: Traits) -> Result<()> {
        self.look_into(&content).await?;
        self.pending_bytes += content.len() as u64 + 512;
        self.count(content.len() as u64);
        self.inventory.items += 1;
        self.pending.push(Member::whole(path, vec![content], traits));
        if self.pending_bytes >= BATCH_BYTES { self.hand_on().await } else { Ok(()) }
    }

    /// A part of a file. The size stands in the tar before the content: what is missing in the end is filled up, and said.
    pub async fn part(&mut self, path: &str, content: Bytes, traits: Traits, part: Part) -> Result<()> {
        if part.offset == 0 {
            self.hand_on().await?;
            self.inventory.items += 1;
        }
        self.look_into(&content).await?;
        self.count(content.len() as u64);
        let content = filled(content, part.filler);
        self.send(vec![Member { path: path.into(), content, traits, part: Some(part) }]).await
    }

    /// Notes what is missing.
    pub fn problem(&mut self, why: &str, count: u64) {
        if count > 0 {
            let what = self.noun.into();
            self.inventory.problems.push(Omission { what, why: why.into(), count: Some(count) });
        }
    }

    async fn look_into(&mut self, content: &Bytes) -> Result<()> {
        let Some(mut audit) = self.audit.take() else { return Ok(()) };
        let content = content.clone();
        let looking = tokio::task::spawn_blocking(move || {
            audit.push(&content);
            audit
        });
        self.audit = Some(looking.await.context(|| "look into a log".into())?);
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.inventory.bytes += bytes;
        self.progress.advance(self.name, 0, bytes);
    }

    async fn hand_on(&mut self) -> Result<()> {
        self.pending_bytes = 0;
        let members = std::mem::take(&mut self.pending);
        if members.is_empty() { Ok(()) } else { self.send(members).await }
    }

    async fn send(&self, members: Vec<Member>) -> Result<()> {
        self.out.send(Batch { members }).await.map_err(|_| Error::failed("the archive is gone"))
    }

    /// Hands on what is left, and says what came of it all.
    pub async fn finish(mut self) -> Result<Inventory> {
        self.hand_on().await?;
        if let Some(audit) = self.audit {
            let looking = tokio::task::spawn_blocking(move || audit.finish());
            let (events, undecodable) = looking.await.context(|| "look into a log".into())?;
            self.inventory.contents.events = events;
            if undecodable > 0 {
                let why = "could not be decompressed to their end, so not all of their events are counted".into();
                self.inventory.notices.push(Omission { what: self.noun.into(), why, count: Some(undecodable) });
            }
        }
        Ok(self.inventory)
    }
}

fn filled(content: Bytes, filler: u64) -> Vec<Bytes> {
    match filler {
        0 => vec![content],
        filler => vec![content, Bytes::from(vec![0; filler as usize])],
    }
}
