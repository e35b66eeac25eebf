//! Zstandard, with the working memory that each thread keeps between frames.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::direct::Room;
use crate::error::{Context, Error, Result};

/// Measured on Kubernetes objects: 2 and 3 take up to twice the time and save nothing, 5 takes four times and saves 8 %.
const LEVEL: i32 = 1;

/// How much memory a thread keeps for what it decoded last, in bytes: a part of a large file, with its tar header. Few
/// frames are larger.
const KEPT: usize = (4 << 20) + 4096;

thread_local! {
    static CODEC: RefCell<Option<Codec>> = const { RefCell::new(None) };
}

/// A compressor, and what checks its work.
pub(super) struct Codec {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    again: Room,
}

/// Calls `work` with this thread's codec.
pub(super) fn with<T>(work: impl FnOnce(&mut Codec) -> Result<T>) -> Result<T> {
    CODEC.with_borrow_mut(|codec| match codec {
        Some(codec) => work(codec),
        None => work(codec.insert(Codec::new().context(|| "start zstd".into())?)),
    })
}

impl Codec {
    fn new() -> std::io::Result<Codec> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.include_contentsize(true)?;
        Ok(Codec { compressor, decompressor: Decompressor::new()?, again: Room::default() })
    }

    /// Decodes a frame into memory that is used again, and hands it to `take`.
    pub fn decode<T>(&mut self, encoded: &[u8], decoded: usize, take: impl FnOnce(&[u8]) -> T) -> std::io::Result<T> {
        let room = self.again.of(decoded);
        let read = self.decompressor.decompress_to_buffer(encoded, room);
        let taken = read.map(|length| take(&room[..length]));
        self.again.keep(KEPT);
        taken
    }

    /// One frame, decoded again: a compressor's error must not be found out at restore time.
    pub fn compress(&mut self, decoded: &[u8]) -> Result<Vec<u8>> {
        let encoded = self.compressor.compress(decoded).context(|| "compress a frame".into())?;
        let same =
            self.decode(&encoded, decoded.len(), |again| again == decoded).context(|| "read back a frame".into())?;
        match same {
            true => Ok(encoded),
            false => Err(Error::integrity("a compressed frame does not decode to what went in")
                .hint("this machine's memory or processor may be faulty; run the backup on another one")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::BLOCK;

    #[test]
    fn what_is_decoded_is_aligned_and_large_memory_is_not_kept() {
        let mut codec = Codec::new().unwrap();
        for bytes in [1, 5000, 4096, KEPT, KEPT + 1, 3] {
            let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
            let encoded = codec.compress(&content).unwrap();
            let is_right = |decoded: &[u8]| decoded == content && decoded.as_ptr().addr().is_multiple_of(BLOCK);
            assert!(codec.decode(&encoded, bytes, is_right).unwrap());
            assert!(codec.again.kept() <= KEPT + BLOCK);
        }
    }
}
