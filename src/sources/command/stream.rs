//! One output: read, cut into members, and judged.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rows::Rows;
use crate::command::{Database, Output, Place, Record, Saved, Tail, shown};
use crate::error::{Context, Error, Result};
use crate::inventory::Inventory;
use crate::member::{Batch, Member, Traits};
use crate::progress::Progress;
use crate::sources::TIME_IS_UP;

/// How much of an output becomes one member, in bytes.
const PIECE: usize = 4 << 20;

/// An output that is wanted.
pub(super) struct Stream {
    /// What it is called in the archive.
    pub file: String,
    pub command: Vec<String>,
    pub timeout: Duration,
    /// What must stand at its end.
    pub marker: Option<String>,
    /// Whether it is a dump whose rows are counted.
    pub counts_rows: bool,
    pub database: Option<Database>,
    pub databases: BTreeMap<String, u64>,
}

/// Where it goes.
pub(super) struct Way<'a> {
    pub name: &'a str,
    pub out: mpsc::Sender<Batch>,
    pub progress: &'a dyn Progress,
    pub stop: &'a CancellationToken,
    pub inventory: Inventory,
}

/// What is learnt of an output as it passes by.
struct Passing {
    digest: Sha256,
    tail: Tail,
    rows: Option<Rows>,
    bytes: u64,
}

impl Stream {
    pub fn new(file: &str, command: Vec<String>, timeout: Duration) -> Stream {
        let (file, marker, database) = (file.into(), None, None);
        Stream { file, command, timeout, marker, counts_rows: false, database, databases: BTreeMap::new() }
    }

    /// Saves the output, and its record when it is whole; an error says why it is not.
    pub async fn save(self, place: &Place, way: &mut Way<'_>) -> Result<()> {
        let at = Timestamp::now();
        let stop = way.stop.clone();
        let saving = self.save_and_judge(place, way);
        let passed = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Error::failed(TIME_IS_UP)),
            saved = tokio::time::timeout(self.timeout, saving) => match saved {
                Ok(saved) => saved?,
                Err(_) => {
                    let seconds = self.timeout.as_secs();
                    return Err(Error::failed(format!("{} did not end within {seconds} s", shown(&self.command))));
                }
            },
        };
        let record = Record {
            bytes: passed.bytes,
            sha256: passed.digest.finalize().into(),
            at,
            rows: passed.rows.map(Rows::finish),
            database: self.database,
            databases: self.databases,
        };
        let text = serde_json::to_vec(&record).context(|| "write a record".into())?;
        way.send(Saved::record(&self.file), text.into()).await
    }

    async fn save_and_judge(&self, place: &Place, way: &mut Way<'_>) -> Result<Passing> {
        let mut running = place.start(&self.command, false).await?;
        let mut passing = Passing {
            digest: Sha256::new(),
            tail: Tail::default(),
            rows: self.counts_rows.then(Rows::default),
            bytes: 0,
        };
        let mut number = 0;
        loop {
            let piece = read_piece(&mut running.output)
                .await
                .context(|| format!("read the output of {}", shown(&self.command)))?;
            if piece.is_empty() {
                break;
            }
            number += 1;
            passing = passing.take(piece.clone()).await?;
            way.send(Saved::part(&self.file, number), piece).await?;
        }
        let exit = running.end().await.map_err(|e| e.within(format!("{} {}", shown(&self.command), place.words())))?;
        if !exit.success {
            let (what, place) = (shown(&self.command), place.words());
            return Err(Error::failed(format!("{what} {place} failed after {} bytes: {}", passing.bytes, exit.why())));
        }
        match &self.marker {
            Some(marker) if !passing.tail.holds(marker) => {
                Err(Error::failed(format!("{} ended without `{marker}` at its end", shown(&self.command))))
            }
            _ if passing.bytes == 0 => Err(Error::failed(format!("{} wrote nothing", shown(&self.command)))),
            _ => Ok(passing),
        }
    }
}

impl Passing {
    /// It computes: not on a thread that waits.
    async fn take(mut self, piece: Bytes) -> Result<Passing> {
        let looking = tokio::task::spawn_blocking(move || {
            self.digest.update(&piece);
            self.tail.push(&piece);
            if let Some(rows) = &mut self.rows {
                rows.push(&piece);
            }
            self.bytes += piece.len() as u64;
            self
        });
        looking.await.context(|| "look at the output of a command".into())
    }
}

/// The next bytes, as many as make a member; fewer at the end.
async fn read_piece(output: &mut Output) -> std::io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    (&mut *output).take(PIECE as u64).read_to_end(&mut piece).await?;
    Ok(piece.into())
}

impl Way<'_> {
    async fn send(&mut self, path: String, content: Bytes) -> Result<()> {
        let member = Member::whole(path, vec![content], Traits::default());
        self.inventory.items += 1;
        self.inventory.bytes += member.size();
        self.progress.advance(self.name, 1, member.size());
        self.out.send(Batch { members: vec![member] }).await.map_err(|_| Error::failed("the archive is gone"))
    }
}
