//! `kind: Actions`: corrective actions that somebody keeps a list of.

use std::path::Path;

use jiff::civil::Date;
use serde::Deserialize;

use super::problems::{self, Problems};
use super::{decode, header_of, raw, yaml};
use crate::error::{Error, Result};

/// A corrective action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrectiveAction {
    /// By which it is told from others.
    pub id: String,
    /// What is to be done.
    pub text: String,
    /// Who sees to it.
    pub owner: Option<String>,
    /// By when.
    pub due: Option<Date>,
    /// Id of the report that opened it.
    pub opened_by: Option<String>,
    /// When it was done.
    pub closed: Option<Date>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Actions {
    actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    id: String,
    text: String,
    owner: Option<String>,
    due: Option<String>,
    opened_by: Option<String>,
    closed: Option<String>,
}

/// Reads the corrective actions of a file.
pub fn read_actions(path: &Path) -> Result<Vec<CorrectiveAction>> {
    let text = std::fs::read_to_string(path).map_err(|why| {
        let error = Error::usage(format!("cannot read {}", path.display())).because(why);
        error.hint("give the path of a file of `kind: Actions`")
    })?;
    let syntax = |fault| problems::together(path, vec![problems::explain_syntax(path, &text, &fault)]);
    let mut all = Vec::new();
    for document in yaml::documents(&text).map_err(syntax)? {
        header_of(&document, path, &["Actions"])?;
        let raw: raw::Root<Actions> = decode(&document, path)?;
        let mut problems = Problems::new(path, &document);
        let read = raw.spec.actions.iter().enumerate().map(|(at, raw)| action(raw, at, &mut problems)).collect();
        let read: Vec<_> = problems.finish(read)?;
        all.extend(read);
    }
    match all.iter().enumerate().find(|(at, action)| all[..*at].iter().any(|other| other.id == action.id)) {
        Some((_, twice)) => Err(Error::usage(format!("{} has two actions `{}`", path.display(), twice.id))),
        None => Ok(all),
    }
}

fn action(raw: &Action, at: usize, problems: &mut Problems<'_>) -> Option<CorrectiveAction> {
    let path = format!("spec.actions[{at}]");
    for (key, text) in [("id", &raw.id), ("text", &raw.text)] {
        if text.trim().is_empty() {
            problems.add(&format!("{path}.{key}"), "it is empty");
        }
    }
    let due = day(&format!("{path}.due"), raw.due.as_deref(), problems);
    let closed = day(&format!("{path}.closed"), raw.closed.as_deref(), problems);
    Some(CorrectiveAction {
        id: raw.id.clone(),
        text: raw.text.clone(),
        owner: raw.owner.clone(),
        due: due?,
        opened_by: raw.opened_by.clone(),
        closed: closed?,
    })
}

fn day(path: &str, text: Option<&str>, problems: &mut Problems<'_>) -> Option<Option<Date>> {
    let Some(text) = text else { return Some(None) };
    let read = text.parse().map_err(|_| Error::usage(format!("`{text}` is no day; write 2026-12-31")));
    problems.check(path, read).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "apiVersion: ckbackup.io/v1\nkind: Actions\nmetadata: {name: platform}\nspec:\n  actions:\n    \
                         - {id: CA-1, text: Do it, owner: ops, due: 2026-12-31, openedBy: r-1}\n    - {id: CA-2, text: Done, \
                         closed: 2026-11-02}\n";

    fn read(text: &str) -> Result<Vec<CorrectiveAction>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("actions.yaml");
        std::fs::write(&file, text).unwrap();
        read_actions(&file)
    }

    #[test]
    fn actions_are_read_with_their_days() {
        let actions = read(SOUND).unwrap();
        assert_eq!(actions[0].due, Some(jiff::civil::date(2026, 12, 31)));
        assert_eq!(actions[1].closed, Some(jiff::civil::date(2026, 11, 2)));
    }

    #[test]
    fn slips_are_named_with_their_place() {
        for (from, to, said) in [
            ("owner", "ownr", "did you mean `owner`?"),
            ("2026-12-31", "soon", "`soon` is no day"),
            ("CA-2", "CA-1", "two actions `CA-1`"),
            ("kind: Actions", "kind: Action", "did you mean `Actions`?"),
            ("text: Done", "text: ''", "it is empty"),
        ] {
            let error = read(&SOUND.replace(from, to)).unwrap_err();
            assert!(error.one_line().contains(said), "{}", error.one_line());
        }
    }
}
