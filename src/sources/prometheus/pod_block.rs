//! Reads one block out of a pod: small files whole, large ones in parts.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::contents::Contents;
use super::pod::PodFolder;
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::{Batch, Member, PART_BYTES, Part, Traits};
use crate::progress::Progress;
use crate::sources::TIME_IS_UP;
use crate::sources::file_reader::{Found, LARGEST};

/// Where a block goes.
pub(super) struct PodBlock<'a> {
    pub name: &'a str,
    pub folder: &'a PodFolder,
    pub out: mpsc::Sender<Batch>,
    pub progress: &'a dyn Progress,
    pub stop: &'a CancellationToken,
    pub inventory: Inventory,
    /// Whether what is wrong with it stays wrong, however often it is read.
    pub is_final: bool,
}

impl PodBlock<'_> {
    /// Reads its files, of which the last one makes it a block. What goes wrong is a problem, and it gets no last file.
    pub async fn read(mut self, block: &str, files: &[Found]) -> Result<Inventory> {
        if let Err(e) = self.read_files(files).await {
            let why = e.one_line();
            self.inventory.lost = (!self.is_final).then(|| why.clone());
            self.inventory.is_unsettled = true;
            self.inventory.problems.push(Omission { what: format!("block {block}"), why, count: None });
        }
        Ok(self.inventory)
    }

    async fn read_files(&mut self, files: &[Found]) -> Result<()> {
        let Some((last, others)) = files.split_last() else { return Ok(()) };
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let mut contents = self.in_time(Contents::open(self.folder, &paths)).await??;
        for file in others {
            self.require_same(&mut contents, file).await?;
            match file.size > PART_BYTES {
                true => self.read_parts(&mut contents, file).await?,
                false => {
                    let content = self.in_time(contents.read(file.size)).await??;
                    self.send(file, content, None).await?;
                }
            }
        }
        self.require_same(&mut contents, last).await?;
        let content = self.in_time(contents.read(last.size)).await??;
        // All others are whole only when the command says so.
        self.in_time(contents.end()).await??;
        self.send(last, content, None).await
    }

    /// The next file must be the one that was found.
    async fn require_same(&mut self, contents: &mut Contents, file: &Found) -> Result<()> {
        let size = self.in_time(contents.next()).await??;
        if size == Some(file.size) && file.size <= LARGEST {
            return Ok(());
        }
        self.is_final = true;
        Err(Error::failed(match size {
            None => "Prometheus removed it while it was read; with `url`, a snapshot is read, which stays".to_string(),
            Some(size) if size == file.size => {
                format!("{} is larger than 40 GiB, more than a segment can hold", file.path)
            }
            Some(_) => format!("{} was changed while it was read", file.path),
        }))
    }

    /// The size stands in the archive before the content: what is missing in the end is filled up.
    async fn read_parts(&mut self, contents: &mut Contents, file: &Found) -> Result<()> {
        let (mut offset, mut broken) = (0, None);
        while offset < file.size {
            let wanted = PART_BYTES.min(file.size - offset);
            let content = match &broken {
                None => self.in_time(contents.read(wanted)).await.and_then(|read| read).unwrap_or_else(|e| {
                    broken = Some(e);
                    Bytes::new()
                }),
                Some(_) => Bytes::new(),
            };
            let filler = wanted - content.len() as u64;
            let content = if filler > 0 { Bytes::from(vec![0; filler as usize]) } else { content };
            self.send(file, content, Some(Part { offset, of: file.size, filler })).await?;
            offset += wanted;
        }
        broken.map_or(Ok(()), Err)
    }

    /// Waits no longer than there is time.
    async fn in_time<T>(&self, waiting: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::failed(TIME_IS_UP)),
            done = waiting => Ok(done),
        }
    }

    async fn send(&mut self, file: &Found, content: Bytes, part: Option<Part>) -> Result<()> {
        let bytes = content.len() as u64 - part.map_or(0, |part| part.filler);
        let begins = u64::from(part.is_none_or(|part| part.offset == 0));
        self.inventory.items += begins;
        self.inventory.bytes += bytes;
        self.progress.advance(self.name, begins, bytes);
        let traits = Traits { modified: Some(file.modified_seconds()), ..Traits::default() };
        let member = Member { path: file.path.clone(), content: vec![content], traits, part };
        self.out.send(Batch { members: vec![member] }).await.map_err(|_| Error::failed("the archive is gone"))
    }
}
