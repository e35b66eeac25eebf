//! Aligned columns.

use std::fmt;

/// Between two columns.
const GAP: &str = "   ";

/// Rows under headings; each column as wide as its widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|h| h.to_string()).collect()], right: Vec::new() }
    }

    /// Columns, counted from 0, that are aligned to the right: numbers.
    pub(super) fn right(mut self, columns: &[usize]) -> Table {
        self.right = columns.to_vec();
        self
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(|column| self.width(column)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let gap = if column == 0 { "" } else { GAP };
                match self.right.contains(&column) {
                    true => line.push_str(&format!("{gap}{cell:>width$}")),
                    false => line.push_str(&format!("{gap}{cell:<width$}")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ID", "ITEMS", "STATUS"]).right(&[1]);
        table.row(["å".into(), "31,034".into(), "ok".into()]);
        table.row(["longer".into(), "1".into(), String::new()]);
        assert_eq!(table.to_string(), "ID        ITEMS   STATUS\nå        31,034   ok\nlonger        1\n");
    }
}
