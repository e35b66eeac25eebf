//! Signatures over manifests, attestations, records and reports: SSHSIG, as `ssh-keygen -Y sign` makes them, and the signers that are trusted.

use std::path::Path;

use jiff::Timestamp;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

use crate::error::{Context, Error, Kind, Result};

/// What a signature vouches for. Each has an SSHSIG namespace of its own, so that whoever may attest cannot make backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A manifest.
    Backup,
    /// An attestation.
    Attestation,
    /// A receipt of a run for its next one.
    Receipt,
    /// A record of what a run came to.
    Record,
    /// A record of what was verified, removed, rehearsed or restored.
    ProofRecord,
    /// A report.
    Report,
}

impl Purpose {
    const ALL: [Purpose; 6] = [
        Purpose::Backup,
        Purpose::Attestation,
        Purpose::Receipt,
        Purpose::Record,
        Purpose::ProofRecord,
        Purpose::Report,
    ];

    /// The SSHSIG namespace.
    pub fn namespace(self) -> &'static str {
        match self {
            Purpose::Backup => "ckbackup",
            Purpose::Attestation => "ckbackup-attestation",
            Purpose::Receipt => "ckbackup-receipt",
            Purpose::Record => "ckbackup-record",
            Purpose::ProofRecord => "ckbackup-proof-record",
            Purpose::Report => "ckbackup-report",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Purpose::Backup => "the manifest",
            Purpose::Attestation => "the attestation",
            Purpose::Receipt => "the receipt",
            Purpose::Record | Purpose::ProofRecord => "the record",
            Purpose::Report => "the report",
        }
    }
}

/// The key that signs manifests, or attestations.
pub struct Signer(PrivateKey);

impl Signer {
    /// Reads an OpenSSH private key file without passphrase.
    pub fn read(path: &Path) -> Result<Signer> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::usage(format!("read the signing key {}", path.display()))
                .because(e)
                .hint("`ckbackup keygen` makes one; spec.signing.keyFile of the schedule names it")
        })?;
        let key = PrivateKey::from_openssh(&text).map_err(|e| {
            Error::usage(format!("{} is not an OpenSSH private key", path.display()))
                .because(e)
                .hint("`ckbackup keygen` makes one; its public half belongs to the trusted signers instead")
        })?;
        if key.is_encrypted() {
            return Err(Error::usage(format!("the signing key {} has a passphrase", path.display()))
                .hint("nobody is there at night to type it; use a key without one, and protect the file"));
        }
        Ok(Signer(key))
    }

    /// Fingerprint, `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// A list of trusted signers that has only this one.
    pub fn signers(&self) -> Signers {
        let key = self.0.public_key().clone();
        let purposes = Purpose::ALL.to_vec();
        let entry = Entry { principals: "*".into(), key, purposes, valid_after: None, valid_before: None };
        Signers { entries: vec![entry], shown: "this run's own key".into() }
    }

    /// An armoured signature.
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> Result<String> {
        let signed = self.0.sign(purpose.namespace(), HashAlg::Sha512, message);
        let signed = signed.context(|| format!("sign {}", purpose.what()))?;
        signed.to_pem(LineEnding::LF).context(|| "write the signature".into())
    }
}

/// The signers that are trusted: a file in ssh-keygen's allowed-signers format.
#[derive(Debug, Clone)]
pub struct Signers {
    entries: Vec<Entry>,
    shown: String,
}

#[derive(Debug, Clone)]
struct Entry {
    principals: String,
    key: PublicKey,
    /// What it is trusted for.
    purposes: Vec<Purpose>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

impl Entry {
    fn is_valid_at(&self, when: Timestamp) -> bool {
        self.valid_after.is_none_or(|t| when >= t) && self.valid_before.is_none_or(|t| when < t)
    }
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// The principal of the allowed-signers line.
    pub principal: String,
    /// Fingerprint of the key.
    pub fingerprint: String,
}

impl Signers {
    /// Reads an allowed-signers file.
    pub fn read(path: &Path) -> Result<Signers> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::usage(format!("read the trusted signers {shown}"))
                .because(e)
                .hint("one line each: `backup@cluster namespaces=\"ckbackup\" ssh-ed25519 AAAA…`")
        })?;
        Signers::parse(&text, &shown)
    }

    /// Parses the text of an allowed-signers file; `shown` names it in errors.
    pub fn parse(text: &str, shown: &str) -> Result<Signers> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = parse_line(line).map_err(|e| e.within(format!("{shown}:{}", number + 1)))?;
            entries.extend((!entry.purposes.is_empty()).then_some(entry));
        }
        if entries.is_empty() {
            let namespace = Purpose::Backup.namespace();
            return Err(Error::usage(format!("{shown} names no signer for the namespace {namespace}")));
        }
        Ok(Signers { entries, shown: shown.into() })
    }

    /// Whether what a key signs now for that purpose is trusted.
    pub fn trusts(&self, signer: &Signer, purpose: Purpose, now: Timestamp) -> bool {
        let key = signer.0.public_key().key_data();
        let mut lines = self.entries.iter().filter(|entry| entry.key.key_data() == key);
        lines.any(|entry| entry.purposes.contains(&purpose) && entry.is_valid_at(now))
    }

    /// Checks an armoured signature over `message`, made at about `when`.
    pub fn verify(&self, purpose: Purpose, message: &[u8], signature: &[u8], when: Timestamp) -> Result<SignedBy> {
        let signature =
            SshSig::from_pem(signature).map_err(|e| Error::integrity("the signature cannot be read").because(e))?;
        // A key may have several lines, each with its own time.
        let is_known = |e: &&Entry| e.key.key_data() == signature.public_key() && e.purposes.contains(&purpose);
        let known: Vec<_> = self.entries.iter().filter(is_known).collect();
        let fingerprint = PublicKey::from(signature.public_key().clone()).fingerprint(HashAlg::Sha256).to_string();
        if known.is_empty() {
            let untrusted = Error::integrity(format!("signed by {fingerprint}, which {} does not trust", self.shown));
            return Err(match purpose {
                Purpose::Backup => untrusted.hint(
                    "if that key is yours, add its public half to the trusted signers; if not, the backup is not yours",
                ),
                Purpose::Attestation | Purpose::Receipt => untrusted,
                Purpose::Record | Purpose::ProofRecord | Purpose::Report => untrusted.hint(format!(
                    "if that key is yours, its line among the trusted signers must allow the namespace {}",
                    purpose.namespace()
                )),
            });
        }
        let Some(entry) = known.into_iter().find(|entry| entry.is_valid_at(when)) else {
            return Err(Error::integrity(format!("signed by {fingerprint} outside the time in which it is trusted")));
        };
        entry.key.verify(purpose.namespace(), message, &signature).map_err(|e| {
            let what = purpose.what();
            Error::integrity(format!("the signature does not fit {what}: one of them was changed")).because(e)
        })?;
        Ok(SignedBy { principal: entry.principals.clone(), fingerprint })
    }
}

/// One line: `principals [options] type key [comment]`. Its options may leave no purpose over that is of this program.
fn parse_line(line: &str) -> Result<Entry> {
    let fields = split_fields(line);
    let at = fields.iter().position(|f| is_key_type(f)).ok_or_else(|| Error::usage("no public key on this line"))?;
    let (Some(principals), Some(data)) = (fields.first(), fields.get(at + 1)) else {
        return Err(Error::usage("a line is `principal [options] type key`"));
    };
    if at == 0 || at > 2 {
        return Err(Error::usage("a line is `principal [options] type key`"));
    }
    let key = PublicKey::from_openssh(&format!("{} {data}", fields[at]))
        .map_err(|e| Error::usage("the public key cannot be read").because(e))?;
    let purposes = Purpose::ALL.to_vec();
    let mut entry = Entry { principals: principals.clone(), key, purposes, valid_after: None, valid_before: None };
    let options = if at == 2 { fields[1].as_str() } else { "" };
    for option in split_options(options) {
        let (name, value) = option.split_once('=').unwrap_or((&option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => {
                let allows = |purpose: &Purpose| value.split(',').any(|n| n == purpose.namespace() || n == "*");
                entry.purposes.retain(allows);
            }
            "valid-after" => entry.valid_after = Some(parse_time(value)?),
            "valid-before" => entry.valid_before = Some(parse_time(value)?),
            "cert-authority" => {
                return Err(
                    Error::new(Kind::Usage, "cert-authority lines are not supported").hint("name the keys themselves")
                );
            }
            other => return Err(Error::usage(format!("unknown option {other:?}"))),
        }
    }
    Ok(entry)
}

fn is_key_type(field: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"].iter().any(|p| field.starts_with(p))
}

/// Splits at blanks outside of quotes.
fn split_fields(line: &str) -> Vec<String> {
    split_outside_quotes(line, |c| c.is_whitespace())
}

fn split_options(options: &str) -> Vec<String> {
    split_outside_quotes(options, |c| c == ',')
}

fn split_outside_quotes(text: &str, separates: impl Fn(char) -> bool) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if separates(c) && !quoted {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    parts.retain(|p| !p.is_empty());
    parts
}

/// `20260101`, `202601010000` or `20260101000000`, in UTC when it ends in `Z` (ours are always taken as UTC).
fn parse_time(text: &str) -> Result<Timestamp> {
    let digits = text.trim_end_matches('Z');
    let wrong = || Error::usage(format!("{text:?} is not a time like 20260101 or 202601011200Z"));
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let padded = match digits.len() {
        8 | 12 | 14 => format!("{digits:0<14}"),
        _ => return Err(wrong()),
    };
    let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &padded).map_err(|_| wrong())?;
    Ok(at.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::Algorithm;

    fn signer() -> Signer {
        Signer(PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519).unwrap())
    }

    fn line(signer: &Signer, options: &str) -> String {
        format!("backup@test {options} {}", signer.0.public_key().to_openssh().unwrap())
    }

    #[test]
    fn a_signature_holds_for_its_message_and_signer_only() {
        let (mine, other) = (signer(), signer());
        let signers = Signers::parse(&line(&mine, ""), "signers").unwrap();
        let signature = mine.sign(Purpose::Backup, b"manifest").unwrap();
        let now = Timestamp::now();
        assert_eq!(
            signers.verify(Purpose::Backup, b"manifest", signature.as_bytes(), now).unwrap().principal,
            "backup@test"
        );
        let changed = signers.verify(Purpose::Backup, b"manifesT", signature.as_bytes(), now).unwrap_err();
        assert_eq!(changed.kind(), Kind::Integrity);
        let foreign = signers
            .verify(Purpose::Backup, b"manifest", other.sign(Purpose::Backup, b"manifest").unwrap().as_bytes(), now)
            .unwrap_err();
        assert!(foreign.to_string().contains("does not trust"), "{foreign}");
        assert!(signers.verify(Purpose::Backup, b"manifest", b"nonsense", now).is_err());
    }

    #[test]
    fn options_limit_namespace_and_time() {
        let mine = signer();
        assert!(Signers::parse(&line(&mine, "namespaces=\"git\""), "s").is_err());
        let text = line(&mine, "namespaces=\"git,ckbackup\",valid-before=\"20200101\"");
        let expired = Signers::parse(&text, "s").unwrap();
        let signature = mine.sign(Purpose::Backup, b"m").unwrap();
        assert!(expired.verify(Purpose::Backup, b"m", signature.as_bytes(), Timestamp::now()).is_err());
        let wrong = Signers::parse(&line(&mine, "valid-before=\"soon\""), "file").unwrap_err();
        assert!(wrong.one_line().starts_with("file:1: "), "{}", wrong.one_line());
    }
}
