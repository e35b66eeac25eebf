//! `completion`: words for the shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, DONE, Outcome, output};

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(ckbackup completion bash)")]
pub struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ckbackup", &mut script);
    output::write(&script)?;
    Ok(DONE)
}
