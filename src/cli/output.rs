//! Standard output: results, in the form that was asked for.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::error::{Context, Error, Kind, Result};

/// The forms of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For people, with more in it
    Wide,
    /// For programs; see docs/output.md
    Json,
    /// For programs
    Yaml,
    /// Only the names
    Name,
}

/// A failure, as programs read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    error: String,
    kind: Kind,
    hint: Option<String>,
    exit_code: u8,
}

impl From<&Error> for Failure {
    fn from(e: &Error) -> Self {
        let hint = e.hint_text().map(String::from);
        Failure { error: e.one_line(), kind: e.kind(), hint, exit_code: e.kind().exit_code() }
    }
}

/// Prints a value; `human` is asked for its text where the form is one for people, or names.
pub(super) fn print<T: Serialize>(form: Output, value: &T, human: impl FnOnce(Output) -> String) -> Result<()> {
    let text = match form {
        Output::Table | Output::Wide | Output::Name => human(form),
        Output::Json => serde_json::to_string_pretty(value).context(|| "write JSON".into())? + "\n",
        Output::Yaml => serde_yaml::to_string(value).context(|| "write YAML".into())?,
    };
    write(text.as_bytes()).map(drop)
}

/// The last JSON object of a failure. That it cannot be written changes nothing.
pub(super) fn print_error(error: &Error) {
    if let Ok(text) = serde_json::to_string(&Failure::from(error)) {
        let _ = write(format!("{text}\n").as_bytes());
    }
}

/// Whether a person reads standard output.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes to standard output. False when nobody reads any more (`… | head -1`), which is no failure.
pub(super) fn write(bytes: &[u8]) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::failed("write to standard output").because(e)),
    }
}
