//! What people read, before it is HTML or Markdown: sections of facts, tables and pictures. Both forms say the same.

use super::controls::{self, Control, SectionId};
use super::text::Text;

/// How something is to be taken. Never told by colour alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Well.
    Good,
    /// Not all that it could be.
    Warn,
    /// Not well.
    Bad,
}

impl Tone {
    /// The class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Plain => "plain",
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
        }
    }

    /// Good or bad.
    pub fn of(good: bool) -> Tone {
        if good { Tone::Good } else { Tone::Bad }
    }
}

/// Characters of a word that fits into any column: `elasticsearch`.
const SHORT: usize = 13;

/// One cell of a table, or one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: Text,
    /// How it is to be taken.
    pub tone: Tone,
    /// Whether it is a digest, a key or a name that is to be compared letter by letter.
    pub code: bool,
}

impl Cell {
    /// A digest, a key or a name.
    pub fn code(text: impl AsRef<str>) -> Cell {
        Cell { text: text.into(), tone: Tone::Plain, code: true }
    }

    /// Whether it is one word that is not to be broken, however narrow its column is.
    pub fn is_short(&self) -> bool {
        let text = self.text.as_str();
        !self.code && text.chars().count() <= SHORT && !text.contains(char::is_whitespace)
    }

    /// With a tone.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone, code: false }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(text, Tone::Plain)
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Whether it holds numbers.
    pub numeric: bool,
}

/// A table; the first cell of a row names the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub caption: Text,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, with as many cells.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table; names of columns with numbers begin with `#`.
    pub fn new(caption: impl AsRef<str>, columns: &[&'static str]) -> Table {
        let column = |name: &&'static str| match name.strip_prefix('#') {
            Some(name) => Column { name, numeric: true },
            None => Column { name, numeric: false },
        };
        Table { caption: caption.into(), columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// Names and values.
    Facts(Vec<(&'static str, Cell)>),
    /// A table.
    Table(Table),
    /// A picture; what it shows stands in the table after it, too.
    Figure {
        /// An SVG element.
        svg: String,
        /// What it shows, in a sentence.
        caption: Text,
    },
    /// A sentence.
    Note(Cell),
    /// Lines to sign on.
    SignOff(Vec<[Text; 3]>),
}

/// A section.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Which.
    pub id: SectionId,
    /// Its heading.
    pub title: &'static str,
    /// Controls that it is evidence for.
    pub controls: Vec<&'static Control>,
    /// Its parts.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section with the controls that it is evidence for.
    pub fn new(id: SectionId, title: &'static str, blocks: Vec<Block>) -> Section {
        Section { id, title, controls: controls::of(id), blocks }
    }
}

/// A whole report.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its heading.
    pub title: Text,
    /// What it comes to, in a few words.
    pub verdict: Cell,
    /// The sentence below the heading.
    pub lead: Text,
    /// The sections.
    pub sections: Vec<Section>,
    /// Digest of the JSON that it was made from.
    pub json_sha256: String,
    /// Version of the program.
    pub tool_version: Text,
}
