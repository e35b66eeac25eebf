//! What a person reads when a file is wrong: the whole message, for each way to get it wrong.

use std::path::Path;

use super::*;

const SCHEDULE: &str = "\
apiVersion: ckbackup.io/v1
kind: Schedule
metadata: {name: nightly}
spec:
  cluster: workload-1
  window: {opens: \"00:00\", closes: \"03:00\", timeZone: CET}
  vault: {url: \"s3://ck8s-backups/prod\", endpoint: \"https://objects.example\"}
  encryption: {recipients: [age1oncall, age1escrow]}
  signing: {keyFile: keys/id_ed25519}
  sources:
    - name: platform
      kubernetes: {namespaces: {exclude: [scratch]}, labelSelector: \"!temporary\"}
";

/// The source in it.
const KUBERNETES: &str = "kubernetes: {namespaces: {exclude: [scratch]}, labelSelector: \"!temporary\"}";

const PLAN: &str = "\
apiVersion: ckbackup.io/v1
kind: RestorePlan
metadata: {name: all}
spec:
  rto: 4h
  steps:
    - name: crds
      apply: {kinds: [CustomResourceDefinition]}
      expect: 1m
    - name: served
      after: [crds]
      gate: {kind: CustomResourceDefinition, condition: Established}
    - name: rest
      after: [served]
      apply: {}
";

fn read(text: &str) -> Result<Vec<Document>> {
    parse(text, Path::new("s/x.yaml"))
}

fn why(text: &str) -> String {
    let error = read(text).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Usage);
    error.to_string()
}

/// Puts `to` where the sound file has `from`, and gives what is then said.
#[track_caller]
fn wrong(sound: &str, from: &str, to: &str) -> String {
    assert!(sound.contains(from), "{from}");
    why(&sound.replacen(from, to, 1))
}

fn schedule(text: &str) -> Schedule {
    match read(text).unwrap().remove(0) {
        Document::Schedule(schedule) => *schedule,
        other => panic!("{other:?}"),
    }
}

fn plan(text: &str) -> RestorePlan {
    match read(text).unwrap().remove(0) {
        Document::RestorePlan(plan) => plan,
        other => panic!("{other:?}"),
    }
}

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
fn a_plan_says_what_it_means() {
    let plan = plan(PLAN);
    assert_eq!((plan.rto.to_string().as_str(), plan.order()), ("4h", &[vec![0], vec![1], vec![2]][..]));
    assert_eq!(plan.steps[1].after, [0]);
    assert!(matches!(&plan.steps[1].action, Action::Gate(gate) if gate.timeout == DEFAULT_GATE_TIMEOUT));
}

#[test]
fn each_object_belongs_to_one_step() {
    let plan = plan(PLAN);
    let labels = Default::default();
    let step = |kind, group| {
        plan.step_for(&Subject { source: "platform", kind, group, namespace: None, name: "x", labels: &labels })
    };
    assert_eq!(step("CustomResourceDefinition", "apiextensions.k8s.io"), Some(0));
    assert_eq!(step("Certificate", "cert-manager.io"), Some(2));
}

#[test]
fn namespaces_of_a_step_take_their_namespace_objects_along() {
    let text = PLAN.replace("apply: {}", "apply: {namespaces: {include: [shop]}}");
    let plan = plan(&text);
    let labels = Default::default();
    let step = |kind, namespace, name| {
        plan.step_for(&Subject { source: "platform", kind, group: "", namespace, name, labels: &labels })
    };
    assert_eq!(step("Secret", Some("shop"), "x"), Some(2));
    assert_eq!(step("Secret", Some("other"), "x"), None);
    assert_eq!(step("Namespace", None, "shop"), Some(2));
    assert_eq!(step("PersistentVolume", None, "shop"), None);
}

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
        "unknown key `colour` at s/x.yaml:9:7; known are: `name`, `after`, `expect`, `apply`, `gate`, `manual`, \
         `files`, `prometheus`, `elasticsearch`, `objects`, `command`"
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
         `kind` at s/x.yaml:1:1: the key is missing; write `Schedule` or `RestorePlan`"
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
fn sources_are_told_apart_and_of_a_known_kind() {
    let more = |more: &str| why(&format!("{SCHEDULE}{more}"));
    assert_eq!(
        more("    - {name: platform, kubernetes: {}}\n"),
        "`spec.sources[1].name` at s/x.yaml:13:14: `platform` is already the name of `spec.sources[0]`"
    );
    assert_eq!(
        more("    - {name: configuration, kubernetes: {}}\n"),
        "`spec.sources[1].name` at s/x.yaml:13:14: `configuration` is reserved for the files that ckbackup stores with \
         each backup"
    );
    assert_eq!(
        more("    - {name: m, etcd: {url: x}}\n"),
        "`spec.sources[1].etcd` at s/x.yaml:13:23: source kind `etcd` is not supported by this version; remove the source, \
         or upgrade ckbackup"
    );
    assert_eq!(
        more("    - {name: m}\n"),
        "`spec.sources[1]` at s/x.yaml:13:7: the source has no kind; write `kubernetes: {}` to save a cluster's objects"
    );
    assert_eq!(
        more("    - {name: m, kubernetes: {}, files: {path: x}}\n"),
        "`spec.sources[1]` at s/x.yaml:13:7: the source has several kinds (`kubernetes`, `files`); make it one source for \
         each"
    );
    assert_eq!(
        more("    - {name: m, objects: {url: \"s3://ck8s-backups/prod/workload-1\"}}\n"),
        "`spec.sources[1].objects.url` at s/x.yaml:13:32: `s3://ck8s-backups/prod/workload-1` and the vault, \
         `s3://ck8s-backups/prod`, lie in one another"
    );
    assert_eq!(
        more("    - {name: m, objects: {url: \"file:///srv/blobs\", credentialsFile: x}}\n"),
        "`spec.sources[1].objects.credentialsFile` at s/x.yaml:13:70: a folder needs no credentials; remove this key"
    );
}

#[test]
fn sources_of_files_and_metrics_are_read_or_told_what_is_wrong() {
    let problem = |source: &str| why(&SCHEDULE.replace(KUBERNETES, source));
    let read = |source: &str| schedule(&SCHEDULE.replace(KUBERNETES, source)).sources[0].kind.clone();
    let logs =
        "files: {path: logs, names: {include: [\"*.log\"]}, newerThan: 30d, maxSize: 50GB, format: kubernetesAudit}";
    let SourceKind::Files(files) = read(logs) else { panic!("not files") };
    assert_eq!((files.folder.as_path(), files.limits.max_size), (Path::new("s/logs"), Some(50_000_000_000)));
    assert!(files.names.allows("a/b.log") && !files.names.allows("a/b.gz"));
    let metrics = "prometheus: {url: \"http://p:9090\", data: {path: /prometheus}, access: {caFile: ca.pem}}";
    let SourceKind::Prometheus(metrics) = read(metrics) else { panic!("not metrics") };
    assert!(metrics.head && metrics.access.ca_file.as_deref() == Some(Path::new("s/ca.pem")));
    let in_pod = "prometheus: {url: \"http://p:9090\", data: {pod: {namespace: a, selector: app=p, path: /data/}}, \
                  alertmanager: {url: \"http://a:9093\"}}";
    let kind = read(in_pod);
    assert!(kind.needs_cluster());
    let SourceKind::Prometheus(metrics) = kind else { panic!("not metrics") };
    assert!(matches!(&metrics.data, PrometheusData::Pod { path, .. } if path == "/data"), "{metrics:?}");
    assert_eq!(metrics.alertmanager.unwrap().url.as_str(), "http://a:9093/");

    for (source, what) in [
        ("files: {path: \"\"}", "names no folder"),
        ("files: {path: x, maxSize: 5}", "`5` is no amount of data"),
        ("files: {path: x, format: kubernetesaudit}", "`kubernetesaudit` is no format that is known, did you mean"),
        ("files: {path: x, names: {include: [\"[\"]}}", "the pattern `[` cannot be read"),
        ("prometheus: {data: {path: x}}", "accept with `head: false`"),
        ("prometheus: {data: {}, head: false}", "give the `path` of the data directory, or the `pod`"),
        (
            "prometheus: {data: {pod: {namespace: a, selector: \"=\"}}, head: false}",
            "spec.sources[0].prometheus.data.pod.selector",
        ),
        ("prometheus: {data: {pod: {namespace: a, selector: a=b, path: x}}, head: false}", "it begins with `/`"),
        ("prometheus: {url: \"ftp://x\", data: {path: x}}", "no URL of an HTTP server"),
        ("prometheus: {url: \"http://a:b@x\", data: {path: x}}", "credentials stand in files"),
        (
            "prometheus: {url: \"http://x\", data: {path: x}, access: {username: a}}",
            "`username` and `passwordFile` go together",
        ),
    ] {
        let said = problem(source);
        assert!(said.contains(what), "{source}: {said}");
    }
    let size = SCHEDULE.replace("  sources:", "  segmentSize: 1KiB\n  sources:");
    assert!(why(&size).contains("must be from `1MiB` to `4GiB`"));
}

#[test]
fn a_place_for_blocks_is_read_or_told_what_is_wrong() {
    let workload = "workload: {kind: StatefulSet, namespace: a, name: p}";
    for (step, what) in [
        ("{source: x}".to_string(), "say where the blocks are put"),
        (
            "{source: x, check: {url: \"http://p\"}, alertmanager: {url: \"http://a\"}}".into(),
            "there is nothing to check",
        ),
        (format!("{{source: x, to: y, pod: {{{workload}, claim: c}}}}"), "gives both a folder (`to`) and a `pod`"),
        (format!("{{source: x, pod: {{{workload}, claim: \"\"}}}}"), "names no claim of a volume"),
        (format!("{{source: x, pod: {{{workload}, claim: c, path: y}}}}"), "it begins with `/`"),
    ] {
        let told = why(&PLAN.replace("apply: {}", &format!("prometheus: {step}")));
        assert!(told.contains(what), "{told}");
    }
    let sound = format!("prometheus: {{source: x, pod: {{{workload}, claim: c}}}}");
    let plan = plan(&PLAN.replace("apply: {}", &sound));
    let Action::Prometheus(read) = &plan.steps[2].action else { panic!("another step") };
    assert!(matches!(&read.to, Some(BlocksTo::Claim(claim)) if claim.claim == "c"));
}

#[test]
fn a_scope_that_would_miss_something_in_silence_is_refused() {
    let scope = |scope: &str| wrong(SCHEDULE, "labelSelector: \"!temporary\"", scope);
    assert_eq!(
        scope("resources: {include: [events]}"),
        "`spec.sources[0].kubernetes.resources.include[0]` at s/x.yaml:12:76: `events` is always left out (events tell \
         what happened to the old cluster); remove it, or set `defaults: false`"
    );
    assert_eq!(
        scope("labelSelector: \"a in b\""),
        "`spec.sources[0].kubernetes.labelSelector` at s/x.yaml:12:69: `a in b` is no label selector: the values after \
         `in` and `notin` stand in brackets; write it as for `kubectl -l`, for example `app=web,tier in \
         (front,back),!temporary`"
    );
    assert_eq!(
        scope("pageSize: 0"),
        "`spec.sources[0].kubernetes.pageSize` at s/x.yaml:12:64: must be between 1 and 10000, but is 0"
    );
    assert_eq!(
        scope("resources: {exclude: [\"[a\"]}"),
        "`spec.sources[0].kubernetes.resources.exclude[0]` at s/x.yaml:12:76: the pattern `[a` cannot be read: unclosed \
         character class; missing ']'"
    );
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
fn steps_have_one_action_and_their_own_name() {
    assert_eq!(
        wrong(PLAN, "name: served", "name: crds"),
        "2 problems in s/x.yaml:\n  `spec.steps[1].name` at s/x.yaml:10:13: `crds` is already the name of `spec.steps[0]`\n  \
         `spec.steps[2].after[0]` at s/x.yaml:14:15: there is no step `served`"
    );
    assert_eq!(
        wrong(PLAN, "      apply: {}\n", ""),
        "`spec.steps[2]` at s/x.yaml:13:7: step `rest` does nothing; give it `apply`, `gate`, `manual`, `files`, \
         `prometheus`, `elasticsearch`, `objects`, `command`"
    );
    assert_eq!(
        wrong(PLAN, "apply: {}", "apply: {}\n      manual: {title: x}"),
        "`spec.steps[2]` at s/x.yaml:13:7: step `rest` has `apply`, `manual`; make it one step for each"
    );
    assert_eq!(
        wrong(PLAN, "4h", "soon"),
        "`spec.rto` at s/x.yaml:5:8: `soon` is no duration; write it like `4h`, `30m` or `1m30s`"
    );
    assert_eq!(
        wrong(PLAN, "kinds: [CustomResourceDefinition]", "kinds: [CustomResourceDefintion]"),
        "`spec.steps[0].apply.kinds[0]` at s/x.yaml:8:23: `CustomResourceDefintion` is no kind of Kubernetes itself, did \
         you mean `CustomResourceDefinition`?"
    );
    assert_eq!(
        wrong(PLAN, "apply: {}", "apply: {conflict: overwite}"),
        "`spec.steps[2].apply.conflict` at s/x.yaml:15:25: `overwite` is no way to treat existing objects, did you mean \
         `overwrite`?"
    );
}

#[test]
fn steps_wait_for_steps_that_are_there() {
    assert_eq!(
        wrong(PLAN, "after: [crds]", "after: [crd]"),
        "`spec.steps[1].after[0]` at s/x.yaml:11:15: there is no step `crd`, did you mean `crds`?"
    );
}

#[test]
fn steps_that_wait_for_one_another_are_walked_round() {
    assert_eq!(
        wrong(PLAN, "- name: crds", "- name: crds\n      after: [rest]"),
        "`spec.steps[0].after` at s/x.yaml:8:14: the steps wait for one another: crds → rest → served → crds"
    );
    assert_eq!(
        wrong(PLAN, "after: [crds]", "after: [served]"),
        "`spec.steps[1].after` at s/x.yaml:11:14: the steps wait for one another: served → served"
    );
}

#[test]
fn a_runbook_must_be_there() {
    assert_eq!(
        wrong(PLAN, "apply: {}", "manual: {title: Point DNS, runbook: runbooks/gone.md}"),
        "`spec.steps[2].manual.runbook` at s/x.yaml:15:43: runbook `runbooks/gone.md` is not there: neither \
         s/runbooks/gone.md nor runbooks/gone.md is a file"
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

#[test]
fn the_shipped_files_are_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schedule = read_schedule(&root.join("schedules/nightly.yaml"), None).unwrap();
    assert!(schedule.include.plans.len() >= 2 && schedule.include.runbooks.len() >= 5);
    for plan in &schedule.include.plans {
        read_plan(plan, None).unwrap();
    }
}

#[test]
fn the_examples_of_the_documentation_are_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|block| block.starts_with("apiVersion")).collect();
    assert_eq!(whole.len(), 2);
    for block in whole {
        parse(block, &root.join("schedules/example.yaml")).unwrap();
    }
}

#[test]
fn every_key_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    // serde names the keys of a mapping when it meets one that it does not know.
    let keys = |error: String| error.split('`').skip(3).step_by(2).map(String::from).collect::<Vec<_>>();
    let stranger = "qqqqqqqqqqqq";
    let strange = |sound: &str, at: &str| keys(wrong(sound, at, &format!("{at}{stranger}: 1, ")));
    let include = SCHEDULE.replace("  signing:", "  include: {plans: []}\n  signing:");
    let manual = PLAN.replace("apply: {}", "manual: {title: x}");
    let mut known = Vec::new();
    for at in ["window: {", "vault: {", "encryption: {", "signing: {", "kubernetes: {", "namespaces: {"] {
        known.extend(strange(SCHEDULE, at));
    }
    known.extend(strange(&include, "include: {"));
    known.extend(keys(wrong(SCHEDULE, "spec:\n", &format!("spec:\n  {stranger}: 1\n"))));
    known.extend(strange(PLAN, "apply: {"));
    known.extend(strange(PLAN, "gate: {"));
    known.extend(strange(&manual, "manual: {"));
    let files = SCHEDULE.replace(KUBERNETES, "files: {path: x, names: {include: []}}");
    let metrics = SCHEDULE.replace(KUBERNETES, "prometheus: {data: {path: x}, access: {caFile: x}}");
    for (text, at) in
        [(&files, "files: {"), (&metrics, "prometheus: {"), (&metrics, "data: {"), (&metrics, "access: {")]
    {
        known.extend(strange(text, at));
    }
    let files = PLAN.replace("apply: {}", "files: {source: x, to: y}");
    let metrics = PLAN.replace("apply: {}", "prometheus: {source: x, to: y, check: {url: z}}");
    for (text, at) in [(&files, "files: {"), (&metrics, "prometheus: {"), (&metrics, "check: {")] {
        known.extend(strange(text, at));
    }
    known.extend(keys(wrong(PLAN, "      expect", &format!("      {stranger}: 1\n      expect"))));
    assert!(known.len() > 40, "{known:?}");
    let missing: Vec<_> = known.iter().filter(|key| !page.contains(&format!("{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
