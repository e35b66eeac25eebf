//! The direction in which modules depend on one another, and what only the command line may do.

use std::path::{Path, PathBuf};

/// Modules from the top to the bottom: each may use those of lower levels, not its neighbours.
const LEVELS: &[&[&str]] = &[
    &["cli"],
    &["observe"],
    &["scheduler"],
    &["drill"],
    &["backup", "restore", "rotation", "report"],
    &["reader"],
    &["sources"],
    &["command", "elastic"],
    &["archive", "vault", "cluster", "endpoint"],
    &["storage"],
    &["config"],
    &["inventory", "member", "object_path", "direct"],
    &["progress", "clock", "error", "words"],
];

/// What only `cli` may do: print, read the environment, and end the process.
const ONLY_CLI: &[&str] = &["println!", "print!", "env::var", "process::exit", "io::stdout", "io::stderr"];

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|modules| modules.contains(&module))
}

/// What is wrong with a line of a module's code; nothing when it is fine.
fn problem(module: &str, line: &str) -> Option<String> {
    let code = line.trim_start();
    if code.starts_with("//") {
        return None;
    }
    if let Some(what) = ONLY_CLI.iter().find(|what| module != "cli" && code.contains(*what)) {
        return Some(format!("only cli may use {what}"));
    }
    code.match_indices("crate::").find_map(|(at, name)| {
        let rest = &code[at + name.len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split(',').map(first_word).collect(),
            None => vec![first_word(rest)],
        };
        names.into_iter().find_map(|used| not_allowed(module, used))
    })
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn not_allowed(module: &str, used: &str) -> Option<String> {
    let (Some(from), Some(to)) = (level(module), level(used)) else {
        return Some(format!("{module} or {used} stands in no level of this test"));
    };
    let fine = module == used || from < to;
    (!fine).then(|| format!("{module} may not use {used}"))
}

/// Every Rust file below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The code of a file up to its unit tests, which may use whatever they like.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned()
}

#[test]
fn modules_only_use_those_below_them_and_only_the_command_line_speaks() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut problems = Vec::new();
    let mut modules = std::collections::BTreeSet::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&module.as_str()) || inside.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in code(&file).lines().enumerate() {
            if let Some(what) = problem(&module, line) {
                problems.push(format!("{}:{}: {what}: {line}", inside.display(), number + 1));
            }
        }
        modules.insert(module);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(modules.len() > 12, "the sources were not found: {modules:?}");
}

#[test]
fn a_violation_is_seen() {
    for (module, line) in [
        ("vault", "use crate::restore::Restore;"),
        ("archive", "    let key = crate::vault::layout::BackupId::new();"),
        ("restore", "use crate::{error::Result, cli::Global};"),
        ("backup", "use crate::restore::rank;"),
        ("cluster", "use crate::sources::Source;"),
        ("error", "use crate::clock::Clock;"),
        ("reader", "    println!(\"found\");"),
        ("sources", "let home = std::env::var(\"HOME\");"),
        ("drill", "std::process::exit(1)"),
    ] {
        assert!(problem(module, line).is_some(), "{module}: {line}");
    }
    for (module, line) in [
        ("cli", "use crate::restore::Restore;"),
        ("cli", "std::process::exit(1)"),
        ("drill", "use crate::restore::{Facts, Owners};"),
        ("sources", "use crate::cluster::Cluster;"),
        ("cluster", "use crate::config::resource_name;"),
        ("restore", "// use crate::cli; println!"),
        ("vault", "pub(crate) use super::layout;"),
    ] {
        assert_eq!(problem(module, line), None, "{module}: {line}");
    }
}
