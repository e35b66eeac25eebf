//! age v1 files (<https://c2sp.org/age>): the encryption of everything that is stored.
//!
//! Who can open a file is decided by the `age` crate: X25519, tag, SSH and plugin recipients, and their identities. The
//! file around it, header and payload, is our own, so that a payload can be sealed and opened on several cores and read
//! at any position: chunk `n` of a payload depends on nothing but the [`PayloadKey`] and `n`.
//!
//! ```text
//! header    age-encryption.org/v1, one stanza per recipient, MAC          begin, Header
//! nonce     16 bytes                                                      part of what begin and Header count as header
//! payload   chunks of 65536 + 16 bytes, the last one shorter and flagged  PayloadKey, Opener, chunks_of
//! ```

mod header;
mod identities;
mod keygen;
mod opener;
mod payload;
mod recipients;
mod span;

pub use header::{Header, begin};
pub use identities::Identities;
pub use keygen::{SecretIdentity, generate_identity};
pub use opener::{Opener, open_all, opened_of};
pub use payload::{CHUNK, PayloadKey, SEALED_CHUNK, TAG, seal_all};
pub use recipients::Recipients;
pub use span::{ChunkSpan, chunks_of, plain_len, sealed_len};

use std::fmt::Display;

/// What the `age` crate says about a failure, without the invisible direction marks that it puts around names.
fn said(failure: &impl Display) -> String {
    failure.to_string().replace(['\u{2068}', '\u{2069}'], "")
}
