//! Owners: which objects own others, and the uids that they were given in the target.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Uids are kept as numbers: a backup may have hundreds of thousands.
type Uid = u128;

/// Which uids of the backup matter as owners, and what became of them.
#[derive(Debug, Default)]
pub struct Owners {
    /// Objects of the backup that others name as their owner.
    in_backup: HashSet<Uid>,
    /// Every owner counts as one of the backup's.
    all: bool,
    /// Uids in the target, by the uid in the backup.
    restored: Mutex<HashMap<Uid, String>>,
    /// References that wait for an owner that comes later.
    waiting: Mutex<Vec<Waiting>>,
}

/// An object that was written before its owner.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// API path of the object.
    pub path: String,
    /// How people name it.
    pub shown: String,
    /// All its references, as saved.
    pub references: Vec<Value>,
}

/// Collects uids while the index is read.
#[derive(Debug, Default)]
pub struct OwnersBuilder {
    present: HashSet<Uid>,
    referenced: HashSet<Uid>,
}

impl OwnersBuilder {
    /// Notes an object and its owners.
    pub fn add<'a>(&mut self, uid: &str, owners: impl IntoIterator<Item = &'a String>) {
        self.present.insert(number(uid));
        self.referenced.extend(owners.into_iter().map(|o| number(o)));
    }

    /// The owners that are in the backup.
    pub fn build(mut self) -> Owners {
        self.referenced.retain(|uid| self.present.contains(uid));
        Owners { in_backup: self.referenced, ..Owners::default() }
    }
}

impl Owners {
    /// Collects owners from a backup's objects.
    pub fn builder() -> OwnersBuilder {
        OwnersBuilder::default()
    }

    /// Owners that keep their uids, for comparing within one cluster.
    pub fn same(uids: impl IntoIterator<Item = String>) -> Owners {
        let restored = uids.into_iter().map(|uid| (number(&uid), uid)).collect::<HashMap<_, _>>();
        Owners { in_backup: restored.keys().copied().collect(), restored: Mutex::new(restored), ..Owners::default() }
    }

    /// Owners in a living cluster: each that is named is there, or its objects would be collected.
    pub fn living() -> Owners {
        Owners { all: true, ..Owners::default() }
    }

    /// Whether an object of the backup is the owner of another.
    pub fn is_in_backup(&self, uid: &str) -> bool {
        self.all || self.in_backup.contains(&number(uid))
    }

    /// The uid that the owner has in the target; none when it is not there, or not yet.
    pub fn new_uid(&self, uid: &str) -> Option<String> {
        self.restored.lock().unwrap_or_else(|e| e.into_inner()).get(&number(uid)).cloned()
    }

    /// Notes that an object is in the target under a new uid. Only owners are remembered.
    pub fn restored(&self, old: &str, new: &str) {
        if self.is_in_backup(old) {
            self.restored.lock().unwrap_or_else(|e| e.into_inner()).insert(number(old), new.into());
        }
    }

    /// Notes an object that was written before its owner.
    pub fn wait(&self, waiting: Waiting) {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner()).push(waiting);
    }

    /// Whether some of the references wait for an owner that is still to come.
    pub fn any_to_come(&self, references: &[Value]) -> bool {
        let uid = |r: &Value| r["uid"].as_str().unwrap_or_default().to_string();
        references.iter().map(uid).any(|uid| self.is_in_backup(&uid) && self.new_uid(&uid).is_none())
    }

    /// Takes the objects all of whose owners are known now; with `last`, every one that waits.
    pub fn take_ready(&self, last: bool) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|w| last || !self.any_to_come(&w.references));
        *waiting = rest;
        ready
    }

    /// The references with the owners' new uids; those whose owner is not there are left out.
    pub fn map(&self, references: &[Value]) -> Vec<Value> {
        let map = |reference: &Value| {
            let mut reference = reference.clone();
            let uid = self.new_uid(reference["uid"].as_str().unwrap_or_default())?;
            reference["uid"] = Value::String(uid);
            Some(reference)
        };
        references.iter().filter_map(map).collect()
    }
}

/// A uid as a number: its own where it is a UUID, otherwise part of its digest.
fn number(uid: &str) -> Uid {
    let digits: String = uid.chars().filter(|c| *c != '-').collect();
    if digits.len() == 32
        && let Ok(number) = u128::from_str_radix(&digits, 16)
    {
        return number;
    }
    let digest: [u8; 32] = Sha256::digest(uid).into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_wait_for_owners_that_come_and_lose_those_that_do_not() {
        let mut builder = OwnersBuilder::default();
        builder.add("a", &[]);
        builder.add("b", &["a".to_string(), "elsewhere".to_string()]);
        let owners = builder.build();
        let references = vec![json!({"uid": "a"}), json!({"uid": "elsewhere"})];
        assert!(owners.any_to_come(&references) && !owners.is_in_backup("elsewhere"));
        owners.restored("a", "new-a");
        assert!(!owners.any_to_come(&references));
        assert_eq!(owners.map(&references), vec![json!({"uid": "new-a"})]);
    }
}
