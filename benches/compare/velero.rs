//! Velero restores what ckbackup restores: the same objects, out of the same S3 server, into the same kind of empty cluster.
//!
//! Its server runs by itself, outside of the cluster, which wants no more of it than definitions, a storage location and
//! the Deployment that it looks for. It is judged from the order to restore until that is completed; the start of its
//! server and the copy of its list of backups do not count, while of ckbackup the whole process does.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ::ckbackup::drill::sandbox::{Leashed, Program};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::platform::{Object, Platform};
use crate::process::{self, Output};
use crate::raw::{self, Connections, Raw};
use crate::restore;
use crate::servers::{self, S3, Sandbox};
use crate::table::{Reach, Row};

/// How its server is started, and by how much it must be outdone.
struct Limits {
    name: &'static str,
    flags: &'static [&'static str],
    reach: f64,
}

const LIMITS: [Limits; 2] = [
    Limits {
        name: "raised",
        flags: &["--client-qps=2000", "--client-burst=4000", "--item-block-worker-count=4"],
        reach: 12.0,
    },
    Limits { name: "default", flags: &[], reach: 35.0 },
];

const NAMESPACE: &str = "velero";
/// Of the backup, and of the restore.
const NAME: &str = "bench";

/// Between two looks at an order.
const LOOK: Duration = Duration::from_millis(100);
/// How long its server may take to start, and to know a backup: it looks for them once a minute.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long an order may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// Phases in which an order is not done yet.
const UNDER_WAY: [&str; 9] = [
    "",
    "New",
    "Queued",
    "ReadyToStart",
    "InProgress",
    "WaitingForPluginOperations",
    "WaitingForPluginOperationsPartiallyFailed",
    "Finalizing",
    "FinalizingPartiallyFailed",
];

/// What a restore took.
struct Took {
    seconds: f64,
    peak_mib: f64,
}

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("restore against Velero");
    let platform = Platform::build(bench.settings.scale)?;
    let cluster = servers::filled_cluster(bench, &platform).await?;
    let s3 = S3::start(bench).await?;
    let storage = Storage::of(&s3);
    let place = Place::S3(Box::new(s3));
    // First, so that Velero's own objects are not in it.
    ckbackup::back_up(bench, &cluster, &place)?;
    back_up(bench, &cluster, &storage, &platform).await?;
    servers::discard(bench, cluster).await?;

    let rounds = rounds(bench.settings.rounds);
    let mut ours = (Vec::new(), Vec::new());
    let mut theirs: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    for round in 1..=rounds {
        let restored = restore::restore(bench, platform.len(), &place).await?.usage;
        let rate = |seconds: f64| platform.len() as f64 / seconds;
        ours.0.push(rate(restored.seconds));
        ours.1.push(restored.peak_mib);
        bench.say(format!("  round {round}: ckbackup {:.1} s, {:.0} MiB", restored.seconds, restored.peak_mib));
        for (limits, numbers) in LIMITS.iter().zip(&mut theirs) {
            let took = restore_by_velero(bench, &storage, &platform, limits).await?;
            numbers.0.push(rate(took.seconds));
            numbers.1.push(took.peak_mib);
            let Took { seconds, peak_mib } = took;
            bench.say(format!("  round {round}: Velero, {} limits: {seconds:.1} s, {peak_mib:.0} MiB", limits.name));
        }
    }
    let mut rows = Vec::new();
    for (limits, peer) in LIMITS.iter().zip(theirs) {
        let details = json!({"objects": platform.len(), "flags": limits.flags});
        let row = |figure, unit, ours: &[f64], peer, reach| Row {
            figure,
            unit,
            ours: ours.to_vec(),
            peer,
            reach,
            details: details.clone(),
        };
        let name = format!("restore / Velero, {} limits", limits.name);
        rows.push(row(format!("{name}: memory"), "MiB", &ours.1, peer.1, Reach::Nothing));
        rows.push(row(name, "objects/s", &ours.0, peer.0, Reach::RatioAtLeast(limits.reach)));
    }
    Ok(rows)
}

/// Its restores take a quarter of an hour each round, where others take a minute.
fn rounds(wanted: usize) -> usize {
    wanted.div_ceil(3)
}

/// Velero's own backup of the objects.
async fn back_up(bench: &Bench, cluster: &Sandbox, storage: &Storage, platform: &Platform) -> Result<()> {
    let client = install(bench, cluster, storage).await?;
    let velero = Velero::start(bench, cluster, storage, &[])?;
    let order = json!({"snapshotVolumes": false, "includedNamespaces": platform.namespace_names()});
    let done = client.order(&velero, "Backup", order).await?;
    let count = done["status"]["progress"]["itemsBackedUp"].as_u64().unwrap_or_default();
    ensure!(count >= platform.len() as u64, "Velero saved {count} objects of {}: {done}", platform.len());
    velero.stop().await
}

async fn restore_by_velero(bench: &Bench, storage: &Storage, platform: &Platform, limits: &Limits) -> Result<Took> {
    let target = servers::empty_cluster(bench).await?;
    let client = install(bench, &target, storage).await?;
    let velero = Velero::start(bench, &target, storage, limits.flags)?;
    client.wait_for_backup(&velero).await?;
    let begin = Instant::now();
    let done = client.order(&velero, "Restore", json!({"backupName": NAME})).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let count = done["status"]["progress"]["itemsRestored"].as_u64().unwrap_or_default();
    ensure!(count >= platform.len() as u64, "Velero restored {count} objects of {}: {done}", platform.len());
    let peak_mib = process::peak_mib(velero.server.pid()).context("read the memory of Velero")?;
    velero.stop().await?;
    servers::discard(bench, target).await?;
    Ok(Took { seconds, peak_mib })
}

/// Where its backups are.
struct Storage {
    endpoint: String,
    bucket: String,
    region: String,
    key: (&'static str, &'static str),
}

impl Storage {
    fn of(s3: &S3) -> Storage {
        Storage { endpoint: s3.endpoint(), bucket: s3.bucket().into(), region: s3.region().into(), key: s3.key() }
    }

    /// Said to be available, or its server would look for backups a minute later.
    fn location(&self) -> Value {
        json!({
            "apiVersion": "velero.io/v1",
            "kind": "BackupStorageLocation",
            "metadata": {"name": "default"},
            "spec": {
                "provider": "aws",
                "default": true,
                "objectStorage": {"bucket": self.bucket, "prefix": "velero"},
                "config": {"region": self.region, "s3ForcePathStyle": "true", "s3Url": self.endpoint},
            },
            "status": {"phase": "Available"},
        })
    }
}

/// Puts into a cluster what Velero's server wants to find there.
async fn install(bench: &Bench, cluster: &Sandbox, storage: &Storage) -> Result<Client> {
    let client = Client(Raw::new(cluster, Connections::Http1)?);
    let mut command = Command::new(bench.settings.velero.join("velero"));
    command.env_clear().args(["install", "--crds-only", "--dry-run", "-o", "json"]);
    let printed: Value = serde_json::from_slice(&process::run(&mut command, Output::Kept)?.stdout)?;
    let definitions = printed["items"].as_array().context("Velero prints no definitions")?;
    for definition in definitions {
        client.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await?;
    }
    client.create("/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}})).await?;
    let deployments = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    client.create(&deployments, &deployment()).await?;
    // A type is served a moment after its definition.
    let deadline = Instant::now() + PATIENCE;
    while let Err(e) = client.create(&orders("BackupStorageLocation"), &storage.location()).await {
        ensure!(Instant::now() < deadline, "{e:#}");
        sleep(LOOK).await;
    }
    Ok(client)
}

/// One of its plugins looks for it, though nothing runs in it.
fn deployment() -> Value {
    let labels = json!({"app": "velero"});
    let pod = json!({"containers": [{"name": "velero", "image": "velero"}]});
    json!({
        "metadata": {"name": "velero"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    })
}

/// The collection of a kind of Velero's.
fn orders(kind: &str) -> String {
    format!("/apis/velero.io/v1/namespaces/{NAMESPACE}/{}s", kind.to_lowercase())
}

/// Gives Velero its orders.
struct Client(Raw);

impl Client {
    async fn create(&self, collection: &str, body: &Value) -> Result<()> {
        let object = Object { collection: collection.into(), body: body.to_string().into() };
        raw::create(&self.0, [object], 1).await.map(drop)
    }

    async fn wait_for_backup(&self, velero: &Velero) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.0.get(&format!("{}/{NAME}", orders("Backup"))).await.is_err() {
            ensure!(Instant::now() < deadline, velero.server.failure("does not see its backup"));
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Has something done, and gives the order as it stands at its end.
    async fn order(&self, velero: &Velero, kind: &str, spec: Value) -> Result<Value> {
        let order = json!({"apiVersion": "velero.io/v1", "kind": kind, "metadata": {"name": NAME}, "spec": spec});
        self.create(&orders(kind), &order).await?;
        let deadline = Instant::now() + LONGEST;
        loop {
            let now = self.0.get(&format!("{}/{NAME}", orders(kind))).await?;
            match now["status"]["phase"].as_str().unwrap_or_default() {
                "Completed" => return Ok(now),
                phase if UNDER_WAY.contains(&phase) => {}
                phase => bail!(velero.server.failure(&format!("ended a {kind} as {phase}"))),
            }
            ensure!(Instant::now() < deadline, velero.server.failure(&format!("does not end a {kind}")));
            sleep(LOOK).await;
        }
    }
}

/// Its server. One at a time: it always listens at port 8080, too.
struct Velero {
    server: Leashed,
    home: PathBuf,
    stopped: bool,
}

impl Velero {
    fn start(bench: &Bench, cluster: &Sandbox, storage: &Storage, flags: &[&str]) -> Result<Velero> {
        let home = bench.new_folder("velero");
        std::fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let text = |path: PathBuf| path.display().to_string();
        let mut args = vec!["server".into(), "--namespace".into(), NAMESPACE.into()];
        args.extend(["--kubeconfig".into(), text(cluster.kubeconfig().into())]);
        args.extend(["--plugin-dir".into(), text(bench.settings.velero.join("plugins"))]);
        args.extend(["--metrics-address=127.0.0.1:0", "--profiler-address=127.0.0.1:0"].map(String::from));
        args.extend(flags.iter().map(|flag| flag.to_string()));
        let server = Leashed::spawn(&Program {
            path: bench.settings.velero.join("velero"),
            args,
            env: vec![
                ("HOME".into(), text(home.clone())),
                ("AWS_ACCESS_KEY_ID".into(), storage.key.0.into()),
                ("AWS_SECRET_ACCESS_KEY".into(), storage.key.1.into()),
            ],
            log: home.join("velero.log"),
        })?;
        Ok(Velero { server, home, stopped: false })
    }

    async fn stop(mut self) -> Result<()> {
        self.server.require_running()?;
        end_group(self.server.pid());
        self.stopped = true;
        self.server.kill().await?;
        std::fs::remove_dir_all(&self.home).with_context(|| format!("remove {}", self.home.display()))
    }
}

impl Drop for Velero {
    fn drop(&mut self) {
        if !self.stopped {
            end_group(self.server.pid());
        }
    }
}

/// Its plugins are processes of their own in its group, and would outlive it.
fn end_group(pid: u32) {
    let _ = Command::new("sh").args(["-c", "kill -s KILL -- \"-$0\"", &pid.to_string()]).output();
}
