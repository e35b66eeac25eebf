//! `man`: the manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Cli, DONE, Global, Outcome, output};
use crate::error::Context;

/// Print the manual page, or write one for every verb into a folder
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ckbackup man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write the pages of all verbs into this folder
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs, global: &Global) -> Outcome {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).context(|| "write the manual page".into())?;
        output::write(&page)?;
        return Ok(DONE);
    };
    let what = || format!("write manual pages into {}", dir.display());
    std::fs::create_dir_all(dir).context(what)?;
    clap_mangen::generate_to(Cli::command(), dir).context(what)?;
    global.note(format!("wrote the manual pages into {}", dir.display()));
    Ok(DONE)
}
