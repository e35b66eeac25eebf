//! The log: for those who want to see inside, and, as JSON, for those who collect it. As text, what a user must know is said
//! elsewhere; as JSON, that is in the log, too.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use tracing::Span;
use tracing::field::Empty;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;

use super::json_log::JsonLines;
use super::screen;
use crate::error::{Context, Error, Result};

/// The forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one object on a line; see docs/output.md
    Json,
}

/// Begins to write the log to standard error. `CKBACKUP_LOG` goes before `-v`, and `CKBACKUP_LOG_FORMAT` is for where no
/// format is given.
pub(super) fn begin(verbose: u8, format: Option<LogFormat>) -> Result<()> {
    let format = match (format, variable("CKBACKUP_LOG_FORMAT")) {
        (Some(format), _) => format,
        (None, None) => LogFormat::default(),
        (None, Some(word)) => LogFormat::from_str(&word, false)
            .map_err(|_| Error::usage(format!("CKBACKUP_LOG_FORMAT is {word:?}")).hint("it is text or json"))?,
    };
    let by_flag = ["error,ckbackup=warn", "warn,ckbackup=info", "info,ckbackup=debug", "debug,ckbackup=trace"];
    let by_flag = by_flag[usize::from(verbose).min(by_flag.len() - 1)];
    let mut wanted = variable("CKBACKUP_LOG").unwrap_or_else(|| by_flag.into());
    if format == LogFormat::Json {
        wanted += SAID;
    }
    let filter = EnvFilter::try_new(wanted).map_err(|e| Error::usage("read CKBACKUP_LOG").because(e))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(BesideTheBars);
    let begun = match format {
        LogFormat::Text => log.with_ansi(screen::coloured()).with_target(verbose > 1).try_init(),
        LogFormat::Json => {
            screen::speak_in_the_log();
            log.fmt_fields(JsonFields::new()).event_format(JsonLines).try_init()
        }
    };
    begun.context(|| "begin the log".into())
}

/// What a user must know is never filtered out.
const SAID: &str = ",ckbackup::cli::screen=info,ckbackup::cli::telemetry=error";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The run under way: what threads and tasks say that know nothing of it belongs to it. There is one at a time.
static UNDER_WAY: Mutex<Option<Span>> = Mutex::new(None);

/// A run of a verb, by whose id the lines of the log are found.
pub(super) struct Run {
    span: Span,
}

impl Run {
    /// Begins a run with an id of its own. The id of its backup is added when it is known.
    pub fn begin(command: &'static str) -> Run {
        let mut id = [0; 8];
        let _ = getrandom::fill(&mut id);
        let span = tracing::error_span!("run", command, run = hex::encode(id), backup = Empty);
        *under_way() = Some(span.clone());
        Run { span }
    }

    /// Its span.
    pub fn span(&self) -> Span {
        self.span.clone()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        *under_way() = None;
    }
}

/// Says which backup the run is about.
pub(super) fn about_backup(id: impl std::fmt::Display) {
    Span::current().record("backup", tracing::field::display(id));
}

/// The span of the run under way.
pub(super) fn run_under_way() -> Option<Span> {
    under_way().clone()
}

fn under_way() -> std::sync::MutexGuard<'static, Option<Span>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes whole events where progress bars do not paint over them.
struct BesideTheBars;

struct Event(Vec<u8>);

impl<'a> MakeWriter<'a> for BesideTheBars {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event(Vec::new())
    }
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        screen::write_line(String::from_utf8_lossy(&self.0).trim_end());
    }
}
