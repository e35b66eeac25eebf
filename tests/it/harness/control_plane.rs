//! A real etcd and kube-apiserver for tests: one of the test's own, or one that all tests of this process share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};

use ckbackup::drill::sandbox::{Sandbox, SandboxOptions};

use super::assets::assets;
use super::{Api, FaultProxy, Scratch};

/// A control plane for one test alone: empty, and free to be broken.
#[derive(Debug)]
pub struct ControlPlane {
    /// The servers, to be killed and restarted.
    pub sandbox: Sandbox,
}

impl ControlPlane {
    /// Starts one in the scratch folder, under a name that is also that of its kubeconfig context. Takes about 3 s.
    pub async fn start(scratch: &Scratch, name: &str) -> Self {
        ControlPlane::start_with(scratch, name, &[]).await
    }

    /// Starts one with more arguments for kube-apiserver.
    pub async fn start_with(scratch: &Scratch, name: &str, apiserver_args: &[&str]) -> Self {
        let mut options = SandboxOptions::new(&assets().control_plane, scratch.path().join(name), name);
        options.extra_apiserver_args = apiserver_args.iter().map(|arg| arg.to_string()).collect();
        let sandbox = Sandbox::start(options).await.unwrap_or_else(|e| panic!("{}", e.one_line()));
        ControlPlane { sandbox }
    }

    pub fn kubeconfig(&self) -> &Path {
        self.sandbox.kubeconfig()
    }

    /// A client of its administrator.
    pub fn api(&self) -> Api {
        Api::new(self.sandbox.server(), self.sandbox.token(), &self.ca_pem())
    }

    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.sandbox.ca_file()).unwrap()
    }

    /// A kubeconfig whose context `name` goes through a proxy in front of this server.
    pub fn kubeconfig_through(&self, proxy: &FaultProxy, scratch: &Scratch, name: &str) -> PathBuf {
        write_kubeconfig(scratch, name, proxy.url(), proxy.ca_pem(), self.sandbox.token())
    }
}

/// Writes a kubeconfig (JSON is YAML) with one context.
pub fn write_kubeconfig(scratch: &Scratch, name: &str, server: &str, ca_pem: Option<&str>, token: &str) -> PathBuf {
    use base64::Engine;
    let ca = ca_pem.map(|pem| base64::engine::general_purpose::STANDARD.encode(pem));
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": {"token": token}}],
    });
    scratch.file(&format!("{name}.kubeconfig"), config.to_string())
}

/// What tests that only need namespaces of their own share: reading and writing other namespaces, or cluster-scoped
/// objects with fixed names, is not for them. Its logs are in `target/tmp/shared-control-plane-*` until the next run.
#[derive(Debug)]
pub struct Shared {
    pub kubeconfig: PathBuf,
    pub server: String,
    pub token: String,
    pub ca_pem: String,
}

impl Shared {
    pub fn api(&self) -> Api {
        Api::new(&self.server, &self.token, &self.ca_pem)
    }

    /// Makes a namespace with a new name that begins like this.
    pub async fn namespace(&self, prefix: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.api().create_namespace(&name).await;
        name
    }
}

/// The shared control plane, named `shared`, started by the first test that asks for it. It ends with the test process.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (send, receive) = mpsc::channel();
        // A thread of its own, as the servers belong to a runtime, and those of the tests end with the tests.
        std::thread::spawn(move || run_shared(&send));
        receive.recv().expect("the shared control plane starts")
    })
}

fn run_shared(started: &mpsc::Sender<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = shared_folder("shared-control-plane-");
        let options = SandboxOptions::new(&assets().control_plane, dir, "shared");
        let sandbox = Sandbox::start(options).await.unwrap_or_else(|e| panic!("{}", e.one_line()));
        let shared = Shared {
            kubeconfig: sandbox.kubeconfig().into(),
            server: sandbox.server().into(),
            token: sandbox.token().into(),
            ca_pem: std::fs::read_to_string(sandbox.ca_file()).unwrap(),
        };
        started.send(shared).unwrap();
        std::future::pending::<()>().await;
    });
}

/// A new folder for what the tests of this process share. Statics are never dropped, so each run removes what earlier
/// ones left under this prefix.
pub fn shared_folder(prefix: &str) -> PathBuf {
    let folders = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(folders).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    folders.join(format!("{prefix}{}", std::process::id()))
}
