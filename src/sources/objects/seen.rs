//! Which objects were seen, so that one that is compacted or rewritten meanwhile is neither lost nor saved twice.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::reader::Missed;
use crate::storage::Object;

/// A digest of a name: a fraction of its memory, and no two names have the same.
type Name = [u8; 16];

fn name_of(path: &str) -> Name {
    let digest = Sha256::digest(path.as_bytes());
    let mut name = Name::default();
    name.copy_from_slice(&digest[..16]);
    name
}

/// What is known of all objects.
#[derive(Default)]
pub(super) struct Seen {
    /// What is stored under its name, or will be.
    stored: HashSet<Name>,
    /// What was not there as it had been listed, and nothing of it is stored.
    missing: HashSet<Name>,
    /// The same, but the archive has the begin of it, under its name.
    begun: HashSet<Name>,
    /// Of what is missing, what was not in the last list either.
    gone: HashSet<Name>,
}

impl Seen {
    /// Objects that are going to be read, maybe once more: whatever was noted of them before.
    pub fn add(&mut self, objects: &[Object]) {
        for name in objects.iter().map(|object| name_of(&object.path)) {
            self.missing.remove(&name);
            self.begun.remove(&name);
            self.stored.insert(name);
        }
    }

    /// Takes note of what a reader did not find as it was.
    pub fn note(&mut self, missed: Missed) {
        for name in missed.unread.iter().map(|path| name_of(path)) {
            self.stored.remove(&name);
            self.missing.insert(name);
        }
        self.begun.extend(missed.begun.iter().map(|path| name_of(path)));
    }

    /// Whether all is stored as it was listed, or known to be gone.
    pub fn is_settled(&self) -> bool {
        self.missing.is_empty() && self.begun.is_empty()
    }

    /// Those of a new list that still have to be read, with their names in the archive; from now on they count as stored. What
    /// is stored already stays as it is, though it may be another one by now. Where the begin of another one stands in the
    /// archive, a digest stands behind the name.
    pub fn take_new(&mut self, objects: Vec<Object>) -> Vec<(Object, String)> {
        let begun = std::mem::take(&mut self.begun);
        let mut new = Vec::new();
        for object in objects {
            let name = name_of(&object.path);
            self.missing.remove(&name);
            if begun.contains(&name) {
                let mut digest = Sha256::new();
                object.add_to(&mut digest);
                let again = format!("{}~{}", object.path, hex::encode(&digest.finalize()[..4]));
                if self.stored.insert(name_of(&again)) {
                    new.push((object, again));
                }
            } else if self.stored.insert(name) {
                let path = object.path.to_string();
                new.push((object, path));
            }
        }
        // What the list does not have is not there any more.
        self.gone.extend(self.missing.drain());
        new
    }

    /// How many objects are missing in the end though they were in the last list, and how many are gone.
    pub fn ends(&self) -> (u64, u64) {
        (self.missing.len() as u64, self.gone.difference(&self.stored).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str, etag: &str) -> Object {
        Object { path: path.into(), size: 1, modified: 0, etag: Some(etag.into()) }
    }

    fn missed(unread: &[&str], begun: &[&str]) -> Missed {
        let all = |paths: &[&str]| paths.iter().map(ToString::to_string).collect();
        Missed { unread: all(unread), begun: all(begun) }
    }

    fn names(new: Vec<(Object, String)>) -> Vec<String> {
        new.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn what_was_compacted_is_read_under_its_new_name_once() {
        let mut seen = Seen::default();
        seen.add(&["a", "b", "c"].map(|path| object(path, "1")));
        assert!(seen.is_settled());
        seen.note(missed(&["a", "b"], &[]));
        assert!(!seen.is_settled());
        let now = || vec![object("a", "2"), object("c", "1"), object("compacted", "1")];
        assert_eq!(names(seen.take_new(now())), ["a", "compacted"]);
        assert!(seen.is_settled() && seen.take_new(now()).is_empty());
        assert_eq!(seen.ends(), (0, 1), "b is gone");
    }

    #[test]
    fn the_begin_of_one_does_not_mix_with_another_of_its_name() {
        let mut seen = Seen::default();
        seen.add(&[object("a", "1")]);
        seen.note(missed(&[], &["a"]));
        let new = names(seen.take_new(vec![object("a", "2")]));
        assert!(new.len() == 1 && new[0].starts_with("a~"), "{new:?}");
        // And once more.
        seen.note(missed(&[], &["a"]));
        let again = names(seen.take_new(vec![object("a", "3")]));
        assert!(again.len() == 1 && again != new, "{again:?}");
    }
}
