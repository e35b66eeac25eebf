use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::config::{CatchUp, Window};
use crate::observe::{Attempt, Facts, Held, Proved, VaultView};
use crate::scheduler::{Timing, WasRun};
use crate::vault::attestation::Level;

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

/// A schedule of which everything is known: two nights have a run, and the one between them has none.
fn subject() -> Subject {
    let [opens, closes] = [0, 3].map(|hour| jiff::civil::time(hour, 0, 0, 0));
    let window = Window { opens, closes, time_zone: jiff::tz::TimeZone::UTC, zone_name: "UTC".into() };
    let run = |date: &str| WasRun {
        started: at(&format!("{date}T00:10:00Z")),
        window_opened: Some(at(&format!("{date}T00:00:00Z"))),
        complete: true,
    };
    let source = SourceFacts {
        name: "platform".into(),
        kind: "kubernetes".into(),
        items: 31_000,
        bytes: 40_000_000,
        stored_bytes: 5_000_000,
        problems: 2,
        seconds: 12.5,
    };
    let newest = Newest {
        started: at("2026-11-21T00:10:00Z"),
        finished: at("2026-11-21T00:45:00Z"),
        status: Status::Complete,
        sources: vec![source],
    };
    let proved = Proved { at: at("2026-11-21T04:30:00Z"), backup: newest.finished };
    let facts = Facts {
        runs: vec![run("2026-11-19"), run("2026-11-21")],
        held: Held { complete: 2, partial: 1, broken: 0, untrusted: 3 },
        last_success: Some(newest.finished),
        last_begun: Some(newest.started),
        window_used: Some(0.25),
        proved: BTreeMap::from([(Level::Present, proved), (Level::Intact, proved)]),
        newest: Some(newest),
    };
    Subject {
        cluster: "workload-1".into(),
        schedule: "nightly".into(),
        keep: Some(3),
        timing: Some(Timing::new(window, CatchUp::InWindow, 600)),
        vault: VaultView::read(facts, at("2026-11-21T11:59:00Z")),
        attempt: None,
    }
}

fn check(kind: CheckKind) -> Check {
    let copies = BTreeMap::from([("nightly".to_string(), 2)]);
    let at = at("2026-11-21T04:30:00Z");
    Check { kind, cluster: "workload-1".into(), at, exit_code: 5, copies, damaged: Some(1) }
}

fn snapshot(subject: Subject) -> Snapshot {
    let mut verification = check(CheckKind::Verification);
    verification.copies.clear();
    Snapshot {
        now: at("2026-11-21T12:00:00Z"),
        schedules_valid: Some(true),
        subjects: vec![subject],
        checks: vec![check(CheckKind::Rotation), verification],
    }
}

/// The value of a series; none where it is not there.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn of(name: &str) -> String {
    format!("ckbackup_{name}{{cluster=\"workload-1\",schedule=\"nightly\"}}")
}

fn moment(text: &str) -> Option<f64> {
    Some(at(text).as_second() as f64)
}

#[test]
fn everything_that_is_known_is_shown() {
    let text = render(snapshot(subject())).unwrap();
    let shown = |name: &str| value(&text, &of(name));
    assert_eq!(shown("last_success_timestamp_seconds"), moment("2026-11-21T00:45:00Z"));
    assert_eq!(shown("last_attempt_timestamp_seconds"), moment("2026-11-21T00:10:00Z"));
    assert_eq!(shown("last_attempt_exit_code"), Some(0.0));
    assert_eq!(shown("last_backup_duration_seconds"), Some(2100.0));
    assert_eq!(shown("window_missed_timestamp_seconds"), moment("2026-11-20T03:00:00Z"));
    assert_eq!(shown("next_run_timestamp_seconds"), moment("2026-11-22T00:10:00Z"));
    assert_eq!(shown("vault_refresh_timestamp_seconds"), moment("2026-11-21T11:59:00Z"));
    let labels = "cluster=\"workload-1\",schedule=\"nightly\"";
    for (series, wanted) in [
        (format!("ckbackup_source_items{{{labels},source=\"platform\",kind=\"kubernetes\"}}"), 31_000.0),
        (format!("ckbackup_backups_held{{{labels},status=\"untrusted\"}}"), 3.0),
        ("ckbackup_last_rotation_exit_code{cluster=\"workload-1\"}".into(), 5.0),
        ("ckbackup_schedules_valid".into(), 1.0),
    ] {
        assert_eq!(value(&text, &series), Some(wanted), "{series}\n{text}");
    }
    let proved =
        |level| value(&text, &format!("ckbackup_last_verified_timestamp_seconds{{{labels},level=\"{level}\"}}"));
    assert_eq!(proved("intact"), moment("2026-11-21T04:30:00Z"));
    assert_eq!(proved("readable"), None);
    let told: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(told, names().collect(), "a metric is never shown");
}

#[test]
fn a_vault_that_cannot_be_read_says_so_and_nothing_about_what_it_holds() {
    let mut gone = subject();
    gone.vault.reachable = Some(false);
    let text = render(snapshot(gone)).unwrap();
    assert_eq!(value(&text, &of("vault_reachable")), Some(0.0));
    assert!(!text.contains("backups_held"), "{text}");
    assert_eq!(value(&text, &of("last_success_timestamp_seconds")), moment("2026-11-21T00:45:00Z"));
    let never = Subject { vault: VaultView::unreachable(), ..subject() };
    let text = render(snapshot(never)).unwrap();
    assert_eq!(value(&text, &of("last_success_timestamp_seconds")), None);
    assert_eq!(value(&text, &of("next_run_timestamp_seconds")), None, "tonight may have its run already");
}

#[test]
fn the_last_attempt_is_the_newest_that_anybody_saw() {
    let attempt = |began: &str, ended: &str| Some(Attempt { began: at(began), ended: at(ended), exit_code: 1 });
    let last = |attempt| Subject { attempt, ..subject() }.last_attempt().unwrap();
    // It waited for its turn, then failed: the folder in the vault is its own.
    assert_eq!(last(attempt("2026-11-21T00:00:05Z", "2026-11-21T00:20:00Z")), (at("2026-11-21T00:00:05Z"), Some(1)));
    // Another process committed one since.
    assert_eq!(last(attempt("2026-11-20T00:00:05Z", "2026-11-20T00:20:00Z")), (at("2026-11-21T00:10:00Z"), Some(0)));
    // Another process began one since, and what came of it is not known.
    let mut begun = subject();
    begun.vault.facts.last_begun = Some(at("2026-11-21T11:00:00Z"));
    assert_eq!(begun.last_attempt(), Some((at("2026-11-21T11:00:00Z"), None)));
}

/// The names in the first column of the tables.
fn documented(text: &str, begins: &str) -> BTreeSet<String> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.filter(|cell| cell.starts_with(begins)).map(String::from).collect()
}

#[test]
fn the_documents_list_every_metric_and_event_and_no_others() {
    let document = include_str!("../../../docs/metrics.md");
    let all = names().chain(crate::observe::drill_names()).map(String::from);
    assert_eq!(documented(document, "ckbackup_"), all.collect());
    let reasons: BTreeSet<_> = crate::observe::Reason::ALL.iter().map(|reason| reason.as_str().to_string()).collect();
    let events = document.split("## Events").nth(1).unwrap().split("\n## ").next().unwrap();
    assert_eq!(documented(events, ""), reasons);
}

#[test]
fn the_alerts_use_metrics_that_there_are() {
    let rules = include_str!("../../../deploy/prometheus-rules.yaml");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let used: BTreeSet<_> = rules
        .match_indices("ckbackup_")
        .map(|(start, _)| rules[start..].split(|c| !is_name(c)).next().unwrap())
        .collect();
    let known: BTreeSet<_> = names().chain(crate::observe::drill_names()).collect();
    assert!(used.len() > 10 && used.is_subset(&known), "{:?}", used.difference(&known));
}
