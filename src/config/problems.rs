//! Collects what is wrong with a document, each with its place, so that a person can mend all of it at once.

use std::path::Path;

use super::yaml::{Document, Fault, Place};
use crate::error::{Error, Result};

/// The problems of one document so far.
pub(super) struct Problems<'d> {
    file: &'d Path,
    document: &'d Document<'d>,
    lines: Vec<String>,
}

impl<'d> Problems<'d> {
    pub(super) fn new(file: &'d Path, document: &'d Document<'d>) -> Self {
        Problems { file, document, lines: Vec::new() }
    }

    /// Notes what is wrong with the value at `path`.
    pub(super) fn add(&mut self, path: &str, what: impl AsRef<str>) {
        let place = placed(self.file, self.document.locate(path));
        self.lines.push(format!("`{path}` at {place}: {}", what.as_ref()));
    }

    /// Takes the value out of `result`, or notes at `path` why there is none.
    pub(super) fn check<T>(&mut self, path: &str, result: Result<T>) -> Option<T> {
        let noted = |error: Error| match error.hint_text() {
            Some(hint) => self.add(path, format!("{error}; {hint}")),
            None => self.add(path, error.to_string()),
        };
        result.map_err(noted).ok()
    }

    /// Parses the text at `path`, or notes why it cannot be.
    pub(super) fn parse<T: std::str::FromStr<Err = Error>>(&mut self, path: &str, text: &str) -> Option<T> {
        self.check(path, text.parse())
    }

    /// The value, if nothing was wrong; otherwise everything that was noted.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T> {
        match value {
            Some(value) if self.lines.is_empty() => Ok(value),
            _ => Err(together(self.file, self.lines)),
        }
    }
}

/// One error of several problems in a file.
pub(super) fn together(file: &Path, mut lines: Vec<String>) -> Error {
    match lines.len() {
        0 => Error::usage(format!("{} cannot be read", file.display())),
        1 => Error::usage(lines.remove(0)),
        count => Error::usage(format!("{count} problems in {}:\n  {}", file.display(), lines.join("\n  "))),
    }
}

fn placed(file: &Path, place: Option<Place>) -> String {
    match place {
        Some(place) => format!("{}:{}:{}", file.display(), place.line, place.column),
        None => file.display().to_string(),
    }
}

/// The candidate that `text` most likely stands for, if any comes near.
pub(super) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = text.to_lowercase();
    let far = |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
    let near = candidates.into_iter().map(|candidate| (far(candidate), candidate));
    let best = near.min_by_key(|(distance, _)| *distance)?;
    (best.0 <= 1.max(text.chars().count() / 3)).then_some(best.1)
}

/// `, did you mean …?` with the candidate that comes nearest, else `; known are: …`.
pub(super) fn suggestion(text: &str, candidates: &[&str]) -> String {
    match nearest(text, candidates.iter().copied()) {
        Some(near) => format!(", did you mean `{near}`?"),
        None if candidates.is_empty() => String::new(),
        None => format!("; known are: {}", listed(candidates)),
    }
}

/// `` `a`, `b` ``.
pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Puts what the YAML library said about a document into words for people.
pub(super) fn explain(file: &Path, document: &Document<'_>, fault: Fault) -> String {
    let place = placed(file, fault.place);
    let quoted = quoted(&fault.message);
    let word = quoted.first().copied().unwrap_or_default();
    if fault.message.starts_with("unknown field") {
        let known = quoted.get(1..).unwrap_or_default();
        return format!("unknown key `{word}` at {place}{}", suggestion(word, known));
    }
    let path = if fault.path.is_empty() { word.to_string() } else { format!("{}.{word}", fault.path) };
    if fault.message.starts_with("missing field") {
        return format!("key `{path}` is missing at {place}");
    }
    if fault.message.starts_with("duplicate field") {
        let place = placed(file, document.locate_repeat(&fault.path, word).or(fault.place));
        return format!("key `{path}` is given twice, the second time at {place}");
    }
    let subject = if fault.path.is_empty() { "the document".to_string() } else { format!("`{}`", fault.path) };
    match fault.message.strip_prefix("invalid type: ").or_else(|| fault.message.strip_prefix("invalid value: ")) {
        Some(mismatch) => format!("{subject} at {place}: {}", explain_mismatch(mismatch)),
        None => format!("{subject} at {place}: {}", fault.message),
    }
}

/// Puts a syntax error into words for people.
pub(super) fn explain_syntax(file: &Path, text: &str, fault: &Fault) -> String {
    let line = fault.place.and_then(|place| text.lines().nth(place.line - 1)).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let tab = if indent.contains('\t') { "; indent with spaces, YAML takes no tabs there" } else { "" };
    format!("{} is not YAML: {}{tab}", placed(file, fault.place), fault.message)
}

/// Longer texts are not repeated: one may be a private key, whose file was named by mistake.
const QUOTED: usize = 50;

/// `string "three", expected u32` in the words of a person.
fn explain_mismatch(mismatch: &str) -> String {
    let (found, expected) = mismatch.rsplit_once(", expected ").unwrap_or((mismatch, "something else"));
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "a string" => "a text",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "a mapping (`key: value`)",
        other => other,
    };
    let found = match found {
        "unit value" => "nothing".to_string(),
        "sequence" => "a list".to_string(),
        "map" => "a mapping".to_string(),
        other => match other.split_once(' ') {
            Some(("string", text)) if text.len() <= QUOTED => format!("the text {text}"),
            Some(("string", text)) => format!("a text of {} characters", text.trim_matches('"').chars().count()),
            Some(("integer", number)) => format!("the number {number}"),
            Some(("boolean", value)) => value.to_string(),
            _ => other.replace("floating point", "the number"),
        },
    };
    format!("must be {expected}, but is {found}")
}

/// The words of `text` that stand in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["namespaces", "resources", "labelSelector"];
        assert_eq!(nearest("namspaces", known), Some("namespaces"));
        assert_eq!(nearest("labelselector", known), Some("labelSelector"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(suggestion("colour", &["a", "b"]), "; known are: `a`, `b`");
    }
}
