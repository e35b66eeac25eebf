//! New identities.

use std::fmt;

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

/// The text of a new identity file; wiped when dropped, never shown by `Debug`.
pub struct SecretIdentity(Zeroizing<String>);

impl SecretIdentity {
    /// The file as `age-keygen` writes it: time and public key in comments, then the secret key, each on its line.
    pub fn file_text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretIdentity(…)")
    }
}

/// Makes a new X25519 identity, and the recipient that belongs to it (`age1…`).
pub fn generate_identity() -> (SecretIdentity, String) {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let created = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let secret = identity.to_string();
    let text = format!("# created: {created}\n# public key: {recipient}\n{}\n", secret.expose_secret());
    (SecretIdentity(Zeroizing::new(text)), recipient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_like_that_of_age_keygen() {
        let (secret, recipient) = generate_identity();
        let lines: Vec<_> = secret.file_text().lines().collect();
        assert!(lines[0].starts_with("# created: 2") && lines[0].ends_with('Z'));
        assert_eq!(lines[1], format!("# public key: {recipient}"));
        assert!(lines[2].starts_with("AGE-SECRET-KEY-1") && lines.len() == 3);
        assert!(recipient.starts_with("age1"));
        assert!(!format!("{secret:?}").contains("KEY"));
    }
}
