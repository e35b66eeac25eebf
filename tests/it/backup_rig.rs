//! What the tests of `backup` share: keys, a schedule and a vault of the test's own, and a reader of backups that shares no
//! code with the program.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};

use ckbackup::drill::sandbox::{Sandbox, SandboxOptions};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use super::backup_cluster;
use super::harness::{Api, Ckbackup, FaultProxy, Finished, Scratch, control_plane};

/// The cluster's name in schedules: the first folder in the vault.
pub const CLUSTER: &str = "prod";

/// Keys, a vault folder and a schedule for one test.
pub struct Rig {
    pub scratch: Scratch,
    identity: age::x25519::Identity,
    pub recipients: [String; 2],
}

impl Rig {
    pub fn new() -> Rig {
        let scratch = Scratch::new();
        let key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519).unwrap();
        scratch.file("signing_key", key.to_openssh(LineEnding::LF).unwrap().as_bytes());
        let (identity, escrow) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let recipients = [identity.to_public().to_string(), escrow.to_public().to_string()];
        Rig { scratch, identity, recipients }
    }

    /// The folder of the vault; nothing is in it before the first backup.
    pub fn vault(&self) -> PathBuf {
        self.scratch.path().join("vault")
    }

    /// A schedule with these sources, as a value to be changed.
    pub fn schedule(&self, sources: Value) -> Value {
        json!({
            "apiVersion": "ckbackup.io/v1", "kind": "Schedule", "metadata": {"name": "nightly"},
            "spec": {
                "cluster": CLUSTER,
                "vault": {"url": format!("file://{}", self.vault().display())},
                "encryption": {"recipients": self.recipients},
                "signing": {"keyFile": "signing_key"},
                "sources": sources,
            },
        })
    }

    /// `backup --now -o json` by this schedule; the test adds how the cluster is reached.
    pub fn backup_by(&self, schedule: &Value) -> Ckbackup {
        let file = self.scratch.file("nightly.yaml", serde_json::to_vec_pretty(schedule).unwrap());
        Ckbackup::new(&self.scratch).args(["backup", "--now", "-o", "json", "-f"]).arg(file)
    }

    /// The same, with one source called `platform` of this scope, and as the kubeconfig says.
    pub fn backup(&self, kubeconfig: &Path, scope: Value) -> Ckbackup {
        let sources = json!([{"name": "platform", "kubernetes": scope}]);
        self.backup_by(&self.schedule(sources)).arg("--kubeconfig").arg(kubeconfig)
    }

    /// A kubeconfig that goes through a proxy.
    pub fn through(&self, proxy: &FaultProxy, token: &str) -> PathBuf {
        control_plane::write_kubeconfig(&self.scratch, "proxied", proxy.url(), proxy.ca_pem(), token)
    }

    /// The backup that a finished run speaks of.
    pub fn open(&self, finished: &Finished) -> Saved {
        self.open_id(finished.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {finished}")))
    }

    /// Reads a whole backup, with nothing but the age, Zstandard and tar formats.
    pub fn open_id(&self, id: &str) -> Saved {
        let folder = self.vault().join(CLUSTER).join(id);
        let bytes = std::fs::read(folder.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let mut sources = BTreeMap::new();
        for source in manifest["sources"].as_array().unwrap() {
            let members: &mut BTreeMap<String, Vec<u8>> =
                sources.entry(source["name"].as_str().unwrap().to_string()).or_default();
            for segment in source["segments"].as_array().unwrap() {
                let stored = std::fs::read(folder.join(segment["object"]["key"].as_str().unwrap())).unwrap();
                assert_eq!(hex::encode(Sha256::digest(&stored)), segment["object"]["sha256"].as_str().unwrap());
                for (path, content) in self.unpack(&stored) {
                    assert!(members.insert(path.clone(), content).is_none(), "twice in the backup: {path}");
                }
            }
        }
        Saved { digest: hex::encode(Sha256::digest(&bytes)), manifest, sources }
    }

    fn unpack(&self, stored: &[u8]) -> Vec<(String, Vec<u8>)> {
        let decryptor = age::Decryptor::new(stored).unwrap();
        let plain = decryptor.decrypt(std::iter::once(&self.identity as &dyn age::Identity)).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(plain).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, content)
        });
        entries.collect()
    }

    /// The ids of all backups that were committed.
    pub fn committed(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.vault().join(CLUSTER)).into_iter().flatten().flatten();
        let committed = folders.filter(|folder| folder.path().join("manifest.json").exists());
        committed.map(|folder| folder.file_name().into_string().unwrap()).collect()
    }

    /// Whether not even a vault was made.
    pub fn nothing_was_written(&self) -> bool {
        std::fs::read_dir(self.vault()).map_or(true, |mut entries| entries.next().is_none())
    }
}

/// A backup, read back.
pub struct Saved {
    pub manifest: Value,
    /// SHA-256 of the manifest's bytes.
    pub digest: String,
    /// By source, then by path.
    pub sources: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Saved {
    /// What the manifest says about the source `platform`.
    pub fn record(&self) -> &Value {
        self.manifest["sources"].as_array().unwrap().iter().find(|s| s["name"] == "platform").unwrap()
    }

    /// What the manifest says about one type.
    pub fn of_type(&self, name: &str) -> &Value {
        &self.record()["types"][name]
    }

    pub fn members(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.sources["platform"]
    }

    /// `namespace/name` of the saved objects of a type, sorted; `name` where there are no namespaces.
    pub fn names(&self, resource: &str) -> Vec<String> {
        let prefix = format!("resources/{resource}/");
        let paths = self.members().keys().filter_map(|path| path.strip_prefix(&prefix)?.strip_suffix(".json"));
        let names = paths.map(|path| path.split_once('/').unwrap().1);
        let mut names: Vec<_> = names.map(|name| name.strip_prefix("_cluster/").unwrap_or(name).to_string()).collect();
        // Paths sort otherwise: `system:node.json` behind `system:node-proxier.json`.
        names.sort();
        names
    }

    /// The names of the types of which anything is saved.
    pub fn types_with_members(&self) -> Vec<&str> {
        let mut types: Vec<_> = self.members().keys().map(|path| path.split('/').nth(1).unwrap()).collect();
        types.dedup();
        types
    }

    /// Why something was left out, and how many objects were.
    pub fn skipped(&self, what: &str) -> Vec<(String, Option<u64>)> {
        omissions(self.record(), "skipped", what)
    }

    /// Why something could not be read.
    pub fn problem(&self, what: &str) -> Option<String> {
        omissions(self.record(), "problems", what).into_iter().next().map(|(why, _)| why)
    }

    /// How many problems there are.
    pub fn problems(&self) -> usize {
        self.record()["problems"].as_array().map_or(0, Vec::len)
    }
}

fn omissions(record: &Value, list: &str, what: &str) -> Vec<(String, Option<u64>)> {
    let all = record[list].as_array().into_iter().flatten().filter(|omission| omission["what"] == what);
    all.map(|omission| (omission["why"].as_str().unwrap().to_string(), omission["count"].as_u64())).collect()
}

/// The items of a list as the server sends them, by `namespace/name`, or `name`.
pub async fn raw_items(api: &Api, path: &str) -> BTreeMap<String, String> {
    #[derive(serde::Deserialize)]
    struct List {
        items: Vec<Box<RawValue>>,
    }
    let (status, body) = api.send(reqwest::Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    let list: List = serde_json::from_slice(&body).unwrap();
    let named = list.items.into_iter().map(|item| {
        let meta: Value = serde_json::from_str(item.get()).unwrap();
        let (name, namespace) = (meta["metadata"]["name"].as_str().unwrap(), meta["metadata"]["namespace"].as_str());
        (namespace.map_or(name.to_string(), |namespace| format!("{namespace}/{name}")), item.get().to_string())
    });
    named.collect()
}

/// A control plane with something of everything, which all tests of backups read and none changes.
pub struct Loaded {
    pub kubeconfig: PathBuf,
    pub server: String,
    pub token: String,
    pub ca_pem: String,
}

impl Loaded {
    pub fn api(&self) -> Api {
        Api::new(&self.server, &self.token, &self.ca_pem)
    }
}

/// Started and filled by the first test that asks for it; it ends with the test process.
pub fn loaded() -> &'static Loaded {
    static LOADED: OnceLock<Option<Loaded>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let (send, receive) = mpsc::channel();
        // A thread of its own, as the servers belong to a runtime, and those of the tests end with the tests.
        std::thread::spawn(move || run_loaded(&send));
        receive.recv().ok()
    });
    loaded.as_ref().expect("the loaded control plane starts")
}

fn run_loaded(started: &mpsc::Sender<Loaded>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Like that of the shared control plane, whose start removes the folders of ended processes.
        control_plane::shared();
        let name = format!("shared-control-plane-{}/loaded", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let assets = &super::harness::assets::assets().control_plane;
        let sandbox = Sandbox::start(SandboxOptions::new(assets, dir, "loaded")).await;
        let sandbox = sandbox.unwrap_or_else(|e| panic!("{}", e.one_line()));
        let loaded = Loaded {
            kubeconfig: sandbox.kubeconfig().into(),
            server: sandbox.server().into(),
            token: sandbox.token().into(),
            ca_pem: std::fs::read_to_string(sandbox.ca_file()).unwrap(),
        };
        backup_cluster::fill(&loaded.api()).await;
        started.send(loaded).unwrap();
        std::future::pending::<()>().await;
    });
}
