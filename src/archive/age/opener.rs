//! Opening a whole file as its bytes arrive.

use std::sync::Arc;

use super::{CHUNK, Header, Identities, PayloadKey, Recipients, SEALED_CHUNK, seal_all};
use crate::error::{Error, Result};

/// Opens a file that is pushed into it in pieces of any size, from its first byte on.
///
/// Plaintext comes out chunk by chunk, each after it was verified; that the file is whole is known only when
/// [`Opener::finish`] says so. After a failure nothing more comes out.
pub struct Opener {
    identities: Arc<Identities>,
    state: State,
    /// The bytes of the header, or of a chunk, that have arrived before the rest of it.
    pending: Vec<u8>,
}

enum State {
    Header,
    Payload { key: PayloadKey, next: u64 },
    Ended,
    Refused,
}

impl Opener {
    /// An opener that unlocks the file with the first of these identities that fits.
    pub fn new(identities: Arc<Identities>) -> Self {
        Opener { identities, state: State::Header, pending: Vec::new() }
    }

    /// Takes the next bytes of the file and appends to `out` what they reveal.
    ///
    /// Fails as [`Header::parse`], [`Header::unlock`] and [`PayloadKey::open`] do, and on bytes behind the last chunk.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let pushed = match self.state {
            State::Header => self.push_header(data, out),
            State::Refused => Err(refused()),
            _ => self.push_payload(data, out),
        };
        if pushed.is_err() {
            self.state = State::Refused;
        }
        pushed
    }

    /// Says that the file ends here: appends what its last chunk holds, or fails when it was cut.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<()> {
        match self.state {
            State::Header => Err(Error::integrity("the age file is cut: it ends within its header")),
            State::Payload { key, next } => key.open_into(next, &self.pending, true, out),
            State::Ended => Ok(()),
            State::Refused => Err(refused()),
        }
    }

    fn push_header(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.pending.extend_from_slice(data);
        let Some((header, length)) = Header::parse(&self.pending)? else { return Ok(()) };
        self.state = State::Payload { key: header.unlock(&self.identities)?, next: 0 };
        let payload = self.pending.split_off(length);
        self.pending.clear();
        self.push_payload(&payload, out)
    }

    fn push_payload(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if !self.pending.is_empty() {
            let (missing, rest) = data.split_at(data.len().min(SEALED_CHUNK - self.pending.len()));
            self.pending.extend_from_slice(missing);
            data = rest;
            if self.pending.len() < SEALED_CHUNK {
                return Ok(());
            }
            let chunk = std::mem::take(&mut self.pending);
            self.open_chunk(&chunk, out)?;
        }
        let mut chunks = data.chunks_exact(SEALED_CHUNK);
        chunks.try_for_each(|chunk| self.open_chunk(chunk, out))?;
        self.keep(chunks.remainder())
    }

    /// Opens a chunk of full length: one of many, or, when it does not verify as that, the last.
    fn open_chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let State::Payload { key, next } = &mut self.state else { return Err(trailing()) };
        out.reserve(CHUNK);
        if key.open_into(*next, chunk, false, out).is_ok() {
            *next += 1;
            return Ok(());
        }
        key.open_into(*next, chunk, true, out)?;
        self.state = State::Ended;
        Ok(())
    }

    fn keep(&mut self, rest: &[u8]) -> Result<()> {
        match self.state {
            State::Ended if !rest.is_empty() => Err(trailing()),
            _ => {
                self.pending.extend_from_slice(rest);
                Ok(())
            }
        }
    }
}

/// Opens a whole file, for small objects. Fails as [`Opener`] does.
pub fn open_all(identities: &Identities, file: &[u8]) -> Result<Vec<u8>> {
    let Some((header, length)) = Header::parse(file)? else {
        return Err(Error::integrity("the age file is cut: it ends within its header"));
    };
    header.unlock(identities)?.open(0, &file[length..], true)
}
/// Which of these recipients the identities open files of. Those of plugins are passed over: they may want a touch.
pub fn opened_of(recipients: &[String], identities: &Identities) -> Vec<String> {
    let opens = |text: &&String| {
        let is_plugin = text.strip_prefix("age1").is_some_and(|rest| rest.contains('1'));
        let sealed = || seal_all(&Recipients::parse(std::slice::from_ref(*text)).ok()?, b"whose").ok();
        !is_plugin && sealed().is_some_and(|file| open_all(identities, &file).is_ok())
    };
    let mut opened: Vec<String> = recipients.iter().filter(opens).cloned().collect();
    opened.sort();
    opened.dedup();
    opened
}

fn refused() -> Error {
    Error::integrity("the age file was refused before its end")
}

fn trailing() -> Error {
    Error::integrity("the age file goes on behind its last chunk: something was added to it")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Recipients, generate_identity, seal_all};
    use super::*;
    use crate::error::Kind;

    fn keys() -> (Arc<Identities>, Recipients) {
        let (secret, recipient) = generate_identity();
        (Arc::new(Identities::from_secret(secret.file_text()).unwrap()), Recipients::parse(&[recipient]).unwrap())
    }

    fn open_in_pieces(identities: &Arc<Identities>, file: &[u8], piece: usize) -> Result<Vec<u8>> {
        let (mut opener, mut out) = (Opener::new(identities.clone()), Vec::new());
        file.chunks(piece).try_for_each(|data| opener.push(data, &mut out))?;
        opener.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_refused_file_stays_refused() {
        let (identities, recipients) = keys();
        let file = seal_all(&recipients, &vec![1; CHUNK]).unwrap();
        let (mut opener, mut out) = (Opener::new(identities), Vec::new());
        opener.push(&file, &mut out).unwrap();
        assert_eq!(opener.push(b"more", &mut out).unwrap_err().kind(), Kind::Integrity);
        assert!(opener.push(b"more", &mut out).is_err());
        assert!(opener.finish(&mut out).is_err());
        assert_eq!(out.len(), CHUNK);
    }

    #[test]
    fn a_file_that_ends_within_its_header_is_refused() {
        let (identities, recipients) = keys();
        let file = seal_all(&recipients, b"x").unwrap();
        assert!(open_in_pieces(&identities, &file[..60], 7).is_err());
        assert!(Opener::new(identities).finish(&mut Vec::new()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn pieces_of_any_size_open(length in 0..3 * CHUNK, edge in 0usize..3, piece in 1..2 * SEALED_CHUNK) {
            let (identities, recipients) = keys();
            let plain = vec![42; if edge == 0 { length / CHUNK * CHUNK } else { length }];
            let file = seal_all(&recipients, &plain).unwrap();
            prop_assert_eq!(&open_in_pieces(&identities, &file, piece).unwrap(), &plain);
            prop_assert_eq!(&open_all(&identities, &file).unwrap(), &plain);
        }

        #[test]
        fn flipped_cut_and_extended_files_are_refused(
            length in 0..2 * CHUNK, at in any::<usize>(), flip in 1u8.., piece in 1..2 * SEALED_CHUNK, header in any::<bool>(),
        ) {
            let (identities, recipients) = keys();
            let file = seal_all(&recipients, &vec![42; length]).unwrap();
            let at = at % if header { 200 } else { file.len() };
            let mut flipped = file.clone();
            flipped[at] ^= flip;
            let extended = [file.as_slice(), &[flip]].concat();
            for bad in [&flipped[..], &file[..at], &extended] {
                prop_assert!(open_in_pieces(&identities, bad, piece).is_err());
                prop_assert!(open_all(&identities, bad).is_err());
            }
        }
    }
}
