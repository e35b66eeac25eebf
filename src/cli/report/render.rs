//! `report render`: one form of a report.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{DONE, Global, Outcome, output};
use crate::error::{Context, Error, Result};
use crate::report::{Report, html, junit, markdown};

/// Render a report.json; as Markdown on standard output, if nothing else is said
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The report
    #[arg(value_name = "REPORT.JSON")]
    file: PathBuf,
    /// Write HTML into this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write Markdown into this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write JUnit XML into this file; of drills and restores
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) fn run(args: &RenderArgs, global: &Global) -> Outcome {
    let shown = args.file.display();
    let bytes = std::fs::read(&args.file).map_err(|e| Error::usage(format!("read {shown}")).because(e))?;
    let report = Report::parse(&bytes).map_err(|e| e.within(shown.to_string()))?;
    let document = report.document(&bytes);
    let mut files = Vec::new();
    if let Some(file) = &args.html {
        files.push((file, html(&document)?));
    }
    if let Some(file) = &args.markdown {
        files.push((file, markdown(&document)));
    }
    if let Some(file) = &args.junit {
        let Report::Exercise(report) = &report else {
            return Err(Error::usage("the report of a quarter has no JUnit form").hint("leave out --junit"));
        };
        files.push((file, junit(report)?));
    }
    if files.is_empty() {
        output::write(markdown(&document).as_bytes())?;
        return Ok(DONE);
    }
    for (file, text) in files {
        replace(file, &text)?;
        global.note(format!("wrote {}", file.display()));
    }
    Ok(DONE)
}

/// Whoever looks at the file sees the old one or the new one.
fn replace(file: &Path, text: &str) -> Result<()> {
    let what = || format!("write {}", file.display());
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, text).context(what)?;
    std::fs::rename(&beside, file).inspect_err(|_| drop(std::fs::remove_file(&beside))).context(what)
}
