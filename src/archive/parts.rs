//! The parts of large files: that they come one after the other, and none is missing.

use super::index::Entry;
use crate::error::{Error, Result};

/// Follows entries in the order of their segment.
#[derive(Debug, Default)]
pub struct PartOrder {
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    path: String,
    next: u64,
    of: u64,
}

impl PartOrder {
    /// Takes note of the next entry; refuses one that does not follow the one before it.
    pub fn follow(&mut self, entry: &Entry) -> Result<()> {
        let expected = self.open.take();
        let Some(part) = entry.part else {
            return expected.map_or(Ok(()), |open| Err(open.is_cut_short()));
        };
        let follows = match &expected {
            Some(open) => open.path == entry.path && open.next == part.offset && open.of == part.of,
            None => part.offset == 0,
        };
        if !follows {
            return Err(match expected {
                Some(open) => open.is_cut_short(),
                None => Error::integrity(format!("{}: its first part is missing", entry.path)),
            });
        }
        let next = part.offset.saturating_add(entry.size);
        if next > part.of || entry.size == 0 && part.of > 0 {
            return Err(Error::integrity(format!("{}: a part does not fit in it", entry.path)));
        }
        if next < part.of {
            self.open = Some(OpenFile { path: entry.path.clone(), next, of: part.of });
        }
        Ok(())
    }

    /// Refuses an end in the middle of a file.
    pub fn end(self) -> Result<()> {
        self.open.map_or(Ok(()), |open| Err(open.is_cut_short()))
    }
}

impl OpenFile {
    fn is_cut_short(&self) -> Error {
        Error::integrity(format!("{}: {} of its {} bytes are there", self.path, self.next, self.of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Part;

    fn part(path: &str, offset: u64, size: u64, of: u64) -> Entry {
        Entry { path: path.into(), size, part: Some(Part { offset, of, filler: 0 }), ..Entry::default() }
    }

    fn whole(path: &str) -> Entry {
        Entry { path: path.into(), ..Entry::default() }
    }

    fn follows(entries: &[Entry]) -> Result<()> {
        let mut order = PartOrder::default();
        entries.iter().try_for_each(|entry| order.follow(entry))?;
        order.end()
    }

    #[test]
    fn parts_follow_each_other_between_whole_files() {
        let parts = [part("b", 0, 512, 1100), part("b", 512, 512, 1100), part("b", 1024, 76, 1100)];
        follows(&[&[whole("a")], &parts[..], &[whole("c"), part("d", 0, 7, 7)]].concat()).unwrap();
    }

    #[test]
    fn missing_doubled_and_foreign_parts_are_refused() {
        let [first, second, last] = [part("b", 0, 512, 1100), part("b", 512, 512, 1100), part("b", 1024, 76, 1100)];
        let all = |entries: &[&Entry]| follows(&entries.iter().map(|e| (*e).clone()).collect::<Vec<_>>()).unwrap_err();
        assert!(all(&[&second, &last]).to_string().contains("first part is missing"));
        assert!(all(&[&first, &last]).to_string().contains("512 of its 1100 bytes"));
        assert!(all(&[&first, &first]).to_string().contains("512 of its 1100 bytes"));
        assert!(all(&[&first, &second]).to_string().contains("1024 of its 1100 bytes"));
        assert!(all(&[&first, &whole("c")]).to_string().contains("512 of its 1100 bytes"));
        assert!(all(&[&first, &part("c", 512, 512, 1100)]).to_string().contains("512 of its 1100 bytes"));
        assert!(all(&[&first, &part("b", 512, 512, 2000)]).to_string().contains("512 of its 1100 bytes"));
        assert!(all(&[&part("b", 0, 2000, 1100)]).to_string().contains("does not fit"));
        assert!(all(&[&first, &part("b", 512, 0, 1100)]).to_string().contains("does not fit"));
    }
}
