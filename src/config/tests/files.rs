//! What is wrong with a file as such: keys, types, YAML, several documents.

use super::*;

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    assert_eq!(
        wrong(SCHEDULE, "namespaces", "namspaces"),
        "unknown key `namspaces` at s/x.yaml:12:20, did you mean `namespaces`?"
    );
    assert_eq!(
        wrong(SCHEDULE, "  cluster:", "  clutser:"),
        "unknown key `clutser` at s/x.yaml:5:3, did you mean `cluster`?"
    );
    assert_eq!(
        wrong(PLAN, "expect: 1m", "colour: red"),
        "unknown key `colour` at s/x.yaml:9:7; known are: `name`, `after`, `target`, `when`, `onFailure`, `retry`, `timeout`, `expect`, `plan`, `apply`, `gate`, `http`, \
         `scale`, `manual`, `files`, `prometheus`, `elasticsearch`, `objects`, `command`"
    );
    assert_eq!(
        wrong(SCHEDULE, "kubernetes:", "kuberntes:"),
        "unknown key `kuberntes` at s/x.yaml:12:7, did you mean `kubernetes`?"
    );
    assert_eq!(
        wrong(SCHEDULE, "{name: nightly}", "{nam: nightly}"),
        "unknown key `nam` at s/x.yaml:3:12, did you mean `name`?"
    );
}

#[test]
fn wrong_types_name_the_key_and_what_it_takes() {
    assert_eq!(
        wrong(SCHEDULE, "  window:", "  keep: three\n  window:"),
        "`spec.keep` at s/x.yaml:6:9: must be a whole number, not negative, but is the text \"three\""
    );
    assert_eq!(
        wrong(SCHEDULE, "[scratch]", "scratch"),
        "`spec.sources[0].kubernetes.namespaces.exclude` at s/x.yaml:12:42: must be a list, but is the text \"scratch\""
    );
    assert_eq!(wrong(SCHEDULE, "workload-1", "[a]"), "`spec.cluster` at s/x.yaml:5:12: must be a text, but is a list");
    assert_eq!(
        wrong(SCHEDULE, "{keyFile: keys/id_ed25519}", "[a]"),
        "`spec.signing` at s/x.yaml:9:12: must be a mapping (`key: value`), but is a list"
    );
    assert_eq!(
        wrong(SCHEDULE, "labelSelector: \"!temporary\"", "defaults: maybe"),
        "`spec.sources[0].kubernetes.defaults` at s/x.yaml:12:64: must be `true` or `false`, but is the text \"maybe\""
    );
}

#[test]
fn missing_and_doubled_keys_are_named() {
    assert_eq!(wrong(SCHEDULE, "  cluster: workload-1\n", ""), "key `spec.cluster` is missing at s/x.yaml:5:3");
    assert_eq!(
        wrong(PLAN, "spec:", "other:"),
        "unknown key `other` at s/x.yaml:4:1; known are: `apiVersion`, `kind`, `metadata`, `spec`"
    );
    assert_eq!(
        wrong(SCHEDULE, "  signing:", "  cluster: other\n  signing:"),
        "key `spec.cluster` is given twice, the second time at s/x.yaml:9:3"
    );
    assert_eq!(
        wrong(PLAN, "kind: RestorePlan\n", "kind: RestorePlan\nkind: Schedule\n"),
        "key `kind` is given twice, the second time at s/x.yaml:3:1"
    );
}

#[test]
fn what_is_no_document_of_ours_is_refused_before_its_keys() {
    assert_eq!(why(""), "s/x.yaml is empty");
    assert_eq!(why("# only\n---\n"), "s/x.yaml is empty");
    assert_eq!(
        why("just words"),
        "the document at s/x.yaml:1:1: must be a mapping (`key: value`), but is the text \"just words\""
    );
    assert_eq!(
        why(&format!("# an identity, named by mistake\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58))),
        "the document at s/x.yaml:2:1: must be a mapping (`key: value`), but is a text of 74 characters"
    );
    assert_eq!(wrong(SCHEDULE, "ckbackup.io/v1", "v1"), "`apiVersion` at s/x.yaml:1:13: `v1` must be `ckbackup.io/v1`");
    assert_eq!(
        wrong(SCHEDULE, "ckbackup.io/v1", "ckbackup.io/v2"),
        "`apiVersion` at s/x.yaml:1:13: `ckbackup.io/v2` is not known to this version, which reads `ckbackup.io/v1`; \
         upgrade ckbackup to read it"
    );
    assert_eq!(
        wrong(SCHEDULE, "kind: Schedule", "kind: Schedul"),
        "`kind` at s/x.yaml:2:7: `Schedul` is no kind of document, did you mean `Schedule`?"
    );
    assert_eq!(
        why("spec: {}"),
        "2 problems in s/x.yaml:\n  `apiVersion` at s/x.yaml:1:1: the key is missing; write `apiVersion: ckbackup.io/v1`\n  \
         `kind` at s/x.yaml:1:1: the key is missing; write `Schedule` or `RestorePlan` or `Scenario`"
    );
}

#[test]
fn what_is_not_yaml_is_placed() {
    assert_eq!(
        wrong(SCHEDULE, "  cluster", "\tcluster"),
        "s/x.yaml:5:1 is not YAML: found character that cannot start any token; indent with spaces, YAML takes no tabs there"
    );
    assert_eq!(
        wrong(SCHEDULE, "[scratch]", "[scratch"),
        "s/x.yaml:12:50 is not YAML: did not find expected ',' or ']'"
    );
    assert_eq!(why("a: *b"), "s/x.yaml:1:4 is not YAML: unknown anchor");
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text = SCHEDULE.replace("workload-1", "W").replace("03:00", "00:00").replace("CET", "CETT");
    assert_eq!(
        why(&text),
        "2 problems in s/x.yaml:\n  `spec.cluster` at s/x.yaml:5:12: `W` is no valid cluster name: use lowercase letters, \
         digits and `-`\n  `spec.window.timeZone` at s/x.yaml:6:55: `CETT` is no time zone of the IANA database, did you \
         mean `CET`?"
    );
}

#[test]
fn a_file_may_hold_several_documents_of_different_names() {
    let documents = read(&format!("{SCHEDULE}---\n{PLAN}")).unwrap();
    assert_eq!(documents.iter().map(Document::kind).collect::<Vec<_>>(), ["Schedule", "RestorePlan"]);
    assert_eq!(
        why(&format!("{PLAN}---\n{PLAN}")),
        "s/x.yaml holds two documents of kind RestorePlan with the name `all`"
    );
    let later = why(&format!("{SCHEDULE}---\n{}", PLAN.replace("4h", "x")));
    assert_eq!(later, "`spec.rto` at s/x.yaml:18:8: `x` is no duration; write it like `4h`, `30m` or `1m30s`");
}

#[test]
fn the_one_that_is_wanted_must_be_clear() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    let (one, two) = (SCHEDULE, SCHEDULE.replace("name: nightly", "name: weekly"));
    std::fs::write(&file, format!("{one}---\n{two}")).unwrap();
    assert_eq!(read_schedule(&file, Some("weekly")).unwrap().name, "weekly");
    let why = |result: Result<Schedule>| result.unwrap_err().to_string().replace(&file.display().to_string(), "FILE");
    assert_eq!(why(read_schedule(&file, None)), "FILE holds several schedules (`nightly`, `weekly`); say which");
    assert_eq!(why(read_schedule(&file, Some("weekl"))), "FILE holds no schedule `weekl`, did you mean `weekly`?");
    assert!(read_plan(&file, None).unwrap_err().to_string().ends_with("holds no restore plan"));
    assert!(read_file(&folder.path().join("gone.yaml")).unwrap_err().to_string().starts_with("cannot read "));
    std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(why(read_schedule(&file, None)), "FILE is no text file (UTF-8)");
}

#[test]
fn no_prefix_of_a_sound_file_makes_the_reader_panic() {
    for sound in [SCHEDULE, PLAN] {
        for end in (0..sound.len()).filter(|end| sound.is_char_boundary(*end)) {
            let _ = read(&sound[..end]);
        }
    }
}
