//! `show`: what is in a backup, and what is not?

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::choose::choose;
use super::proof_report::{self, ProofReport, SignatureReport};
use super::shared::{TrustArgs, VaultArgs};
use super::table::Table;
use super::{DONE, Global, Outcome, Output, words};
use crate::reader;
use crate::vault::manifest::{Manifest, Omission, SourceRecord};

/// How many types of a source are shown when not all are asked for.
const TYPES_SHOWN: usize = 12;

/// How many omissions of one sort are shown when not all are asked for.
const OMISSIONS_SHOWN: usize = 20;

const EXAMPLES: &str = "\
Examples:
  ckbackup show latest -f schedules/nightly.yaml
  ckbackup show 20261121T000003Z-nightly --vault /backups -o wide      every type, every stored object";

/// Show what a backup holds, and what it does not
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// The id of a backup, or `latest`
    #[arg(value_name = "BACKUP")]
    backup: String,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'m> {
    vault: &'m str,
    signature: SignatureReport,
    manifest: &'m Manifest,
    /// What was proved of it, oldest first.
    proofs: Vec<ProofReport>,
}

pub(super) async fn run(args: &ShowArgs, global: &Global) -> Outcome {
    let signers = args.trust.read(global)?;
    let (vault, cluster) = args.vault.open(global).await?;
    let backup = choose(&vault, &cluster, &args.backup, signers.as_ref(), global).await?;
    let proofs = reader::proofs(&vault, &backup, signers.as_ref()).await?;
    for (key, e) in &proofs.refused {
        global.warn(format!("{key} does not count: {}", e.one_line()));
    }
    let report = Report {
        vault: vault.shown(),
        signature: (&backup.standing).into(),
        manifest: &backup.manifest,
        proofs: proofs.good.iter().map(ProofReport::from).collect(),
    };
    global.print(&report, |form| human(&report, form, global.now()))?;
    Ok(DONE)
}

fn human(report: &Report<'_>, form: Output, now: Timestamp) -> String {
    if form == Output::Name {
        return format!("{}\n", report.manifest.id);
    }
    let wide = form == Output::Wide;
    let mut text = head(report, now);
    text.push('\n');
    text += &sources(report.manifest);
    text += &contents(report.manifest);
    for source in &report.manifest.sources {
        text += &types(source, wide);
        text += &omissions("Problems", &source.name, &source.problems, wide);
        text += &omissions("Left out on purpose", &source.name, &source.skipped, wide);
        text += &omissions("Worth knowing", &source.name, &source.notices, wide);
    }
    if wide {
        text += &objects(report.manifest);
    }
    text
}

fn head(report: &Report<'_>, now: Timestamp) -> String {
    let m = report.manifest;
    let took = words::whole_span(proof_report::seconds(m));
    let previous = m.previous.as_ref().map_or("none: the first of its chain".into(), |p| p.id.to_string());
    let mut lines = vec![
        ("Backup", m.id.to_string()),
        ("Status", m.status.to_string()),
        ("Signature", report.signature.sentence()),
        ("Signing key", m.signer.clone()),
        ("Cluster", m.cluster.clone()),
        ("Cluster uid", m.cluster_uid.clone().unwrap_or("not known".into())),
        ("Kubernetes", m.server_version.clone().unwrap_or("not known".into())),
        ("Schedule", m.schedule.clone()),
        (
            "Taken",
            format!("{} ({} ago), in {took}, by ckbackup {}", m.started, words::age(m.started, now), m.tool_version),
        ),
        ("Previous", previous),
    ];
    lines.extend(proved(&report.proofs, now));
    if let Some(window) = &m.window {
        lines.push(("Window", format!("{} to {}", window.opens, window.closes)));
    }
    let opens = "Opened by";
    lines.extend(m.recipients.iter().enumerate().map(|(i, r)| (if i == 0 { opens } else { "" }, r.clone())));
    let stored = (words::size(m.stored_bytes()), words::counted(m.objects().count() as u64, "object"));
    lines.push(("Stored", format!("{} in {} of {}", stored.0, stored.1, report.vault)));
    lines.iter().map(|(name, value)| format!("{name:12} {value}\n")).collect()
}

/// The last proof of each level, the strongest first.
fn proved(proofs: &[ProofReport], now: Timestamp) -> Vec<(&'static str, String)> {
    let last: BTreeMap<_, _> = proofs.iter().map(|proof| (proof.level, proof)).collect();
    let sentence = |proof: &ProofReport| {
        let (level, age) = (proof.level.as_str(), words::age(proof.at, now));
        format!("{level} at {} ({age} ago), {}", proof.at, proof.signature.sentence())
    };
    let sentences = last.into_values().rev().enumerate();
    match proofs.is_empty() {
        true => vec![("Proved", "nothing yet: `ckbackup verify --attest KEY` records what it verifies".into())],
        false => sentences.map(|(i, proof)| (if i == 0 { "Proved" } else { "" }, sentence(proof))).collect(),
    }
}

fn sources(manifest: &Manifest) -> String {
    let headings = ["SOURCE", "KIND", "STATUS", "ITEMS", "SIZE", "STORED", "TIME", "PROBLEMS"];
    let mut table = Table::new(&headings).right(&[3, 4, 5, 6, 7]);
    for s in &manifest.sources {
        table.row([
            s.name.clone(),
            s.kind.clone(),
            s.status.to_string(),
            words::count(s.items),
            words::size(s.bytes),
            words::size(s.stored_bytes),
            words::span(s.milliseconds as f64 / 1000.0),
            words::count(s.problems.len() as u64),
        ]);
    }
    table.to_string()
}

/// What the sources say is inside, and how much of it was taken over.
fn contents(manifest: &Manifest) -> String {
    let mut text = String::new();
    for s in &manifest.sources {
        if let Some(events) = &s.contents.events {
            let (count, first, last) = (words::counted(events.count, "event"), events.first, events.last);
            let _ = writeln!(text, "{}: {count}, from {first} to {last}", s.name);
        }
        if let Some(metrics) = &s.contents.metrics {
            let (blocks, series) = (words::counted(metrics.blocks, "block"), words::count(metrics.series));
            let (samples, first, last) = (words::count(metrics.samples), metrics.first, metrics.last);
            let _ = writeln!(text, "{}: {blocks}, {series} series, {samples} samples, from {first} to {last}", s.name);
        }
        if let Some(documents) = &s.contents.documents {
            let (count, indices) = (words::counted(documents.count, "document"), words::count(documents.indices));
            let (first, last) = (documents.first, documents.last);
            let _ = writeln!(text, "{}: {count} in {indices} indices, as of {first} to {last}", s.name);
        }
        if let Some(listed) = &s.contents.listed {
            let count = words::counted(listed.count, "object");
            let _ = writeln!(text, "{}: {count}, as listed at {}", s.name, listed.at);
        }
        let copied = s.copied_bytes();
        if copied > 0 {
            let _ = writeln!(text, "{}: {} had not changed, and were copied", s.name, words::size(copied));
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// The most frequent types, or all by name.
fn types(source: &SourceRecord, wide: bool) -> String {
    let mut types: Vec<_> = source.types.iter().filter(|(_, t)| t.count > 0 || wide).collect();
    if types.is_empty() {
        return String::new();
    }
    if !wide {
        types.sort_by_key(|(name, t)| (std::cmp::Reverse(t.count), *name));
    }
    let shown = if wide { types.len() } else { TYPES_SHOWN };
    let mut table = Table::new(&["TYPE", "VERSION", "KIND", "OBJECTS", "READ AT"]).right(&[3]);
    for (name, t) in types.iter().take(shown) {
        let at = match t.restarts {
            0 => t.resource_version.clone(),
            n => format!("{} (begun anew: {n})", t.resource_version),
        };
        table.row([name.to_string(), t.version.clone(), t.kind.clone(), words::count(t.count), at]);
    }
    let more = match types.len().saturating_sub(shown) {
        0 => String::new(),
        more => format!("and {} (-o wide shows all)\n", words::counted(more as u64, "more type")),
    };
    format!("\nTypes in {}\n{table}{more}", source.name)
}

fn omissions(title: &str, source: &str, all: &[Omission], wide: bool) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{title} in {source}\n");
    let shown = if wide { all.len() } else { OMISSIONS_SHOWN };
    for omission in all.iter().take(shown) {
        let count = omission.count.map(|n| format!(" ({})", words::count(n))).unwrap_or_default();
        let _ = writeln!(text, "  {}{count}: {}", omission.what, omission.why);
    }
    if all.len() > shown {
        let _ = writeln!(text, "  and {} more (-o wide shows all)", words::count((all.len() - shown) as u64));
    }
    text
}

fn objects(manifest: &Manifest) -> String {
    let mut table = Table::new(&["OBJECT", "SIZE", "SHA-256", "VERSION"]).right(&[1]);
    for object in manifest.objects() {
        let version = object.version.clone().unwrap_or("-".into());
        table.row([object.key.clone(), words::size(object.bytes), hex::encode(object.sha256), version]);
    }
    format!("\n{table}")
}
