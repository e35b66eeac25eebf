//! All runbooks have one form, which is read at 03:00.

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks")
}

/// Name and text of each.
fn runbooks() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|e| e == "md"));
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();
    files.map(|file| (name(&file), std::fs::read_to_string(&file).unwrap())).collect()
}

/// What is wrong with the form of a runbook.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines: Vec<_> = text.lines().collect();
    if !lines.first().is_some_and(|line| line.starts_with("# ")) {
        faults.push("it does not begin with a title".into());
    }
    match lines.iter().position(|line| *line == "```sh") {
        Some(at) if at < 5 && !lines[at + 1].starts_with('#') => {}
        _ => faults.push("the first command is not within five lines of the title".into()),
    }
    for word in ["- **Takes:** ", "- **Call:** ", "- **Write down:** "] {
        let (top, _) = text.split_once("\n## ").unwrap_or((text, ""));
        if top.matches(word).count() != 1 {
            faults.push(format!("it does not say at the top: {word}"));
        }
    }
    let sections: Vec<_> = text.split("\n## ").skip(1).collect();
    for (at, section) in sections.iter().enumerate() {
        let title = section.lines().next().unwrap();
        if !section.starts_with(&format!("{}. ", at + 1)) {
            faults.push(format!("its sections are not counted from 1: {title}"));
        }
        // What to expect of a command stands below it, before the next section.
        if section.contains("```sh") && !(section.contains("Good: ") && section.to_lowercase().contains("if not")) {
            faults.push(format!("it does not say what is good, and what to do if it is not: {title}"));
        }
    }
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        let file = folder().join(link.split('#').next().unwrap());
        if !file.exists() {
            faults.push(format!("{link} is not there"));
        }
    }
    faults
}

#[test]
fn every_runbook_has_the_form_that_is_read_at_night() {
    let runbooks = runbooks();
    for needed in [
        "lost-workload-cluster.md",
        "lost-management-cluster.md",
        "deleted-namespace.md",
        "lost-key.md",
        "leaked-key.md",
        "ransomware.md",
        "failed-night.md",
        "vault-full.md",
        "restore-with-stock-tools.md",
        "first-installation.md",
        "quarterly-drill.md",
    ] {
        assert!(runbooks.iter().any(|(name, _)| name == needed), "{needed}");
    }
    let faults = |(name, text): &(String, String)| {
        let faults = faults(text).into_iter().map(|fault| format!("{name}: {fault}"));
        faults.collect::<Vec<_>>()
    };
    let faults: Vec<_> = runbooks.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_runbook_is_reached_from_another_one() {
    let runbooks = runbooks();
    for (name, _) in &runbooks {
        let linked = runbooks.iter().any(|(other, text)| other != name && text.contains(&format!("]({name}")));
        assert!(linked, "{name}");
    }
}

#[test]
fn a_runbook_without_the_form_is_seen() {
    let top = "# A\n\n```sh\nls\n```\n\n- **Takes:** x\n- **Call:** x\n- **Write down:** x\n";
    let good = format!("{top}\n## 1. B\n\n```sh\nls\n```\n\nGood: x. If not: y.\n");
    assert_eq!(faults(&good), [""; 0]);
    for (from, to, fault) in [
        ("# A\n\n", "# A\n\na\nb\n\nc\n", "the first command"),
        ("- **Call:** x\n", "", "Call"),
        ("## 1.", "## 2.", "counted"),
        ("Good: x.", "", "what is good"),
        ("Good: x.", "Good: [x](gone.md).", "gone.md is not there"),
    ] {
        let said = faults(&good.replacen(from, to, 1)).join("\n");
        assert!(said.contains(fault), "{said}");
    }
}
