//! Where plaintext lies in a payload: arithmetic between the two lengths and positions.

use std::ops::Range;

use super::{CHUNK, SEALED_CHUNK, TAG};
use crate::error::{Error, Result};

/// The chunks that hold a range of plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkSpan {
    /// The number of the first chunk.
    pub first: u64,
    /// The bytes of the payload (0 is the first after the nonce) that hold these chunks, whole.
    pub cipher: Range<u64>,
    /// The plaintext bytes of the first chunk that precede the range.
    pub skip: usize,
}

impl ChunkSpan {
    /// The same span, ending at the latest where a payload of this length ends.
    pub fn within(mut self, payload_len: u64) -> Self {
        self.cipher.end = self.cipher.end.min(payload_len);
        self.cipher.start = self.cipher.start.min(self.cipher.end);
        self
    }

    /// Whether the span's final chunk is the last of a payload of this length, as [`PayloadKey::open`] asks.
    ///
    /// [`PayloadKey::open`]: super::PayloadKey::open
    pub fn is_last(&self, payload_len: u64) -> bool {
        !self.cipher.is_empty() && self.cipher.end >= payload_len
    }
}

/// The chunks that hold the plaintext range, as if the payload went on for ever: clip them with [`ChunkSpan::within`].
///
/// An empty range spans no chunks.
pub fn chunks_of(plain: Range<u64>) -> ChunkSpan {
    const PLAIN: u64 = CHUNK as u64;
    const SEALED: u64 = SEALED_CHUNK as u64;
    let first = plain.start / PLAIN;
    let start = first.saturating_mul(SEALED);
    let end = if plain.is_empty() { start } else { plain.end.div_ceil(PLAIN).saturating_mul(SEALED) };
    let skip = if plain.is_empty() { 0 } else { plain.start % PLAIN };
    ChunkSpan { first, cipher: start..end, skip: skip as usize }
}

/// The length of the payload that seals this many bytes, without header and nonce.
pub fn sealed_len(plain_len: u64) -> u64 {
    let chunks = plain_len.div_ceil(CHUNK as u64).max(1);
    plain_len.saturating_add(chunks.saturating_mul(TAG as u64))
}

/// How many bytes a payload of this length seals. Fails with [`Kind::Integrity`](crate::error::Kind) for a length that
/// no payload has.
pub fn plain_len(payload_len: u64) -> Result<u64> {
    let (whole, rest) = (payload_len / SEALED_CHUNK as u64, payload_len % SEALED_CHUNK as u64);
    let full = whole * CHUNK as u64;
    match (whole, rest.checked_sub(TAG as u64)) {
        (1.., None) if rest == 0 => Ok(full),
        (0, Some(0)) => Ok(0),
        (_, Some(short @ 1..)) => Ok(full + short),
        _ => Err(Error::integrity(format!("no age payload is {payload_len} bytes long: it was cut"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_whole_chunks() {
        let sealed = SEALED_CHUNK as u64;
        assert_eq!(chunks_of(0..1), ChunkSpan { first: 0, cipher: 0..sealed, skip: 0 });
        assert_eq!(chunks_of(65535..65537), ChunkSpan { first: 0, cipher: 0..2 * sealed, skip: 65535 });
        assert_eq!(chunks_of(65536..131072), ChunkSpan { first: 1, cipher: sealed..2 * sealed, skip: 0 });
        assert_eq!(chunks_of(70000..70000), ChunkSpan { first: 1, cipher: sealed..sealed, skip: 0 });
        assert_eq!(chunks_of(65540..65541).within(sealed + 30).cipher, sealed..sealed + 30);
        assert!(chunks_of(0..u64::MAX).is_last(u64::MAX));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let sealed = SEALED_CHUNK as u64;
        for impossible in [0, 15, sealed + 1, sealed + 15, sealed + 16, 2 * sealed + 16] {
            assert!(plain_len(impossible).is_err(), "{impossible}");
        }
        assert_eq!(plain_len(16).unwrap(), 0);
        assert_eq!(plain_len(17).unwrap(), 1);
        assert_eq!(plain_len(sealed).unwrap(), 65536);
        assert_eq!(plain_len(sealed + 17).unwrap(), 65537);
    }
}
