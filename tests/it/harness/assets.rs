//! Where the servers' programs and the test vectors are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// What `tests/rig/setup test` prepared.
#[derive(Debug)]
pub struct Assets {
    /// The folder with etcd and kube-apiserver.
    pub control_plane: PathBuf,
    /// The S3 server.
    pub versitygw: PathBuf,
    /// The folder in which npm installed Azurite.
    pub azurite: PathBuf,
    /// The folder with a plugin of age, `age-plugin-pq`, and the program that makes keys for it, `age-keygen`.
    pub age_plugin: PathBuf,
    /// The folder with the official age test vectors.
    pub age_vectors: PathBuf,
    /// The program kustomize.
    pub kustomize: PathBuf,
    /// The folder with Prometheus and promtool.
    pub prometheus: PathBuf,
    /// The folder with kubelet, kube-scheduler and kube-controller-manager.
    pub node: PathBuf,
    /// The folder with containerd and images, as `tests/rig/node/containers` describes it.
    pub containers: PathBuf,
}

const VARIABLES: [&str; 9] = [
    "KUBEBUILDER_ASSETS",
    "CKBACKUP_TEST_VERSITYGW",
    "CKBACKUP_TEST_AZURITE",
    "CKBACKUP_TEST_AGE_PLUGIN",
    "CKBACKUP_TEST_AGE_VECTORS",
    "CKBACKUP_TEST_KUSTOMIZE",
    "CKBACKUP_TEST_PROMETHEUS",
    "CKBACKUP_TEST_NODE",
    "CKBACKUP_TEST_CONTAINERS",
];

/// The assets of this machine. A test that needs them fails when they are missing: it never skips itself.
pub fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| {
        let [control_plane, versitygw, azurite, age_plugin, age_vectors, kustomize, prometheus, node, containers] =
            from_environment().unwrap_or_else(from_setup);
        Assets { control_plane, versitygw, azurite, age_plugin, age_vectors, kustomize, prometheus, node, containers }
    })
}

/// The environment in which another test process finds the same.
pub fn variables() -> Vec<(&'static str, PathBuf)> {
    let Assets { control_plane, versitygw, azurite, age_plugin, age_vectors, kustomize, prometheus, node, containers } =
        assets();
    let values = [control_plane, versitygw, azurite, age_plugin, age_vectors, kustomize, prometheus, node, containers];
    VARIABLES.into_iter().zip(values.map(PathBuf::clone)).collect()
}

/// As `make test` sets it.
fn from_environment() -> Option<[PathBuf; 9]> {
    let values = VARIABLES.map(|name| std::env::var_os(name).map(PathBuf::from));
    values.iter().all(Option::is_some).then(|| values.map(Option::unwrap))
}

/// For a plain `cargo test`, after `make test` or `tests/rig/setup test` ran once.
fn from_setup() -> [PathBuf; 9] {
    let print = VARIABLES.map(|name| format!("\"${name}\"")).join(" ");
    let script =
        format!("environment=$(tests/rig/setup --print-env test) && eval \"$environment\" && printf '%s\\n' {print}");
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("bash").args(["-euc", &script]).current_dir(root).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the test servers are not there: run `make test` ({})", problem.trim());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(PathBuf::from).collect::<Vec<_>>().try_into().unwrap()
}
