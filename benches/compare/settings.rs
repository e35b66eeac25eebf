//! What is measured, how often, and with how much.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// 31,000 Secrets, and 3,000 other objects with them.
const SECRETS: usize = 31_000;
const OTHERS: usize = 3_000;
const ROUNDS: usize = 5;
const LOG_MB: usize = 4000;
const DOCUMENTS: usize = 2_000_000;
/// 200,000 custom resources where there are 31,000 Secrets.
const CUSTOM: usize = 200_000;

/// Something that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Backup,
    Restore,
    Secrets,
    Again,
    Objects,
    Resume,
    Drill,
    Prediction,
    Extract,
    Memory,
    Logs,
    Documents,
    Blocks,
    Velero,
    /// HTTP/1.1 against HTTP/2, both raw: of ckbackup it tells nothing, so it is not measured unless it is asked for.
    Protocols,
}

const FIGURES: [(&str, Figure); 15] = [
    ("backup", Figure::Backup),
    ("restore", Figure::Restore),
    ("secrets", Figure::Secrets),
    ("again", Figure::Again),
    ("objects", Figure::Objects),
    ("resume", Figure::Resume),
    ("drill", Figure::Drill),
    ("prediction", Figure::Prediction),
    ("extract", Figure::Extract),
    ("memory", Figure::Memory),
    ("logs", Figure::Logs),
    ("documents", Figure::Documents),
    ("blocks", Figure::Blocks),
    ("velero", Figure::Velero),
    ("protocols", Figure::Protocols),
];

/// How much is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    pub secrets: usize,
    /// Random bytes in each Secret.
    pub secret_bytes: usize,
    /// Objects of other kinds.
    pub others: usize,
}

impl Scale {
    /// The same, several times.
    pub fn times(self, factor: usize) -> Scale {
        Scale { secrets: self.secrets * factor, others: self.others * factor, ..self }
    }

    /// The Secrets alone.
    pub fn only_secrets(self) -> Scale {
        Scale { others: 0, ..self }
    }

    /// The same number of Secrets, each larger.
    pub fn with_secret_bytes(self, secret_bytes: usize) -> Scale {
        Scale { secret_bytes, ..self }
    }

    pub fn objects(self) -> usize {
        self.secrets + self.others
    }
}

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub figures: Vec<Figure>,
    pub rounds: usize,
    pub scale: Scale,
    /// Custom resources, of many kinds.
    pub custom: usize,
    /// Bytes of JSON logs.
    pub log_bytes: u64,
    /// Log documents in an Elasticsearch.
    pub documents: usize,
    /// The folder with etcd and kube-apiserver.
    pub assets: PathBuf,
    pub versitygw: PathBuf,
    /// The folder with several releases of Elasticsearch.
    pub elasticsearch: PathBuf,
    /// The folder with Velero and its plugins.
    pub velero: PathBuf,
    /// The program elasticdump.
    pub elasticdump: PathBuf,
    /// Under which folder vaults and the servers' data are put.
    pub dir: PathBuf,
}

impl Settings {
    /// From arguments and environment.
    pub fn read() -> Result<Settings> {
        // Cargo adds --bench to what it was given.
        let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
        let secrets = number("CKBACKUP_BENCH_SECRETS", SECRETS)?;
        let others = (secrets * OTHERS / SECRETS).max(1);
        let target = || concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench").into();
        Ok(Settings {
            figures: figures(&words)?,
            rounds: number("CKBACKUP_BENCH_ROUNDS", ROUNDS)?,
            custom: secrets * CUSTOM / SECRETS,
            log_bytes: number("CKBACKUP_BENCH_LOG_MB", LOG_MB)? as u64 * 1_000_000,
            documents: number("CKBACKUP_BENCH_DOCUMENTS", DOCUMENTS)?,
            scale: Scale { secrets, secret_bytes: 1024, others },
            assets: file("KUBEBUILDER_ASSETS")?,
            versitygw: file("CKBACKUP_TEST_VERSITYGW")?,
            elasticsearch: file("CKBACKUP_TEST_ELASTICSEARCH")?,
            velero: file("CKBACKUP_BENCH_VELERO")?,
            elasticdump: file("CKBACKUP_BENCH_ELASTICDUMP")?,
            dir: std::env::var_os("CKBACKUP_BENCH_DIR").map_or_else(target, PathBuf::from),
        })
    }
}

fn figures(words: &[String]) -> Result<Vec<Figure>> {
    if words.is_empty() {
        return Ok(vec![
            Figure::Backup,
            Figure::Restore,
            Figure::Secrets,
            Figure::Again,
            Figure::Objects,
            Figure::Resume,
            Figure::Drill,
            Figure::Prediction,
            Figure::Extract,
            Figure::Memory,
            Figure::Logs,
            Figure::Documents,
            Figure::Velero,
        ]);
    }
    words.iter().map(|word| word.parse()).collect()
}

impl FromStr for Figure {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Figure> {
        match FIGURES.iter().find(|(name, _)| *name == word) {
            Some((_, figure)) => Ok(*figure),
            None => bail!("{word} is not measured; there are {}", FIGURES.map(|(name, _)| name).join(", ")),
        }
    }
}

fn number(name: &str, default: usize) -> Result<usize> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("{name} is {text}, which is not a number above 0"),
    }
}

fn file(name: &str) -> Result<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set; run it as: make bench"))
}
