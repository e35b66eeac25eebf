//! Where the output of commands stands in an archive, and what is known of each. The source writes it, and the restore step reads
//! it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The file under which roles and tablespaces of a PostgreSQL are saved.
pub const ROLES: &str = "roles.sql";

/// What follows the name of a PostgreSQL's database while it is loaded.
pub const LOADING: &str = "__ckbackup";

/// What follows the name of the one before it, for a moment.
pub const BEFORE: &str = "__before";

/// The file under which an InfluxDB is saved.
pub const INFLUXDB: &str = "influxdb.tar";

/// What is known of a whole output. It is written last: an output without it is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Size, in bytes.
    pub bytes: u64,
    /// SHA-256.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// When the command was started.
    pub at: Timestamp,
    /// Rows of each table of a PostgreSQL's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<BTreeMap<String, u64>>,
    /// The database of a PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// The databases of an InfluxDB, each with how many series it had before it was saved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub databases: BTreeMap<String, u64>,
}

/// How a database of a PostgreSQL is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its encoding, `UTF8`.
    pub encoding: String,
    /// Its order of sorting.
    pub collate: String,
    /// Its character classes.
    pub ctype: String,
}

/// What a member of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// A part of an output.
    Part(String),
    /// What is known of it.
    Record(String),
}

impl Saved {
    /// A part of an output, numbered from 1. All of them, one after the other, are the output.
    pub fn part(file: &str, number: u64) -> String {
        format!("{file}/{number:06}")
    }

    /// What is known of an output.
    pub fn record(file: &str) -> String {
        format!("{file}.json")
    }

    /// The file of a PostgreSQL's database. Its name is free to hold anything.
    pub fn database(name: &str) -> String {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let encoded: String =
            name.chars().map(|c| if safe(c) { c.to_string() } else { format!("%{:X}", c as u32) }).collect();
        format!("database-{encoded}.sql")
    }

    /// What the member at this path is.
    pub fn at(path: &str) -> Option<Saved> {
        match (path.split_once('/'), path.strip_suffix(".json")) {
            (Some((file, _)), _) => Some(Saved::Part(file.into())),
            (None, Some(file)) => Some(Saved::Record(file.into())),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::check_path;

    #[test]
    fn every_path_is_read_as_it_was_written() {
        for file in [ROLES, "output", &Saved::database("a/b .c")] {
            let (part, record) = (Saved::part(file, 7), Saved::record(file));
            check_path(&part).and_then(|()| check_path(&record)).unwrap();
            assert_eq!(Saved::at(&part), Some(Saved::Part(file.into())));
            assert_eq!(Saved::at(&record), Some(Saved::Record(file.into())));
        }
        assert_ne!(Saved::database("a"), Saved::database("A"));
        assert_eq!(Saved::at("other"), None);
    }
}
