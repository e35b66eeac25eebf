//! The end of what a command says: enough to know what went wrong.

/// How much is kept, in bytes.
const KEPT: usize = 4096;

/// Lines that are told of it.
const LINES: usize = 5;

/// The last bytes of a stream.
#[derive(Debug, Clone, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        self.0.extend_from_slice(bytes);
        let over = self.0.len().saturating_sub(KEPT);
        self.0.drain(..over);
    }

    /// Whether a text stands in it.
    pub fn holds(&self, text: &str) -> bool {
        memchr::memmem::find(&self.0, text.as_bytes()).is_some()
    }

    /// Its last lines, as one.
    pub fn last_lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::default();
        (0..2000).for_each(|number| tail.push(format!("line {number}\n").as_bytes()));
        assert_eq!(tail.last_lines(), "line 1995; line 1996; line 1997; line 1998; line 1999");
        assert!(tail.holds("line 1990") && !tail.holds("line 7\n"));
        tail.push(&[b'x'; 3 * KEPT]);
        assert_eq!(tail.last_lines().len(), KEPT);
    }
}
