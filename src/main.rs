//! The program `ckbackup`; what it does begins in [`ckbackup::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ckbackup::cli::main()
}
