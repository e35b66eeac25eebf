//! Reads files and hands them on: small ones whole, large ones in parts.

mod buffers;
mod found;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::buffers::Buffers;
pub use self::found::Found;
use super::TIME_IS_UP;
use super::outlet::Outlet;
use crate::config::LogFormat;
use crate::direct::read_fully;
use crate::error::{Context, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::{Batch, PART_BYTES, Part, Traits};
use crate::progress::Progress;

/// How the names of files end that are written line by line.
const LOGS: [&str; 4] = [".log", ".jsonl", ".ndjson", ".out"];

/// How far back the end of the last whole line is looked for, in bytes. A longer line is nothing that people read.
const LONGEST_LINE: u64 = 4 << 20;

/// The largest file that is read, in bytes: a segment holds all of it, and S3 takes 10,000 parts of 5 MiB.
pub const LARGEST: u64 = 40 << 30;

/// What is read, and how.
pub struct Reading<'a> {
    /// The source's name.
    pub name: &'a str,
    /// The folder that the files' paths start at.
    pub folder: PathBuf,
    /// Whether the files may be being written.
    pub live: bool,
    /// What is inside.
    pub format: Option<LogFormat>,
}

/// Files that were not as they had been found.
#[derive(Default)]
pub struct Missed {
    /// They are not there any more under the name under which they were found.
    pub vanished: Vec<Found>,
    /// At least one was shorter.
    pub cut_short: bool,
}

/// Reads the files of one unit.
pub struct Reader<'a> {
    folder: PathBuf,
    live: bool,
    stop: &'a CancellationToken,
    outlet: Outlet<'a>,
    buffers: Buffers,
    missed: Missed,
    unreadable: u64,
    too_large: u64,
    shrunk: u64,
    cut: u64,
    late: u64,
}

/// A file, opened, and how much of it is saved.
struct Opened {
    file: File,
    found: Found,
    size: u64,
    /// A line that was just being written is left for the next backup.
    cut: bool,
}

impl<'a> Reader<'a> {
    /// A reader that hands on through `out`.
    pub fn new(
        reading: Reading<'a>,
        out: mpsc::Sender<Batch>,
        progress: &'a dyn Progress,
        stop: &'a CancellationToken,
    ) -> Self {
        let Reading { name, folder, live, format } = reading;
        Reader {
            folder,
            live,
            stop,
            outlet: Outlet::new(name, "files", format, out, progress),
            buffers: Buffers::default(),
            missed: Missed::default(),
            unreadable: 0,
            too_large: 0,
            shrunk: 0,
            cut: 0,
            late: 0,
        }
    }

    /// Reads files in this order, each with the path that it gets in the archive. What is wrong with one does not end the
    /// others; an error means that nobody takes them.
    pub async fn read_all(&mut self, files: &[(Found, String)]) -> Result<()> {
        for (at, (found, name)) in files.iter().enumerate() {
            if self.stop.is_cancelled() {
                self.late += (files.len() - at) as u64;
                break;
            }
            let (path, before, cuts) = (self.folder.join(&found.path), found.clone(), self.live && self.is_log(found));
            let opening = tokio::task::spawn_blocking(move || open(&path, &before, cuts));
            match opening.await.context(|| "open a file".into())? {
                Ok(Some(opened)) if opened.size > LARGEST => {
                    tracing::warn!(file = %self.folder.join(&found.path).display(), "larger than 40 GiB");
                    self.too_large += 1;
                }
                Ok(Some(mut opened)) => {
                    self.missed.cut_short |= opened.found.size < found.size;
                    self.cut += u64::from(opened.cut);
                    opened.found.path.clone_from(name);
                    self.read(opened).await?;
                }
                Ok(None) => self.missed.vanished.push(found.clone()),
                Err((path, e)) => self.cannot_read(&path, &e),
            }
        }
        Ok(())
    }

    /// What is written line by line: by its name, or by what the schedule says.
    fn is_log(&self, found: &Found) -> bool {
        let name = found.path.rsplit('/').next().unwrap_or_default();
        self.outlet.looks_inside() || LOGS.iter().any(|end| name.ends_with(end))
    }

    /// What was not as it had been found; from now on it is the caller's to look for it.
    pub fn take_missed(&mut self) -> Missed {
        // What is missing now may be found again, but not as part of this unit.
        self.outlet.inventory.is_unsettled |= !self.missed.vanished.is_empty() || self.missed.cut_short;
        std::mem::take(&mut self.missed)
    }

    /// Whether everything so far was read as it had been found.
    pub fn is_sound(&self) -> bool {
        let failed = self.unreadable + self.too_large + self.shrunk + self.late;
        failed == 0 && self.missed.vanished.is_empty()
    }

    /// Notes what is not saved on purpose.
    pub fn leave_out(&mut self, why: &str, count: u64) {
        if count > 0 {
            self.outlet.inventory.skipped.push(Omission { what: "files".into(), why: why.into(), count: Some(count) });
        }
    }

    fn cannot_read(&mut self, path: &Path, e: &std::io::Error) {
        tracing::warn!(file = %path.display(), error = %e, "could not be read");
        self.unreadable += 1;
    }

    async fn read(&mut self, opened: Opened) -> Result<()> {
        self.outlet.begin(&opened.found.path);
        match opened.size > PART_BYTES {
            true => self.read_parts(opened).await,
            false => self.read_whole(opened).await,
        }
    }

    async fn read_whole(&mut self, opened: Opened) -> Result<()> {
        let Opened { file, found, size, .. } = opened;
        let content = match read_up_to(file, size).await? {
            Ok(content) => content,
            Err(e) => {
                let path = self.folder.join(&found.path);
                self.cannot_read(&path, &e);
                return Ok(());
            }
        };
        if (content.len() as u64) < size {
            self.shrunk += 1;
            self.missed.cut_short = true;
        }
        let traits = traits(&found);
        self.outlet.whole(found.path, content, traits).await
    }

    /// The size stands in the tar before the content: what is missing in the end is filled up, and said.
    async fn read_parts(&mut self, opened: Opened) -> Result<()> {
        let Opened { file, found, size, .. } = opened;
        let (mut offset, mut file, mut broken) = (0, Some(file), None);
        while offset < size {
            let wanted = PART_BYTES.min(size - offset);
            let mut content = Bytes::new();
            if self.stop.is_cancelled() && file.take().is_some() {
                broken = Some(TIME_IS_UP.to_string());
            }
            if let Some(reading) = file.take() {
                match read_part(reading, wanted, self.buffers.clone()).await? {
                    Ok((reading, read)) => (file, content) = (Some(reading), read),
                    Err(e) => broken = Some(e.to_string()),
                }
            }
            let filler = wanted - content.len() as u64;
            if filler > 0 {
                // What is written after this was not there when the rest was read.
                file = None;
                broken.get_or_insert_with(|| "it is shorter than it was".into());
            }
            self.outlet.part(&found.path, content, traits(&found), Part { offset, of: size, filler }).await?;
            offset += wanted;
        }
        if let Some(why) = broken {
            tracing::warn!(file = %self.folder.join(&found.path).display(), error = why, "not read to its end");
            self.shrunk += 1;
            self.missed.cut_short = true;
        }
        Ok(())
    }

    /// Hands on what is left, and says what came of it all.
    pub async fn finish(mut self) -> Result<Inventory> {
        self.outlet.problem("could not be read", self.unreadable);
        self.outlet.problem("larger than 40 GiB, more than a segment can hold", self.too_large);
        self.outlet.problem("could not be read to their end; what is missing is filled up", self.shrunk);
        self.outlet.problem(TIME_IS_UP, self.late);
        if self.cut > 0 {
            let why = "end in the middle of a line; the rest comes with the next backup".into();
            self.outlet.inventory.notices.push(Omission { what: "logs".into(), why, count: Some(self.cut) });
        }
        self.outlet.finish().await
    }
}

fn traits(found: &Found) -> Traits {
    Traits { modified: Some(found.modified_seconds()), ..Traits::default() }
}

/// Opens a file, not through a link that was put in its place since it was found, and decides how much of it is saved; none when it is not the one that was found.
fn open(path: &Path, found: &Found, cuts: bool) -> Result<Option<Opened>, (PathBuf, std::io::Error)> {
    // Without waiting: a pipe may have been put there, too.
    let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err((path.into(), e)),
    };
    let failed = |e| (path.to_path_buf(), e);
    let metadata = file.metadata().map_err(failed)?;
    let now = Found::new(found.path.clone(), &metadata);
    if now.node != found.node || !metadata.is_file() {
        return Ok(None);
    }
    let size = match cuts {
        true => whole_lines(&mut file, now.size).map_err(failed)?,
        false => now.size,
    };
    let cut = size < now.size;
    Ok(Some(Opened { file, found: now, size, cut }))
}

/// Where the last whole line ends, when the file is text: a line that is just being written is left for the next backup.
fn whole_lines(file: &mut File, size: u64) -> std::io::Result<u64> {
    let from = size.saturating_sub(LONGEST_LINE);
    let mut tail = vec![0; (size - from) as usize];
    file.seek(SeekFrom::Start(from))?;
    let read = read_fully(file, &mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    let tail = &tail[..read];
    let is_text = tail.iter().rev().take(512).all(|byte| !matches!(byte, 0..=8 | 14..=26 | 28..=31));
    match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) if is_text => Ok(from + at as u64 + 1),
        _ => Ok(size),
    }
}

/// Reads so many bytes, or as many as there are.
async fn read_up_to(file: File, bytes: u64) -> Result<std::io::Result<Bytes>> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = Vec::with_capacity(bytes as usize);
        file.take(bytes).read_to_end(&mut content)?;
        Ok(Bytes::from(content))
    });
    reading.await.context(|| "read a file".into())
}

/// The same into a buffer that is used again; gives the file back.
async fn read_part(mut file: File, bytes: u64, buffers: Buffers) -> Result<std::io::Result<(File, Bytes)>> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = buffers.take(bytes as usize);
        (&mut file).take(bytes).read_to_end(&mut content)?;
        Ok((file, buffers.lend(content)))
    });
    reading.await.context(|| "read a file".into())
}
