//! Files in the target folder: where their content waits, and how it gets its name.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::direct;
use crate::error::{Error, Result};

/// Begins and ends the name of a file whose content is still coming; between stands a digest of its name, which may be as long
/// as names can be. What a restore that was cut off leaves is overwritten by the next.
const COMING: (&str, &str) = (".ckbackup-", ".part");

/// Gives a file a name that nothing has by now. A name that came meanwhile is somebody else's.
pub fn name_new(staged: &Path, name: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(staged, name) {
        Ok(()) => std::fs::remove_file(staged),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(e),
        // Not every file system has links.
        Err(_) if name.symlink_metadata().is_err() => std::fs::rename(staged, name),
        Err(_) => Err(ErrorKind::AlreadyExists.into()),
    }
}

/// Where the content of a file is until it is whole.
pub fn staged(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().as_encoded_bytes();
    let (begin, end) = COMING;
    place.with_file_name(format!("{begin}{}{end}", hex::encode(&Sha256::digest(name)[..12])))
}

pub fn with_end(place: &Path, end: &str) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_os_string();
    name.push(end);
    place.with_file_name(name)
}

/// Writes part of a file that is coming.
pub fn write_part(place: &Path, offset: u64, content: &[u8]) -> std::io::Result<()> {
    let written = direct::write(offset, content, |flags| open_with(place, flags))?;
    match &content[written..] {
        [] => Ok(()),
        rest => open_to_write(place)?.write_all_at(rest, offset + written as u64),
    }
}

/// Readable by its owner only, and not through a link.
fn open_to_write(place: &Path) -> std::io::Result<File> {
    open_with(place, 0)
}

fn open_with(place: &Path, flags: i32) -> std::io::Result<File> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | flags)
            .open(place)
    };
    match open() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let parent = place.parent().unwrap_or(place);
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            open()
        }
        opened => opened,
    }
}

/// Cuts off what an earlier try left behind the end, and sets the time at which the file was modified.
pub fn finish(place: &Path, bytes: u64, modified: Option<u64>) -> std::io::Result<()> {
    // An empty file has no part that would have made it.
    let opened = open_to_write(place)?;
    opened.set_len(bytes)?;
    match modified {
        Some(seconds) => opened.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        None => Ok(()),
    }
}

pub fn is_same(place: &Path, offset: u64, content: &[u8]) -> std::io::Result<bool> {
    let mut file = File::open(place)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut there = vec![0; content.len()];
    match file.read_exact(&mut there) {
        Ok(()) => Ok(there == content),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

pub fn words(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::StorageFull => "the disk is full".into(),
        _ => e.to_string(),
    }
}

/// Makes the folder that files are put into, unless it is there.
pub fn make_folder(to: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(|e| {
        Error::failed(format!("make the folder {}", to.display()))
            .because(e)
            .hint("check the path in the plan, and that this user may write there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::BLOCK;

    const LARGE: usize = 1 << 20;

    #[test]
    fn a_name_that_somebody_took_meanwhile_stays_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let (staged, name) = (folder.path().join("staged"), folder.path().join("name"));
        std::fs::write(&staged, b"ours").unwrap();
        name_new(&staged, &name).unwrap();
        assert!(!staged.exists());
        std::fs::write(&staged, b"again").unwrap();
        assert_eq!(name_new(&staged, &name).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&name).unwrap(), b"ours");
    }

    #[test]
    fn parts_of_any_size_come_from_anywhere_in_memory_and_in_any_order() {
        let content: Vec<u8> = (0..4 * LARGE as u32).map(|n| (n % 251) as u8).collect();
        let cuts = [0, 3, LARGE + 3, LARGE + 512, 2 * LARGE, 3 * LARGE + BLOCK, content.len()];
        for folder in [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()] {
            for skipped in [0, 1, 512, BLOCK] {
                let place = folder.path().join(format!("below/{skipped}"));
                let content = &content[skipped..];
                for cut in cuts.windows(2).rev() {
                    let part = cut[0]..cut[1].min(content.len());
                    write_part(&place, part.start as u64, &content[part]).unwrap();
                }
                assert!(std::fs::read(&place).unwrap() == content, "{skipped}");
            }
        }
    }

    #[test]
    fn a_part_is_not_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, other) = (folder.path().join("link"), folder.path().join("other"));
        std::fs::write(&other, b"theirs").unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        for bytes in [5, 2 * LARGE] {
            write_part(&link, 0, &vec![1; bytes]).unwrap_err();
        }
        assert_eq!(std::fs::read(&other).unwrap(), b"theirs");
    }

    #[test]
    fn a_file_of_the_longest_name_has_a_place_to_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["n".repeat(255), "m".repeat(255)].map(|name| staged(&folder.path().join(name)));
        assert_ne!(one, two);
        open_to_write(&one).unwrap();
    }
}
