//! What an engineer has at hand at night, made real: keys at home, a vault with two nights, schedules and plans fitted to
//! what runs here, and a kubeconfig whose contexts are control planes. What runs nowhere here has a stand-in.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::assets::assets;
use crate::harness::{Api, Ckbackup, ControlPlane, Finished, Scratch};

/// The sources that the desk's backups have.
const SOURCES: [&str; 4] = ["platform", "audit", "archive", "grafana"];

/// What a person does between two commands: behind the block that holds the text, these lines are run.
pub type People<'a> = &'a [(&'a str, &'a str)];

/// A folder to work in, like a checkout of the project.
pub struct Desk {
    pub scratch: Scratch,
    /// The cluster that is saved.
    old: ControlPlane,
    /// An empty one, into which is restored.
    pub new: ControlPlane,
    /// The backups of `workload-1`, oldest first.
    nights: Vec<String>,
}

impl Desk {
    /// Keys, schedules, plans, clusters, and no backup yet.
    pub async fn without_backups() -> Desk {
        let scratch = Scratch::new();
        for name in ["runbooks", "restore-plans"] {
            let from = root().join(name);
            Ckbackup::program("cp", &scratch).arg("-r").args([&from, scratch.path()]).run().await.expect_success();
        }
        let (old, new) = (ControlPlane::start(&scratch, "old").await, ControlPlane::start(&scratch, "new").await);
        fill(&old.api()).await;
        for (folder, text) in [("archive", "a line of a log\n"), ("audit", "{\"kind\":\"Event\"}\n")] {
            scratch.file(&format!("buckets/{folder}/2026.log"), text);
        }
        let desk = Desk { scratch, old, new, nights: Vec::new() };
        desk.write_kubeconfig(&desk.old);
        desk.put_stand_ins();
        desk.fit_plans();
        desk
    }

    /// The same, with two nights of a workload cluster and one of a management cluster in the vault.
    pub async fn new() -> Desk {
        let mut desk = Desk::without_backups().await;
        let keys = "ckbackup keygen --dir on-call; ckbackup keygen --dir escrow-key --only identity
            cp on-call/identity.txt on-call/allowed_signers $HOME/keys/; cp escrow-key/identity.txt escrow.txt";
        desk.shell(keys).await.expect_success();
        desk.write_schedules("on-call/recipient.txt", "escrow-key/recipient.txt");
        for schedule in ["nightly", "nightly", "management"] {
            let backup = format!("ckbackup backup -q -f schedules/{schedule}.yaml --now --context PROD -o json");
            let id = desk.shell(&backup).await.expect_success().json()["id"].as_str().unwrap().to_owned();
            if schedule == "nightly" {
                desk.nights.push(id);
            }
            // The id of a backup is the second in which it began.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        desk
    }

    /// What was in production is gone: the context PROD is an empty cluster, too.
    pub fn lose_production(&self) {
        self.write_kubeconfig(&self.new);
    }

    /// The API server of the context NEW.
    pub fn new_cluster(&self) -> Api {
        self.new.api()
    }

    /// Schedules for these recipients, which save what is here.
    pub fn write_schedules(&self, first: &str, second: &str) {
        let path = |name: &str| self.scratch.path().join(name).display().to_string();
        let recipient = |file: &str| std::fs::read_to_string(path(file)).unwrap().trim().to_owned();
        for (name, cluster) in [("nightly", "workload-1"), ("management", "management")] {
            let bucket = |folder: &str| json!({"url": format!("file://{}", path(&format!("buckets/{folder}")))});
            let schedule = json!({
                "apiVersion": "ckbackup.io/v1", "kind": "Schedule", "metadata": {"name": "nightly"},
                "spec": {
                    "cluster": cluster,
                    "window": {"opens": "00:00", "closes": "03:00", "timeZone": "CET"},
                    "vault": {"url": self.vault()},
                    "encryption": {"recipients": [recipient(first), recipient(second)]},
                    "signing": {"keyFile": path("on-call/signing_key")},
                    "sources": [
                        {"name": "platform", "kubernetes": {}},
                        {"name": "audit", "objects": bucket("audit")},
                        {"name": "archive", "objects": bucket("archive")},
                        {"name": "grafana", "command": {"run": ["echo", "COMMIT;"], "file": "grafana.sql"}},
                    ],
                    "include": {"plans": ["../restore-plans/*.yaml"], "runbooks": ["../runbooks/*.md"]},
                },
            });
            self.scratch.file(&format!("schedules/{name}.yaml"), schedule.to_string());
        }
    }

    /// Runs the blocks of some sections of a runbook as one script, as it stands there but for names; section 0 is what
    /// stands before the first one.
    pub async fn run(&self, runbook: &str, sections: &[usize], people: People<'_>) -> Finished {
        let text = std::fs::read_to_string(root().join(format!("runbooks/{runbook}.md"))).unwrap();
        let parts: Vec<_> = text.split("\n## ").collect();
        let mut script = String::new();
        let mut done = 0;
        for block in sections.iter().flat_map(|section| parts[*section].split("```sh\n").skip(1)) {
            let block = block.split("```").next().unwrap();
            script += block;
            for (_, lines) in people.iter().filter(|(after, _)| block.contains(after)) {
                script += &format!("{lines}\n");
                done += 1;
            }
        }
        assert!(script.contains("ckbackup ") || script.contains("kubectl "), "{runbook} {sections:?}");
        assert_eq!(done, people.len(), "what people do has its place in {runbook}");
        self.shell(&self.with_names(&script)).await
    }

    /// The names of the documents, in words of this desk.
    fn with_names(&self, script: &str) -> String {
        let mut script = script.replace("2026-11-21T02:10:00Z", &jiff::Timestamp::now().to_string());
        if let [first, second] = self.nights.as_slice() {
            script = script.replace("20261120T000003Z-nightly", first).replace("20261121T000003Z-nightly", second);
        }
        script = script.replace("2026Q4", &this_quarter());
        // What lists the bucket by the name of the storage has a stand-in, and keeps its names.
        let ours = |line: &str| match line.trim_start().starts_with("aws ") {
            true => line.to_owned(),
            false => line.replace("s3://ck8s-backups/prod", &self.vault()),
        };
        script.lines().map(|line| ours(line) + "\n").collect()
    }

    /// A script in the folder, with the environment of an engineer on call.
    pub async fn shell(&self, script: &str) -> Finished {
        let home = self.scratch.folder("home");
        let path = format!("{}:{}", self.scratch.path().join("bin").display(), std::env::var("PATH").unwrap());
        let bash = Ckbackup::program("bash", &self.scratch).env("PATH", path).env("KUBECONFIG", self.kubeconfig());
        let keys = [("CKBACKUP_IDENTITY_FILE", "identity.txt"), ("CKBACKUP_SIGNERS_FILE", "allowed_signers")];
        let keys = keys.map(|(name, file)| (name, home.join("keys").join(file)));
        bash.envs(keys.into_iter().filter(|(_, file)| file.exists()))
            .env("CKBACKUP_VAULT", self.vault())
            .env("KUBEBUILDER_ASSETS", &assets().control_plane)
            .args(["-c", &format!("set -euo pipefail\n{script}")])
            .timeout(Duration::from_secs(300))
            .run()
            .await
    }

    /// What stands in the folder `reports`.
    pub fn reports(&self) -> Vec<Value> {
        let folders = std::fs::read_dir(self.scratch.path().join("reports")).unwrap();
        let files = folders.map(|folder| folder.unwrap().path().join("report.json"));
        files.map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()).collect()
    }

    fn vault(&self) -> String {
        format!("file://{}", self.scratch.folder("vault").display())
    }

    fn kubeconfig(&self) -> PathBuf {
        self.scratch.path().join("kubeconfig")
    }

    fn write_kubeconfig(&self, production: &ControlPlane) {
        let mut all = json!({"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []});
        for (context, plane) in [("PROD", production), ("NEW", &self.new), ("SCRATCH", &self.new)] {
            let text = std::fs::read_to_string(plane.kubeconfig()).unwrap();
            let mut one: Value = serde_yaml::from_str(&text).unwrap();
            for (list, key) in [("clusters", "cluster"), ("users", "user")] {
                let entry = json!({"name": context, key: one[list][0][key].take()});
                all[list].as_array_mut().unwrap().push(entry);
            }
            let entry = json!({"name": context, "context": {"cluster": context, "user": context}});
            all["contexts"].as_array_mut().unwrap().push(entry);
        }
        self.scratch.file("kubeconfig", all.to_string());
        self.scratch.folder("home/keys");
    }

    /// `ckbackup` itself, with the yes of a person to the manual steps; and stand-ins for what has no server here.
    fn put_stand_ins(&self) {
        let real = env!("CARGO_BIN_EXE_ckbackup");
        let ckbackup = format!(
            "#!/bin/bash\ncase \"$1 ${{2:-}}\" in\n  'restore '*|'drill run') set -- \"$@\" --yes;;\nesac\nexec {real} \"$@\"\n"
        );
        for (name, text) in [
            ("ckbackup", ckbackup.as_str()),
            ("kubectl", KUBECTL),
            ("aws", AWS),
            ("dig", "#!/bin/bash\necho 192.0.2.1\n"),
            ("curl", "#!/bin/bash\necho 'HTTP/2 200'\n"),
        ] {
            let file = self.scratch.file(&format!("bin/{name}"), text);
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Does with the shipped plans what their comments tell their users: other addresses, and no steps of sources that the
    /// backup does not have. No pods run here, so no gate waits for them.
    fn fit_plans(&self) {
        for name in ["management-cluster", "logs-and-metrics", "cluster-services"] {
            let file = format!("restore-plans/{name}.yaml");
            let text = std::fs::read_to_string(self.scratch.path().join(&file)).unwrap();
            let mut plan: Value = serde_yaml::from_str(&text).unwrap();
            let steps = plan["spec"]["steps"].as_array_mut().unwrap();
            steps.retain(can_be_done_here);
            let names: Vec<_> = steps.iter().map(|step| step["name"].clone()).collect();
            for step in steps {
                self.fit(step);
                if let Some(after) = step.get_mut("after").and_then(Value::as_array_mut) {
                    after.retain(|before| names.contains(before));
                }
            }
            self.scratch.file(&file, serde_yaml::to_string(&plan).unwrap());
        }
    }

    fn fit(&self, step: &mut Value) {
        let restored = self.scratch.folder("restored").display().to_string();
        if let Some(objects) = step.get_mut("objects").and_then(Value::as_object_mut) {
            objects["url"] = format!("file://{restored}/{}", objects["source"].as_str().unwrap()).into();
            objects.remove("endpoint");
            objects.remove("credentialsFile");
        }
        if let Some(command) = step.get_mut("command").and_then(Value::as_object_mut) {
            command.remove("pod");
            command["run"] = json!(["sh", "-c", format!("cat > {restored}/grafana.sql")]);
        }
    }
}

/// Whether its source is in the backups here, and nothing of it needs a pod that runs.
fn can_be_done_here(step: &Value) -> bool {
    let known = |source: &str| SOURCES.contains(&source);
    let mut kinds = step.as_object().unwrap().values();
    kinds.all(|kind| kind["source"].as_str().is_none_or(known)) && step["gate"]["kind"] != "Pod"
}

/// Such as 2026Q4.
pub fn this_quarter() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    format!("{}Q{}", today.year(), (today.month() - 1) / 3 + 1)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Takes the contexts and the verbs that there are; what it would change, it only says.
const KUBECTL: &str = r#"#!/bin/bash
set -eu
case "$*" in
  '--context '*) [[ $2 =~ ^(PROD|NEW|SCRATCH|KEEPER)$ ]] || { echo "error: no context $2" >&2; exit 1; }; shift 2;;
  *) echo "error: a runbook names the context" >&2; exit 1;;
esac
while [[ $1 == -n ]]; do shift 2; done
case "$*" in
  'create job '*--dry-run=client*) echo 'args: [backup, --window, -f, /etc/ckbackup/schedule/nightly.yaml]';;
  'create -f '*) grep -q -- --now "$3"; echo created;;
  'get ingress '*) echo shop.example.com;;
  get\ *|describe\ *|label\ *|logs\ *|wait\ *|patch\ *|delete\ *|create\ *) echo "$*";;
  *) echo "error: unknown command $*" >&2; exit 1;;
esac
"#;

const AWS: &str = r#"#!/bin/bash
case "$*" in
  's3 ls '*s3://ck8s-backups/prod/workload-1/) echo 'PRE 20261121T000003Z-nightly/';;
  's3api list-object-versions --bucket ck8s-backups --prefix prod/workload-1/') echo '{"Versions": []}';;
  *) echo "unknown: $*" >&2; exit 1;;
esac
"#;

/// A small shop and some services of a platform.
async fn fill(api: &Api) {
    for namespace in ["shop", "monitoring", "harbor"] {
        api.create_namespace(namespace).await;
        for name in ["a", "b"] {
            let data = json!({"metadata": {"name": name}, "stringData": {"password": name}});
            api.create(&format!("/api/v1/namespaces/{namespace}/secrets"), &data).await;
            let data = json!({"metadata": {"name": name}, "data": {"key": name}});
            api.create(&format!("/api/v1/namespaces/{namespace}/configmaps"), &data).await;
        }
        let labels = json!({"app": "web"});
        let pod = json!({"containers": [{"name": "web", "image": "registry.example/web:1"}]});
        let web = json!({
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        });
        api.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &web).await;
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": labels, "ports": [{"port": 80}]}});
        api.create(&format!("/api/v1/namespaces/{namespace}/services"), &service).await;
    }
}
