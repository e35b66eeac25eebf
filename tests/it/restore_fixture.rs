//! What the restore tests begin with: keys, a folder vault, a schedule, and commands as a user types them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::control_plane::{Shared, shared, write_kubeconfig};
use crate::harness::{Action, Api, Ckbackup, FaultProxy, Finished, Scratch, Seen, eventually};

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

    /// The restore of the latest backup by a plan.
    pub fn restore(&self, plan: &Path, kubeconfig: &Path) -> Ckbackup {
        self.verb("restore --backup latest -f", kubeconfig, Some(plan))
    }

    /// `diff` of the latest backup with a cluster.
    pub fn diff(&self, kubeconfig: &Path) -> Ckbackup {
        self.verb("diff latest", kubeconfig, None)
    }

    fn verb(&self, words: &str, kubeconfig: &Path, file: Option<&Path>) -> Ckbackup {
        let command = self.ckbackup(words).args(file);
        with_keys(command).arg("--kubeconfig").arg(kubeconfig)
    }

    /// A verb with the vault and the keys; results as JSON.
    pub fn reading(&self, words: &str) -> Ckbackup {
        with_keys(self.ckbackup(words))
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

fn with_keys(command: Ckbackup) -> Ckbackup {
    command.args("-q -o json --vault vault --identity keys/identity.txt --signers keys/allowed_signers".split(' '))
}

/// Steps with somebody to ask between them.
pub const ASKS: &str = "[{name: maps, apply: {kinds: [ConfigMap]}}, \
    {name: dns, after: [maps], manual: {title: Point DNS at it}}, \
    {name: rest, after: [dns], apply: {}}]";

/// Five config maps that were backed up and are lost, and their namespace.
pub async fn backed_up(name: &str) -> (Rig, String) {
    let (rig, namespace) = (Rig::new().await, shared().namespace(name).await);
    fill(&namespace, 5).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    (rig, namespace)
}

/// The scope of one namespace and nothing else.
pub fn only(namespace: &str) -> String {
    with_things(namespace, &[])
}

/// The scope of one namespace, with things of these groups: those of other tests come and go.
pub fn with_things(namespace: &str, groups: &[&str]) -> String {
    let things: Vec<_> = groups.iter().map(|group| format!(", things.{group}")).collect();
    format!(
        "{{namespaces: {{include: [{namespace}]}}, clusterScoped: false, resources: {{include: \
          [namespaces, configmaps, secrets, serviceaccounts, services{}]}}}}",
        things.concat()
    )
}

/// The first JSON value of standard output: a failure prints a second one after the summary.
#[track_caller]
pub fn summary(finished: &Finished) -> Value {
    let mut values = serde_json::Deserializer::from_str(&finished.stdout).into_iter();
    values.next().unwrap_or_else(|| panic!("no JSON: {finished}")).unwrap_or_else(|e| panic!("{e}: {finished}"))
}

/// A step of a summary.
#[track_caller]
pub fn step<'s>(summary: &'s Value, name: &str) -> &'s Value {
    let steps = summary["steps"].as_array().unwrap();
    steps.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no step {name}: {summary:#}"))
}

/// The outcomes of all steps: created, updated, unchanged, skipped, failed.
pub fn items(summary: &Value) -> [u64; 5] {
    let sum = |key: &str| summary["steps"].as_array().unwrap().iter().map(|s| s["items"][key].as_u64().unwrap()).sum();
    ["created", "updated", "unchanged", "skipped", "failed"].map(sum)
}

pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "saved"}})
}

pub fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// Creates that many config maps, `item-00` and on.
pub async fn fill(namespace: &str, count: usize) {
    let api = shared().api();
    for number in 0..count {
        api.create(&config_maps(namespace), &config_map(&format!("item-{number:02}"))).await;
    }
}

/// Deletes every config map of a namespace.
pub async fn empty(namespace: &str) {
    let api = shared().api();
    for object in api.list(&config_maps(namespace)).await {
        api.delete(&format!("{}/{}", config_maps(namespace), object["metadata"]["name"].as_str().unwrap())).await;
    }
}

/// A definition of a kind `Thing` in a group, with status as a subresource and any content.
pub fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Creates a definition and waits until its objects can be.
pub async fn define(api: &Api, group: &str) {
    api.create(DEFINITIONS, &definition(group)).await;
    // At first its storage is being prepared.
    let path = format!("/apis/{group}/v1/things");
    eventually("the type is served", async || api.send(reqwest::Method::GET, &path, None).await.0 == 200).await;
}

pub fn thing(group: &str, name: &str) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": name}, "spec": {"size": 1}})
}

pub fn things(group: &str, namespace: &str) -> String {
    format!("/apis/{group}/v1/namespaces/{namespace}/things")
}

/// Name and resourceVersion of every object of a collection.
pub async fn versions(path: &str) -> Vec<(String, String)> {
    let text = |o: &Value, key: &str| o["metadata"][key].as_str().unwrap().to_owned();
    shared().api().list(path).await.iter().map(|o| (text(o, "name"), text(o, "resourceVersion"))).collect()
}
