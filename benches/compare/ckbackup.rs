//! Calls the built ckbackup as an operator would.

mod restores;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::process::{Output, Usage, run};
use crate::servers::{S3, Sandbox};

pub use restores::{compile_plan, drill, drill_recorded, restore, restore_data, restore_until_killed, resume};

/// The cluster's name in every schedule here.
const CLUSTER: &str = "bench";

/// Where backups of a measurement go.
pub enum Place {
    Folder(PathBuf),
    S3(Box<S3>),
}

impl Place {
    fn url(&self) -> String {
        match self {
            Place::Folder(folder) => format!("file://{}", folder.display()),
            Place::S3(s3) => format!("s3://{}/vault", s3.bucket()),
        }
    }

    /// The lines of a schedule.
    fn spec(&self) -> String {
        match self {
            Place::Folder(_) => format!("{{url: \"{}\"}}", self.url()),
            Place::S3(s3) => format!(
                "{{url: \"{}\", endpoint: \"{}\", region: {}, allowHttp: true}}",
                self.url(),
                s3.endpoint(),
                s3.region()
            ),
        }
    }

    /// The same on the command line.
    fn args(&self) -> Vec<String> {
        let mut args = vec!["--vault".into(), self.url()];
        if let Place::S3(s3) = self {
            args.extend(["--endpoint".into(), s3.endpoint(), "--region".into(), s3.region().into()]);
            args.push("--allow-http".into());
        }
        args
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        match self {
            Place::Folder(_) => Vec::new(),
            Place::S3(s3) => {
                let (id, secret) = s3.key();
                vec![("AWS_ACCESS_KEY_ID", id.into()), ("AWS_SECRET_ACCESS_KEY", secret.into())]
            }
        }
    }
}

/// Keys, as an operator makes them: on-call, escrow, and the keeper's, whom those on call trust for what it proves.
pub fn make_keys(dir: &Path) -> Result<()> {
    for (name, only) in [("on-call", None), ("escrow", Some("identity")), ("keeper", Some("attesting"))] {
        let mut command = binary();
        command.arg("keygen").arg("--dir").arg(dir.join(name));
        if let Some(only) = only {
            command.args(["--only", only]);
        }
        run(&mut command, Output::Kept)?;
    }
    let trusted = dir.join("on-call/allowed_signers");
    let both = [trusted.clone(), dir.join("keeper/allowed_attesters")].map(std::fs::read_to_string);
    let [signers, attesters] = both.map(|text| text.context("read the trusted signers"));
    std::fs::write(&trusted, signers? + &attesters?).context("write the trusted signers")
}

/// Writes a schedule with nothing but defaults; gives its path.
pub fn write_schedule(bench: &Bench, place: &Place) -> Result<PathBuf> {
    write_schedule_for(bench, place, &json!({}))
}

fn write_schedule_for(bench: &Bench, place: &Place, scope: &Value) -> Result<PathBuf> {
    write_schedule_of(bench, place, &json!({"name": "platform", "kubernetes": scope}))
}

/// A schedule with one source.
pub fn write_schedule_of(bench: &Bench, place: &Place, source: &Value) -> Result<PathBuf> {
    let keys = &bench.keys;
    let recipient = |who: &str| {
        let file = keys.join(who).join("recipient.txt");
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    };
    let text = format!(
        "apiVersion: ckbackup.io/v1
kind: Schedule
metadata: {{name: bench}}
spec:
  cluster: {CLUSTER}
  vault: {vault}
  encryption: {{recipients: [{on_call}, {escrow}]}}
  signing: {{keyFile: {key}}}
  sources: [{source}]
",
        vault = place.spec(),
        on_call = recipient("on-call")?.trim(),
        escrow = recipient("escrow")?.trim(),
        key = keys.join("on-call/signing_key").display(),
    );
    let file = bench.new_folder("schedule.yaml");
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// A backup that was taken: what it took, and its own summary.
pub struct Backup {
    pub usage: Usage,
    pub summary: Value,
}

/// `backup -f SCHEDULE --now`, into a place of its own.
pub fn back_up(bench: &Bench, cluster: &Sandbox, place: &Place) -> Result<Backup> {
    back_up_by(cluster, place, &write_schedule(bench, place)?)
}

/// The same with pages of another size than the default.
pub fn back_up_in_pages(bench: &Bench, cluster: &Sandbox, place: &Place, size: u32) -> Result<Backup> {
    back_up_by(cluster, place, &write_schedule_for(bench, place, &json!({"pageSize": size}))?)
}

fn back_up_by(cluster: &Sandbox, place: &Place, schedule: &Path) -> Result<Backup> {
    let mut command = backup(place, schedule);
    command.arg("--kubeconfig").arg(cluster.kubeconfig());
    summarised(&mut command)
}

/// The same of sources that need no cluster.
pub fn back_up_data(place: &Place, schedule: &Path) -> Result<Backup> {
    summarised(&mut backup(place, schedule))
}

fn backup(place: &Place, schedule: &Path) -> Command {
    let mut command = binary();
    command.args(["backup", "--now", "--quiet", "-o", "json", "-f"]).arg(schedule).envs(place.env());
    command
}

fn summarised(command: &mut Command) -> Result<Backup> {
    let ended = run(command, Output::Kept)?;
    Ok(Backup { usage: ended.usage, summary: serde_json::from_slice(&ended.stdout)? })
}

/// `extract latest` to standard output, which is thrown away: one object, or the whole source.
pub fn extract(bench: &Bench, place: &Place, schedule: &Path, object: Option<&str>) -> Result<Usage> {
    let mut command = binary();
    command.args(["extract", "latest", "--quiet", "--to", "-", "-f"]).arg(schedule).envs(place.env());
    match object {
        Some(object) => command.args(["--object", object]),
        None => command.args(["--source", "platform"]),
    };
    trust(&mut command, bench);
    Ok(run(&mut command, Output::Dropped)?.usage)
}

fn trust(command: &mut Command, bench: &Bench) {
    let file = |name: &str| bench.keys.join("on-call").join(name);
    command.arg("--identity").arg(file("identity.txt")).arg("--signers").arg(file("allowed_signers"));
}

/// With nothing of the caller's environment.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckbackup"));
    command.env_clear();
    command
}
