//! The metrics, by Prometheus' conventions. All of them are gauges that follow from a [`Snapshot`], so nothing is lost when
//! the process ends. `docs/metrics.md` lists them; a test compares.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::facts::{Newest, SourceFacts};
use super::snapshot::{Check, CheckKind, Snapshot, Subject};
use crate::error::{Context, Result};
use crate::vault::manifest::Status;

/// The media type of what [`render`] gives.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// One value with its labels.
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: f64,
}

/// A metric, and how it follows from what is known.
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: fn(&Snapshot) -> Vec<Sample>,
}

/// Declares metrics: name, help, and a function of the snapshot.
macro_rules! metrics {
    ($($name:literal, $help:literal, $samples:expr;)+) => {
        const METRICS: &[Metric] = &[$(Metric { name: concat!("ckbackup_", $name), help: $help, samples: $samples }),+];
    };
}

metrics! {
    "build_info", "The version of ckbackup; always 1", build_info;
    "schedules_valid", "Whether every schedule file is in force as it stands; 0 while a broken edit is ignored",
        |s| s.schedules_valid.map(|valid| Sample { labels: Vec::new(), value: valid.into() }).into_iter().collect();
    "last_success_timestamp_seconds", "When the newest complete backup was finished",
        |s| each(s, |subject, _| time(subject.vault.facts.last_success?));
    "last_backup_timestamp_seconds", "When the newest backup was finished, complete or partial",
        |s| newest(s, |backup| seconds(backup.finished));
    "last_backup_complete", "Whether the newest backup is complete; 0 when it is partial",
        |s| newest(s, |backup| f64::from(backup.status == Status::Complete));
    "last_backup_duration_seconds", "How long the run of the newest backup took",
        |s| newest(s, |backup| backup.finished.duration_since(backup.started).as_secs_f64());
    "last_attempt_timestamp_seconds", "When the last run began, whatever became of it",
        |s| each(s, |subject, _| time(subject.last_attempt()?.0));
    "last_attempt_exit_code", "What the last run came to, as an exit code; absent where that is not known",
        |s| each(s, |subject, _| subject.last_attempt()?.1.map(f64::from));
    "source_items", "Objects, files or blocks of a source in the newest backup", |s| sources(s, |it| it.items as f64);
    "source_size_bytes", "Bytes of content of a source in the newest backup", |s| sources(s, |it| it.bytes as f64);
    "source_stored_size_bytes", "Bytes that a source takes in the vault, in the newest backup",
        |s| sources(s, |it| it.stored_bytes as f64);
    "source_problems", "What could not be read of a source in the newest backup", |s| sources(s, |it| it.problems as f64);
    "source_duration_seconds", "How long a source took in the newest backup", |s| sources(s, |it| it.seconds);
    "last_verified_timestamp_seconds", "When a backup was last proved to be at least so good", last_verified;
    "verified_backup_timestamp_seconds", "When the newest backup was finished that was proved to be at least so good",
        verified_backup;
    "backups_held", "How many backups the vault holds; absent while it cannot be read", held;
    "backups_wanted", "How many verified backups are to be kept", |s| each(s, |subject, _| subject.keep.map(f64::from));
    "window_used_ratio", "How far into its window the newest run in one was finished; above 1 after the close",
        |s| each(s, |subject, _| subject.vault.facts.window_used);
    "window_missed_timestamp_seconds", "When the last window closed that had no run",
        |s| each(s, |subject, s| time(subject.missed(s.now)?.closes));
    "next_run_timestamp_seconds", "When the next run starts by itself; in the past while it is under way or overdue",
        |s| each(s, |subject, s| time(subject.next_run(s.now)?));
    "vault_reachable", "Whether the vault could be read the last time",
        |s| each(s, |subject, _| subject.vault.reachable.map(f64::from));
    "vault_refresh_timestamp_seconds", "When the vault was last read",
        |s| each(s, |subject, _| time(subject.vault.refreshed?));
    "copies_verified", "How many copies of a schedule rotation read back and counted", copies;
    "last_rotation_timestamp_seconds", "When rotation last ended",
        |s| checks(s, CheckKind::Rotation, |check| time(check.at));
    "last_rotation_exit_code", "What the last rotation came to, as an exit code",
        |s| checks(s, CheckKind::Rotation, |check| Some(check.exit_code.into()));
    "last_rotation_damaged_backups", "How many backups the last rotation found to be damaged",
        |s| checks(s, CheckKind::Rotation, |check| Some(check.damaged? as f64));
    "last_verification_timestamp_seconds", "When a verification last ended",
        |s| checks(s, CheckKind::Verification, |check| time(check.at));
    "last_verification_exit_code", "What the last verification came to, as an exit code",
        |s| checks(s, CheckKind::Verification, |check| Some(check.exit_code.into()));
    "last_verification_damaged_backups", "How many backups the last verification found something wrong with",
        |s| checks(s, CheckKind::Verification, |check| Some(check.damaged? as f64));
}

/// The names of all metrics.
pub fn names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().map(|metric| metric.name)
}

/// The metrics of a snapshot in Prometheus' text format, which textfile collectors read as well.
pub fn render(snapshot: Snapshot) -> Result<String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).context(|| "write the metrics".into())?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for metric in METRICS {
            let samples = (metric.samples)(self);
            if samples.is_empty() {
                continue;
            }
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
            for Sample { labels, value } in samples {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_second() as f64
}

fn time(time: jiff::Timestamp) -> Option<f64> {
    Some(seconds(time))
}

fn build_info(_: &Snapshot) -> Vec<Sample> {
    vec![Sample { labels: vec![("version", env!("CARGO_PKG_VERSION").into())], value: 1.0 }]
}

impl Subject {
    fn sample(&self, value: f64) -> Sample {
        Sample { labels: vec![("cluster", self.cluster.clone()), ("schedule", self.schedule.clone())], value }
    }
}

impl Sample {
    fn label(mut self, name: &'static str, value: &str) -> Sample {
        self.labels.push((name, value.into()));
        self
    }
}

fn each(snapshot: &Snapshot, value: fn(&Subject, &Snapshot) -> Option<f64>) -> Vec<Sample> {
    let samples = snapshot.subjects.iter().map(|subject| Some(subject.sample(value(subject, snapshot)?)));
    samples.flatten().collect()
}

fn newest(snapshot: &Snapshot, value: fn(&Newest) -> f64) -> Vec<Sample> {
    let sample = |subject: &Subject| Some(subject.sample(value(subject.vault.facts.newest.as_ref()?)));
    snapshot.subjects.iter().filter_map(sample).collect()
}

fn sources(snapshot: &Snapshot, value: fn(&SourceFacts) -> f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for subject in &snapshot.subjects {
        for source in subject.vault.facts.newest.iter().flat_map(|newest| &newest.sources) {
            let sample = subject.sample(value(source));
            samples.push(sample.label("source", &source.name).label("kind", &source.kind));
        }
    }
    samples
}

fn last_verified(snapshot: &Snapshot) -> Vec<Sample> {
    by_level(snapshot, |proved| proved.at)
}

fn verified_backup(snapshot: &Snapshot) -> Vec<Sample> {
    by_level(snapshot, |proved| proved.backup)
}

fn by_level(snapshot: &Snapshot, time: fn(&super::Proved) -> jiff::Timestamp) -> Vec<Sample> {
    let of = |subject: &Subject| {
        let proved = subject.vault.facts.proved.iter();
        let samples = proved.map(|(level, it)| subject.sample(seconds(time(it))).label("level", level.as_str()));
        samples.collect::<Vec<_>>()
    };
    snapshot.subjects.iter().flat_map(of).collect()
}

fn held(snapshot: &Snapshot) -> Vec<Sample> {
    let readable = snapshot.subjects.iter().filter(|subject| subject.vault.reachable == Some(true));
    let of = |subject: &Subject| {
        let held = subject.vault.facts.held;
        let sample = |status, count: u32| subject.sample(count.into()).label("status", status);
        [
            sample("complete", held.complete),
            sample("partial", held.partial),
            sample("broken", held.broken),
            sample("untrusted", held.untrusted),
        ]
    };
    readable.flat_map(of).collect()
}

fn copies(snapshot: &Snapshot) -> Vec<Sample> {
    let of = |check: &Check| {
        let copies = check.copies.iter().map(|(schedule, copies)| Sample {
            labels: vec![("cluster", check.cluster.clone()), ("schedule", schedule.clone())],
            value: (*copies).into(),
        });
        copies.collect::<Vec<_>>()
    };
    snapshot.checks.iter().flat_map(of).collect()
}

fn checks(snapshot: &Snapshot, kind: CheckKind, value: fn(&Check) -> Option<f64>) -> Vec<Sample> {
    let wanted = snapshot.checks.iter().filter(|check| check.kind == kind);
    let sample =
        |check: &Check| Some(Sample { labels: vec![("cluster", check.cluster.clone())], value: value(check)? });
    wanted.filter_map(sample).collect()
}

#[cfg(test)]
mod tests;
