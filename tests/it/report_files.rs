//! Reports as files: the same bytes every time, true to their schema, signed, and checked.

use std::path::Path;

use ckbackup::report::{HTML, JSON, JUNIT, MARKDOWN, Report, SIGNATURE, files, schema, write_folder};
use ckbackup::vault::signature::Signer;
use quick_xml::events::Event;
use serde_json::{Value, json};

use crate::harness::{Ckbackup, Finished, Scratch};
use crate::report_fixture::{bad_drill, good_drill};

fn good() -> Report {
    Report::Exercise(Box::new(good_drill()))
}

fn bad() -> Report {
    Report::Exercise(Box::new(bad_drill()))
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
    let all = files(&bad(), None).unwrap();
    let xml = String::from_utf8(all.into_iter().find(|(name, _)| *name == JUNIT).unwrap().1).unwrap();
    let cases = cases(&xml);
    let report = bad_drill();
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
fn hostile_text_means_nothing_in_markdown() {
    let all = files(&bad(), None).unwrap();
    let text = String::from_utf8(all.into_iter().find(|(name, _)| *name == MARKDOWN).unwrap().1).unwrap();
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
