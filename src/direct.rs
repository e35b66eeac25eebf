//! Files in large pieces: read until a piece is full, and written straight to the disk, past the kernel's cache.
//!
//! In the cache a large file would only cost: memory that a machine may have to get from its host first, the copy, and what
//! others have in the cache. A small one is written faster through it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;

/// What goes past the cache begins and ends at a multiple of it: in the file, and in memory.
pub const BLOCK: usize = 4096;

/// Fewer bytes are not worth it.
const LARGE: usize = 1 << 20;

/// Memory that is used again, from where a disk can take it.
#[derive(Debug, Default)]
pub struct Room(Vec<u8>);

impl Room {
    /// So many bytes, from a multiple of [`BLOCK`]. What is in them, nobody knows.
    pub fn of(&mut self, bytes: usize) -> &mut [u8] {
        if self.0.len() < bytes + BLOCK {
            self.0 = Vec::new();
            self.0 = vec![0; bytes + BLOCK];
        }
        let address = self.0.as_ptr().addr();
        let begin = address.next_multiple_of(BLOCK) - address;
        &mut self.0[begin..begin + bytes]
    }

    /// How many bytes it has.
    pub fn kept(&self) -> usize {
        self.0.len()
    }

    /// Keeps no more than so many bytes.
    pub fn keep(&mut self, bytes: usize) {
        if self.0.len() > bytes + BLOCK {
            self.0 = Vec::new();
        }
    }
}

/// Writes the whole blocks of a large content; how many bytes that were. `open` gives the file, with more flags of `open(2)`.
pub fn write(offset: u64, content: &[u8], open: impl FnOnce(i32) -> std::io::Result<File>) -> std::io::Result<usize> {
    if content.len() < LARGE || !offset.is_multiple_of(BLOCK as u64) {
        return Ok(0);
    }
    let blocks = content.len() / BLOCK * BLOCK;
    match open(libc::O_DIRECT).and_then(|file| file.write_all_at(&content[..blocks], offset)) {
        Ok(()) => Ok(blocks),
        // Not every file system can, nor from any place in memory.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(0),
        Err(e) => Err(e),
    }
}

/// Reads until the buffer is full, or the file ends; how many bytes that were.
pub fn read_fully(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}
