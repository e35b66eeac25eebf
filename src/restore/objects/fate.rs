//! What is to become of an object: decided before anything of it is written.

use crate::config::Conflict;
use crate::restore::apply::EXISTS;
use crate::restore::summary::Outcome;
use crate::storage::Object;

/// One that the step wants.
pub(super) struct File {
    /// Bytes of its content that the backup has.
    pub bytes: u64,
    /// Whether the backup lacks its end.
    pub cut: bool,
    /// What has its name in the target.
    pub there: Option<Object>,
}

/// What is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written; `over` one that is there.
    Write { over: bool },
    /// One of the same size is there.
    Compare(Object),
    /// Nothing is written.
    Decided(Outcome),
}

impl Fate {
    /// As far as it can be told without the content.
    pub fn of(file: &File, conflict: Conflict) -> Fate {
        match &file.there {
            // Half an object looks like a whole one.
            _ if file.cut => {
                let why = format!("the backup has only its first {} bytes; a `files` step restores them", file.bytes);
                Fate::Decided(Outcome::Failed(why))
            }
            None => Fate::Write { over: false },
            Some(there) if there.size == file.bytes => Fate::Compare(there.clone()),
            Some(there) => {
                Fate::differs(conflict, &format!("it has {} bytes, and the saved one {}", there.size, file.bytes))
            }
        }
    }

    /// What the conflict policy makes of one that is there and differs.
    pub fn differs(conflict: Conflict, how: &str) -> Fate {
        let why = format!("it is there, and differs: {how}");
        match conflict {
            Conflict::Overwrite => Fate::Write { over: true },
            Conflict::Fail => Fate::Decided(Outcome::Failed(why)),
            Conflict::Skip => Fate::Decided(Outcome::Skipped { rule: EXISTS.into(), why }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(there: Option<u64>, cut: bool, conflict: Conflict) -> Fate {
        let object = |size| Object { path: "a".into(), size, modified: 0, etag: None };
        Fate::of(&File { bytes: 5, cut, there: there.map(object) }, conflict)
    }

    #[test]
    fn what_is_there_and_differs_is_only_written_over_when_told() {
        assert_eq!(fate(None, false, Conflict::Skip), Fate::Write { over: false });
        assert!(matches!(fate(Some(5), false, Conflict::Overwrite), Fate::Compare(_)));
        assert_eq!(fate(Some(4), false, Conflict::Overwrite), Fate::Write { over: true });
        assert!(matches!(fate(Some(4), false, Conflict::Skip), Fate::Decided(Outcome::Skipped { .. })));
        assert!(matches!(fate(Some(4), false, Conflict::Fail), Fate::Decided(Outcome::Failed(_))));
        assert!(matches!(fate(None, true, Conflict::Overwrite), Fate::Decided(Outcome::Failed(_))));
    }
}
