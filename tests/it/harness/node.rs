//! A whole Kubernetes node, whose pods run: a control plane, containerd and a kubelet. It takes root.
//!
//! `tests/rig/node/run` says how it is kept apart from the machine. The images are `busybox:test`, `postgres:test`,
//! `influxdb:test` and `prometheus:test`, all with busybox as their shell; others cannot be had. A pod that a test may use:
//!
//! ```yaml
//! apiVersion: v1
//! kind: Pod
//! metadata: {name: database}
//! spec:
//!   terminationGracePeriodSeconds: 0
//!   containers:
//!   - name: main
//!     image: postgres:test
//!     readinessProbe: {exec: {command: [pg_isready]}, periodSeconds: 1}
//! ```

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::assets::assets;
use super::control_plane::shared_folder;
use super::{Api, PATIENCE, Scratch, eventually};

/// A running node. Dropping it stops everything in it, and waits until nothing is left; should this process be killed,
/// the same happens without it.
#[derive(Debug)]
pub struct Node {
    runner: Child,
    folder: PathBuf,
}

impl Node {
    /// Starts one in the scratch folder, and waits until it takes pods. Takes about 4 s.
    pub async fn start(scratch: &Scratch) -> Node {
        Node::start_in(scratch.path().join("node")).await
    }

    async fn start_in(folder: PathBuf) -> Node {
        std::fs::create_dir(&folder).unwrap();
        let assets = assets();
        // A group of its own, as an interrupt on the terminal is for the tests; they then let go of it.
        let runner = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/node/run"))
            .args([&folder, &assets.control_plane, &assets.node, &assets.containers])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("run.log")).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut node = Node { runner, folder };
        node.wait_until_ready().await;
        node
    }

    async fn wait_until_ready(&mut self) {
        eventually("the node's API server is there", async || {
            self.require_running();
            self.kubeconfig().exists()
        })
        .await;
        let api = self.api();
        eventually("the node is ready", async || {
            self.require_running();
            let node = api.find("/api/v1/nodes/node").await;
            // A new node has a taint, which goes only when the controllers have seen that it is ready.
            node.is_some_and(|node| is_ready(&node) && node["spec"]["taints"].is_null())
        })
        .await;
    }

    fn require_running(&mut self) {
        let ended = self.runner.try_wait().unwrap();
        let log = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        assert!(ended.is_none(), "the node ended:\n{}{}", log("run.log"), log("node.log"));
    }

    /// The process of which all others of the node descend.
    pub fn pid(&self) -> u32 {
        self.runner.id()
    }

    /// An administrator's; the context is `node`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A client of its administrator.
    pub fn api(&self) -> Api {
        let read = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap();
        Api::new(read("server").trim(), read("token").trim(), &read("ca.crt"))
    }

    /// A client that can exec. Make one in each test: it is bound to the test's runtime.
    pub async fn client(&self) -> kube::Client {
        // As the program does; another test may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        kube::Client::try_from(config.unwrap()).unwrap()
    }

    /// Makes a namespace with a new name that begins like this, in which pods can be made.
    pub async fn namespace(&self, prefix: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let api = self.api();
        api.create_namespace(&name).await;
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        eventually("the namespace has its service account", async || api.find(&account).await.is_some()).await;
        name
    }

    /// Applies the objects of a text of YAML; those that have namespaces and name none, in this one.
    pub async fn apply(&self, namespace: &str, yaml: &str) {
        let api = self.api();
        for document in serde_yaml::Deserializer::from_str(yaml) {
            let object = Value::deserialize(document).unwrap();
            api.apply(&path_of(&api, namespace, &object).await, &object).await;
        }
    }

    /// Waits until a pod is ready, and fails the test with what the pod's events say when it is not in time.
    pub async fn pod_ready(&self, namespace: &str, name: &str) {
        let api = self.api();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        // The scheduler looks at a pod that it could not place again after five minutes at the latest.
        let deadline = tokio::time::Instant::now() + PATIENCE + std::time::Duration::from_secs(300);
        while !api.find(&path).await.is_some_and(|pod| is_ready(&pod)) {
            if tokio::time::Instant::now() >= deadline {
                let events = api.list(&format!("/api/v1/namespaces/{namespace}/events")).await;
                let messages: Vec<_> = events.iter().filter_map(|event| event["message"].as_str()).collect();
                panic!("pod {namespace}/{name} is not ready in time: {}", messages.join("\n"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.runner.stdin.take());
        let _ = self.runner.wait();
    }
}

/// The node that all tests of this process share, each in namespaces of its own. It ends with the process; its logs are
/// in `target/tmp/shared-node-*` until the next run.
pub async fn shared_node() -> &'static Node {
    static NODE: OnceCell<Node> = OnceCell::const_new();
    NODE.get_or_init(async || {
        let folder = shared_folder("shared-node-");
        // Of a start that failed.
        let _ = std::fs::remove_dir_all(&folder);
        Node::start_in(folder).await
    })
    .await
}

/// Of pods and of nodes.
pub fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Where an object is, by what the server says of its type.
async fn path_of(api: &Api, namespace: &str, object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("incomplete: {object}")).to_owned();
    let version = text(&object["apiVersion"]);
    let base = format!("/{}/{version}", if version.contains('/') { "apis" } else { "api" });
    let types = api.get(&base).await;
    let named = |kind: &&Value| kind["kind"] == object["kind"] && !text(&kind["name"]).contains('/');
    let kind = types["resources"].as_array().unwrap().iter().find(named);
    let kind = kind.unwrap_or_else(|| panic!("no such type: {object}"));
    let namespace = match (kind["namespaced"] == true, object["metadata"]["namespace"].as_str()) {
        (false, _) => String::new(),
        (true, own) => format!("/namespaces/{}", own.unwrap_or(namespace)),
    };
    format!("{base}{namespace}/{}/{}", text(&kind["name"]), text(&object["metadata"]["name"]))
}
