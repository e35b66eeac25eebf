//! What the tests of sources that need no cluster begin with: keys, folders with data, places for vaults, and the commands
//! of a user who has all of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rand_like::Noise;
use serde_json::{Value, json};

use crate::harness::{Ckbackup, Finished, Scratch};
use crate::vault_stage::{CLUSTER, Place};

/// Keys and a scratch folder.
pub struct DataStage {
    pub scratch: Scratch,
}

impl DataStage {
    pub async fn new() -> DataStage {
        let scratch = Scratch::new();
        for only in [&["--name", "oncall"][..], &["--name", "escrow", "--only", "identity"]] {
            Ckbackup::new(&scratch).args(["keygen", "--dir", "keys"]).args(only).run().await.expect_success();
        }
        DataStage { scratch }
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.scratch.path().join("keys").join(name)
    }

    /// A folder for data.
    pub fn data(&self) -> PathBuf {
        self.scratch.folder("data")
    }

    /// A schedule with these sources, as a value to be changed.
    pub fn schedule(&self, place: &Place, sources: Value) -> Value {
        let recipient =
            |name: &str| std::fs::read_to_string(self.key(&format!("{name}-recipient.txt"))).unwrap().trim().to_owned();
        json!({
            "apiVersion": "ckbackup.io/v1", "kind": "Schedule", "metadata": {"name": "nightly"},
            "spec": {
                "cluster": CLUSTER,
                "vault": {"url": place.url},
                "encryption": {"recipients": [recipient("oncall"), recipient("escrow")]},
                "signing": {"keyFile": self.key("oncall-signing_key")},
                "sources": sources,
            },
        })
    }

    /// The program with everything that an on-call engineer has, and no cluster.
    pub fn ckbackup(&self, place: &Place) -> Ckbackup {
        Ckbackup::new(&self.scratch)
            .envs(place.env.clone())
            .env("CKBACKUP_VAULT", &place.url)
            .env("CKBACKUP_SIGNERS_FILE", self.key("oncall-allowed_signers"))
            .env("CKBACKUP_IDENTITY_FILE", self.key("oncall-identity.txt"))
    }

    /// `backup --now` by a schedule.
    pub fn backup_by(&self, place: &Place, schedule: &Value) -> Ckbackup {
        let file = self.scratch.file("nightly.yaml", serde_json::to_vec_pretty(schedule).unwrap());
        self.ckbackup(place).args(["backup", "--now", "-o", "json", "-f"]).arg(file)
    }

    /// The same with one source, called `data`.
    pub fn backup(&self, place: &Place, kind: &str, scope: Value) -> Ckbackup {
        self.backup_by(place, &self.schedule(place, json!([{"name": "data", kind: scope}])))
    }

    /// A backup of the data folder, and what its manifest says.
    pub async fn save_files(&self, place: &Place) -> Value {
        let saved = self.backup(place, "files", json!({"path": self.data()})).run().await.expect_success();
        self.manifest(place, &id_of(&saved)).await
    }

    /// The manifest of a backup, as `show` prints it.
    pub async fn manifest(&self, place: &Place, id: &str) -> Value {
        let shown = self.ckbackup(place).args(["show", id, "--cluster", CLUSTER, "-o", "json"]).run().await;
        shown.expect_success().json()["manifest"].clone()
    }

    /// Verifies with everything that can be checked.
    pub async fn verify(&self, place: &Place, id: &str) -> Finished {
        self.ckbackup(place).args(["verify", id, "--cluster", CLUSTER, "-o", "json"]).run().await
    }

    /// `restore` of a backup by a plan with these steps.
    pub fn restore(&self, place: &Place, id: &str, steps: Value) -> Ckbackup {
        let plan = json!({
            "apiVersion": "ckbackup.io/v1", "kind": "RestorePlan", "metadata": {"name": "data"},
            "spec": {"rto": "4h", "steps": steps},
        });
        let file = self.scratch.file("plan.yaml", plan.to_string());
        let run = self.ckbackup(place).args(["restore", "--backup", id, "--cluster", CLUSTER, "-o", "json", "-f"]);
        run.arg(file)
    }

    /// Restores the files of source `data` into a new folder, and returns it.
    pub async fn restore_files(&self, place: &Place, id: &str, to: &str) -> PathBuf {
        let to = self.scratch.path().join(to);
        let steps = json!([{"name": "files", "files": {"source": "data", "to": to}}]);
        self.restore(place, id, steps).run().await.expect_success();
        to
    }

    pub async fn shell(&self, script: &str) -> Finished {
        Ckbackup::program("bash", &self.scratch).args(["-euo", "pipefail", "-c", script]).run().await
    }
}

/// The id that a finished backup prints.
pub fn id_of(finished: &Finished) -> String {
    finished.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {finished}")).to_owned()
}

/// The record of the source `data`.
pub fn record(manifest: &Value) -> &Value {
    manifest["sources"].as_array().unwrap().iter().find(|source| source["name"] == "data").unwrap()
}

/// Writes a file that was modified so many hours ago.
pub fn write(folder: &Path, path: &str, content: &[u8], hours_ago: u64) {
    let file = folder.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, content).unwrap();
    let time = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
    std::fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

/// Bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    Noise::new(seed).take(bytes).collect()
}

/// Every file below a folder, with its content and the second at which it was modified.
pub fn tree(folder: &Path) -> BTreeMap<String, (Vec<u8>, u64)> {
    let mut all = BTreeMap::new();
    for path in crate::vault_stage::files(folder) {
        let file = folder.join(&path);
        let modified = file.metadata().unwrap().modified().unwrap();
        let seconds = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        all.insert(path, (std::fs::read(file).unwrap(), seconds));
    }
    all
}

mod rand_like {
    /// xorshift64*: enough to be incompressible.
    pub struct Noise(u64);

    impl Noise {
        pub fn new(seed: u64) -> Noise {
            Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
        }
    }

    impl Iterator for Noise {
        type Item = u8;

        fn next(&mut self) -> Option<u8> {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            Some((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8)
        }
    }
}
