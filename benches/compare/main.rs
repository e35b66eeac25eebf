//! Measures ckbackup, as the built binary, against plain clients of the same real servers.
//!
//! Both sides of a comparison take turns, round by round, and what is judged is the median of the rounds' ratios: whatever
//! else the machine does then hits both. `docs/performance.md` says what is compared with what, and why.

mod again;
mod backup;
mod bench;
mod blocks;
mod ckbackup;
mod custom;
mod documents;
mod drill;
mod extract;
mod logs;
mod memory;
mod numbers;
mod objects;
mod platform;
mod prediction;
mod process;
mod protocols;
mod raw;
mod restore;
mod resume;
mod saved;
mod servers;
mod settings;
mod table;
mod velero;
mod ways;

use std::process::ExitCode;

use anyhow::Result;

use crate::bench::Bench;
use crate::settings::{Figure, Settings};
use crate::table::Row;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every figure is within its reach.
async fn run() -> Result<bool> {
    // The S3 client asks for the process's choice, even where there is no TLS; that it was chosen already is no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bench = Bench::prepare(Settings::read()?)?;
    let mut rows = Vec::new();
    let mut failed = None;
    for figure in &bench.settings.figures {
        match measure(*figure, &bench).await {
            Ok(measured) => rows.extend(measured),
            // What was measured before it took minutes, and is shown.
            Err(e) => {
                failed = Some(e.context(format!("measure {figure:?}")));
                break;
            }
        }
    }
    print!("\n{}", table::render(&rows));
    let file = table::write_results(&rows, &bench.settings)?;
    bench.say(format!("all numbers are in {}", file.display()));
    if let Some(e) = failed {
        return Err(e);
    }
    Ok(rows.iter().all(|row| row.within_reach() != Some(false)))
}

async fn measure(figure: Figure, bench: &Bench) -> Result<Vec<Row>> {
    match figure {
        Figure::Backup => backup::measure(bench).await,
        Figure::Restore => restore::measure(bench).await,
        Figure::Secrets => restore::measure_secrets(bench).await,
        Figure::Again => again::measure(bench).await,
        Figure::Objects => objects::measure(bench).await,
        Figure::Resume => resume::measure(bench).await,
        Figure::Drill => drill::measure(bench).await,
        Figure::Prediction => prediction::measure(bench).await,
        Figure::Extract => extract::measure(bench).await,
        Figure::Memory => memory::measure(bench).await,
        Figure::Logs => logs::measure(bench).await,
        Figure::Documents => documents::measure(bench).await,
        Figure::Blocks => blocks::measure(bench).await,
        Figure::Velero => velero::measure(bench).await,
        Figure::Protocols => protocols::measure(bench).await,
    }
}
