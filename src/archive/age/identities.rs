//! With what files are opened.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use age::{Callbacks, DecryptError, IdentityFile, NoCallbacks, scrypt, ssh};
use age_core::format::{FileKey, Stanza};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{open_all, said};
use crate::error::{Error, Kind, Result};

const LOOKS_LIKE: &str = "an identity file holds a line AGE-SECRET-KEY-1… or AGE-PLUGIN-…, is an SSH private key \
                          (ed25519 or RSA), or is one of the former encrypted with a passphrase (age -p)";
const SIZE_LIMIT: u64 = 16 << 20;
/// 2^22 rounds of scrypt, about a minute and 4 GiB: what the stock `age` puts up with for a passphrase.
const MAX_WORK_FACTOR: u8 = 22;
const ARMOR_BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END: &str = "-----END AGE ENCRYPTED FILE-----";

type AnyIdentity = Box<dyn age::Identity + Send + Sync>;

/// The secret keys that files are opened with, tried in order. Wiped when dropped.
#[derive(Default)]
pub struct Identities(Vec<AnyIdentity>);

impl Identities {
    /// Reads identity files: age identities, plugin identities, SSH private keys (OpenSSH, or RSA in PEM), and age
    /// identity files encrypted with a passphrase, armored or not.
    ///
    /// Passphrases are asked for here, through `callbacks`; plugins may ask through them later. Fails with
    /// [`Kind::Usage`], naming the file and what to do, when one cannot be used.
    pub fn read_files(paths: &[PathBuf], callbacks: impl Callbacks) -> Result<Identities> {
        let mut identities = Identities::default();
        for path in paths {
            let found = read_file(path)
                .and_then(|content| parse_any(&content, path, &callbacks))
                .map_err(|e| e.within(format!("use identity file {}", path.display())).hint(LOOKS_LIKE))?;
            identities.0.extend(found);
        }
        if identities.0.is_empty() {
            return Err(Error::usage("no identity file is given").hint(LOOKS_LIKE));
        }
        Ok(identities)
    }

    /// The identities in the text of an age identity file; none that needs a passphrase or asks questions.
    pub fn from_secret(text: &str) -> Result<Identities> {
        parse_lines(text.as_bytes(), NoCallbacks).map(Identities)
    }

    /// Adds any identity, to be tried after the others.
    pub fn push(&mut self, identity: Box<dyn age::Identity + Send + Sync>) {
        self.0.push(identity);
    }

    /// The file key, by the first identity that has one.
    ///
    /// A malformed stanza refuses the file at once. Any other failure, such as an absent hardware key, is reported only
    /// when no other identity fits.
    pub(super) fn unwrap(&self, stanzas: &[Stanza]) -> Result<FileKey> {
        let mut failure = None;
        for identity in &self.0 {
            match identity.unwrap_stanzas(stanzas) {
                Some(Ok(file_key)) => return Ok(file_key),
                Some(Err(e @ DecryptError::InvalidHeader)) => return Err(not_unwrapped(e, stanzas)),
                Some(Err(e)) => failure = failure.or(Some(e)),
                None => {}
            }
        }
        Err(failure.map_or_else(|| no_match(stanzas), |e| not_unwrapped(e, stanzas)))
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

fn not_unwrapped(failure: DecryptError, stanzas: &[Stanza]) -> Error {
    match failure {
        DecryptError::InvalidHeader => Error::integrity("the age header has a malformed stanza for the given identity"),
        DecryptError::DecryptionFailed if is_passphrase(stanzas) => no_match(stanzas),
        DecryptError::DecryptionFailed => {
            Error::integrity("the age header holds a key for the given identity, but it does not decrypt")
        }
        DecryptError::ExcessiveWork { required, .. } => Error::integrity(format!(
            "the age header asks for more work than is safe: 2^{required} rounds of scrypt, 2^{MAX_WORK_FACTOR} allowed"
        )),
        other => Error::failed(format!("unlock an age file: {}", said(&other)))
            .hint("see that the plugin is installed, and its key at hand, or give another identity"),
    }
}

fn no_match(stanzas: &[Stanza]) -> Error {
    let kinds = stanzas.iter().map(|s| s.tag.as_str()).collect::<Vec<_>>().join(", ");
    Error::new(Kind::NoIdentity, format!("no given identity opens this age file (it is sealed for: {kinds})"))
        .hint("give the identity file that belongs to one of the recipients the backup was made for")
}

fn is_passphrase(stanzas: &[Stanza]) -> bool {
    stanzas.iter().any(|s| s.tag == "scrypt")
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let unreadable = |e: std::io::Error| {
        Error::usage("it cannot be read").because(e).hint("give a file that exists and that you may read")
    };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    // Reserved at once, because a buffer that grows leaves copies of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(length.min(SIZE_LIMIT)).unwrap_or(0) + 1));
    file.take(SIZE_LIMIT + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > SIZE_LIMIT {
        return Err(Error::usage("it is larger than 16 MiB"));
    }
    Ok(content)
}

fn parse_any(content: &[u8], path: &Path, callbacks: &impl Callbacks) -> Result<Vec<AnyIdentity>> {
    if content.starts_with(b"age-encryption.org/") {
        return parse_encrypted(content, path, callbacks);
    }
    let text = std::str::from_utf8(content).map_err(|_| Error::usage("it is not an identity file"))?;
    if text.trim_start().starts_with(ARMOR_BEGIN) {
        return parse_encrypted(&dearmor(text)?, path, callbacks);
    }
    if text.contains("-----BEGIN ") {
        return Ok(vec![parse_ssh(text, path, callbacks)?]);
    }
    parse_lines(content, callbacks.clone())
}

/// age and plugin identities, one a line.
fn parse_lines(content: &[u8], callbacks: impl Callbacks) -> Result<Vec<AnyIdentity>> {
    let file = IdentityFile::from_buffer(content).map_err(|e| not_identities(content, &e))?;
    let identities = file.with_callbacks(callbacks).into_identities().map_err(|e| {
        Error::usage(said(&e)).hint("install the plugin's program where PATH finds it, or give another identity")
    })?;
    if identities.is_empty() {
        return Err(Error::usage("it holds no identity").hint(LOOKS_LIKE));
    }
    Ok(identities)
}

/// Names the line, never what stands in it.
fn not_identities(content: &[u8], failure: &std::io::Error) -> Error {
    let public = |line: &[u8]| line.starts_with(b"age1") || line.starts_with(b"ssh-");
    if content.split(|b| *b == b'\n').any(public) {
        return Error::usage("it holds a recipient (a public key), not an identity").hint(LOOKS_LIKE);
    }
    Error::usage(said(failure)).hint(LOOKS_LIKE)
}

fn parse_encrypted(file: &[u8], path: &Path, callbacks: &impl Callbacks) -> Result<Vec<AnyIdentity>> {
    let prompt = format!("Passphrase of identity file {}", path.display());
    let passphrase = callbacks.request_passphrase(&prompt).ok_or_else(no_passphrase)?;
    let mut key = scrypt::Identity::new(passphrase);
    key.set_max_work_factor(MAX_WORK_FACTOR);
    let content = open_all(&Identities(vec![Box::new(key)]), file).map_err(|e| match e.kind() {
        Kind::NoIdentity => Error::usage("the passphrase is wrong, or the file is not encrypted with a passphrase")
            .hint("try again; a file that was encrypted for a recipient must be decrypted first"),
        _ => Error::usage("it is damaged").because(e),
    })?;
    parse_lines(&Zeroizing::new(content), callbacks.clone())
}

fn parse_ssh(text: &str, path: &Path, callbacks: &impl Callbacks) -> Result<AnyIdentity> {
    let key = ssh::Identity::from_buffer(text.as_bytes(), None)
        .map_err(|_| Error::usage("it is not an SSH private key that can be read").hint(LOOKS_LIKE))?;
    match key {
        ssh::Identity::Unencrypted(_) => Ok(Box::new(key)),
        ssh::Identity::Encrypted(locked) => {
            let prompt = format!("Passphrase of SSH key {}", path.display());
            let passphrase = callbacks.request_passphrase(&prompt).ok_or_else(no_passphrase)?;
            let key =
                locked.decrypt(passphrase).map_err(|_| Error::usage("the passphrase is wrong").hint("try again"))?;
            Ok(Box::new(ssh::Identity::from(key)))
        }
        ssh::Identity::Unsupported(_) => {
            Err(Error::usage("SSH keys of this type, or encrypted in this way, are not usable")
                .hint("use an ed25519 or RSA key in OpenSSH form: ssh-keygen -p -f <file> converts an old PEM file"))
        }
    }
}

fn no_passphrase() -> Error {
    Error::usage("it is encrypted, and there is no terminal to ask for its passphrase")
        .hint("run this on a terminal, or give an identity file without passphrase")
}

/// The age file in an armored one. Strict enough for a file of the user's own; what is inside is authenticated anyway.
fn dearmor(text: &str) -> Result<Vec<u8>> {
    text.trim()
        .strip_prefix(ARMOR_BEGIN)
        .and_then(|text| text.strip_suffix(ARMOR_END))
        .and_then(|body| BASE64_STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok())
        .ok_or_else(|| Error::usage("its armor is damaged"))
}

#[cfg(test)]
mod tests;
