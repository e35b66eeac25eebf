//! What a schedule must say, and what is told when it does not.

use super::*;

#[test]
fn a_schedule_says_what_it_means() {
    let schedule = schedule(SCHEDULE);
    assert_eq!((schedule.name.as_str(), schedule.cluster.as_str(), schedule.keep), ("nightly", "workload-1", 3));
    assert_eq!(schedule.window.unwrap().to_string(), "00:00–03:00 CET");
    assert_eq!(schedule.signing_key, Path::new("s/keys/id_ed25519"));
    assert_eq!(schedule.recipients, ["age1oncall", "age1escrow"]);
    assert_eq!(schedule.source_text, SCHEDULE);
    let SourceKind::Kubernetes(scope) = &schedule.sources[0].kind else { panic!("not of a cluster") };
    assert!(!scope.namespace("scratch") && scope.namespace("harbor") && scope.cluster_scoped && scope.defaults);
    assert_eq!(scope.label_selector.as_ref().unwrap().to_query(), "!temporary");
}

#[test]
fn a_window_must_be_one() {
    assert_eq!(
        wrong(SCHEDULE, "03:00", "00:00"),
        "`spec.window` at s/x.yaml:6:11: the window is empty: it opens and closes at 00:00"
    );
    assert_eq!(
        wrong(SCHEDULE, "CET", "Europe/Stokholm"),
        "`spec.window.timeZone` at s/x.yaml:6:55: `Europe/Stokholm` is no time zone of the IANA database, did you mean \
         `Europe/Stockholm`?"
    );
    assert_eq!(
        wrong(SCHEDULE, "CET", "Middle of Europe"),
        "`spec.window.timeZone` at s/x.yaml:6:55: `Middle of Europe` is no time zone of the IANA database; write it like \
         `CET`, `Europe/Stockholm` or `UTC`"
    );
    assert_eq!(
        wrong(SCHEDULE, "03:00", "25:00"),
        "`spec.window.closes` at s/x.yaml:6:36: `25:00` is no time of day; write it like \"00:00\" or \"23:30\""
    );
}

#[test]
fn recipients_are_two_different_public_keys() {
    assert_eq!(
        wrong(SCHEDULE, ", age1escrow", ""),
        "`spec.encryption.recipients` at s/x.yaml:8:28: names one recipient only, and with that key lost every backup is \
         lost; add an escrow key, or set `allowSingleRecipient: true`"
    );
    assert_eq!(
        wrong(SCHEDULE, "age1escrow", "age1oncall"),
        "`spec.encryption.recipients[1]` at s/x.yaml:8:41: is the same recipient as `spec.encryption.recipients[0]`"
    );
    let leaked = wrong(SCHEDULE, "age1escrow", "AGE-SECRET-KEY-1HUNTER2");
    assert!(leaked.contains("is a private key") && !leaked.contains("HUNTER2"), "{leaked}");
    let single = SCHEDULE.replace(", age1escrow]", "], allowSingleRecipient: true");
    assert_eq!(schedule(&single).recipients, ["age1oncall"]);
}

#[test]
fn names_vaults_and_counts_are_checked() {
    assert_eq!(
        wrong(SCHEDULE, "workload-1", "../prod"),
        "`spec.cluster` at s/x.yaml:5:12: `../prod` is no valid cluster name: use lowercase letters, digits and `-`"
    );
    assert_eq!(
        wrong(SCHEDULE, "  window", "  keep: 0\n  window"),
        "`spec.keep` at s/x.yaml:6:9: must be at least 1: with 0 no backup would be kept at all"
    );
    assert_eq!(
        wrong(SCHEDULE, "s3://", "s4://"),
        "`spec.vault.url` at s/x.yaml:7:16: `s4://ck8s-backups/prod` names an unknown kind of storage, `s4`, did you mean \
         `s3`?"
    );
    assert_eq!(
        wrong(SCHEDULE, "https://objects", "http://objects"),
        "`spec.vault.endpoint` at s/x.yaml:7:52: `http://objects.example` speaks without TLS; write `https://`, or set \
         `allowHttp: true` beside it where the network itself is trusted"
    );
    assert_eq!(
        wrong(SCHEDULE, "  signing", "  include: {plans: [gone/*.yaml]}\n  signing"),
        "`spec.include.plans[0]` at s/x.yaml:9:21: `gone/*.yaml` names no file under s"
    );
}
