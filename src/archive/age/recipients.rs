//! For whom files are sealed.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use age::plugin::{self, RecipientPluginV1};
use age::ssh::ParseRecipientKeyError;
use age::{EncryptError, NoCallbacks};
use age_core::format::{FileKey, Stanza};

use super::said;
use crate::error::{Error, Result};

const LOOKS_LIKE: &str = "a recipient is a public key: age1… (ckbackup keygen makes one), age1<plugin>1…, \
                          ssh-ed25519 AAAA… or ssh-rsa AAAA…";

type AnyRecipient = Box<dyn age::Recipient + Send + Sync>;

/// The public keys that every file is sealed for. Any one of their identities opens it.
pub struct Recipients {
    texts: Vec<String>,
    wrappers: Vec<AnyRecipient>,
}

enum Parsed {
    Native(String, AnyRecipient),
    Plugin(plugin::Recipient),
}

impl Recipients {
    /// Parses public keys. Plugins are not run, nor need they be installed, before a file is begun.
    ///
    /// Fails with [`Kind::Usage`](crate::error::Kind), naming the text at fault, when one is not a recipient, stands
    /// twice, or cannot be combined with the others; and when there is none.
    pub fn parse(texts: &[String]) -> Result<Recipients> {
        let mut recipients = Recipients { texts: Vec::new(), wrappers: Vec::new() };
        let mut plugins = BTreeMap::<String, Vec<plugin::Recipient>>::new();
        for text in texts {
            let canonical = match parse_one(text.trim())? {
                Parsed::Native(canonical, wrapper) => {
                    recipients.wrappers.push(wrapper);
                    canonical
                }
                Parsed::Plugin(recipient) => {
                    let canonical = recipient.to_string();
                    plugins.entry(recipient.plugin().to_owned()).or_default().push(recipient);
                    canonical
                }
            };
            recipients.remember(canonical)?;
        }
        recipients.try_out()?;
        let plugins = plugins.into_iter().map(|(name, keys)| Box::new(PluginRecipients { name, keys }) as AnyRecipient);
        recipients.wrappers.extend(plugins);
        Ok(recipients)
    }

    /// The recipients in canonical form and in the order given: without comments, and without surrounding space.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The stanzas that hold the file key, one or more per recipient.
    pub(super) fn wrap(&self, file_key: &FileKey) -> Result<Vec<Stanza>> {
        let mut stanzas = Vec::new();
        let mut common: Option<HashSet<String>> = None;
        for wrapper in &self.wrappers {
            let (more, labels) = wrapper.wrap_file_key(file_key).map_err(not_wrapped)?;
            if *common.get_or_insert_with(|| labels.clone()) != labels {
                return Err(incompatible());
            }
            stanzas.extend(more);
        }
        Ok(stanzas)
    }

    fn remember(&mut self, canonical: String) -> Result<()> {
        if self.texts.contains(&canonical) {
            return Err(Error::usage(format!("recipient {canonical} is given twice"))
                .hint("give each recipient once; a second key must belong to someone else to be of use"));
        }
        self.texts.push(canonical);
        Ok(())
    }

    /// Wraps a key that is of no use, so that what the recipients disagree about is known before the night.
    fn try_out(&self) -> Result<()> {
        if self.texts.is_empty() {
            return Err(Error::usage("no recipient is given").hint(LOOKS_LIKE));
        }
        self.wrap(&FileKey::new(Box::new([0; 16]))).map(drop)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.texts).finish()
    }
}

/// The recipients of one plugin, which is looked for when it is needed and runs once per file.
struct PluginRecipients {
    name: String,
    keys: Vec<plugin::Recipient>,
}

impl age::Recipient for PluginRecipients {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        RecipientPluginV1::new(&self.name, &self.keys, &[], NoCallbacks)
            .map_err(EncryptError::PluginResolve)?
            .wrap_file_key(file_key)
    }
}

fn parse_one(text: &str) -> Result<Parsed> {
    refuse_secret(text)?;
    macro_rules! native {
        ($type:ty) => {
            if let Ok(key) = text.parse::<$type>() {
                return Ok(Parsed::Native(key.to_string(), Box::new(key)));
            }
        };
    }
    native!(age::x25519::Recipient);
    native!(age::tag::Recipient);
    native!(age::tagpq::Recipient);
    match text.parse::<age::ssh::Recipient>() {
        Ok(key) => return Ok(Parsed::Native(key.to_string(), Box::new(key))),
        Err(ParseRecipientKeyError::Ignore | ParseRecipientKeyError::Invalid(_)) => {}
        Err(other) => return Err(unsupported_ssh_key(text, other)),
    }
    text.parse().map(Parsed::Plugin).map_err(|_| not_a_recipient(text))
}

/// A secret in the place of a public key is not repeated in the message, which may be logged.
fn refuse_secret(text: &str) -> Result<()> {
    let upper = text.to_ascii_uppercase();
    if ["AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY"].iter().any(|mark| upper.contains(mark)) {
        return Err(Error::usage("an identity (a secret key) stands where a recipient belongs").hint(LOOKS_LIKE));
    }
    Ok(())
}

fn not_a_recipient(text: &str) -> Error {
    Error::usage(format!("{text:?} is not a recipient")).hint(LOOKS_LIKE)
}

fn unsupported_ssh_key(text: &str, why: ParseRecipientKeyError) -> Error {
    let why = match why {
        ParseRecipientKeyError::RsaModulusTooSmall => "its RSA modulus is under 2048 bits".to_owned(),
        ParseRecipientKeyError::RsaModulusTooLarge => "its RSA modulus is over 4096 bits".to_owned(),
        ParseRecipientKeyError::Unsupported(kind) => format!("SSH keys of type {kind} cannot be sealed for"),
        _ => "it is not understood".to_owned(),
    };
    Error::usage(format!("{text:?} cannot be a recipient: {why}")).hint(LOOKS_LIKE)
}

fn not_wrapped(failure: EncryptError) -> Error {
    match failure {
        EncryptError::PluginResolve(e) => Error::usage(format!("seal for a plugin recipient: {}", said(&e)))
            .hint("install the plugin's program where PATH finds it, or remove its recipient"),
        EncryptError::IncompatibleRecipients { .. } => incompatible(),
        other => Error::failed(format!("seal for the recipients: {}", said(&other))),
    }
}

fn incompatible() -> Error {
    Error::usage(
        "these recipients cannot open the same file: some are post-quantum or otherwise labelled, some are not",
    )
    .hint("use recipients of one kind")
}

#[cfg(test)]
mod tests {
    use super::super::generate_identity;
    use super::*;
    use crate::error::Kind;

    const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    fn parse(texts: &[&str]) -> Result<Recipients> {
        Recipients::parse(&texts.iter().map(|t| t.to_string()).collect::<Vec<_>>())
    }

    fn refused(texts: &[&str]) -> String {
        let error = parse(texts).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.hint_text().is_some());
        error.one_line()
    }

    /// A plugin recipient with a valid Bech32 checksum; its plugin exists nowhere.
    const PLUGIN: &str = "age1nowhere1pzry9x8gg0jvys";

    #[test]
    fn recipients_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Recipients>();
    }

    #[test]
    fn texts_are_canonical_and_in_order() {
        let (_, x25519) = generate_identity();
        let recipients = parse(&[&format!("{SSH} me@laptop"), &format!(" {x25519}\n")]).unwrap();
        assert_eq!(recipients.texts(), [SSH.to_owned(), x25519]);
    }

    #[test]
    fn what_is_no_recipient_is_named() {
        assert!(refused(&["age1notakey"]).contains("age1notakey"));
        assert!(refused(&[""]).contains("is not a recipient"));
        assert!(refused(&[]).contains("no recipient"));
        let p256 = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBBDSh0pUW3A6a4KXpFd/DMTEaz10\
                    /1pX0fnEB8RMgsx3uwsWCrI7HPUUDzgRlXS8p1blzQc8Hv8nFDDS8WYlJZ4";
        assert!(refused(&[p256]).contains("ecdsa-sha2-nistp256"));
    }

    #[test]
    fn a_recipient_counts_once() {
        let (_, x25519) = generate_identity();
        assert!(refused(&[&x25519, &x25519]).contains("twice"));
        assert!(refused(&[SSH, &format!("{SSH} again")]).contains("twice"));
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let (secret, _) = generate_identity();
        let line = secret.file_text().lines().last().unwrap();
        assert!(!refused(&[line]).contains(&line[20..]));
        assert!(!refused(&[&line.to_lowercase()]).contains(&line.to_lowercase()[20..]));
    }

    #[test]
    fn a_plugin_is_needed_only_when_a_file_is_begun() {
        let recipients = parse(&[PLUGIN]).unwrap();
        assert_eq!(recipients.texts(), [PLUGIN]);
        let error = super::super::begin(&recipients).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.one_line().contains("age-plugin-"), "{}", error.one_line());
    }
}
