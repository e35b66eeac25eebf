//! Zstandard, with the working memory that each thread keeps between frames.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

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
    again: Vec<u8>,
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
        Ok(Codec { compressor, decompressor: Decompressor::new()?, again: Vec::new() })
    }

    /// Decodes a frame into memory that is used again, and hands it to `take`.
    pub fn decode<T>(&mut self, encoded: &[u8], decoded: usize, take: impl FnOnce(&[u8]) -> T) -> std::io::Result<T> {
        self.again.clear();
        self.again.reserve(decoded);
        let read = self.decompressor.decompress_to_buffer(encoded, &mut self.again);
        let taken = read.map(|_| take(&self.again));
        self.forget();
        taken
    }

    /// Keeps no more than most frames need.
    fn forget(&mut self) {
        self.again.truncate(KEPT);
        self.again.shrink_to(KEPT);
    }

    /// One frame, decoded again: a compressor's error must not be found out at restore time.
    pub fn compress(&mut self, decoded: &[u8]) -> Result<Vec<u8>> {
        let encoded = self.compressor.compress(decoded).context(|| "compress a frame".into())?;
        self.again.clear();
        self.again.reserve(decoded.len());
        let read_back = self.decompressor.decompress_to_buffer(&encoded, &mut self.again);
        read_back.context(|| "read back a frame".into())?;
        let same = self.again == decoded;
        self.forget();
        match same {
            true => Ok(encoded),
            false => Err(Error::integrity("a compressed frame does not decode to what went in")
                .hint("this machine's memory or processor may be faulty; run the backup on another one")),
        }
    }
}
