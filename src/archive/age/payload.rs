//! The payload of an age file: STREAM over ChaCha20-Poly1305 in chunks of 64 KiB.
//!
//! The nonce of a chunk is its number (11 bytes, big-endian) and one byte that is 1 for the last chunk of the file and 0
//! for every other. So chunks cannot be moved, left out at the end or added, and each can be sealed and opened alone.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Recipients, begin, sealed_len};
use crate::error::{Error, Result};

/// Plaintext bytes in a chunk; only the last chunk of a file may hold fewer.
pub const CHUNK: usize = 64 * 1024;
/// Bytes that sealing adds to a chunk.
pub const TAG: usize = 16;
/// Bytes of a whole sealed chunk.
pub const SEALED_CHUNK: usize = CHUNK + TAG;

/// The key of one file's payload. Clones share it; the last one to go wipes it.
#[derive(Clone)]
pub struct PayloadKey(Arc<Zeroizing<[u8; 32]>>);

impl PayloadKey {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        PayloadKey(Arc::new(key))
    }

    /// A secret for another purpose, which only those know who can open the file (HKDF-SHA256 of the key, RFC 5869).
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        let derived = Hkdf::<Sha256>::new(None, self.0.as_slice()).expand(purpose.as_bytes(), secret.as_mut_slice());
        debug_assert!(derived.is_ok(), "one hash is never too long");
        secret
    }

    /// Seals consecutive chunks, of which `first` is the number of the first.
    ///
    /// `plaintext` is a multiple of [`CHUNK`] unless it is the `last` of the file; it is empty only then, and only when
    /// the whole payload is empty. Anything else would make a file that nobody can open, and is an error. Each chunk
    /// number is sealed once per key: sealing different bytes under the same number gives both away.
    pub fn seal(&self, first: u64, plaintext: &[u8], last: bool) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.seal_into(first, plaintext, last, &mut out)?;
        Ok(out)
    }

    /// [`PayloadKey::seal`], appending to `out`.
    pub fn seal_into(&self, first: u64, plaintext: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
        check_plaintext(first, plaintext.len(), last)?;
        let count = plaintext.len().div_ceil(CHUNK).max(usize::from(last));
        let cipher = self.cipher();
        out.reserve(plaintext.len() + count * TAG);
        for (i, plain) in
            plaintext.chunks(CHUNK).chain(plaintext.is_empty().then_some(plaintext)).take(count).enumerate()
        {
            let nonce = nonce(first, i, last && i + 1 == count)?;
            let at = out.len();
            // Copied chunk by chunk, so that the cipher finds the copy in the cache.
            out.extend_from_slice(plain);
            let tag = cipher.encrypt_inout_detached(&nonce, &[], (&mut out[at..]).into());
            out.extend_from_slice(&tag.map_err(|_| unsealable("the cipher refused a chunk"))?);
        }
        Ok(())
    }

    /// Opens consecutive whole chunks, of which `first` is the number of the first; `last` says that the final one is
    /// the last of the file.
    ///
    /// Fails with [`Kind::Integrity`](crate::error::Kind), without releasing any plaintext, when one chunk does not
    /// verify in its place, when chunks are cut, or when an empty last chunk follows others.
    pub fn open(&self, first: u64, ciphertext: &[u8], last: bool) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.open_into(first, ciphertext, last, &mut out)?;
        Ok(out)
    }

    /// [`PayloadKey::open`], appending to `out`, which is left as it was on failure.
    pub fn open_into(&self, first: u64, ciphertext: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
        check_ciphertext(first, ciphertext.len(), last)?;
        let at = out.len();
        let opened = self.open_chunks(first, ciphertext, last, out);
        if opened.is_err() {
            out.truncate(at);
        }
        opened
    }

    fn open_chunks(&self, first: u64, ciphertext: &[u8], last: bool, out: &mut Vec<u8>) -> Result<()> {
        let count = ciphertext.len().div_ceil(SEALED_CHUNK);
        let cipher = self.cipher();
        out.reserve(ciphertext.len() - count * TAG);
        for (i, sealed) in ciphertext.chunks(SEALED_CHUNK).enumerate() {
            let nonce = nonce(first, i, last && i + 1 == count)?;
            let at = out.len();
            let (text, tag) = sealed.split_at(sealed.len() - TAG);
            let tag = Tag::try_from(tag).map_err(|_| altered(first, i))?;
            out.extend_from_slice(text);
            let opened = cipher.decrypt_inout_detached(&nonce, &[], (&mut out[at..]).into(), &tag);
            opened.map_err(|_| altered(first, i))?;
        }
        Ok(())
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&**self.0).into())
    }
}

impl fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadKey(…)")
    }
}

/// Seals a whole file, for small objects.
pub fn seal_all(recipients: &Recipients, plaintext: &[u8]) -> Result<Vec<u8>> {
    let (mut file, key) = begin(recipients)?;
    file.reserve_exact(usize::try_from(sealed_len(plaintext.len() as u64)).unwrap_or(0));
    key.seal_into(0, plaintext, true, &mut file)?;
    Ok(file)
}

fn nonce(first: u64, index: usize, last: bool) -> Result<Nonce> {
    let number = first.checked_add(index as u64).ok_or_else(|| unsealable("the chunk number overflows"))?;
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Ok(nonce.into())
}

fn check_plaintext(first: u64, length: usize, last: bool) -> Result<()> {
    match (last, length) {
        (true, 0) if first > 0 => Err(unsealable("an empty last chunk may not follow others")),
        (false, n) if n % CHUNK != 0 => Err(unsealable("only the last chunk of a file may be short")),
        _ => Ok(()),
    }
}

fn check_ciphertext(first: u64, length: usize, last: bool) -> Result<()> {
    let (whole, rest) = (length / SEALED_CHUNK, length % SEALED_CHUNK);
    let follows = first > 0 || whole > 0;
    match (last, rest) {
        (false, 0) => Ok(()),
        (false, _) => Err(Error::integrity("the age payload is cut within a chunk")),
        (true, 0) if whole == 0 => Err(Error::integrity("the age payload is cut: its last chunk is missing")),
        (true, 1..TAG) => Err(Error::integrity("the age payload is cut within the tag of its last chunk")),
        (true, TAG) if follows => Err(Error::integrity("the age payload ends in an empty chunk, which is not allowed")),
        (true, _) => Ok(()),
    }
}

fn altered(first: u64, index: usize) -> Error {
    let number = first.saturating_add(index as u64);
    Error::integrity(format!("chunk {number} of the age payload does not verify: it was altered, moved or cut"))
}

fn unsealable(why: &str) -> Error {
    Error::failed(format!("seal an age payload: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{chunks_of, plain_len};
    use super::*;
    use crate::error::Kind;

    fn key() -> PayloadKey {
        PayloadKey::new(Zeroizing::new([7; 32]))
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    /// Lengths around the edges of the first three chunks, and any other up to there.
    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![
            (0usize..4, 0usize..5).prop_map(|(chunks, off)| (chunks * CHUNK + off).saturating_sub(2)),
            0..3 * CHUNK,
        ]
    }

    #[test]
    fn the_cipher_is_the_one_of_rfc_8439() {
        // Sealed by hand with Python's cryptography: ChaCha20Poly1305(b"\7"*32).encrypt(bytes(11) + b"\1", b"age", b"")
        let sealed = key().seal(0, b"age", true).unwrap();
        assert_eq!(hex::encode(sealed), "887036a008a583861eacc0beb342ead17c5031");
    }

    #[test]
    fn only_whole_chunks_are_sealed_before_the_last() {
        assert!(key().seal(0, &bytes(CHUNK + 1), false).is_err());
        assert!(key().seal(1, &[], true).is_err());
        assert!(key().seal(0, &[], false).unwrap().is_empty());
        assert_eq!(key().seal(0, &[], true).unwrap().len(), TAG);
    }

    #[test]
    fn an_empty_last_chunk_is_refused_unless_it_is_the_only_one() {
        let key = key();
        let empty =
            key.cipher().encrypt_inout_detached(&nonce(1, 0, true).unwrap(), &[], (&mut [][..]).into()).unwrap();
        assert_eq!(key.open(1, &empty, true).unwrap_err().kind(), Kind::Integrity);
        let file = [key.seal(0, &bytes(CHUNK), false).unwrap(), empty.to_vec()].concat();
        assert_eq!(key.open(0, &file, true).unwrap_err().kind(), Kind::Integrity);
    }

    #[test]
    fn a_failure_releases_nothing() {
        let mut sealed = key().seal(0, &bytes(2 * CHUNK), true).unwrap();
        sealed[SEALED_CHUNK + 9] ^= 1;
        let mut out = b"before".to_vec();
        let error = key().open_into(0, &sealed, true, &mut out).unwrap_err();
        assert_eq!(out, b"before");
        assert!(error.one_line().contains("chunk 1"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_sealed_opens(length in lengths(), split in 0usize..4) {
            let plain = bytes(length);
            let (head, tail) = plain.split_at((split * CHUNK).min(length.saturating_sub(1) / CHUNK * CHUNK));
            let first = (head.len() / CHUNK) as u64;
            let mut sealed = key().seal(0, head, false).unwrap();
            key().seal_into(first, tail, true, &mut sealed).unwrap();
            prop_assert_eq!(&sealed, &key().seal(0, &plain, true).unwrap());
            prop_assert_eq!(sealed.len() as u64, sealed_len(length as u64));
            prop_assert_eq!(plain_len(sealed.len() as u64).unwrap(), length as u64);
            prop_assert_eq!(key().open(0, &sealed, true).unwrap(), plain);
        }

        #[test]
        fn any_position_opens_by_itself(length in 1..3 * CHUNK, a in any::<u64>(), b in any::<u64>()) {
            let plain = bytes(length);
            let sealed = key().seal(0, &plain, true).unwrap();
            let (a, b) = (a % length as u64, b % (length as u64 + 1));
            let span = chunks_of(a.min(b)..a.max(b)).within(sealed.len() as u64);
            let part = &sealed[span.cipher.start as usize..span.cipher.end as usize];
            let opened = key().open(span.first, part, span.is_last(sealed.len() as u64)).unwrap();
            let wanted = (a.max(b) - a.min(b)) as usize;
            prop_assert_eq!(&opened[span.skip..span.skip + wanted], &plain[a.min(b) as usize..a.max(b) as usize]);
        }

        #[test]
        fn any_flipped_byte_is_refused(length in lengths(), at in any::<usize>(), flip in 1u8..) {
            let mut sealed = key().seal(0, &bytes(length), true).unwrap();
            let at = at % sealed.len();
            sealed[at] ^= flip;
            prop_assert_eq!(key().open(0, &sealed, true).unwrap_err().kind(), Kind::Integrity);
        }

        #[test]
        fn a_cut_or_moved_payload_is_refused(length in lengths(), cut in any::<usize>()) {
            let sealed = key().seal(0, &bytes(length), true).unwrap();
            prop_assert!(key().open(0, &sealed[..cut % sealed.len()], true).is_err());
            prop_assert!(key().open(1, &sealed, true).is_err());
            prop_assert!(key().open(0, &sealed, false).is_err());
        }
    }
}
