//! A quarter, put together from signed records and from the manifests that still stand. Nothing is asked but what is handed in, so
//! the same input gives the same report.

mod exercises;
mod gaps;
mod nights;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;

use super::model::{
    BackupCompleteness, BackupRow, ClusterQuarter, FailedRunRow, QUARTER_SCHEMA, QuarterReport, RotationRow, SetAside,
    SignOff, SignatureFound, SignatureStatus, VerificationRow,
};
use crate::config::CorrectiveAction;
use crate::error::Result;
use crate::reader::{self, Committed, FoundRecord, Listing, Proofs, Records, Standing};
use crate::vault::Vault;
use crate::vault::attestation::Level;
use crate::vault::layout::BackupId;
use crate::vault::manifest::{Status, digest};
use crate::vault::quarter::Quarter;
use crate::vault::record::{BackupRecord, RecordBody};
use crate::vault::signature::{SignedBy, Signers};

/// Quarters that are shown beside each other.
pub const QUARTERS_SHOWN: usize = 8;

/// What a vault says of one cluster.
pub struct ClusterInput {
    /// The cluster.
    pub cluster: String,
    /// Its records.
    pub records: Records,
    /// Its backups.
    pub listings: Vec<Listing>,
    /// What was proved of them.
    pub proofs: BTreeMap<BackupId, Proofs>,
}

/// What a report of a quarter is made from.
pub struct QuarterInput {
    /// The quarter.
    pub quarter: Quarter,
    /// The last day that is counted.
    pub through: Date,
    /// The vault, for people.
    pub vault: String,
    /// The clusters.
    pub clusters: Vec<ClusterInput>,
    /// Corrective actions that somebody keeps a list of.
    pub actions: Vec<CorrectiveAction>,
}

/// Reads what a vault says of a cluster, as far as a quarter and those before it go.
pub async fn read_cluster(
    vault: &Vault,
    cluster: &str,
    quarter: Quarter,
    signers: Option<&Signers>,
) -> Result<ClusterInput> {
    let first = (1..QUARTERS_SHOWN).fold(quarter, |first, _| first.previous());
    let records = reader::records(vault, cluster, signers, |name| {
        let near = (quarter.previous()..=quarter.next()).contains(&name.quarter);
        near || (first <= name.quarter && name.quarter <= quarter && ["drill", "restore"].contains(&name.kind.as_str()))
    });
    let records = records.await?;
    let listings = reader::list(vault, cluster, signers).await?;
    let mut proofs = BTreeMap::new();
    for listing in &listings {
        if let Listing::Committed(backup) = listing {
            proofs.insert(backup.folder.id.clone(), reader::proofs(vault, backup, signers).await?);
        }
    }
    Ok(ClusterInput { cluster: cluster.into(), records, listings, proofs })
}

/// The report of a quarter.
pub fn quarter_report(input: QuarterInput) -> QuarterReport {
    let QuarterInput { quarter, through, vault, mut clusters, actions } = input;
    clusters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    let span = Span { quarter, through };
    let mut set_aside = BTreeSet::new();
    let reports: Vec<_> = clusters.iter().map(|cluster| one_cluster(cluster, &span, &mut set_aside)).collect();
    let exercises = exercises::read(&clusters, &span, &mut set_aside);
    let actions = exercises::actions(&exercises, actions, &span);
    let unknown = clusters.iter().flat_map(|cluster| &cluster.records.unknown);
    let unknown = unknown.map(|key| SetAside { key: key.clone(), why: "its kind is not known to this version".into() });
    let mut report = QuarterReport {
        schema: QUARTER_SCHEMA.into(),
        quarter: quarter.to_string(),
        from: quarter.first_day(),
        through,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        vault,
        clusters: reports,
        history: exercises::history(&exercises, quarter),
        exercises: exercises::rows(exercises, &span),
        actions,
        gaps: Vec::new(),
        set_aside: set_aside.into_iter().collect(),
        unknown: unknown.collect(),
        sign_off: SignOff::to_fill_in(),
    };
    report.gaps = gaps::gaps(&report);
    report
}

/// The days that are counted.
struct Span {
    quarter: Quarter,
    through: Date,
}

impl Span {
    fn has_day(&self, day: Date) -> bool {
        self.quarter.contains(day) && day <= self.through
    }

    fn has(&self, moment: Timestamp) -> bool {
        self.has_day(day_of(moment))
    }

    /// Whether it was known at the end of the last day.
    fn knows(&self, moment: Timestamp) -> bool {
        day_of(moment) <= self.through
    }
}

/// The day of a moment, in UTC.
fn day_of(moment: Timestamp) -> Date {
    moment.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn one_cluster(input: &ClusterInput, span: &Span, set_aside: &mut BTreeSet<SetAside>) -> ClusterQuarter {
    let refused = input.records.refused.iter();
    set_aside.extend(refused.map(|(key, e)| SetAside { key: key.clone(), why: e.one_line() }));
    let all = backups(input, span, set_aside);
    let (mut failed_runs, mut verifications, mut rotations) = (Vec::new(), Vec::new(), Vec::new());
    for FoundRecord { record, .. } in &input.records.good {
        let at = record.at;
        match &record.body {
            RecordBody::FailedRun(it) => {
                let night = it.night.unwrap_or_else(|| day_of(it.began));
                failed_runs.push(FailedRunRow { at, night, reason: it.reason.clone() });
            }
            RecordBody::Verification(it) if span.has(at) => {
                let (backup, level) = (it.backup.to_string(), it.level.as_str().into());
                verifications.push(VerificationRow { at, backup, level });
            }
            RecordBody::Rotation(it) if span.has(at) => {
                rotations.push(RotationRow { at, removed: it.removed.iter().map(BackupId::to_string).collect() });
            }
            _ => {}
        }
    }
    let expected = nights::expected(input, &all, span);
    let missed_nights = nights::missed(input, &expected, &all, &failed_runs);
    let (complete, partial) = nights::kept(&expected, &all);
    failed_runs.retain(|run| span.has_day(run.night));
    failed_runs.sort();
    verifications.sort();
    rotations.sort();
    ClusterQuarter {
        cluster: input.cluster.clone(),
        nights: expected.len() as u64,
        nights_complete: complete,
        nights_partial: partial,
        longest_gap_seconds: nights::longest_gap(&all, span),
        backups: all.into_iter().filter(|backup| span.has_day(backup.night)).collect(),
        failed_runs,
        missed_nights,
        verifications,
        rotations,
    }
}

/// Every backup that is known, of this quarter and the days around it, oldest first.
fn backups(input: &ClusterInput, span: &Span, set_aside: &mut BTreeSet<SetAside>) -> Vec<BackupRow> {
    let mut rows: BTreeMap<String, BackupRow> = BTreeMap::new();
    for found in &input.records.good {
        if let RecordBody::Backup(it) = &found.record.body {
            rows.insert(it.id.to_string(), recorded(it, found.by.as_ref()));
        }
    }
    for listing in &input.listings {
        match listing {
            Listing::Committed(backup) => standing(backup, &mut rows, set_aside),
            Listing::Broken(folder, e) => {
                set_aside.insert(SetAside { key: folder.key(), why: e.one_line() });
            }
            Listing::Uncommitted(_) => {}
        }
    }
    for (id, row) in &mut rows {
        let best = proved(input, id, &row.manifest_sha256, span);
        row.proved = best.map(|(level, _)| level.as_str().into());
        row.proved_at = best.map(|(_, at)| at);
    }
    let mut rows: Vec<_> =
        rows.into_values().filter(|row| span.knows(row.started) || span.has_day(row.night)).collect();
    rows.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    rows
}

fn recorded(it: &BackupRecord, by: Option<&SignedBy>) -> BackupRow {
    BackupRow {
        id: it.id.to_string(),
        night: it.night.unwrap_or_else(|| day_of(it.started)),
        started: it.started,
        finished: it.finished,
        completeness: whole(it.status),
        problems: it.problems,
        items: it.items,
        stored_bytes: it.stored_bytes,
        manifest_sha256: hex::encode(it.manifest_sha256),
        signature: signature(by),
        in_vault: false,
        proved: None,
        proved_at: None,
    }
}

/// A backup that stands in the vault. Where a record says what its manifest was, it must be that.
fn standing(backup: &Committed, rows: &mut BTreeMap<String, BackupRow>, set_aside: &mut BTreeSet<SetAside>) {
    let (key, id) = (backup.folder.key(), backup.folder.id.to_string());
    let by = match &backup.standing {
        Standing::Refused(e) => {
            set_aside.insert(SetAside { key, why: e.one_line() });
            return;
        }
        Standing::Unchecked => None,
        Standing::Trusted(by) => Some(by),
    };
    if let Some(row) = rows.get_mut(&id) {
        match row.manifest_sha256 == hex::encode(digest(&backup.bytes)) {
            true => row.in_vault = true,
            false => {
                let why = "its manifest is another one than was recorded when it was taken".into();
                set_aside.insert(SetAside { key, why });
            }
        }
        return;
    }
    let night = backup.manifest.window.as_ref().map(|window| nights::of_opening(window.opens));
    if let Ok(record) = BackupRecord::of(&backup.manifest, night) {
        let record = BackupRecord { manifest_sha256: digest(&backup.bytes), ..record };
        rows.insert(id, BackupRow { in_vault: true, ..recorded(&record, by) });
    }
}

/// The highest level that was proved of a backup by the end of the last day, and when.
fn proved(input: &ClusterInput, id: &str, manifest: &str, span: &Span) -> Option<(Level, Timestamp)> {
    let records = input.records.good.iter().filter_map(|found| match &found.record.body {
        RecordBody::Verification(it) if it.backup.to_string() == id && hex::encode(it.manifest_sha256) == manifest => {
            Some((it.level, found.record.at))
        }
        _ => None,
    });
    let beside = id.parse().ok().and_then(|id: BackupId| input.proofs.get(&id));
    let beside = beside.into_iter().flat_map(|proofs| &proofs.good);
    let beside = beside.map(|proof| (proof.attestation.level, proof.attestation.at));
    records.chain(beside).filter(|(_, at)| span.knows(*at)).max()
}

fn whole(status: Status) -> BackupCompleteness {
    match status {
        Status::Complete => BackupCompleteness::Complete,
        Status::Partial => BackupCompleteness::Partial,
    }
}

fn signature(by: Option<&SignedBy>) -> SignatureFound {
    SignatureFound {
        status: if by.is_some() { SignatureStatus::Good } else { SignatureStatus::Unchecked },
        principal: by.map(|by| by.principal.clone()),
        fingerprint: by.map(|by| by.fingerprint.clone()),
        problem: None,
    }
}
