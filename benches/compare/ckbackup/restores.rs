//! Restores, cut-off ones and drills among them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Backup, Place, binary, summarised, trust};
use crate::bench::Bench;
use crate::process::{self, Output, Usage};
use crate::servers::Sandbox;

/// The plan that restores everything in one step.
const PLAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/restore-plans/default.yaml");

/// `restore` of the newest backup by a plan with these steps, which need no cluster.
pub fn restore_data(bench: &Bench, place: &Place, steps: &Value) -> Result<Backup> {
    let plan = json!({
        "apiVersion": "ckbackup.io/v1", "kind": "RestorePlan", "metadata": {"name": "data"},
        "spec": {"rto": "4h", "steps": steps},
    });
    let file = bench.new_folder("plan.yaml");
    std::fs::write(&file, plan.to_string()).with_context(|| format!("write {}", file.display()))?;
    let mut command = opening(bench, place, &["restore", "--quiet", "-o", "json"]);
    command.arg("-f").arg(file).env(STATE, bench.new_folder("state"));
    summarised(&mut command)
}

/// `restore` of the newest backup by the shipped default plan; what it took, and its own summary.
pub fn restore(bench: &Bench, place: &Place, target: &Sandbox) -> Result<Backup> {
    summarised(&mut restoring(bench, place, target, &bench.new_folder("state"), &["-f", PLAN]))
}

/// A restore that was killed.
pub struct CutOff {
    /// Where its journal stands.
    state: PathBuf,
    /// Objects that were done by then, by its journal.
    pub done: u64,
}

/// The same restore, killed as soon as its journal calls so many objects done.
pub fn restore_until_killed(bench: &Bench, place: &Place, target: &Sandbox, enough: u64) -> Result<CutOff> {
    let state = bench.new_folder("state");
    let mut command = restoring(bench, place, target, &state, &["-f", PLAN]);
    process::run_and_kill(&mut command, || journalled(&state) >= enough)?;
    Ok(CutOff { done: journalled(&state), state })
}

/// `restore --resume` of it, on the same machine.
pub fn resume(bench: &Bench, place: &Place, target: &Sandbox, cut_off: &CutOff) -> Result<Backup> {
    summarised(&mut restoring(bench, place, target, &cut_off.state, &["--resume"]))
}

/// `drill run` in a control plane of its own, by the same plan; its own account of it.
pub fn drill(bench: &Bench, place: &Place) -> Result<Backup> {
    summarised(&mut drilling(bench, place, Path::new(PLAN))?)
}

/// The same by another plan, and recorded in the vault, so that the next one knows of it.
pub fn drill_recorded(bench: &Bench, place: &Place, plan: &Path) -> Result<Backup> {
    let mut command = drilling(bench, place, plan)?;
    command.arg("--attest").arg(bench.keys.join("keeper/attesting_key"));
    summarised(&mut command)
}

fn drilling(bench: &Bench, place: &Place, plan: &Path) -> Result<Command> {
    let scratch = bench.new_folder("drill");
    std::fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let mut command = opening(bench, place, &["drill", "run", "--target", "sandbox", "--quiet", "-o", "json"]);
    command.arg("-f").arg(plan).arg("--assets").arg(&bench.settings.assets).env("TMPDIR", &scratch);
    Ok(command)
}

/// `plan check`: reads the index of the newest backup, and finds the step that each of its objects belongs to.
pub fn compile_plan(bench: &Bench, place: &Place) -> Result<Usage> {
    let mut command = opening(bench, place, &["plan", "check", "--quiet", "-o", "json"]);
    command.args(["-f", PLAN]);
    Ok(process::run(&mut command, Output::Kept)?.usage)
}

/// Where a restore keeps its journal: never with those of whoever measures.
const STATE: &str = "CKBACKUP_STATE_DIR";

fn restoring(bench: &Bench, place: &Place, target: &Sandbox, state: &Path, which: &[&str]) -> Command {
    let mut command = opening(bench, place, &["restore", "--yes", "--quiet", "-o", "json"]);
    command.args(which).arg("--kubeconfig").arg(target.kubeconfig()).env(STATE, state);
    command
}

/// A verb that opens a backup.
fn opening(bench: &Bench, place: &Place, verb: &[&str]) -> Command {
    let mut command = binary();
    command.args(verb).args(place.args()).envs(place.env());
    trust(&mut command, bench);
    command
}

/// Objects that the only journal in a folder calls done.
fn journalled(state: &Path) -> u64 {
    let Some(Ok(restore)) = std::fs::read_dir(state.join("restores")).ok().and_then(|mut all| all.next()) else {
        return 0;
    };
    let journal = std::fs::read_to_string(restore.path().join("journal.jsonl")).unwrap_or_default();
    let entries = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter_map(|entry| entry["batch"]["count"].as_u64()).sum()
}
