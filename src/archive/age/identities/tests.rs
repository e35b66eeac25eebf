use age::secrecy::SecretString;

use super::super::{Recipients, generate_identity, seal_all};
use super::*;

/// What a user answers who knows the passphrase, does not know it, or is not there.
#[derive(Clone)]
struct Answers(Option<&'static str>);

impl Callbacks for Answers {
    fn display_message(&self, _: &str) {}
    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }
    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }
    fn request_passphrase(&self, prompt: &str) -> Option<SecretString> {
        assert!(prompt.contains("id.txt"), "{prompt}");
        self.0.map(|answer| answer.to_owned().into())
    }
}

const PLUGIN: &str = "AGE-PLUGIN-NOWHERE-1PZRY9X8GLP89LG";
const SSH_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";
/// A published test key of the age crate, plain, and encrypted with "passphrase".
const SSH_PLAIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACB7Ci6nqZYaVvrjm8+XbzII89TsXzP111AflR7WeorBjQAAAJCfEwtqnxML
agAAAAtzc2gtZWQyNTUxOQAAACB7Ci6nqZYaVvrjm8+XbzII89TsXzP111AflR7WeorBjQ
AAAEADBJvjZT8X6JRJI8xVq/1aU8nMVgOtVnmdwqWwrSlXG3sKLqeplhpW+uObz5dvMgjz
1OxfM/XXUB+VHtZ6isGNAAAADHN0cjRkQGNhcmJvbgE=
-----END OPENSSH PRIVATE KEY-----
";
const SSH_LOCKED: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABBSs0SUhQ
958xWERf6ibyf2AAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uOb
z5dvMgjz1OxfM/XXUB+VHtZ6isGNAAAAkLvH9UsJa+ulewsZT2YtEkme1y9UZKI/vUbTms
LVqWdLprBQIm3IClfGso6IPW7+imkwYRHPKYfBYGYuexzO8b+LRiZU5/lDQmsvZA3asNxp
KjW7kUOJnI8dAeaqJa18P7XkAuzcuZmVoCTurqEOSeb5Ww9Nq0csB0zkF22/PeWy3+BZW5
hDsL1OfQl4WbakZQ==
-----END OPENSSH PRIVATE KEY-----
";

fn read(content: impl AsRef<[u8]>, answer: Option<&'static str>) -> Result<Identities> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("id.txt");
    std::fs::write(&path, content).unwrap();
    Identities::read_files(&[path], Answers(answer))
}

fn refused(content: impl AsRef<[u8]>, answer: Option<&'static str>) -> String {
    let error = read(content, answer).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.hint_text().is_some() && error.to_string().contains("id.txt"));
    error.one_line()
}

fn assert_opens(identities: &Identities, recipient: &str) {
    let file = seal_all(&Recipients::parse(&[recipient.to_owned()]).unwrap(), b"hello").unwrap();
    assert_eq!(open_all(identities, &file).unwrap(), b"hello");
}

/// An identity file as `age -p` makes it, with little work.
fn encrypt(text: &str, passphrase: &str) -> Vec<u8> {
    let mut recipient = scrypt::Recipient::new(passphrase.to_owned().into());
    recipient.set_work_factor(4);
    age::encrypt(&recipient, text.as_bytes()).unwrap()
}

fn armor(file: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(file);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("{ARMOR_BEGIN}\n{}\n{ARMOR_END}\n", lines.join("\n"))
}

#[test]
fn identities_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Identities>();
}

#[test]
fn an_identity_file_opens_what_its_recipient_was_sent() {
    let (secret, recipient) = generate_identity();
    assert_opens(&read(secret.file_text(), None).unwrap(), &recipient);
    assert_opens(&read(secret.file_text().replace('\n', "\r\n"), None).unwrap(), &recipient);
}

#[test]
fn the_identity_that_fits_is_found_among_others() {
    let ((others, _), (secret, recipient)) = (generate_identity(), generate_identity());
    let mut identities = Identities::from_secret(&format!("{}{}", others.file_text(), secret.file_text())).unwrap();
    identities.push(Box::new(scrypt::Identity::new("unused".to_owned().into())));
    assert_opens(&identities, &recipient);
}

#[test]
fn an_encrypted_identity_file_asks_for_its_passphrase() {
    let (secret, recipient) = generate_identity();
    let file = encrypt(secret.file_text(), "horse");
    assert_opens(&read(&file, Some("horse")).unwrap(), &recipient);
    assert_opens(&read(armor(&file), Some("horse")).unwrap(), &recipient);
    assert!(refused(&file, Some("donkey")).contains("passphrase is wrong"));
    assert!(refused(&file, None).contains("no terminal"));
    assert!(refused(&file[..file.len() - 1], Some("horse")).contains("damaged"));
    assert!(refused(armor(&file).replace("END", "DNE"), Some("horse")).contains("armor"));
}

#[test]
fn ssh_keys_open_what_their_public_key_was_sent() {
    assert_opens(&read(SSH_PLAIN, None).unwrap(), SSH_PUBLIC);
    assert_opens(&read(SSH_LOCKED, Some("passphrase")).unwrap(), SSH_PUBLIC);
    assert!(refused(SSH_LOCKED, Some("donkey")).contains("passphrase is wrong"));
    assert!(refused(SSH_LOCKED, None).contains("no terminal"));
    assert!(refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None).contains("SSH"));
}

#[test]
fn a_damaged_stanza_for_an_ssh_key_is_an_integrity_failure() {
    let file = seal_all(&Recipients::parse(&[SSH_PUBLIC.to_owned()]).unwrap(), b"hello").unwrap();
    let text = String::from_utf8_lossy(&file);
    let body = file.iter().take_while(|b| **b != b'\n').count() + 1 + text.lines().nth(1).unwrap().len() + 1;
    let mut bad = file.clone();
    bad[body] = if bad[body] == b'A' { b'B' } else { b'A' };
    let error = open_all(&read(SSH_PLAIN, None).unwrap(), &bad).unwrap_err();
    assert_eq!(error.kind(), Kind::Integrity, "{}", error.one_line());
}

#[test]
fn what_is_no_identity_is_refused_without_being_repeated() {
    let (secret, recipient) = generate_identity();
    assert!(refused("# nothing\n", None).contains("no identity"));
    assert!(refused(&recipient, None).contains("public key"));
    assert!(refused(b"\xff\xfe", None).contains("not an identity file"));
    let broken = secret.file_text().replace("KEY-1", "KEY-1Q");
    let said = refused(&broken, None);
    assert!(said.contains("line 3") && !said.contains("AGE-SECRET-KEY-1Q"), "{said}");
}

#[test]
fn a_missing_plugin_is_named() {
    assert!(refused(PLUGIN, None).contains("age-plugin-nowhere"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Identities::read_files(&["/nowhere/id.txt".into()], Answers(None)).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.one_line().contains("/nowhere/id.txt"));
    assert!(Identities::read_files(&[], Answers(None)).unwrap_err().hint_text().is_some());
}
