//! Which nights there should be, and what became of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{ClusterInput, Span, day_of};
use crate::report::model::{BackupCompleteness, BackupRow, FailedRunRow, MissedNight};
use crate::vault::record::RecordBody;

/// The date of the night whose window opens at a moment, where nobody recorded it: that of the nearest midnight in UTC, which
/// is the local date for windows after midnight between the Americas and Japan.
pub(super) fn of_opening(opens: Timestamp) -> Date {
    day_of(opens.saturating_add(SignedDuration::from_hours(12)).unwrap_or(opens))
}

/// The nights that are counted: those of the quarter, from the first one of which anything is known where the cluster is
/// younger than the quarter.
pub(super) fn expected(input: &ClusterInput, all: &[BackupRow], span: &Span) -> Vec<Date> {
    let first_day = span.quarter.first_day();
    let older = input.records.first.is_some_and(|first| first < span.quarter);
    let known = all.iter().map(|backup| backup.night).chain(told(input)).min();
    let from = match known {
        Some(known) if !older => known.max(first_day),
        _ => first_day,
    };
    from.series(1.day()).take_while(|day| span.has_day(*day)).collect()
}

/// Nights that records of failures tell of.
fn told(input: &ClusterInput) -> impl Iterator<Item = Date> {
    input.records.good.iter().filter_map(|found| match &found.record.body {
        RecordBody::MissedNight(it) => Some(it.night),
        RecordBody::FailedRun(it) => Some(it.night.unwrap_or_else(|| day_of(it.began))),
        _ => None,
    })
}

/// Nights without a backup, and what is known of why.
pub(super) fn missed(
    input: &ClusterInput,
    expected: &[Date],
    all: &[BackupRow],
    failed: &[FailedRunRow],
) -> Vec<MissedNight> {
    let kept: BTreeSet<_> = all.iter().map(|backup| backup.night).collect();
    let mut reasons: BTreeMap<Date, String> = BTreeMap::new();
    for found in &input.records.good {
        if let RecordBody::MissedNight(it) = &found.record.body {
            reasons.insert(it.night, it.reason.clone());
        }
    }
    // A run that failed says more than that there was none.
    reasons.extend(failed.iter().map(|run| (run.night, run.reason.clone())));
    let gone = expected.iter().filter(|night| !kept.contains(night));
    gone.map(|night| MissedNight { night: *night, reason: reasons.get(night).cloned() }).collect()
}

/// How many nights have a complete backup, and how many others a partial one.
pub(super) fn kept(expected: &[Date], all: &[BackupRow]) -> (u64, u64) {
    let of = |whole: BackupCompleteness| {
        let rows = all.iter().filter(move |backup| backup.completeness == whole);
        rows.map(|backup| backup.night).collect::<BTreeSet<_>>()
    };
    let (complete, partial) = (of(BackupCompleteness::Complete), of(BackupCompleteness::Partial));
    let full = expected.iter().filter(|night| complete.contains(night)).count();
    let part = expected.iter().filter(|night| partial.contains(night) && !complete.contains(night)).count();
    (full as u64, part as u64)
}

/// The longest time between two complete backups that touches the quarter, in seconds. After the last one it runs up to the
/// begin of the last day.
pub(super) fn longest_gap(all: &[BackupRow], span: &Span) -> Option<f64> {
    let complete = all.iter().filter(|backup| backup.completeness == BackupCompleteness::Complete);
    let mut starts: Vec<_> = complete.map(|backup| backup.started).collect();
    starts.sort();
    let midnight = |day: Date| day.to_zoned(jiff::tz::TimeZone::UTC).map(|midnight| midnight.timestamp()).ok();
    let (first, last) = (midnight(span.quarter.first_day())?, midnight(span.through)?);
    let end = starts.last()?.max(&last);
    let between = starts.windows(2).map(|pair| (pair[0], pair[1])).chain([(*starts.last()?, *end)]);
    let lengths = between.filter(|(_, to)| *to > first).map(|(from, to)| to.duration_since(from).as_secs_f64());
    lengths.fold(None, |most, length| Some(most.map_or(length, |most: f64| most.max(length))))
}
