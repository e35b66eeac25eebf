//! Reports as files: the same bytes every time, true to their schema, signed, and checked; and what real exercises write into them.

use std::path::Path;

use ckbackup::report::model::{ExerciseReport, Proved, Verdict};
use ckbackup::report::{HTML, JSON, JUNIT, MARKDOWN, Report, SIGNATURE, files, schema, write_folder};
use ckbackup::vault::signature::Signer;
use quick_xml::events::Event;
use serde_json::{Value, json};

use crate::harness::assets::assets;
use crate::harness::control_plane::shared;
use crate::harness::{Ckbackup, Finished, Scratch};
use crate::report_fixture::{bad_drill, good_drill};
use crate::restore_fixture::{Rig, empty, fill, only};

fn good() -> Report {
    Report::Exercise(Box::new(good_drill()))
}

fn bad() -> Report {
    Report::Exercise(Box::new(bad_drill()))
}

/// One of the files of an exercise's report, as text.
fn form(report: ExerciseReport, wanted: &str) -> String {
    let all = files(&Report::Exercise(Box::new(report)), None).unwrap();
    String::from_utf8(all.into_iter().find(|(name, _)| *name == wanted).unwrap().1).unwrap()
}

/// A keeper's key, which may sign reports.
async fn signer(scratch: &Scratch) -> Signer {
    Ckbackup::new(scratch).args(["keygen", "--dir", "keeper", "--only", "attesting"]).run().await.expect_success();
    Signer::read(&scratch.path().join("keeper/attesting_key")).unwrap()
}

async fn verify(scratch: &Scratch, path: &Path) -> Finished {
    let run = Ckbackup::new(scratch).args(["report", "verify", "--signers", "keeper/allowed_attesters", "-o", "json"]);
    run.arg(path).run().await
}

/// Replaces a text in a file, which must hold it.
fn change(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{}", file.display());
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn the_same_report_is_always_the_same_bytes() {
    for report in [good(), bad()] {
        let (once, twice) = (files(&report, None).unwrap(), files(&report, None).unwrap());
        assert_eq!(once, twice);
        let (_, json) = once.iter().find(|(name, _)| *name == JSON).unwrap();
        let read = Report::parse(json).unwrap();
        assert_eq!(read, report);
        assert_eq!(files(&read, None).unwrap(), once, "a report that was read renders to the same");
    }
}

/// Whether another program's validator takes a report as valid by the published schema.
async fn is_valid(scratch: &Scratch, report: &Value) -> bool {
    let file = scratch.file("instance.json", report.to_string());
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
    let run = Ckbackup::program("/usr/bin/jsonschema", scratch).arg("-i").arg(file).arg(schema).run().await;
    match run.code() {
        Some(0) => true,
        Some(1) if !run.stderr.contains("Traceback") => false,
        _ => panic!("{run}"),
    }
}

#[test]
fn the_published_schema_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let published = std::fs::read_to_string(root.join("docs/report.schema.json")).unwrap();
    let published: Value = serde_json::from_str(&published).unwrap();
    assert_eq!(published, schema(), "run `ckbackup report schema > docs/report.schema.json`");
}

#[tokio::test]
async fn reports_are_valid_by_the_published_schema_and_broken_ones_are_not() {
    let scratch = Scratch::new();
    for report in [good(), bad()] {
        let value: Value = serde_json::from_slice(&report.to_bytes().unwrap()).unwrap();
        assert!(is_valid(&scratch, &value).await);
        let mut more = value.clone();
        more["later"] = json!({"a": 1});
        assert!(is_valid(&scratch, &more).await, "fields that come later are accepted");
    }
    let value: Value = serde_json::from_slice(&bad().to_bytes().unwrap()).unwrap();
    for (pointer, broken) in [
        ("/schema", json!("ckbackup.io/report/v9")),
        ("/verdict", json!("fine")),
        ("/clock/achievedSeconds", json!("soon")),
        ("/steps/0/outcome", json!(1)),
        ("/coverage/0/proved", json!("surely")),
        ("/backups", Value::Null),
    ] {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap() = broken;
        assert!(!is_valid(&scratch, &value).await, "{pointer}");
    }
}

#[tokio::test]
async fn the_verb_prints_the_schema_that_is_published() {
    let scratch = Scratch::new();
    let printed = Ckbackup::new(&scratch).args(["report", "schema"]).run().await.expect_success();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(printed.stdout, std::fs::read_to_string(root.join("docs/report.schema.json")).unwrap());
}

/// Cases by what they came to, as a reader of JUnit XML sees them.
fn cases(xml: &str) -> Vec<(String, &'static str, String)> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut found: Vec<(String, &'static str, String)> = Vec::new();
    let named = |e: &quick_xml::events::BytesStart<'_>, key: &str| {
        let attribute = e.try_get_attribute(key).unwrap().unwrap();
        attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0).unwrap().into_owned()
    };
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return found,
            Event::Start(e) | Event::Empty(e) => match e.name().as_ref() {
                b"testcase" => found.push((named(&e, "name"), "passed", String::new())),
                b"failure" => {
                    let last = found.last_mut().unwrap();
                    (last.1, last.2) = ("failed", named(&e, "message"));
                }
                b"skipped" => {
                    let last = found.last_mut().unwrap();
                    (last.1, last.2) = ("skipped", named(&e, "message"));
                }
                _ => {}
            },
            _ => {}
        }
    }
}

#[test]
fn junit_has_a_case_for_each_step_comparison_and_component() {
    let report = bad_drill();
    let xml = form(report.clone(), JUNIT);
    let cases = cases(&xml);
    assert_eq!(cases.len(), report.steps.len() + report.verifications.len() + report.coverage.len() + 2);
    let came = |name: &str| cases.iter().find(|(it, ..)| it == name).map(|(_, came, _)| *came);
    assert_eq!(came("crds"), Some("passed"));
    assert_eq!(came("dns"), Some("failed"));
    assert_eq!(came("logs"), Some("skipped"), "a step that was not run is no success");
    assert_eq!(came("platform: objects, field by field"), Some("failed"));
    assert_eq!(came("logs: indices and documents"), Some("skipped"));
    assert_eq!(came("cert-manager"), Some("skipped"));
    assert_eq!(came("recovery time objective"), Some("failed"));
    let hostile = cases.iter().find(|(name, ..)| name == "cert-manager").unwrap();
    assert!(hostile.2.contains("<script>window.pwned=1</script>"), "{hostile:?}");
    let failed = cases.iter().filter(|(_, came, _)| *came == "failed").count();
    assert!(xml.contains(&format!("failures=\"{failed}\"")), "{xml}");
}

#[test]
fn a_drill_that_passed_with_gaps_has_no_failure_in_junit() {
    let mut report = good_drill();
    report.verdict = Verdict::PassedWithGaps;
    (report.coverage[0].proved, report.coverage[1].proved) = (Proved::NotCovered, Proved::NotExercised);
    report.coverage[0].evidence = "objects: none of them is in the backup".into();
    let xml = form(report, JUNIT);
    let cases = cases(&xml);
    let (_, came, why) = cases.iter().find(|(name, ..)| name == "cert-manager").unwrap();
    assert_eq!((*came, why.as_str()), ("skipped", "not covered: objects: none of them is in the backup"));
    let of = |wanted: &str| cases.iter().filter(|(_, came, _)| *came == wanted).count();
    assert_eq!((of("failed"), of("skipped")), (0, 2));
    assert!(!xml.contains("<failure"), "{xml}");
}

#[test]
fn the_time_in_which_no_step_ran_is_told_apart() {
    for (wanted, form) in [(MARKDOWN, form(bad_drill(), MARKDOWN)), (HTML, form(bad_drill(), HTML))] {
        assert!(form.contains("Neither, as no step was under way") && form.contains("3h57m"), "{wanted}: {form}");
    }
    assert!(form(bad_drill(), HTML).contains("people were waited for 20m, neither 3h57m."));
    // Reports that were written before it was told apart are read and shown as they were.
    let mut older: Value = serde_json::from_slice(&good().to_bytes().unwrap()).unwrap();
    older["clock"].as_object_mut().unwrap().remove("otherSeconds").unwrap();
    let Report::Exercise(older) = Report::parse(older.to_string().as_bytes()).unwrap() else { panic!("{older:#}") };
    assert!(!form(*older, MARKDOWN).contains("Neither"));
}

#[test]
fn hostile_text_means_nothing_in_markdown() {
    let text = form(bad_drill(), MARKDOWN);
    for forbidden in ["<script", "<img", "<svg", "[link]", "`code`", "\u{202e}"] {
        assert!(!text.contains(forbidden), "{forbidden}");
    }
    assert!(text.contains("&#60;script&#62;window.pwned=1"));
    // A row has as many cells as its table, whatever stands in it.
    let mut columns = 0;
    for line in text.lines() {
        let cells = line.matches('|').count();
        columns = if line.starts_with('|') { if columns == 0 { cells } else { columns } } else { 0 };
        assert!(columns == 0 || cells == columns, "{line}");
    }
}

#[tokio::test]
async fn a_folder_is_written_whole_signed_and_verified_with_stock_tools_too() {
    let scratch = Scratch::new();
    let signer = signer(&scratch).await;
    let folder = scratch.path().join("reports/drill");
    write_folder(&good(), &folder, Some(&signer)).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    let mut expected = [JSON, SIGNATURE, HTML, MARKDOWN, JUNIT];
    expected.sort();
    assert_eq!(names, expected);

    let verified = verify(&scratch, &folder).await.expect_success().json();
    assert_eq!(verified["verified"], json!(true));
    assert_eq!(verified["signature"]["principal"], json!("keeper@vault"));
    assert_eq!(verified["same"], json!([HTML, MARKDOWN, JUNIT]));
    let stock = "ssh-keygen -Y verify -f keeper/allowed_attesters -I keeper@vault -n ckbackup-report -s \
                 reports/drill/report.json.sig < reports/drill/report.json";
    Ckbackup::program("sh", &scratch).args(["-c", stock]).run().await.expect_success();

    let again = write_folder(&good(), &folder, None).unwrap_err();
    assert!(again.to_string().contains("never overwritten"), "{again}");
}

#[tokio::test]
async fn what_was_changed_is_found() {
    let scratch = Scratch::new();
    let signer = signer(&scratch).await;
    for (file, from, to, said) in [
        (JSON, "\"met\": true", "\"met\": false", "signature does not fit"),
        (HTML, "of 4h: met", "of 1h: met", "report.html is not what the report renders to"),
        (MARKDOWN, "Grace", "Mallory", "report.md is not what the report renders to"),
        (JUNIT, "testcase", "testcace", "junit.xml is not what the report renders to"),
    ] {
        let folder = scratch.path().join(format!("changed-{file}"));
        write_folder(&good(), &folder, Some(&signer)).unwrap();
        change(&folder.join(file), from, to);
        let found = verify(&scratch, &folder).await.expect(5);
        assert!(found.stdout.contains(said), "{file}: {found}");
    }
    let unsigned = scratch.path().join("unsigned");
    write_folder(&good(), &unsigned, None).unwrap();
    assert!(verify(&scratch, &unsigned).await.expect(5).stdout.contains("nobody signed the report"));
    let nobody = Ckbackup::new(&scratch).args(["report", "verify"]).arg(scratch.path().join("unsigned")).run().await;
    assert!(nobody.expect(5).stderr.contains("no trusted signers"));
}

#[tokio::test]
async fn render_gives_the_forms_that_are_asked_for() {
    let scratch = Scratch::new();
    let folder = write_folder(&good(), &scratch.path().join("r"), None).unwrap();
    let render = |args: &[&str]| Ckbackup::new(&scratch).args(["report", "render", "r/report.json"]).args(args.iter());
    render(&["--html", "a.html", "--markdown", "a.md", "--junit", "a.xml"]).run().await.expect_success();
    for (made, beside) in [("a.html", HTML), ("a.md", MARKDOWN), ("a.xml", JUNIT)] {
        let made = std::fs::read(scratch.path().join(made)).unwrap();
        assert!(made == std::fs::read(folder.join(beside)).unwrap(), "{beside}");
    }
    let printed = render(&[]).run().await.expect_success();
    assert_eq!(printed.stdout, std::fs::read_to_string(folder.join(MARKDOWN)).unwrap());
    std::fs::write(scratch.path().join("r/report.json"), "{\"schema\": \"other\"}").unwrap();
    assert!(render(&[]).run().await.expect(2).stderr.contains("no report has the schema"));
}

const ACTIONS: &str = "apiVersion: ckbackup.io/v1\nkind: Actions\nmetadata: {name: platform}\nspec:\n  actions:\n    \
                       - {id: CA-3, text: Move the vault, closed: 2999-01-01}\n    - {id: CA-2, text: Was done, closed: \
                       2020-01-01}\n    - {id: CA-1, text: Name who does DNS, owner: ops, due: 2998-12-31}\n";

fn read_report(rig: &Rig, folder: &str) -> Value {
    serde_json::from_slice(&std::fs::read(rig.path(folder).join(JSON)).unwrap()).unwrap()
}

/// A field of each element of a list.
fn each<'r>(list: &'r Value, key: &str) -> Vec<&'r str> {
    list.as_array().unwrap().iter().map(|it| it[key].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_restore_and_a_drill_report_open_actions_and_what_somebody_left_out() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("report-actions").await);
    fill(&namespace, 2).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    rig.scratch.file("actions.yaml", ACTIONS);
    let plan = rig.plan(
        "[{name: all, apply: {}}, {name: rehearsed, after: [all], when: {drill: true}, manual: {title: Rehearse it}}, \
          {name: real, after: [all], when: {drill: false}, manual: {title: Do it}}, \
          {name: dns, after: [all], manual: {title: Point DNS at it}}]",
    );
    let restore = rig.restore(&plan, &shared().kubeconfig).args("--skip real --skip dns --yes".split(' '));
    let restore =
        restore.args(["--reason", "DNS is a wildcard", "--actions", "actions.yaml", "--report-dir", "restored"]);
    restore.run().await.expect_success();
    let drill = rig.reading("drill run -f restore-plans/test.yaml --actions actions.yaml --report-dir drilled");
    drill.env("KUBEBUILDER_ASSETS", &assets().control_plane).run().await.expect_success();

    for folder in ["restored", "drilled"] {
        let actions = &read_report(&rig, folder)["actions"];
        assert_eq!(each(actions, "id"), ["CA-1", "CA-3"], "{folder}: {actions:#}");
        assert_eq!((&actions[0]["owner"], &actions[0]["due"]), (&json!("ops"), &json!("2998-12-31")), "{folder}");
        assert_eq!(actions[1].get("closed"), None, "{folder}: it is closed only later");
    }
    // What the plan itself leaves out of a restore, or of a drill, is no deviation from it.
    let deviations = &read_report(&rig, "restored")["deviations"];
    assert_eq!(each(deviations, "what"), ["step real was left out", "step dns was left out"], "{deviations:#}");
    assert_eq!(each(deviations, "why"), ["DNS is a wildcard"; 2]);
    assert_eq!(read_report(&rig, "drilled")["deviations"], json!([]));
}

#[tokio::test]
async fn a_list_of_actions_that_cannot_be_read_is_refused_before_anything_runs() {
    let scratch = Scratch::new();
    scratch.file("actions.yaml", ACTIONS.replace("2998-12-31", "soon"));
    // Neither the plan nor the vault is there: they are not even looked for.
    for verb in ["restore -f plan.yaml", "restore --resume", "drill run -f plan.yaml"] {
        let run = Ckbackup::new(&scratch).args(verb.split(' ')).args(["--vault", "vault", "--actions", "actions.yaml"]);
        let refused = run.run().await.expect(2);
        assert!(refused.stderr.contains("actions.yaml:8:") && refused.stderr.contains("`soon` is no day"), "{refused}");
        let missing =
            Ckbackup::new(&scratch).args(verb.split(' ')).args(["--vault", "vault", "--actions", "none.yaml"]);
        assert!(missing.run().await.expect(2).stderr.contains("cannot read none.yaml"), "{verb}");
    }
}
