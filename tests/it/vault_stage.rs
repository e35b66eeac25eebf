//! What the tests of vaults begin with: keys, a namespace with a few dozen objects, places for vaults, and the commands
//! of a user who has all of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use ckbackup::vault::layout::{MANIFEST, SIGNATURE};
use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::{Ckbackup, Credentials, Finished, S3Server, Scratch, s3};

/// The cluster's name in all vaults.
pub const CLUSTER: &str = "workload-1";
/// Key of the segment, relative to the backup's folder.
pub const SEGMENT: &str = "platform/0001.tar.zst.age";
/// Key of its index.
pub const INDEX: &str = "platform/0001.index.json.zst.age";
/// Key of the configuration.
pub const CONFIGURATION: &str = "configuration/0001.tar.zst.age";
/// Keys of all objects of a backup.
pub const OBJECTS: [&str; 6] =
    [SEGMENT, INDEX, MANIFEST, SIGNATURE, CONFIGURATION, "configuration/0001.index.json.zst.age"];

/// Where a vault is, and what a client needs to speak to it.
#[derive(Debug, Clone)]
pub struct Place {
    pub url: String,
    pub env: Vec<(&'static str, String)>,
}

impl Place {
    /// A folder that is there.
    pub fn folder(folder: &Path) -> Place {
        std::fs::create_dir_all(folder).unwrap();
        Place { url: format!("file://{}", folder.display()), env: Vec::new() }
    }

    /// A prefix in a bucket, as its owner.
    pub fn bucket(s3: &S3Server, path: &str) -> Place {
        Place::through(s3.endpoint(), s3.root(), path)
    }

    /// A prefix in a bucket, by an endpoint (a server's or a proxy's) and somebody's credentials.
    pub fn through(endpoint: &str, who: &Credentials, path: &str) -> Place {
        Place { url: format!("s3://{path}"), env: s3::env(endpoint, who) }
    }

    /// The folder of a vault that is one.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(self.url.strip_prefix("file://").unwrap())
    }

    /// A file of a backup in a vault that is a folder.
    pub fn file(&self, id: &str, relative: &str) -> PathBuf {
        self.path().join(CLUSTER).join(id).join(relative)
    }
}

/// Keys, objects and a scratch folder.
#[derive(Debug)]
pub struct Stage {
    pub scratch: Scratch,
    /// The namespace whose objects are backed up.
    pub namespace: String,
    pub kubeconfig: PathBuf,
    schedules: AtomicU32,
}

impl Stage {
    /// Keys, and a namespace of its own on the shared control plane with 36 objects of 7 types.
    pub async fn new() -> Stage {
        let stage = Stage::empty().await;
        fill(&stage.namespace).await;
        stage
    }

    /// Keys, and a namespace without objects.
    pub async fn empty() -> Stage {
        let scratch = Scratch::new();
        for only in [&["--name", "oncall"][..], &["--name", "escrow", "--only", "identity"]] {
            Ckbackup::new(&scratch).args(["keygen", "--dir", "keys"]).args(only).run().await.expect_success();
        }
        scratch.file("plans/all.yaml", PLAN);
        scratch.file("runbooks/dns.md", "# DNS\n\nPoint it at the new ingress.\n");
        let namespace = shared().namespace("vault").await;
        Stage { scratch, namespace, kubeconfig: shared().kubeconfig.clone(), schedules: AtomicU32::new(0) }
    }

    /// One of the key files: `oncall-identity.txt`, `oncall-allowed_signers`, …
    pub fn key(&self, name: &str) -> PathBuf {
        self.scratch.path().join("keys").join(name)
    }

    pub fn recipient(&self, name: &str) -> String {
        std::fs::read_to_string(self.key(&format!("{name}-recipient.txt"))).unwrap().trim().to_owned()
    }

    /// A schedule of this name for the two recipients.
    pub fn schedule(&self, name: &str, place: &Place) -> PathBuf {
        self.schedule_for(name, place, &[self.recipient("oncall"), self.recipient("escrow")])
    }

    /// A schedule for other recipients.
    pub fn schedule_for(&self, name: &str, place: &Place, recipients: &[String]) -> PathBuf {
        let schedule = json!({
            "apiVersion": "ckbackup.io/v1",
            "kind": "Schedule",
            "metadata": {"name": name},
            "spec": {
                "cluster": CLUSTER,
                "vault": {"url": place.url},
                "encryption": {"recipients": recipients},
                "signing": {"keyFile": self.key("oncall-signing_key")},
                "sources": [{"name": "platform", "kubernetes": {
                    "namespaces": {"include": [self.namespace]},
                    "clusterScoped": false,
                    "resources": {"include": [
                        "configmaps", "secrets", "services", "serviceaccounts", "deployments.apps",
                        "roles.rbac.authorization.k8s.io", "cronjobs.batch",
                    ]},
                }}],
                "include": {"plans": ["../plans/*.yaml"], "runbooks": ["../runbooks/*.md"]},
            },
        });
        let number = self.schedules.fetch_add(1, Ordering::Relaxed);
        self.scratch.file(&format!("schedules/{name}-{number}.yaml"), schedule.to_string())
    }

    /// The program with everything that an on-call engineer has: vault, signers and identity.
    pub fn ckbackup(&self, place: &Place) -> Ckbackup {
        self.stranger(place)
            .env("CKBACKUP_SIGNERS_FILE", self.key("oncall-allowed_signers"))
            .env("CKBACKUP_IDENTITY_FILE", self.key("oncall-identity.txt"))
    }

    /// The program with the vault and the cluster, and no keys.
    pub fn stranger(&self, place: &Place) -> Ckbackup {
        Ckbackup::new(&self.scratch)
            .envs(place.env.clone())
            .env("CKBACKUP_VAULT", &place.url)
            .env("KUBECONFIG", &self.kubeconfig)
    }

    /// The backup of schedule `nightly`, about to be taken.
    pub fn backup(&self, place: &Place) -> Ckbackup {
        self.backup_by("nightly", place)
    }

    /// The backup of a schedule of this name, about to be taken.
    pub fn backup_by(&self, name: &str, place: &Place) -> Ckbackup {
        let schedule = self.schedule(name, place);
        self.ckbackup(place).args(["backup", "--now", "-o", "json", "-f"]).arg(schedule)
    }

    /// Takes a backup and returns its id.
    pub async fn back_up(&self, place: &Place) -> String {
        self.back_up_by("nightly", place).await
    }

    /// Takes a backup by a schedule of this name, and returns its id.
    pub async fn back_up_by(&self, name: &str, place: &Place) -> String {
        id_of(&self.backup_by(name, place).run().await.expect_success())
    }

    /// What `list` shows.
    pub async fn list(&self, place: &Place) -> Vec<Value> {
        let listed = self.ckbackup(place).args(["list", "--cluster", CLUSTER, "-o", "json"]).run().await;
        listed.expect_success().json()["backups"].as_array().unwrap().clone()
    }

    /// `verify` with everything that it can check.
    pub async fn verify(&self, place: &Place, which: &str) -> Finished {
        self.ckbackup(place).args(["verify", which, "--cluster", CLUSTER, "-o", "json"]).run().await
    }

    /// `extract` of everything into a new folder of this name.
    pub async fn extract(&self, place: &Place, id: &str, to: &str) -> Finished {
        self.ckbackup(place).args(["extract", id, "--cluster", CLUSTER, "--to", to]).run().await
    }

    /// `restore --dry-run` of a backup.
    pub async fn dry_run(&self, place: &Place, id: &str) -> Finished {
        let run = self.ckbackup(place).args(["restore", "-f", "plans/all.yaml", "--dry-run", "-o", "json"]);
        run.args(["--cluster", CLUSTER, "--backup", id]).run().await
    }

    /// A stock tool, in the scratch folder.
    pub async fn shell(&self, script: &str) -> Finished {
        Ckbackup::program("bash", &self.scratch).args(["-euo", "pipefail", "-c", script]).run().await
    }

    /// A copy of a vault that is a folder.
    pub fn copy(&self, place: &Place, name: &str) -> Place {
        let to = self.scratch.folder("copies").join(name);
        copy_folder(&place.path(), &to);
        Place::folder(&to)
    }
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Every file below a folder, relative to it and sorted.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// The id in the summary of a backup.
pub fn id_of(finished: &Finished) -> String {
    finished.json()["id"].as_str().unwrap().to_owned()
}

/// The exact second of the clock begins: two programs started now start in the same second.
pub async fn wait_for_a_new_second() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let rest = Duration::from_secs(1) - Duration::from_nanos(u64::from(now.subsec_nanos()));
    tokio::time::sleep(rest).await;
}

const PLAN: &str = "\
apiVersion: ckbackup.io/v1
kind: RestorePlan
metadata: {name: all}
spec:
  rto: 1h
  steps:
    - name: everything
      apply: {source: platform}
";

/// 36 objects of 7 types, with values that a careless reader would change.
async fn fill(namespace: &str) {
    let api = shared().api();
    let core = format!("/api/v1/namespaces/{namespace}");
    for n in 0..12 {
        let data = json!({"text": "zwölf Boxkämpfer \u{1F980} \"quoted\"\n\ttab", "number": format!("0.{n:030}")});
        let labels = json!({"app": "shop", "number": n.to_string()});
        create(
            &api,
            &format!("{core}/configmaps"),
            "v1",
            "ConfigMap",
            &format!("config-{n}"),
            json!({"data": data}),
            labels,
        )
        .await;
    }
    for n in 0..12 {
        let data = json!({"password": "aHVudGVyMg==", "token": "x".repeat(400 + 4 * n)});
        let fields = json!({"type": "Opaque", "data": data});
        create(&api, &format!("{core}/secrets"), "v1", "Secret", &format!("secret-{n}"), fields, json!({})).await;
    }
    for n in 0..3 {
        let name = format!("web-{n}");
        let ports = json!([{"port": 80 + n, "targetPort": "http"}]);
        let fields = json!({"spec": {"selector": {"app": name}, "ports": ports}});
        create(&api, &format!("{core}/services"), "v1", "Service", &name, fields, json!({})).await;
        create(&api, &format!("{core}/serviceaccounts"), "v1", "ServiceAccount", &name, json!({}), json!({})).await;
        let pod = json!({
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "example/web:1"}]},
        });
        let fields = json!({"spec": {"selector": {"matchLabels": {"app": name}}, "template": pod, "replicas": n}});
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        create(&api, &path, "apps/v1", "Deployment", &name, fields, json!({"app": "shop"})).await;
    }
    let rules = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]});
    let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles");
    create(&api, &roles, "rbac.authorization.k8s.io/v1", "Role", "system:reader", rules.clone(), json!({})).await;
    create(&api, &roles, "rbac.authorization.k8s.io/v1", "Role", "writer", rules, json!({})).await;
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example/c:1"}]}});
    let spec = json!({"spec": {"schedule": "0 1 * * *", "jobTemplate": {"spec": {"template": pod}}}});
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/cronjobs");
    create(&api, &jobs, "batch/v1", "CronJob", "report", spec, json!({})).await;
}

/// Secrets of random bytes, which hardly compress: 900 KiB each.
pub async fn add_large_secrets(namespace: &str, count: usize) {
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    for number in 0..count {
        let mut bytes = vec![0; 900 << 10];
        getrandom::fill(&mut bytes).unwrap();
        let data = json!({"random": base64::engine::general_purpose::STANDARD.encode(bytes)});
        create(&shared().api(), &path, "v1", "Secret", &format!("large-{number}"), json!({"data": data}), json!({}))
            .await;
    }
}

async fn create(
    api: &crate::harness::Api,
    path: &str,
    version: &str,
    kind: &str,
    name: &str,
    mut fields: Value,
    labels: Value,
) {
    fields["apiVersion"] = version.into();
    fields["kind"] = kind.into();
    fields["metadata"] = json!({"name": name, "labels": labels});
    api.create(path, &fields).await;
}
