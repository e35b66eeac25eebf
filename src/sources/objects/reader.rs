//! Reads objects in their order, several requests at a time: small ones whole, large ones in parts.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::LogFormat;
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::{Batch, PART_BYTES, Part, Traits};
use crate::progress::Progress;
use crate::sources::TIME_IS_UP;
use crate::sources::file_reader::LARGEST;
use crate::sources::outlet::Outlet;
use crate::storage::{Object, Objects, Unreadable};

/// Requests at the same time. The answer to each is held in memory, [`PART_BYTES`] at most.
const AHEAD: usize = 6;

/// After so many requests without an answer, one after the other, the others of a unit are not tried: a storage that cannot
/// give out one object may well have the rest.
const UNANSWERED_IN_A_ROW: u32 = 3;

/// How long a storage is waited for that did not answer the last time, instead of minutes for each group of objects.
const IMPATIENCE: Duration = Duration::from_secs(20);

/// Objects that were not there as they had been listed.
#[derive(Default)]
pub(super) struct Missed {
    /// Gone, or other ones by now, before anything of them was read.
    pub unread: Vec<String>,
    /// The same in the middle: the archive has their begin under their names.
    pub begun: Vec<String>,
}

/// What is read, and from where.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// The source's name.
    pub name: &'a str,
    pub objects: &'a Objects,
    /// What is inside.
    pub format: Option<LogFormat>,
    /// Whether the storage gave no answer the last time that it was asked.
    pub silent: &'a AtomicBool,
}

/// Reads the objects of one unit.
pub(super) struct Reader<'a> {
    reading: Reading<'a>,
    stop: &'a CancellationToken,
    outlet: Outlet<'a>,
    missed: Missed,
    refused: u64,
    too_large: u64,
    cut: u64,
    late: u64,
    unanswered: u64,
    lost: Option<String>,
}

/// One request: all of a small object, or a part of a large one.
struct Piece<'o> {
    object: &'o Object,
    /// Its name in the archive.
    name: &'o str,
    range: Range<u64>,
}

impl Piece<'_> {
    fn is_first(&self) -> bool {
        self.range.start == 0
    }

    fn is_whole(&self) -> bool {
        self.is_first() && self.range.end == self.object.size
    }
}

/// Why a piece was not read.
enum NotRead {
    /// It was tried.
    Failed(Unreadable),
    /// There is no time left.
    Late,
    /// Others were tried, and the storage gave no answer.
    Unanswered,
}

/// What becomes of an object of which a piece was not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All is well.
    Going,
    /// Nothing of it stands in the archive.
    Left,
    /// Its begin does: the rest is filled up.
    Cut,
}

impl<'a> Reader<'a> {
    pub fn new(
        reading: Reading<'a>,
        out: mpsc::Sender<Batch>,
        progress: &'a dyn Progress,
        stop: &'a CancellationToken,
    ) -> Self {
        Reader {
            reading,
            stop,
            outlet: Outlet::new(reading.name, "objects", reading.format, out, progress),
            missed: Missed::default(),
            refused: 0,
            too_large: 0,
            cut: 0,
            late: 0,
            unanswered: 0,
            lost: None,
        }
    }

    /// Reads objects, each with the name that it gets in the archive. What is wrong with one does not end the others; an error
    /// means that nobody takes them.
    pub async fn read_all(&mut self, wanted: &[(&Object, &str)]) -> Result<()> {
        let (reading, stop, unanswered) = (self.reading, self.stop, AtomicU32::new(0));
        let mut all = Vec::new();
        for (object, name) in wanted {
            match object.size <= LARGEST {
                true => all.extend(pieces(object, name)),
                false => self.too_large += 1,
            }
        }
        let (mut all, mut fetches, mut fate) = (all.into_iter(), FuturesOrdered::new(), Fate::Going);
        loop {
            while fetches.len() < AHEAD {
                let Some(piece) = all.next() else { break };
                fetches.push_back(reading.try_to_fetch(piece, stop, &unanswered));
            }
            let Some((piece, content)) = fetches.next().await else { return Ok(()) };
            if piece.is_first() {
                fate = Fate::Going;
            }
            match content {
                Ok(content) if fate == Fate::Going => self.hand_on(&piece, content, 0).await?,
                Err(why) if fate == Fate::Going => fate = self.note(&piece, why),
                _ => {}
            }
            if fate == Fate::Cut {
                self.hand_on(&piece, Bytes::new(), piece.range.end - piece.range.start).await?;
            }
        }
    }

    /// Notes why an object is not read, or not to its end.
    fn note(&mut self, piece: &Piece<'_>, why: NotRead) -> Fate {
        let (path, is_first) = (&*piece.object.path, piece.is_first());
        self.cut += u64::from(!is_first);
        match why {
            NotRead::Failed(Unreadable::Gone | Unreadable::Changed) => {
                // One that has another name in the archive was begun before.
                let is_unread = is_first && piece.name == path;
                let missed = if is_unread { &mut self.missed.unread } else { &mut self.missed.begun };
                missed.push(path.to_string());
            }
            NotRead::Failed(Unreadable::Refused(e)) => {
                tracing::warn!(object = path, error = %e.one_line(), "could not be read");
                self.refused += u64::from(is_first);
            }
            NotRead::Failed(Unreadable::Lost(e)) => {
                tracing::warn!(object = path, error = %e.one_line(), "could not be read");
                self.unanswered += u64::from(is_first);
                self.lost.get_or_insert_with(|| e.one_line());
            }
            NotRead::Unanswered => self.unanswered += u64::from(is_first),
            NotRead::Late => self.late += u64::from(is_first),
        }
        if is_first { Fate::Left } else { Fate::Cut }
    }

    async fn hand_on(&mut self, piece: &Piece<'_>, content: Bytes, filler: u64) -> Result<()> {
        let traits = Traits { modified: Some(piece.object.modified_seconds()), ..Traits::default() };
        if piece.is_first() {
            self.outlet.begin(&piece.object.path);
        }
        if piece.is_whole() {
            return self.outlet.whole(piece.name.to_string(), content, traits).await;
        }
        let part = Part { offset: piece.range.start, of: piece.object.size, filler };
        self.outlet.part(piece.name, content, traits, part).await
    }

    /// What was not as it had been listed; from now on it is the caller's to look for it.
    pub fn take_missed(&mut self) -> Missed {
        // What is missing now may be found again, but not as part of this unit.
        let missed = std::mem::take(&mut self.missed);
        self.outlet.inventory.is_unsettled |= !missed.unread.is_empty() || !missed.begun.is_empty();
        missed
    }

    /// Notes what is missing.
    pub fn problem(&mut self, why: &str, count: u64) {
        self.outlet.problem(why, count);
    }

    /// Notes what is not saved, and need not be.
    pub fn leave_out(&mut self, why: &str, count: u64) {
        if count > 0 {
            let what = "objects".into();
            self.outlet.inventory.skipped.push(Omission { what, why: why.into(), count: Some(count) });
        }
    }

    /// Hands on what is left, and says what came of it all.
    pub async fn finish(mut self) -> Result<Inventory> {
        self.outlet.problem("could not be read", self.refused);
        self.outlet.problem("larger than 40 GiB, more than a segment can hold", self.too_large);
        self.outlet.problem("could not be read to their end; what is missing is filled up", self.cut);
        self.outlet.problem(TIME_IS_UP, self.late);
        if let Some(why) = &self.lost {
            self.outlet.problem(why, self.unanswered);
        }
        let mut inventory = self.outlet.finish().await?;
        inventory.lost = self.lost;
        Ok(inventory)
    }
}

impl Reading<'_> {
    /// Reads a piece, unless that is of no use any more.
    async fn try_to_fetch<'o>(
        self,
        piece: Piece<'o>,
        stop: &CancellationToken,
        unanswered: &AtomicU32,
    ) -> (Piece<'o>, Result<Bytes, NotRead>) {
        let content = match (stop.is_cancelled(), unanswered.load(Relaxed) >= UNANSWERED_IN_A_ROW) {
            (true, _) => Err(NotRead::Late),
            (_, true) => Err(NotRead::Unanswered),
            _ => tokio::select! {
                biased;
                () = stop.cancelled() => Err(NotRead::Late),
                content = self.fetch(&piece) => content.map_err(NotRead::Failed),
            },
        };
        match &content {
            Err(NotRead::Failed(Unreadable::Lost(_))) => drop(unanswered.fetch_add(1, Relaxed)),
            Err(NotRead::Late | NotRead::Unanswered) => {}
            _ => unanswered.store(0, Relaxed),
        }
        (piece, content)
    }

    async fn fetch(&self, piece: &Piece<'_>) -> Result<Bytes, Unreadable> {
        let read = self.objects.read(piece.object, piece.range.clone());
        let read = match self.silent.load(Relaxed) {
            false => read.await,
            true => tokio::time::timeout(IMPATIENCE, read).await.unwrap_or_else(|_| {
                let why = format!("{} gives no answer", self.objects.shown());
                Err(Unreadable::Lost(Error::failed(why)))
            }),
        };
        self.silent.store(matches!(read, Err(Unreadable::Lost(_))), Relaxed);
        read
    }
}

/// The requests for an object; one for an empty one, too, which tells that it is still there.
fn pieces<'o>(object: &'o Object, name: &'o str) -> impl Iterator<Item = Piece<'o>> {
    let count = object.size.div_ceil(PART_BYTES).max(1);
    (0..count).map(move |number| {
        let start = number * PART_BYTES;
        Piece { object, name, range: start..(start + PART_BYTES).min(object.size) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_asked_for_in_parts_that_follow_each_other() {
        let ranges = |size| {
            let object = Object { path: "a".into(), size, modified: 0, etag: None };
            pieces(&object, "a").map(|piece| (piece.range.clone(), piece.is_whole())).collect::<Vec<_>>()
        };
        let part = PART_BYTES;
        assert_eq!(ranges(0), [(0..0, true)]);
        assert_eq!(ranges(part), [(0..part, true)]);
        assert_eq!(ranges(part + 1), [(0..part, false), (part..part + 1, false)]);
    }
}
