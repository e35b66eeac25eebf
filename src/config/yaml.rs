//! The only place that knows the YAML library: documents, their decoding, and where a key stands in the text.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A line and a column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What the YAML library had to say.
#[derive(Debug)]
pub(super) struct Fault {
    /// The key it happened at, such as `spec.sources[0].name`; empty at the top.
    pub(super) path: String,
    pub(super) message: String,
    pub(super) place: Option<Place>,
}

/// One document of a file.
pub(super) struct Document<'t> {
    text: &'t str,
    index: usize,
}

/// The documents of a file that are not empty; fails when the text is not YAML.
pub(super) fn documents(text: &str) -> Result<Vec<Document<'_>>, Fault> {
    let mut found = Vec::new();
    if text.trim().is_empty() {
        return Ok(found);
    }
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        if Option::<IgnoredAny>::deserialize(document).map_err(fault)?.is_some() {
            found.push(Document { text, index });
        }
    }
    Ok(found)
}

impl<'t> Document<'t> {
    /// Reads the document as a `T`.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(self.reader()?).map_err(fault)
    }

    /// Where the value of `path` begins. For a `path` that is not there: the nearest part of it that is.
    pub(super) fn locate(&self, path: &str) -> Option<Place> {
        let parts = parts(path);
        (0..=parts.len()).rev().find_map(|length| self.seek(&parts[..length], None))
    }

    /// Where `key` stands for the second time in the mapping at `path`.
    pub(super) fn locate_repeat(&self, path: &str, key: &str) -> Option<Place> {
        self.seek(&parts(path), Some(key))
    }

    /// Walks to `path` and raises an error there on purpose, because errors are what the library knows the place of.
    fn seek(&self, path: &[Part<'_>], repeat: Option<&str>) -> Option<Place> {
        let raised = Seek { path, repeat }.deserialize(self.reader().ok()?).err()?;
        let found = raised.to_string().contains(FOUND);
        if found { fault(raised).place } else { None }
    }

    fn reader(&self) -> Result<serde_yaml::Deserializer<'t>, Fault> {
        let gone = || Fault { path: String::new(), message: "the document is gone".to_string(), place: None };
        serde_yaml::Deserializer::from_str(self.text).nth(self.index).ok_or_else(gone)
    }
}

/// Takes the library's message apart, which reads `path: message at line 1 column 2`.
fn fault(error: serde_yaml::Error) -> Fault {
    let place = error.location().map(|at| Place { line: at.line(), column: at.column() });
    let mut message = error.to_string();
    if let Some(end) = message.find(" at line ").or_else(|| message.find(" at position ")) {
        message.truncate(end);
    }
    let is_path = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._-[]?".contains(c));
    match message.split_once(": ") {
        Some((path, rest)) if is_path(path) && !path.ends_with("invalid") => {
            Fault { path: path.to_string(), message: rest.to_string(), place }
        }
        _ => Fault { path: String::new(), message, place },
    }
}

/// One part of a path such as `spec.sources[1].name`.
#[derive(Clone, Copy)]
enum Part<'p> {
    Key(&'p str),
    Item(usize),
}

fn parts(path: &str) -> Vec<Part<'_>> {
    let words = path.split(['.', '[']).filter(|word| !word.is_empty());
    let part = |word| match str::strip_suffix(word, ']').and_then(|number| number.parse().ok()) {
        Some(index) => Part::Item(index),
        None => Part::Key(word),
    };
    words.map(part).collect()
}

/// What the error that [`Seek`] raises on purpose says.
const FOUND: &str = "ckbackup-found-the-place";

/// Walks down `path`. There it raises [`FOUND`]: at the value, or at the second key named `repeat`.
#[derive(Clone, Copy)]
struct Seek<'p> {
    path: &'p [Part<'p>],
    repeat: Option<&'p str>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seek<'_> {
    /// Anything but a mapping or a list ends the walk.
    fn scalar<E: serde::de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() && self.repeat.is_none() { Err(E::custom(FOUND)) } else { Ok(()) }
    }

    fn below(self) -> Self {
        Seek { path: &self.path[1..], repeat: self.repeat }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.scalar::<A::Error>()?;
        let wanted = match self.path.first() {
            Some(Part::Item(index)) => *index,
            _ => usize::MAX,
        };
        let mut index = 0;
        loop {
            let more = if index == wanted {
                items.next_element_seed(self.below())?.is_some()
            } else {
                items.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.scalar::<A::Error>()?;
        let (wanted, repeat) = match (self.path.first(), self.repeat) {
            (Some(Part::Key(key)), _) => (Some(*key), None),
            (None, repeat) => (None, repeat),
            (Some(Part::Item(_)), _) => (None, None),
        };
        let mut seen = 0;
        while let Some(key) = entries.next_key_seed(Key { repeat, seen: &mut seen })? {
            if wanted == Some(key.as_str()) {
                entries.next_value_seed(self.below())?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads a key, and raises [`FOUND`] at the second one that is named `repeat`.
struct Key<'p> {
    repeat: Option<&'p str>,
    seen: &'p mut usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        *self.seen += usize::from(self.repeat == Some(key));
        if *self.seen == 2 { Err(E::custom(FOUND)) } else { Ok(key.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  - c: x\n  - c: {d: y, e: [1, 2]}\n---\na: 7\na: 8\n";

    fn place(path: &str, index: usize) -> (usize, usize) {
        let place = documents(TEXT).unwrap()[index].locate(path).unwrap();
        (place.line, place.column)
    }

    #[test]
    fn a_value_is_found_where_it_stands() {
        assert_eq!(place("a", 0), (1, 4));
        assert_eq!(place("b[0].c", 0), (3, 8));
        assert_eq!(place("b[1].c.d", 0), (4, 12));
        assert_eq!(place("b[1].c.e[1]", 0), (4, 22));
        assert_eq!(place("a", 1), (6, 4));
    }

    #[test]
    fn what_is_missing_is_placed_at_its_nearest_parent() {
        assert_eq!(place("b[1].c.zz.y", 0), (4, 8));
        assert_eq!(place("zz", 0), (1, 1));
    }

    #[test]
    fn the_second_of_two_equal_keys_is_found() {
        let found = documents(TEXT).unwrap()[1].locate_repeat("", "a").unwrap();
        assert_eq!(found, Place { line: 7, column: 1 });
    }

    #[test]
    fn empty_documents_are_passed_over() {
        assert!(documents("").unwrap().is_empty());
        assert!(documents("# nothing\n---\n# again\n").unwrap().is_empty());
        assert_eq!(documents("---\na: 1\n---\n").unwrap().len(), 1);
    }
}
