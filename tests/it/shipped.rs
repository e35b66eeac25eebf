//! What is shipped as an example works: schedules, plans, and the commands of the documents.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::{Ckbackup, Scratch};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    assert!(!files.is_empty(), "{folder} has no {extension}");
    files
}

#[tokio::test]
async fn every_shipped_schedule_and_plan_is_valid() {
    let scratch = Scratch::new();
    let overlays = ["workload-cluster", "management-cluster"].map(|name| format!("deploy/kustomize/overlays/{name}"));
    let overlays = overlays.map(|overlay| root().join(overlay).join("nightly.yaml"));
    let shipped = [files("schedules", "yaml"), files("restore-plans", "yaml"), overlays.to_vec()].concat();
    let validated = Ckbackup::new(&scratch).arg("validate").args(&shipped).run().await.expect_success();
    assert_eq!(validated.stdout.lines().count(), shipped.len(), "{validated}");
}

/// The documents of shipped files, as they stand there.
fn specs(paths: &[PathBuf], key: &str) -> Vec<Value> {
    let read = |path: &PathBuf| -> Value { serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    paths.iter().flat_map(|path| read(path)["spec"][key].as_array().unwrap().clone()).collect()
}

/// Whether a step brings back a source: by what it does, and by its name.
fn brings_back(step: &Value, source: &Value) -> bool {
    let by = |kind: &str, steps: &[&str]| {
        source[kind].is_object() && steps.iter().any(|step_kind| step[*step_kind]["source"] == source["name"])
    };
    let objects = step["apply"].is_object() && [&Value::Null, &source["name"]].contains(&&step["apply"]["source"]);
    (source["kubernetes"].is_object() && objects)
        || by("prometheus", &["prometheus"])
        || by("elasticsearch", &["elasticsearch"])
        || by("files", &["files", "objects"])
        || by("objects", &["files", "objects"])
        || (by("command", &["command"]) && step["command"]["profile"] == source["command"]["profile"])
}

#[test]
fn every_source_of_a_shipped_schedule_comes_back_by_a_shipped_plan() {
    let overlay = |name: &str| root().join(format!("deploy/kustomize/overlays/{name}/nightly.yaml"));
    let plan = |name: &str| root().join(format!("restore-plans/{name}.yaml"));
    let history = [plan("workload-cluster"), plan("logs-and-metrics")];
    let services = [&history[..], &[plan("cluster-services")]].concat();
    let (mut steps, mut sources) = (Vec::new(), Vec::new());
    for (schedule, plans) in [
        (root().join("schedules/nightly.yaml"), &services[..]),
        (overlay("workload-cluster"), &history[..]),
        (overlay("management-cluster"), &[plan("management-cluster")]),
    ] {
        let (saved, by) = (specs(std::slice::from_ref(&schedule), "sources"), specs(plans, "steps"));
        assert!(saved.len() >= 4, "{}", schedule.display());
        for source in &saved {
            let found = by.iter().any(|step| brings_back(step, source));
            assert!(found, "{}: {} comes back by none of {plans:?}", schedule.display(), source["name"]);
        }
        sources.extend(saved);
        steps.extend(by);
    }
    // And no step waits for a source that nobody saves.
    let names: HashSet<_> = sources.iter().map(|source| source["name"].as_str().unwrap()).collect();
    let wanted =
        |step: &Value| step.as_object().unwrap().values().find_map(|kind| kind["source"].as_str().map(String::from));
    for wanted in steps.iter().filter_map(wanted) {
        assert!(names.contains(wanted.as_str()), "{wanted}");
    }
    for kind in ["prometheus", "elasticsearch", "objects", "command"] {
        assert!(steps.iter().any(|step| step[kind].is_object()), "no plan has a step {kind}");
    }
}

#[test]
fn a_shipped_plan_leaves_out_what_the_backup_has_no_source_for() {
    let mut count = 0;
    for step in specs(&files("restore-plans", "yaml"), "steps") {
        for kind in ["prometheus", "elasticsearch", "objects", "files", "command"] {
            if step[kind].is_object() {
                assert_eq!(step["when"]["source"], step[kind]["source"], "{step:#}");
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count}");
}

/// The calls of ckbackup in a document: in blocks of code, and in backticks within a line.
fn commands(document: &str) -> Vec<String> {
    let (mut found, mut in_code) = (Vec::new(), false);
    for line in document.replace("\\\n", " ").lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            found.extend(line.trim_start().starts_with("ckbackup ").then(|| line.trim().to_owned()));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).filter(|c| c.starts_with("ckbackup ")).map(String::from));
        }
    }
    found
}

/// The words of a command, without its comment and what is done with its output.
/// What the shell would hand over; what it would put in place of `$(…)` is some word.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" #").next().unwrap().split(" | ").next().unwrap().split(" > ").next().unwrap();
    let mut parts = command.split("$(");
    let first = parts.next().unwrap().to_string();
    let command = parts.fold(first, |text, part| text + "word" + part.split_once(')').map_or("", |(_, rest)| rest));
    command.split_whitespace().skip(1).map(String::from).collect()
}

#[test]
fn commands_are_found_in_blocks_and_in_lines() {
    let found =
        commands("Run `ckbackup list` now.\n```sh\nckbackup restore -f P \\\n  --yes   # all\nls\n```\n`ls` x\n");
    assert_eq!(found, ["ckbackup list", "ckbackup restore -f P    --yes   # all"]);
    assert_eq!(words(&found[1]), ["restore", "-f", "P", "--yes"]);
    assert_eq!(words("ckbackup list --to a/$(date -u +%s)/b"), ["list", "--to", "a/word/b"]);
}

/// `--help` behind them shows that the words before it are understood, without doing anything.
#[tokio::test]
async fn every_command_of_the_documents_is_understood() {
    let scratch = Scratch::new();
    let documents = ["runbooks", "docs", "docs/sources", "deploy"].map(|folder| files(folder, "md"));
    let documents = [vec![root().join("README.md")], documents.concat()];
    let mut count = 0;
    for document in documents.concat() {
        for command in commands(&std::fs::read_to_string(&document).unwrap()) {
            let words = words(&command);
            if words[0] == "VERB" {
                continue;
            }
            // Prose names options without their values.
            let plain = Ckbackup::new(&scratch).args(&words).arg("--help").run().await;
            let valued = Ckbackup::new(&scratch).args(&words).args(["secrets/shop/web", "--help"]).run().await;
            let understood = plain.code() == Some(0) || valued.code() == Some(0);
            assert!(understood, "{}: {command}: {plain}", document.display());
            count += 1;
        }
    }
    assert!(count > 25, "only {count} commands were found");
    let misspelt = Ckbackup::new(&scratch).args(["restore", "--dryrun", "--help"]).run().await;
    misspelt.expect(2);
}

/// Why the runbook blanks versions, and need not blank uids but where an object names another by one.
#[tokio::test]
async fn the_api_server_refuses_new_objects_with_a_version_and_gives_others_a_new_uid() {
    let (api, namespace) = (shared().api(), shared().namespace("as-sent").await);
    let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    let uid = "6b1d1f0c-2a53-4a7b-9d0e-5a1f3f0c7e11";
    let mut object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "7"}});
    let body = Some(("application/json", serde_json::to_vec(&object).unwrap()));
    let (code, answer) = api.send(reqwest::Method::POST, &maps, body).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(code >= 400 && answer.contains("resourceVersion should not be set on objects to be created"), "{answer}");

    object["metadata"] = json!({"name": "a", "resourceVersion": "", "uid": uid});
    let created = api.create(&maps, &object).await;
    assert_ne!(created["metadata"]["uid"], uid);
}

#[tokio::test]
async fn completions_and_manual_pages_name_every_verb() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Ckbackup::new(&scratch).args(["completion", shell]).run().await.expect_success().stdout;
        assert!(["restore", "verify", "dry-run"].iter().all(|word| script.contains(word)), "{shell}: {script}");
    }
    Ckbackup::new(&scratch).args(["completion", "cobol"]).run().await.expect(2);
    Ckbackup::new(&scratch).args(["man", "--dir", "man1"]).run().await.expect_success();
    for verb in [
        "keygen", "validate", "backup", "list", "show", "verify", "extract", "diff", "restore", "report", "schedule",
        "demo",
    ] {
        let page = std::fs::read_to_string(scratch.path().join(format!("man1/ckbackup-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Example"), "{verb}: {page}");
    }
    let whole = Ckbackup::new(&scratch).arg("man").run().await.expect_success();
    assert!(whole.stdout.contains("Exit codes"), "{whole}");
}
