//! What the restore tests begin with: keys, a folder vault, a schedule, and commands as a user types them.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::control_plane::{Shared, shared, write_kubeconfig};
use crate::harness::{Action, Ckbackup, FaultProxy, Finished, Scratch, Seen};

/// A vault of the test's own, with keys for it.
pub struct Rig {
    pub scratch: Scratch,
}

impl Rig {
    pub async fn new() -> Rig {
        let rig = Rig { scratch: Scratch::new() };
        rig.ckbackup("keygen --dir keys").run().await.expect_success();
        rig
    }

    /// `ckbackup` with these words, divided by blanks, in the folder of the test.
    pub fn ckbackup(&self, words: &str) -> Ckbackup {
        Ckbackup::new(&self.scratch).args(words.split_whitespace())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Writes a schedule whose source `platform` has this scope (YAML in flow style).
    pub fn schedule(&self, name: &str, scope: &str) -> PathBuf {
        let recipient = std::fs::read_to_string(self.path("keys/recipient.txt")).unwrap();
        let text = format!(
            "apiVersion: ckbackup.io/v1\nkind: Schedule\nmetadata: {{name: {name}}}\nspec:\n  cluster: workload-1\n  \
             vault: {{url: \"file://{vault}\"}}\n  \
             encryption: {{recipients: [{recipient}], allowSingleRecipient: true}}\n  \
             signing: {{keyFile: keys/signing_key}}\n  \
             sources: [{{name: platform, kubernetes: {scope}}}]\n",
            vault = self.path("vault").display(),
            recipient = recipient.trim(),
        );
        self.scratch.file(&format!("{name}.yaml"), text)
    }

    /// Takes a backup of what the scope selects, and returns its id.
    pub async fn back_up(&self, kubeconfig: &Path, scope: &str) -> String {
        self.schedule("nightly", scope);
        self.back_up_by("nightly.yaml", kubeconfig).await
    }

    /// Takes a backup by a schedule that stands in the folder of the test.
    pub async fn back_up_by(&self, schedule: &str, kubeconfig: &Path) -> String {
        let backup = self.ckbackup(&format!("backup -q --now -o json -f {schedule} --kubeconfig")).arg(kubeconfig);
        let id = backup.run().await.expect_success().json()["id"].as_str().unwrap().to_owned();
        assert!(id.ends_with("Z-nightly"), "{id}");
        id
    }

    /// Writes a plan with these steps (a YAML list in flow style, or lines of one) and a limit of four hours.
    pub fn plan(&self, steps: &str) -> PathBuf {
        self.plan_named("test", steps)
    }

    pub fn plan_named(&self, name: &str, steps: &str) -> PathBuf {
        let text = format!(
            "apiVersion: ckbackup.io/v1\nkind: RestorePlan\nmetadata: {{name: {name}}}\nspec:\n  rto: 4h\n  steps: {steps}\n"
        );
        self.scratch.file(&format!("restore-plans/{name}.yaml"), text)
    }

    /// A verb with the vault, the keys and the cluster; results as JSON.
    pub fn verb(&self, words: &str, kubeconfig: &Path) -> Ckbackup {
        self.reading(words).arg("--kubeconfig").arg(kubeconfig)
    }

    /// A verb with the vault and the keys; results as JSON.
    pub fn reading(&self, words: &str) -> Ckbackup {
        self.ckbackup(words)
            .args("-q -o json --vault vault --identity keys/identity.txt --signers keys/allowed_signers".split(' '))
    }

    /// The restore of the latest backup by a plan.
    pub fn restore(&self, plan: &Path, kubeconfig: &Path) -> Ckbackup {
        self.verb("restore -f", Path::new("/")).into_restore(plan, kubeconfig, self)
    }

    /// Puts a proxy in front of the shared control plane.
    pub fn in_front_of_shared(
        &self,
        decide: impl Fn(&Seen) -> Action + Send + Sync + 'static,
    ) -> (FaultProxy, PathBuf) {
        let Shared { server, ca_pem, token, .. } = shared();
        let proxy = FaultProxy::tls(server, ca_pem, decide);
        let kubeconfig = write_kubeconfig(&self.scratch, "proxied", proxy.url(), proxy.ca_pem(), token);
        (proxy, kubeconfig)
    }
}
