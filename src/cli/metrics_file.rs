//! `--metrics-file`: what a job leaves for a textfile collector, since nobody can scrape it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Global;
use crate::config::{Schedule, VaultLocation};
use crate::error::{Error, Result};
use crate::observe::{self, Check, Snapshot, Subject, Trust, VaultView, read_facts, write_file};
use crate::vault::Vault;
use crate::vault::signature::Signers;

/// A vault that takes longer than this is told to be unreachable: the job is to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where metrics are left.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsFileArgs {
    /// Leave the metrics in this file at the end, for the textfile collector of Prometheus' node exporter (….prom)
    #[arg(long = "metrics-file", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl MetricsFileArgs {
    /// Writes the metrics. That they cannot be written is told, and changes nothing about what was done.
    pub fn write(&self, subjects: Vec<Subject>, checks: Vec<Check>, global: &Global) {
        let Some(file) = &self.file else { return };
        let snapshot = Snapshot { now: global.now(), schedules_valid: None, subjects, checks };
        if let Err(e) = write_file(file, snapshot) {
            global.warn(format!("the metrics were not left: {}", e.one_line()));
        }
    }
}

/// What the vault of a schedule says now.
pub(super) async fn look(location: &VaultLocation, subject: &mut Subject, trust: Trust<'_>, global: &Global) {
    let opening = async {
        let vault = Vault::open(location, &global.store_settings()).await?;
        view(&vault, subject, trust, global).await
    };
    subject.vault = in_time(opening).await;
}

/// What an open vault says now, for each schedule that it holds backups of; one that is given is among them.
pub(super) async fn look_at_all(
    vault: &Vault,
    cluster: &str,
    schedule: Option<&Schedule>,
    trust: Trust<'_>,
    global: &Global,
) -> Vec<Subject> {
    let mut subjects: BTreeMap<String, Subject> = BTreeMap::new();
    if let Some(schedule) = schedule {
        subjects.insert(schedule.name.to_string(), Subject::of(schedule));
    }
    for id in vault.backup_ids(cluster).await.unwrap_or_default() {
        subjects.entry(id.schedule().to_string()).or_insert_with(|| unscheduled(cluster, id.schedule()));
    }
    let mut looked = Vec::new();
    for mut subject in subjects.into_values() {
        subject.vault = in_time(view(vault, &subject, trust, global)).await;
        looked.push(subject);
    }
    looked
}

/// A schedule whose file is not at hand.
fn unscheduled(cluster: &str, schedule: &str) -> Subject {
    Subject {
        cluster: cluster.into(),
        schedule: schedule.into(),
        keep: None,
        timing: None,
        vault: VaultView::default(),
        attempt: None,
    }
}

async fn view(vault: &Vault, subject: &Subject, trust: Trust<'_>, global: &Global) -> Result<VaultView> {
    let facts = read_facts(vault, &subject.cluster, &subject.schedule, trust, global.now()).await?;
    Ok(VaultView::read(facts, global.now()))
}

async fn in_time(reading: impl Future<Output = Result<VaultView>>) -> VaultView {
    let read = tokio::time::timeout(PATIENCE, reading).await;
    let read = read.unwrap_or_else(|_| Err(Error::failed(format!("no answer within {} s", PATIENCE.as_secs()))));
    read.unwrap_or_else(|e| {
        tracing::warn!(error = %e.one_line(), "the vault cannot be read for the metrics");
        VaultView::unreachable()
    })
}

/// Whose backups and proofs count where trusted signers are given: theirs.
pub(super) fn trust(signers: &Signers) -> Trust<'_> {
    observe::Trust { backups: signers, proofs: Some(signers) }
}
