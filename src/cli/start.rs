//! From the process's begin to its exit code.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{Cli, Global, Outcome, Output, dispatch, output, screen, telemetry};
use crate::error::{Context, Error, Kind, Result};

/// Parses the arguments, does what they say, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return ExitCode::from(refuse(&e)),
    };
    let form = cli.options.output;
    let begun = telemetry::begin(cli.options.verbose, cli.options.log_format);
    // Its last line is that of a failure.
    let run = cli.verb.run_name().map(telemetry::Run::begin);
    let outcome = begun.and_then(|()| execute(cli, run.as_ref().map_or_else(Span::none, telemetry::Run::span)));
    let code = outcome.unwrap_or_else(|e| {
        report(&e, form);
        e.kind().exit_code()
    });
    ExitCode::from(code)
}

fn execute(cli: Cli, span: Span) -> Outcome {
    // reqwest and kube are built without a provider of their own. A second installation would fail, and do no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread for all that waits: spread over several, each piece of an answer would wake another one up, which cost
    // a fifth of the CPU time of a restore. What computes goes to the blocking threads.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(computing_threads());
    let runtime = builder.build().context(|| "start the runtime".into())?;
    let cancel = CancellationToken::new();
    let global = Global::new(&cli.options, cancel.clone());
    std::thread::spawn(|| stop_on_signals(cancel));
    let outcome = runtime.block_on(dispatch(cli.verb, &global).instrument(span));
    // A question to the terminal that nobody answers must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Each thread that ever computed keeps memory: its codec's, and what its allocator holds back. Two more than there are
/// cores, for those that wait for a disk.
fn computing_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) + 2
}

/// The first signal stops cleanly, the second at once. On a thread of its own: a pipe that nobody reads, or a plugin that
/// waits for a person, may hold up the other one.
fn stop_on_signals(cancel: CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended =
        runtime.context(|| "start the runtime".into()).and_then(|runtime| runtime.block_on(wait_for_signals(cancel)));
    if let Err(e) = ended {
        tracing::warn!(error = %e.one_line(), "signals cannot be received");
    }
}

async fn wait_for_signals(cancel: CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).context(|| "listen for signals".into());
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if cancel.is_cancelled() {
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        }
        screen::line("stopping; once more to end at once");
        cancel.cancel();
    }
}

/// Says what clap has to say: help and version, or what is wrong with the arguments.
fn refuse(e: &clap::Error) -> u8 {
    let _ = e.print();
    if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return super::DONE;
    }
    if wants_json(std::env::args()) {
        let text = e.to_string();
        let first = text.lines().next().unwrap_or_default();
        let error = Error::usage(first.trim_start_matches("error: ")).hint("see `ckbackup --help`");
        output::print_error(&error);
    }
    Kind::Usage.exit_code()
}

/// Whether `-o json` stands among arguments that could not be parsed.
fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<_> = args.collect();
    let pair = |p: &[String]| matches!(p[0].as_str(), "-o" | "--output") && p[1] == "json";
    args.windows(2).any(pair) || args.iter().any(|a| matches!(a.as_str(), "-ojson" | "-o=json" | "--output=json"))
}

fn report(error: &Error, form: Output) {
    screen::clear();
    screen::error(&error.one_line(), error.hint_text());
    if form == Output::Json {
        output::print_error(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_is_seen_in_arguments_that_cannot_be_parsed() {
        let asked = |line: &str| wants_json(line.split(' ').map(String::from));
        assert!(asked("list -o json --nonsense") && asked("-ojson") && asked("--output=json"));
        assert!(!asked("list -o yaml json"));
    }
}
