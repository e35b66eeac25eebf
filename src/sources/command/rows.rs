//! Counts the rows of each table in a dump of PostgreSQL as it passes by.

use std::collections::BTreeMap;

use memchr::memchr;

/// Of a line no more is looked at, in bytes: a `COPY` with all its columns is shorter.
const LOOKED_AT: usize = 64 << 10;

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The begin of a line whose end has not come yet.
    begun: Vec<u8>,
    /// The table whose rows come now.
    table: Option<String>,
    counted: BTreeMap<String, u64>,
}

impl Rows {
    /// Looks at more of the dump.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.begun.is_empty() {
                self.line(line);
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.begun);
                self.line(&whole);
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LOOKED_AT.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) {
        match self.table.take() {
            Some(_) if line == b"\\." => {}
            Some(table) => {
                if let Some(count) = self.counted.get_mut(&table) {
                    *count += 1;
                }
                self.table = Some(table);
            }
            None => {
                self.table = table_of(line);
                if let Some(table) = &self.table {
                    self.counted.entry(table.clone()).or_default();
                }
            }
        }
    }

    /// Rows by table, by the names that SQL knows them by.
    pub fn finish(self) -> BTreeMap<String, u64> {
        self.counted
    }
}

/// `COPY public.project (id, name) FROM stdin;`
fn table_of(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("COPY ")?.strip_suffix(" FROM stdin;")?;
    let name = text.split_once(" (").map_or(text, |(name, _)| name);
    Some(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\nSELECT 1;\nCOPY public.\"User\" (id, name) FROM stdin;\n1\ta\n2\tCOPY x FROM stdin;\n\\.\n\n\
                        COPY public.empty (id) FROM stdin;\n\\.\nCOPY public.none  FROM stdin;\n\n\n\\.\n-- end\n";

    #[test]
    fn rows_are_counted_wherever_the_dump_is_cut() {
        for size in [1, 2, 3, 7, 1000] {
            let mut rows = Rows::default();
            DUMP.as_bytes().chunks(size).for_each(|piece| rows.push(piece));
            let counted = rows.finish();
            assert_eq!((counted["public.\"User\""], counted["public.empty"]), (2, 0), "in pieces of {size}");
            assert_eq!(counted.len(), 3);
        }
    }
}
