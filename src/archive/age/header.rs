//! The header of an age file: written, parsed strictly, unlocked.

use std::fmt;

use age_core::format::{FileKey, Stanza, read::age_stanza};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Identities, PayloadKey, Recipients};
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"age-encryption.org/v1\n";
const FOOTER: &[u8] = b"---";
/// `--- `, 43 characters of Base64, line feed.
const FOOTER_LEN: usize = 48;
const NONCE_LEN: usize = 16;
const BASE64_COLUMNS: usize = 64;
/// Far above any real header (a stanza takes 100 to 1,600 bytes); keeps a file without an end of header from filling memory.
const LIMIT: usize = 1 << 20;

/// A parsed header. It is not authenticated before [`Header::unlock`].
pub struct Header {
    stanzas: Vec<Stanza>,
    /// Everything that the MAC covers: from the first byte up to and including `---`.
    authenticated: Vec<u8>,
    mac: [u8; 32],
    nonce: [u8; NONCE_LEN],
}

impl Header {
    /// Parses the beginning of a file, as strictly as the age specification asks.
    ///
    /// `Ok(None)` says that more bytes are needed. Otherwise returns the header and its length in bytes, payload nonce
    /// included. Fails with [`Kind::Integrity`](crate::error::Kind) when this cannot become an age v1 header.
    pub fn parse(start: &[u8]) -> Result<Option<(Header, usize)>> {
        let parsed = parse_v1(start)?;
        if parsed.is_none() && start.len() > LIMIT {
            return Err(bad_header("has no end within 1 MiB"));
        }
        Ok(parsed)
    }

    /// Unlocks the file with the first identity that fits, and verifies the header's MAC.
    ///
    /// Fails with [`Kind::NoIdentity`](crate::error::Kind) when none fits, and with `Kind::Integrity` when a stanza or
    /// the MAC is bad. May ask the user and run plugins, as the identities need it.
    pub fn unlock(&self, identities: &Identities) -> Result<PayloadKey> {
        let file_key = identities.unwrap(&self.stanzas)?;
        let mac = header_mac(&file_key, &self.authenticated)?;
        mac.verify_slice(&self.mac).map_err(|_| bad_header("was altered: its MAC does not match"))?;
        payload_key(&file_key, &self.nonce)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stanzas.iter().map(|s| &s.tag)).finish()
    }
}

/// Begins a new file: its header with the 16 bytes of payload nonce, and the key that seals its payload.
///
/// Every call makes a new key. Fails with [`Kind::Usage`](crate::error::Kind) when a recipient's plugin is missing.
pub fn begin(recipients: &Recipients) -> Result<(Vec<u8>, PayloadKey)> {
    let file_key = FileKey::try_init_with_mut(|key| getrandom::fill(key)).map_err(no_randomness)?;
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(no_randomness)?;

    let mut head = MAGIC.to_vec();
    recipients.wrap(&file_key)?.iter().for_each(|stanza| write_stanza(stanza, &mut head));
    head.extend_from_slice(FOOTER);
    let mac = header_mac(&file_key, &head)?.finalize().into_bytes();
    head.extend_from_slice(format!(" {}\n", BASE64_STANDARD_NO_PAD.encode(mac)).as_bytes());
    head.extend_from_slice(&nonce);

    match Header::parse(&head) {
        Ok(Some((_, length))) if length == head.len() => Ok((head, payload_key(&file_key, &nonce)?)),
        _ => Err(Error::failed("write an age header: a recipient's plugin made a stanza that nobody could read")),
    }
}

fn parse_v1(start: &[u8]) -> Result<Option<(Header, usize)>> {
    let Some(mut rest) = after_magic(start)? else { return Ok(None) };
    let mut stanzas = Vec::new();
    while !FOOTER.starts_with(&rest[..rest.len().min(FOOTER.len())]) {
        match age_stanza(rest) {
            Ok((after, stanza)) => {
                stanzas.push(Stanza::from(stanza));
                rest = after;
            }
            Err(e) if e.is_incomplete() => return Ok(None),
            Err(_) => return Err(bad_header("has a malformed recipient stanza")),
        }
    }
    if rest.len() < FOOTER_LEN + NONCE_LEN {
        return Ok(None);
    }
    check_stanzas(&stanzas)?;

    let at = start.len() - rest.len();
    let (footer, after) = rest.split_at(FOOTER_LEN);
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&after[..NONCE_LEN]);
    let authenticated = start[..at + FOOTER.len()].to_vec();
    let header = Header { stanzas, authenticated, mac: parse_mac(footer)?, nonce };
    Ok(Some((header, at + FOOTER_LEN + NONCE_LEN)))
}

/// What follows the version line; `None` when the line is not complete.
fn after_magic(start: &[u8]) -> Result<Option<&[u8]>> {
    if let Some(rest) = start.strip_prefix(MAGIC) {
        return Ok(Some(rest));
    }
    if MAGIC.starts_with(start) {
        return Ok(None);
    }
    if start.starts_with(b"age-encryption.org/") {
        return Err(bad_header("is of a version other than v1"));
    }
    Err(Error::integrity("this is not an age file: its first line is not age-encryption.org/v1"))
}

/// One stanza or more; a passphrase stanza stands alone.
fn check_stanzas(stanzas: &[Stanza]) -> Result<()> {
    if stanzas.is_empty() {
        return Err(bad_header("names no recipient"));
    }
    if stanzas.len() > 1 && stanzas.iter().any(|s| s.tag == "scrypt") {
        return Err(bad_header("mixes a passphrase with other recipients"));
    }
    Ok(())
}

fn parse_mac(footer: &[u8]) -> Result<[u8; 32]> {
    footer
        .strip_prefix(b"--- ")
        .and_then(|line| line.strip_suffix(b"\n"))
        .and_then(|text| BASE64_STANDARD_NO_PAD.decode(text).ok())
        .and_then(|mac| mac.try_into().ok())
        .ok_or_else(|| bad_header("has a malformed MAC line"))
}

/// `-> tag args…`, then the body in Base64 lines of 64 columns, the last of which is short, and empty if need be.
fn write_stanza(stanza: &Stanza, out: &mut Vec<u8>) {
    out.extend_from_slice(b"-> ");
    out.extend_from_slice(stanza.tag.as_bytes());
    for arg in &stanza.args {
        out.push(b' ');
        out.extend_from_slice(arg.as_bytes());
    }
    out.push(b'\n');
    let body = BASE64_STANDARD_NO_PAD.encode(&stanza.body);
    let (full, last) = body.split_at(body.len() - body.len() % BASE64_COLUMNS);
    for line in full.as_bytes().chunks(BASE64_COLUMNS).chain([last.as_bytes()]) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
}

fn header_mac(file_key: &FileKey, authenticated: &[u8]) -> Result<Hmac<Sha256>> {
    let key = derive(file_key, None, b"header")?;
    let mac = Hmac::<Sha256>::new_from_slice(key.as_slice());
    let mac = mac.map_err(|e| Error::failed("derive the MAC key of an age header").because(e.to_string()))?;
    Ok(mac.chain_update(authenticated))
}

fn payload_key(file_key: &FileKey, nonce: &[u8; NONCE_LEN]) -> Result<PayloadKey> {
    Ok(PayloadKey::new(derive(file_key, Some(nonce), b"payload")?))
}

fn derive(file_key: &FileKey, salt: Option<&[u8]>, info: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, file_key.expose_secret())
        .expand(info, key.as_mut_slice())
        .map_err(|e| Error::failed("derive a key of an age file").because(e.to_string()))?;
    Ok(key)
}

fn bad_header(what: &str) -> Error {
    Error::integrity(format!("the age header {what}"))
}

fn no_randomness(cause: getrandom::Error) -> Error {
    Error::failed("draw random bytes for a new key from the operating system").because(cause.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{generate_identity, open_all, seal_all};
    use super::*;
    use crate::error::Kind;

    fn keys() -> (Identities, Recipients) {
        let (secret, recipient) = generate_identity();
        (Identities::from_secret(secret.file_text()).unwrap(), Recipients::parse(&[recipient]).unwrap())
    }

    #[test]
    fn a_header_is_parsed_only_when_it_is_whole() {
        let (identities, recipients) = keys();
        let (head, _) = begin(&recipients).unwrap();
        for cut in 0..head.len() {
            assert!(Header::parse(&head[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let longer = [head.as_slice(), b"payload"].concat();
        let (header, length) = Header::parse(&longer).unwrap().unwrap();
        assert_eq!(length, head.len());
        header.unlock(&identities).unwrap();
    }

    #[test]
    fn any_other_identity_is_told_so() {
        let (_, recipients) = keys();
        let (others, _) = keys();
        let error = open_all(&others, &seal_all(&recipients, b"x").unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::NoIdentity);
        assert!(error.hint_text().is_some());
    }

    #[test]
    fn what_is_not_an_age_file_is_refused_at_once() {
        for (start, says) in [
            (&b"{"[..], "not an age file"),
            (b"age-encryption.org/v2\n", "version other than v1"),
            (
                b"age-encryption.org/v1\n--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n0123456789abcdef",
                "no recipient",
            ),
        ] {
            let error = Header::parse(start).unwrap_err();
            assert_eq!(error.kind(), Kind::Integrity);
            assert!(error.one_line().contains(says), "{}", error.one_line());
        }
    }

    #[test]
    fn a_header_without_end_is_refused() {
        let endless = [MAGIC, b"-> X ", &vec![b'a'; LIMIT][..]].concat();
        assert!(Header::parse(&endless).unwrap_err().one_line().contains("no end"));
    }

    #[test]
    fn every_file_has_its_own_key_and_nonce() {
        let (_, recipients) = keys();
        let (one, two) = (begin(&recipients).unwrap().0, begin(&recipients).unwrap().0);
        assert_ne!(one[one.len() - NONCE_LEN..], two[two.len() - NONCE_LEN..]);
        assert_ne!(one, two);
    }

    proptest! {
        #[test]
        fn stanzas_are_written_as_they_are_read(
            tag in "[!-~]{1,20}", args in proptest::collection::vec("[!-~]{1,20}", 0..4),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let stanza = Stanza { tag, args, body };
            let mut written = Vec::new();
            write_stanza(&stanza, &mut written);
            let (rest, read) = age_stanza(&written).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(Stanza::from(read), stanza);
        }
    }
}
