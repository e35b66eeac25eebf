//! Names that become parts of object keys, file names and labels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest DNS-1123 label, which is also the longest name here.
const MAX_LENGTH: usize = 63;

/// Declares a newtype over a DNS-1123 label: checked when it is made, and therefore safe in a path or an object key.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                check(text).map_err(|why| Error::usage(format!(concat!("`{}` is no ", $what, ": {}"), text, why)))?;
                Ok($type(text.to_string()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

label! {
    /// The name of a schedule, a source, a plan or a step: a DNS-1123 label.
    Name, "valid name"
}

label! {
    /// The name of a cluster, which is the first folder of its backups in the vault: a DNS-1123 label.
    ClusterName, "valid cluster name"
}

/// Says why `text` is not a DNS-1123 label (RFC 1123, as Kubernetes reads it).
fn check(text: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > MAX_LENGTH {
        return Err("it is longer than 63 characters");
    }
    if !text.chars().all(|c| plain(c) || c == '-') {
        return Err("use lowercase letters, digits and `-`");
    }
    if !text.starts_with(plain) || !text.ends_with(plain) {
        return Err("it must begin and end with a lowercase letter or a digit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_accepted_as_it_is() {
        for text in ["a", "workload-1", "0", &"x".repeat(63)] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_climb_or_confuse_a_path_is_no_name() {
        for text in ["", ".", "..", "a/b", "a b", "A", "a_b", "-a", "a-", "å", "a\n", "a.b", &"x".repeat(64)] {
            assert!(text.parse::<ClusterName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_message_says_what_is_wrong() {
        let error = "Prod_1".parse::<ClusterName>().unwrap_err();
        assert_eq!(error.to_string(), "`Prod_1` is no valid cluster name: use lowercase letters, digits and `-`");
    }

    #[test]
    fn reading_json_checks_the_name_too() {
        assert!(serde_json::from_str::<Name>("\"../etc\"").is_err());
        assert_eq!(serde_json::from_str::<Name>("\"nightly\"").unwrap(), "nightly");
    }
}
