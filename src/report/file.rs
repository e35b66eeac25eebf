//! Reports as files: read, checked, rendered, and written whole or not at all.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::document::Document;
use super::exercise::exercise_document;
use super::model::{ExerciseReport, QUARTER_SCHEMA, QuarterReport, REPORT_SCHEMA};
use super::quarter_document::quarter_document;
use super::{html, junit, markdown};
use crate::error::{Context, Error, Result};
use crate::vault::signature::{Purpose, SignedBy, Signer, Signers};

/// The model of a report.
pub const JSON: &str = "report.json";
/// Its signature.
pub const SIGNATURE: &str = "report.json.sig";
/// The page that is made from it.
pub const HTML: &str = "report.html";
/// The Markdown that is made from it.
pub const MARKDOWN: &str = "report.md";
/// The JUnit XML that is made from it.
pub const JUNIT: &str = "junit.xml";

/// A report of either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Of a drill or a restore.
    Exercise(Box<ExerciseReport>),
    /// Of a quarter.
    Quarter(Box<QuarterReport>),
}

impl Report {
    /// Reads the text of a report.
    pub fn parse(bytes: &[u8]) -> Result<Report> {
        #[derive(serde::Deserialize)]
        struct Schema {
            schema: String,
        }
        let Schema { schema } = read(bytes)?;
        match schema.as_str() {
            REPORT_SCHEMA => Ok(Report::Exercise(read(bytes)?)),
            QUARTER_SCHEMA => Ok(Report::Quarter(read(bytes)?)),
            other => Err(Error::usage(format!("no report has the schema {other:?}"))
                .hint(format!("this ckbackup reads {REPORT_SCHEMA} and {QUARTER_SCHEMA}"))),
        }
    }

    /// Its bytes, which are the same for the same report.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        match self {
            Report::Exercise(report) => write(report),
            Report::Quarter(report) => write(report),
        }
    }

    /// What people read of it; `bytes` is the file that it stands in.
    pub fn document(&self, bytes: &[u8]) -> Document {
        let digest = hex::encode(Sha256::digest(bytes));
        match self {
            Report::Exercise(report) => exercise_document(report, &digest),
            Report::Quarter(report) => quarter_document(report, &digest),
        }
    }

    /// When it ended: the signature is of about then.
    fn signed_at(&self) -> Timestamp {
        match self {
            Report::Exercise(report) => report.finished,
            Report::Quarter(report) => {
                let midnight = report.through.to_zoned(jiff::tz::TimeZone::UTC);
                midnight.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
            }
        }
    }

    /// Version of the program that made it.
    pub fn tool_version(&self) -> &str {
        match self {
            Report::Exercise(report) => &report.tool_version,
            Report::Quarter(report) => &report.tool_version,
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        Error::usage("this is no report")
            .because(e)
            .hint("a report is the report.json of a drill, a restore or a quarter")
    })
}

fn write(report: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(report).context(|| "write the report".into())?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The files of a report, the signature where there is a key.
pub fn files(report: &Report, signer: Option<&Signer>) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let bytes = report.to_bytes()?;
    let document = report.document(&bytes);
    let mut files = Vec::new();
    if let Some(signer) = signer {
        files.push((SIGNATURE, signer.sign(Purpose::Report, &bytes)?.into_bytes()));
    }
    files.push((HTML, html::html(&document)?.into_bytes()));
    files.push((MARKDOWN, markdown::markdown(&document).into_bytes()));
    if let Report::Exercise(report) = report {
        files.push((JUNIT, junit::junit(report)?.into_bytes()));
    }
    files.push((JSON, bytes));
    Ok(files)
}

/// Writes the files of a report into a folder, which is made and must not hold another report: all of them, or none. Gives
/// the folder.
pub fn write_folder(report: &Report, folder: &Path, signer: Option<&Signer>) -> Result<PathBuf> {
    let files = files(report, signer)?;
    let taken = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.symlink_metadata().is_ok());
    if let Some(path) = taken {
        return Err(Error::usage(format!("{} exists already, and reports are never overwritten", path.display()))
            .hint("give another folder"));
    }
    let what = || format!("write the report into {}", folder.display());
    std::fs::create_dir_all(folder).context(what)?;
    let staging = folder.join(format!(".report-{}", std::process::id()));
    std::fs::create_dir(&staging).context(what)?;
    let written = move_in(&files, &staging, folder).context(what);
    // What is left in it is of a report that was not written.
    let _ = std::fs::remove_dir_all(&staging);
    written.map(|()| folder.to_path_buf())
}

/// Everything is on the disk before the first file gets its name; the JSON gets its name last.
fn move_in(files: &[(&'static str, Vec<u8>)], staging: &Path, folder: &Path) -> std::io::Result<()> {
    for (name, bytes) in files {
        let mut file = std::fs::File::create_new(staging.join(name))?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
    }
    for (at, (name, _)) in files.iter().enumerate() {
        if let Err(e) = std::fs::rename(staging.join(name), folder.join(name)) {
            files[..at].iter().for_each(|(name, _)| drop(std::fs::remove_file(folder.join(name))));
            return Err(e);
        }
    }
    std::fs::File::open(folder)?.sync_all()
}

/// What a check of a report's files found.
#[derive(Debug)]
pub struct Checked {
    /// SHA-256 of the report.
    pub sha256: String,
    /// Who signed it; none where no trusted signers were given.
    pub by: Option<SignedBy>,
    /// Files beside it that say what it says.
    pub same: Vec<&'static str>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Checks a report's file, or its folder: its signature, and that the files beside it are what it renders to.
pub fn check(path: &Path, signers: Option<&Signers>) -> Result<Checked> {
    let json = if path.is_dir() { path.join(JSON) } else { path.to_path_buf() };
    let bytes = std::fs::read(&json).map_err(|e| Error::usage(format!("read {}", json.display())).because(e))?;
    let report = Report::parse(&bytes).map_err(|e| e.within(json.display().to_string()))?;
    let mut checked =
        Checked { sha256: hex::encode(Sha256::digest(&bytes)), by: None, same: Vec::new(), problems: Vec::new() };
    match signed_by(&json, &bytes, &report, signers) {
        Ok(by) => checked.by = by,
        Err(e) => checked.problems.push(e.one_line()),
    }
    // Of a report that another program would write otherwise, only what it holds itself is rendered.
    let document = report.document(&bytes);
    let mut expected = vec![(HTML, html::html(&document)?), (MARKDOWN, markdown::markdown(&document))];
    if let Report::Exercise(report) = &report {
        expected.push((JUNIT, junit::junit(report)?));
    }
    for (name, text) in expected {
        match std::fs::read(json.with_file_name(name)) {
            Ok(found) if found == text.as_bytes() => checked.same.push(name),
            Ok(_) => checked.problems.push(differs(name, &report)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::failed(format!("read {name} beside {}", json.display())).because(e)),
        }
    }
    Ok(checked)
}

fn differs(name: &str, report: &Report) -> String {
    let (made, own) = (report.tool_version(), env!("CARGO_PKG_VERSION"));
    let other = if made == own { String::new() } else { format!(" (it was made by version {made}, this is {own})") };
    format!("{name} is not what the report renders to{other}")
}

fn signed_by(json: &Path, bytes: &[u8], report: &Report, signers: Option<&Signers>) -> Result<Option<SignedBy>> {
    let Some(signers) = signers else { return Ok(None) };
    let name = format!("{}.sig", json.display());
    let signature = std::fs::read(&name).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::integrity(format!("{name} is missing: nobody signed the report")),
        _ => Error::failed(format!("read {name}")).because(e),
    })?;
    signers.verify(Purpose::Report, bytes, &signature, report.signed_at()).map(Some)
}
