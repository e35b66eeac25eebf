//! The report of a restore, and its record in the vault.

use std::path::Path;

use jiff::Timestamp;

use super::RestoreArgs;
use super::begin::Begun;
use super::sites::Opened;
use crate::archive::age::opened_of;
use crate::cli::Global;
use crate::cli::diff::stored_scopes;
use crate::cli::drill::used::{backup_used, keys};
use crate::config::CorrectiveAction;
use crate::drill::comparison::{Difference, Way, with_cluster};
use crate::drill::report::{Account, report};
use crate::error::{Context, Error, Result};
use crate::reader::append_record;
use crate::report::model::{ExerciseKind, Target, TargetKind};
use crate::report::{JSON, Report, actions_at, record_of, write_folder};
use crate::restore::{RestoreStatus, RestoreSummary};

/// Finds out before anything is written that the report could not be, or not be signed.
pub(super) fn check(args: &RestoreArgs, global: &Global) -> Result<()> {
    args.attest.read_for(args.opening.trust.read_quietly(global)?.as_ref(), global)?;
    refuse_folder(args.report_dir.as_deref())
}

/// A report never takes the place of another one.
pub(in crate::cli) fn refuse_folder(folder: Option<&Path>) -> Result<()> {
    match folder {
        Some(folder) if folder.join(JSON).exists() => {
            Err(Error::usage(format!("{} holds a report already", folder.display()))
                .hint("name a new folder with --report-dir"))
        }
        _ => Ok(()),
    }
}

/// Writes the report where one is asked for, and records the restore where there is a key to sign that.
pub(super) async fn tell(
    begun: &Begun,
    summary: &RestoreSummary,
    started: Timestamp,
    actions: Vec<CorrectiveAction>,
    args: &RestoreArgs,
    global: &Global,
) -> Result<()> {
    let signer = args.attest.read(global)?;
    if args.report_dir.is_none() && signer.is_none() {
        return Ok(());
    }
    let recipients: Vec<String> =
        begun.opened.iter().flat_map(|opened| opened.backup.manifest.recipients.clone()).collect();
    let used = opened_of(&recipients, begun.opened[0].backup.identities().as_ref());
    let all: Vec<&Opened> = begun.opened.iter().collect();
    let comparisons = compare(begun, summary, global).await?;
    let finished = global.now();
    let report = report(Account {
        kind: ExerciseKind::Restore,
        id: summary.restore.clone().unwrap_or_default(),
        scenario: None,
        plan: &begun.plan,
        summary,
        started,
        finished,
        targets: targets(begun),
        people: args.people.people(global),
        backups: begun.opened.iter().map(|opened| backup_used(opened, begun.incident_start)).collect(),
        manifests: begun.opened.iter().map(|opened| &opened.backup.manifest).collect(),
        keys: keys(&all, &used, signer.as_ref()),
        comparisons,
        checks: Vec::new(),
        actions: actions_at(actions, finished),
    })?;
    if let Some(dir) = &args.report_dir {
        write_folder(&Report::Exercise(Box::new(report.clone())), dir, signer.as_ref())?;
        global.note(format!("report: {}", dir.join("report.html").display()));
    }
    let Some(signer) = signer else { return Ok(()) };
    for opened in &begun.opened {
        let (vault, cluster) = (opened.backup.vault(), &opened.backup.manifest.cluster);
        let body = record_of(&report)?;
        let recorded = append_record(vault, &signer, cluster, &begun.plan.name, global.now(), body).await;
        recorded.context(|| "record the restore".into())?;
    }
    Ok(())
}

fn targets(begun: &Begun) -> Vec<Target> {
    let named = |at: usize| begun.plan.targets.get(at).map(|target| target.name.to_string());
    let target = |(at, cluster): (usize, &Option<crate::cluster::Cluster>)| match cluster {
        Some(cluster) => Target {
            name: named(at),
            kind: TargetKind::Cluster,
            place: cluster.server().to_string(),
            server_version: None,
        },
        None => Target { name: named(at), kind: TargetKind::Files, place: "no cluster".into(), server_version: None },
    };
    begun.clusters.iter().enumerate().map(target).collect()
}

/// Field by field, as far as the restore came.
async fn compare(
    begun: &Begun,
    summary: &RestoreSummary,
    global: &Global,
) -> Result<Vec<(String, Result<Difference, String>)>> {
    let mut comparisons = Vec::new();
    for (target, (opened, cluster)) in begun.opened.iter().zip(&begun.clusters).enumerate() {
        let of = opened.backup.manifest.cluster.clone();
        let compared = match cluster {
            None => Err("the plan needs no cluster".into()),
            Some(_) if summary.status == RestoreStatus::Stopped => Err("the restore was stopped".to_string()),
            Some(cluster) => {
                let scopes = stored_scopes(&opened.backup).await?;
                let way = Way::by(&begun.plan, target);
                Ok(with_cluster(&opened.backup, cluster, &scopes, way, global.progress().as_ref()).await?)
            }
        };
        comparisons.push((of, compared));
    }
    Ok(comparisons)
}
