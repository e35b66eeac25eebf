//! Copies inside a vault: how a backup takes over what has not changed, and still stands by itself.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use object_store::{CopyMode, CopyOptions, ObjectStore};
use sha2::{Digest, Sha256};

use super::{Stored, Upload, Vault};
use crate::direct::{self, Room, read_fully};
use crate::error::{Context, Error, Kind, Result};

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
        if let Some(folder) = &self.folder {
            return self
                .copy_file(folder.join(self.path(from)?.as_ref()), folder.join(self.path(to)?.as_ref()), from, sha256)
                .await;
        }
        if bytes > LARGEST_COPY {
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
            None => self.read_back(to, &stored, sha256).await.map_err(|e| of_copy(e, from))?,
        }
        Ok(stored)
    }

    /// Copied while what is copied is compared. The copy gets its name when both have ended well.
    async fn copy_file(&self, from: PathBuf, to: PathBuf, key: &str, sha256: &[u8; 32]) -> Result<Stored> {
        let staged = with_end(&to, STAGED);
        let (source, copy) = (from.clone(), staged.clone());
        let copying = tokio::task::spawn_blocking(move || write_copy(&source, &copy));
        let digesting = tokio::task::spawn_blocking(move || digest_of(&from));
        let doing = || format!("copy {key}");
        let (copied, digest) = tokio::join!(copying, digesting);
        let judged = copied.context(doing).and_then(|copied| copied.context(doing));
        let judged = judged.and_then(|()| digest.context(doing)?.context(doing));
        let is_right = judged.as_ref().is_ok_and(|digest| digest == sha256);
        let naming = tokio::task::spawn_blocking(move || show_copy(&staged, &to, is_right));
        let named = naming.await.context(doing)?;
        match judged {
            Ok(_) if is_right => named.context(doing).map(|()| Stored::of(None)),
            Ok(_) => Err(damaged(key)),
            Err(e) => Err(e),
        }
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
        self.read_back(to, &stored, sha256).await.map_err(|e| of_copy(e, from))?;
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

/// What object stores in folders call what is not finished; no list shows it, and rotation clears it away.
const STAGED: &str = "#1";

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(end);
    name.into()
}

fn write_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Piece by piece: asked to copy by itself, the kernel may let both files share what they have in common on the disk.
    let (mut from, mut room, mut offset) = (File::open(from)?, Room::default(), 0);
    let copy = File::create(to)?;
    loop {
        let piece = room.of(COPIED);
        let length = read_fully(&mut from, piece)?;
        let written = direct::write(offset, &piece[..length], |flags| {
            OpenOptions::new().write(true).custom_flags(flags).open(to)
        })?;
        copy.write_all_at(&piece[written..length], offset + written as u64)?;
        offset += length as u64;
        if length < COPIED {
            return copy.sync_all();
        }
    }
}

/// Gives a copy its name, for good: also the folder that it is in is on the disk then. One that is not right goes.
fn show_copy(staged: &Path, to: &Path, is_right: bool) -> std::io::Result<()> {
    let named = if is_right { std::fs::hard_link(staged, to) } else { Ok(()) };
    // In both cases: its content stays under its name.
    let _ = std::fs::remove_file(staged);
    named?;
    for folder in to.ancestors().skip(1).take(2) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// In what pieces files are compared, in bytes.
const PIECE: usize = 1 << 20;

/// In what pieces they are copied: large enough for a disk to be quick.
const COPIED: usize = 4 << 20;

fn digest_of(file: &Path) -> std::io::Result<[u8; 32]> {
    let (mut file, mut digest, mut piece) = (File::open(file)?, Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&piece[..read]),
        }
    }
}

/// That a copy is not what it should be is the original's fault; that it cannot be read is not.
fn of_copy(e: Error, from: &str) -> Error {
    if e.kind() == Kind::Integrity { damaged(from) } else { e }
}

fn damaged(from: &str) -> Error {
    Error::integrity(format!("{from} is not what its manifest says"))
        .hint("`ckbackup verify --all` finds what is damaged")
}
