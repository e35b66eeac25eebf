//! `list`: which backups are there?

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;

use super::proof_report::{self, ProofReport, SignatureReport};
use super::shared::{TrustArgs, VaultArgs};
use super::table::Table;
use super::{DONE, Global, Outcome, Output, words};
use crate::config::CONFIGURATION_SOURCE;
use crate::error::Result;
use crate::reader::{self, Committed, Listing};
use crate::vault::Vault;
use crate::vault::layout::BackupId;
use crate::vault::signature::Signers;

/// Of how many backups the proofs are read at the same time.
const AT_ONCE: usize = 8;

const EXAMPLES: &str = "\
Examples:
  ckbackup list -f schedules/nightly.yaml --signers allowed_signers
  ckbackup list --vault s3://ck8s-backups/prod --cluster workload-1 -o name";

/// List the backups of a cluster, oldest first
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {
    /// Also what runs left that did not commit, or are under way
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    vault: String,
    cluster: String,
    backups: Vec<Row>,
}

/// One backup, or what is left of one.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    /// `complete`, `partial`, `broken` or `uncommitted`.
    status: String,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    seconds: Option<u64>,
    schedule: Option<String>,
    sources: Vec<String>,
    items: Option<u64>,
    stored_bytes: Option<u64>,
    problems: Option<u64>,
    previous: Option<String>,
    signature: Option<SignatureReport>,
    /// The most that was proved of it, and when.
    proof: Option<ProofReport>,
    /// Why a broken one is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(args: &ListArgs, global: &Global) -> Outcome {
    let signers = args.trust.read(global)?;
    let (vault, cluster) = args.vault.open(global).await?;
    let listed = reader::list(&vault, &cluster, signers.as_ref()).await?;
    let is_shown = |listing: &Listing| args.all || !matches!(listing, Listing::Uncommitted(_));
    let shown = listed.iter().filter(|l| is_shown(l)).map(|listing| row(listing, &vault, signers.as_ref()));
    let backups: Vec<_> = futures::stream::iter(shown).buffered(AT_ONCE).try_collect().await?;
    if backups.is_empty() {
        let known = vault.clusters().await?;
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        global.note(format!("no backups of cluster {cluster} in {} (clusters there: {known})", vault.shown()));
    }
    let report = Report { vault: vault.shown().into(), cluster, backups };
    global.print(&report, |form| human(&report, form, global.now()))?;
    Ok(DONE)
}

async fn row(listing: &Listing, vault: &Vault, signers: Option<&Signers>) -> Result<Row> {
    Ok(match listing {
        Listing::Committed(backup) => {
            let proofs = reader::proofs(vault, backup, signers).await?;
            Row { proof: proofs.best().map(ProofReport::from), ..committed(backup) }
        }
        Listing::Uncommitted(folder) => remains(&folder.id, "uncommitted", None),
        Listing::Broken(folder, e) => remains(&folder.id, "broken", Some(e.one_line())),
    })
}

fn remains(id: &BackupId, status: &str, error: Option<String>) -> Row {
    Row { started: id.started(), id: id.to_string(), status: status.into(), error, ..Row::default() }
}

fn committed(backup: &Committed) -> Row {
    let manifest = &backup.manifest;
    let sources = manifest.sources.iter().filter(|s| s.kind != CONFIGURATION_SOURCE);
    Row {
        id: manifest.id.to_string(),
        status: manifest.status.to_string(),
        started: Some(manifest.started),
        finished: Some(manifest.finished),
        seconds: Some(proof_report::seconds(manifest)),
        schedule: Some(manifest.schedule.clone()),
        sources: sources.map(|s| s.name.clone()).collect(),
        items: Some(manifest.items()),
        stored_bytes: Some(manifest.stored_bytes()),
        problems: Some(manifest.sources.iter().map(|s| s.problems.len() as u64).sum()),
        previous: manifest.previous.as_ref().map(|p| p.id.to_string()),
        signature: Some((&backup.standing).into()),
        proof: None,
        error: None,
    }
}

fn human(report: &Report, form: Output, now: Timestamp) -> String {
    if form == Output::Name {
        return report.backups.iter().map(|row| format!("{}\n", row.id)).collect();
    }
    if report.backups.is_empty() {
        return String::new();
    }
    let mut headings = vec!["ID", "AGE", "STATUS", "ITEMS", "SIZE", "SIGNATURE", "PROVED"];
    if form == Output::Wide {
        headings.extend(["DURATION", "PROBLEMS", "SOURCES", "PREVIOUS", "SIGNER"]);
    }
    let mut table = Table::new(&headings).right(&[1, 3, 4]);
    for row in &report.backups {
        let cells = cells(row, now).into_iter();
        let wide = wide_cells(row).into_iter().filter(|_| form == Output::Wide);
        table.row(cells.chain(wide));
    }
    let errors = report.backups.iter().filter_map(|row| Some((row, row.error.as_ref()?)));
    let errors: String = errors.map(|(row, error)| format!("{} is broken: {error}\n", row.id)).collect();
    format!("{table}{errors}")
}

fn dash<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or("-".into(), text)
}

fn cells(row: &Row, now: Timestamp) -> [String; 7] {
    let status = if row.status == "broken" { "BROKEN" } else { &row.status };
    [
        row.id.clone(),
        dash(row.started, |then| words::age(then, now)),
        status.into(),
        dash(row.items, words::count),
        dash(row.stored_bytes, words::size),
        dash(row.signature.as_ref(), |s| s.word().into()),
        dash(row.proof.as_ref(), |proof| proof.word(now)),
    ]
}

fn wide_cells(row: &Row) -> [String; 5] {
    [
        dash(row.seconds, words::whole_span),
        dash(row.problems, words::count),
        if row.sources.is_empty() { "-".into() } else { row.sources.join(",") },
        row.previous.clone().unwrap_or("-".into()),
        dash(row.signature.as_ref().and_then(|s| s.principal.clone()), |p| p),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_or_uncommitted_still_has_its_age() {
        let id: BackupId = "20261121T000003Z-nightly".parse().unwrap();
        let row = remains(&id, "uncommitted", None);
        let now: Timestamp = "2026-11-21T05:00:03Z".parse().unwrap();
        assert_eq!(cells(&row, now), ["20261121T000003Z-nightly", "5h", "uncommitted", "-", "-", "-", "-"]);
    }
}
