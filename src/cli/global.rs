//! What every verb is given.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Options, Output, output, progress, screen};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::restore::StateFolder;
use crate::storage::StoreSettings;

/// The services whose settings are handed on to object stores.
const SERVICES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// What every verb is given: the common options, the environment, and the way out.
#[derive(Clone)]
pub struct Global {
    /// The form of results.
    pub output: Output,
    /// Whether progress and notes are unwanted.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Cancelled by the first Ctrl-C or SIGTERM.
    pub cancel: CancellationToken,
    /// Environment variables of the storage services (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    pub environment: Vec<(String, String)>,
    progress: Arc<dyn Progress>,
    /// Where restores are written down, where that is not the user's own place.
    state: Option<PathBuf>,
}

impl Global {
    pub(super) fn new(options: &Options, cancel: CancellationToken) -> Global {
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let of_services = |name: &str| SERVICES.iter().any(|service| name.starts_with(service));
        Global {
            output: options.output,
            quiet: options.quiet,
            verbose: options.verbose,
            cancel,
            environment: variables.filter(|(name, _)| of_services(name)).collect(),
            progress: progress::choose(options.quiet),
            state: None,
        }
    }

    /// The same for whoever leaves nothing behind: restores are written down in this folder.
    pub(super) fn with_state_folder(&self, folder: PathBuf) -> Global {
        Global { state: Some(folder), ..self.clone() }
    }

    /// Where restores are written down [CKBACKUP_STATE_DIR; else below XDG_STATE_HOME; else ~/.local/state].
    pub(super) fn state_folder(&self) -> StateFolder {
        let own = self.state.clone().or_else(|| self.variable("CKBACKUP_STATE_DIR").map(PathBuf::from));
        let base = self.variable("XDG_STATE_HOME").map(PathBuf::from);
        let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".local/state");
        StateFolder::new(own.unwrap_or_else(|| base.unwrap_or_else(home).join("ckbackup")))
    }

    /// Who is told how it goes.
    pub fn progress(&self) -> Arc<dyn Progress> {
        self.progress.clone()
    }

    /// The settings that vaults are opened with.
    pub fn store_settings(&self) -> StoreSettings {
        StoreSettings { environment: self.environment.clone() }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// An environment variable; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// Prints a result in the form that was asked for; `human` gives the text of table, wide and name.
    pub fn print<T: Serialize>(&self, value: &T, human: impl FnOnce(Output) -> String) -> Result<()> {
        screen::clear();
        output::print(self.output, value, human)
    }

    /// A line that is good to know, on standard error; not with `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            screen::line(text.as_ref());
        }
    }

    /// A line that must be known, on standard error.
    pub fn warn(&self, text: impl AsRef<str>) {
        screen::warning(text.as_ref());
    }

    /// An error that does not end the verb at once, on standard error.
    pub fn error(&self, text: impl AsRef<str>, hint: Option<&str>) {
        screen::clear();
        screen::error(text.as_ref(), hint);
    }

    /// Does `work` until it is done or somebody interrupts it; for work that may be left at any point.
    pub async fn stoppable<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted; nothing was changed")),
            outcome = work => outcome,
        }
    }
}
