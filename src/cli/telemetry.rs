//! The log: for those who want to see inside; what a user must know is said elsewhere.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::screen;
use crate::error::{Context, Result};

/// Begins to write the log to standard error. `CKBACKUP_LOG` goes before `-v`.
pub(super) fn begin(verbose: u8) -> Result<()> {
    let by_flag = ["error,ckbackup=warn", "warn,ckbackup=info", "info,ckbackup=debug", "debug,ckbackup=trace"];
    let by_flag = by_flag[usize::from(verbose).min(by_flag.len() - 1)];
    let wanted = std::env::var("CKBACKUP_LOG").ok().filter(|v| !v.is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(by_flag));
    let filter = filter.map_err(|e| crate::error::Error::usage("read CKBACKUP_LOG").because(e))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(screen::coloured())
        .with_target(verbose > 1)
        .with_writer(BesideTheBars)
        .try_init()
        .context(|| "begin the log".into())
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
        screen::line(String::from_utf8_lossy(&self.0).trim_end());
    }
}
