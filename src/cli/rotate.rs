//! `rotate`: keep the promised number of verified backups, remove older ones.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::metrics_file::{MetricsFileArgs, look_at_all, trust};
use super::shared::{AttestArgs, TrustArgs, VaultArgs};
use super::table::Table;
use super::{DONE, Global, Outcome, Output, words};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, DEFAULT_KEEP, Schedule};
use crate::error::{Error, Kind, Result};
use crate::observe::{Check, CheckKind};
use crate::reader::append_record;
use crate::rotation::{self, Decided, Decision, Removal, Rotation};
use crate::vault::Vault;
use crate::vault::layout::BackupId;
use crate::vault::record::{RecordBody, RotationRecord};
use crate::vault::signature::{Signer, Signers};

const EXAMPLES: &str = "\
Examples:
  See what would be removed, and why; nothing is changed:
    ckbackup rotate -f schedules/nightly.yaml --signers allowed_signers --dry-run
  From a machine that has no schedule:
    ckbackup rotate --vault s3://ck8s-backups/prod --keep 3 --signers allowed_signers

A backup counts when it is complete, a trusted signer signed it, and all of it was read back
just now and is as it was written; one a day counts, for each schedule. While there are fewer
than are to be kept, none is removed. Exit code 5 means that a backup is damaged that should
have counted.";

/// Keep the newest verified backups, and remove older ones
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RotateArgs {
    /// How many verified backups are kept [default: as the schedule says, or 3]
    #[arg(long, value_name = "COUNT")]
    keep: Option<NonZeroU32>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    attest: AttestArgs,
    #[command(flatten)]
    metrics: MetricsFileArgs,
}

/// What was decided and done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    vault: String,
    cluster: String,
    /// How many verified backups are to be kept.
    keep: u32,
    /// How many there are, of each schedule.
    copies: BTreeMap<String, u32>,
    dry_run: bool,
    /// Uploads of dead runs, which were no objects yet, and never will be.
    #[serde(skip_serializing_if = "crate::inventory::is_zero")]
    ended_uploads: u64,
    /// Newest first.
    backups: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    /// When the storage took it.
    stored: Timestamp,
    /// `keep` or `remove`.
    decision: &'static str,
    /// Whether it is one of the copies.
    counts: bool,
    why: String,
    /// `removed`, `locked` or `failed`; absent when nothing was to be removed, or only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) async fn run(args: &RotateArgs, global: &Global) -> Outcome {
    let signers = trusted(args, global)?;
    let schedule = args.vault.schedule.as_deref().map(|file| config::read_schedule(file, None)).transpose()?;
    let (vault, cluster) = global.stoppable(args.vault.open(global)).await?;
    let mut rotated = None;
    let outcome = keep(args, schedule.as_ref(), &vault, &cluster, &signers, &mut rotated, global).await;
    if args.metrics.file.is_some() && !args.dry_run {
        let code = outcome.as_ref().map_or_else(|e| e.kind().exit_code(), |code| *code);
        let check = check(&cluster, rotated.as_ref(), code, global.now());
        let subjects = look_at_all(&vault, &cluster, schedule.as_ref(), trust(&signers), global).await;
        args.metrics.write(subjects, vec![check], global);
    }
    outcome
}

async fn keep(
    args: &RotateArgs,
    schedule: Option<&Schedule>,
    vault: &Vault,
    cluster: &str,
    signers: &Signers,
    rotated: &mut Option<Rotated>,
    global: &Global,
) -> Outcome {
    let given = args.keep.map(NonZeroU32::get);
    let keep = given.or(schedule.map(|s| s.keep)).unwrap_or(DEFAULT_KEEP);
    let schedule = schedule.map(|s| s.name.as_str());
    let attester = args.attest.read_for(Some(signers), global)?;
    let rotation = Wanted { schedule, keep, signers, attester: attester.as_ref(), dry_run: args.dry_run };
    let rotated = rotated.insert(rotate(vault, cluster, &rotation, global).await?);
    global.print(&rotated.report, |form| human(&rotated.report, form))?;
    Ok(rotated.tell(global))
}

/// What the metrics say of a rotation; of one that failed, only that.
pub(super) fn check(cluster: &str, rotated: Option<&Rotated>, exit_code: u8, at: Timestamp) -> Check {
    Check {
        kind: CheckKind::Rotation,
        cluster: cluster.into(),
        at,
        exit_code,
        copies: rotated.map(|rotated| rotated.report.copies.clone()).unwrap_or_default(),
        damaged: rotated.map(|rotated| rotated.decided.damage.len() as u64),
    }
}

fn trusted(args: &RotateArgs, global: &Global) -> Result<Signers> {
    if args.trust.signers.is_none() && global.variable("CKBACKUP_SIGNERS_FILE").is_none() {
        return Err(Error::usage("no trusted signers are given, and without them no backup counts")
            .hint("pass --signers FILE: who may have made backups, in the allowed-signers format of ssh-keygen"));
    }
    let signers = args.trust.read(global)?;
    signers.ok_or_else(|| Error::usage("no trusted signers are given"))
}

/// What came of it.
pub(super) struct Rotated {
    pub report: Report,
    decided: Decided,
    removals: Vec<Removal>,
}

/// How rotation is wanted.
pub(super) struct Wanted<'a> {
    /// Only the backups of this schedule.
    pub schedule: Option<&'a str>,
    pub keep: u32,
    pub signers: &'a Signers,
    /// Who signs what was verified.
    pub attester: Option<&'a Signer>,
    pub dry_run: bool,
}

/// Decides and removes.
pub(super) async fn rotate(vault: &Vault, cluster: &str, wanted: &Wanted<'_>, global: &Global) -> Result<Rotated> {
    let progress = global.progress();
    let &Wanted { schedule, keep, signers, attester, dry_run } = wanted;
    let attester = attester.filter(|_| !dry_run);
    let clock = &SystemClock;
    let progress = progress.as_ref();
    let rotation = Rotation { vault, cluster, schedule, keep, signers, attester, clock, progress };
    let decided = global.stoppable(rotation.decide()).await?;
    let removals = match dry_run {
        true => Vec::new(),
        false => tokio::select! {
            biased;
            () = global.cancel.cancelled() => return Err(interrupted()),
            removals = rotation.apply(&decided) => removals?,
        },
    };
    if let Some(attester) = attester {
        record_removals(vault, cluster, attester, keep, &removals).await;
    }
    let mut report = report(vault, cluster, keep, dry_run, &decided, &removals);
    if !dry_run {
        match rotation.end_uploads().await {
            Ok(ended) => report.ended_uploads = ended,
            // They cost money, and endanger nothing.
            Err(e) => global.warn(format!("unfinished uploads of dead runs stay: {}", e.one_line())),
        }
    }
    Ok(Rotated { report, decided, removals })
}

/// Records what was removed, for each schedule by itself. That it cannot be recorded changes nothing.
async fn record_removals(vault: &Vault, cluster: &str, attester: &Signer, keep: u32, removals: &[Removal]) {
    let mut by_schedule: BTreeMap<&str, Vec<BackupId>> = BTreeMap::new();
    for removal in removals.iter().filter(|removal| matches!(removal.outcome, rotation::Outcome::Removed)) {
        by_schedule.entry(removal.id.schedule()).or_default().push(removal.id.clone());
    }
    for (schedule, removed) in by_schedule {
        let written = async {
            let body = RecordBody::Rotation(RotationRecord { keep, removed });
            append_record(vault, attester, cluster, &schedule.parse()?, SystemClock.now(), body).await
        };
        if let Err(e) = written.await {
            tracing::warn!(error = %e.one_line(), "what was removed is not recorded in the vault");
        }
    }
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted while backups were being removed; no copy that counts was touched")
        .hint("the next rotation goes on with it")
}

impl Rotated {
    /// Tells what is not as it should be; gives the exit code.
    pub fn tell(&self, global: &Global) -> u8 {
        let keep = self.report.keep;
        for (schedule, copies) in self.report.copies.iter().filter(|(_, copies)| **copies < keep) {
            global.warn(format!(
                "there are {copies} verified backups by {schedule}, and {keep} are to be kept: none of them is removed until then"
            ));
        }
        let mut code = DONE;
        for (id, e) in &self.decided.damage {
            global.error(format!("{id} is damaged: {}", e.one_line()), e.hint_text());
            code = Kind::Integrity.exit_code();
        }
        for removal in &self.removals {
            if let rotation::Outcome::Failed(e) = &removal.outcome {
                global.error(format!("{} was not removed: {}", removal.id, e.one_line()), e.hint_text());
                code = code.max(Kind::Failed.exit_code());
            }
        }
        code
    }

    /// What was done, in one line.
    pub fn sentence(&self) -> String {
        let gone = self.removals.iter().filter(|r| matches!(r.outcome, rotation::Outcome::Removed)).count() as u64;
        let gone = words::counted(gone, "older folder");
        format!("{}; {gone} removed", copies(&self.report))
    }
}

fn report(vault: &Vault, cluster: &str, keep: u32, dry_run: bool, decided: &Decided, removals: &[Removal]) -> Report {
    let row = |decision: &Decision| row(decision, removals.iter().find(|r| r.id == decision.id));
    Report {
        vault: vault.shown().into(),
        cluster: cluster.into(),
        keep,
        copies: decided.copies.clone(),
        dry_run,
        ended_uploads: 0,
        backups: decided.decisions.iter().map(row).collect(),
    }
}

fn row(decision: &Decision, removal: Option<&Removal>) -> Row {
    let (mut locked_until, mut problem) = (None, None);
    let outcome = removal.map(|removal| match &removal.outcome {
        rotation::Outcome::Removed => "removed",
        rotation::Outcome::Locked(until) => {
            locked_until = *until;
            "locked"
        }
        rotation::Outcome::Failed(e) => {
            problem = Some(e.one_line());
            "failed"
        }
    });
    Row {
        id: decision.id.to_string(),
        stored: decision.stored,
        decision: if decision.remove { "remove" } else { "keep" },
        counts: decision.counts,
        why: decision.why.clone(),
        outcome,
        locked_until,
        problem,
    }
}

impl Row {
    fn word(&self) -> String {
        match (self.outcome, self.locked_until) {
            (Some("locked"), Some(until)) => format!("locked until {until}"),
            (Some("locked"), None) => "locked by a legal hold".into(),
            (Some(outcome), _) => outcome.into(),
            (None, _) => self.decision.into(),
        }
    }
}

fn human(report: &Report, form: Output) -> String {
    if form == Output::Name {
        let gone = report.backups.iter().filter(|row| row.decision == "remove");
        return gone.map(|row| format!("{}\n", row.id)).collect();
    }
    if report.backups.is_empty() {
        return format!("No backups of cluster {} in {}\n", report.cluster, report.vault);
    }
    let mut table = Table::new(&["BACKUP", "STORED", "DECISION", "WHY"]);
    for row in &report.backups {
        table.row([row.id.clone(), row.stored.strftime("%F %H:%M:%SZ").to_string(), row.word(), row.why.clone()]);
    }
    let gone = report.backups.iter().filter(|row| row.decision == "remove").count() as u64;
    let done = if report.dry_run { "would be removed" } else { "removed or to be removed" };
    let gone = words::counted(gone, "folder");
    format!("{table}\n{}; {gone} {done}\n", copies(report))
}

fn copies(report: &Report) -> String {
    let one =
        |(schedule, copies): (&String, &u32)| format!("{copies} of {} verified backups by {schedule}", report.keep);
    report.copies.iter().map(one).collect::<Vec<_>>().join(", ")
}
