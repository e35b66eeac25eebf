//! Where the servers' programs and the test vectors are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// One path for each variable that `tests/rig/setup --print-env test` prints.
macro_rules! assets {
    ($($(#[$about:meta])* $name:ident = $variable:literal,)*) => {
        /// What `tests/rig/setup test` prepared.
        #[derive(Debug)]
        pub struct Assets {
            $($(#[$about])* pub $name: PathBuf,)*
        }

        const VARIABLES: &[&str] = &[$($variable),*];

        impl Assets {
            /// In the order of the variables.
            fn from_paths(paths: Vec<PathBuf>) -> Assets {
                let mut paths = paths.into_iter();
                Assets { $($name: paths.next().expect($variable),)* }
            }

            fn paths(&self) -> Vec<PathBuf> {
                vec![$(self.$name.clone()),*]
            }
        }
    };
}

assets! {
    /// The folder with etcd and kube-apiserver.
    control_plane = "KUBEBUILDER_ASSETS",
    /// The S3 server.
    versitygw = "CKBACKUP_TEST_VERSITYGW",
    /// The folder in which npm installed Azurite.
    azurite = "CKBACKUP_TEST_AZURITE",
    /// The folder with a plugin of age, `age-plugin-pq`, and the program that makes keys for it, `age-keygen`.
    age_plugin = "CKBACKUP_TEST_AGE_PLUGIN",
    /// The folder with the official age test vectors.
    age_vectors = "CKBACKUP_TEST_AGE_VECTORS",
    /// The program kustomize.
    kustomize = "CKBACKUP_TEST_KUSTOMIZE",
    /// The folder with Prometheus, promtool and Alertmanager.
    prometheus = "CKBACKUP_TEST_PROMETHEUS",
    /// The folder with several releases of Elasticsearch.
    elasticsearch = "CKBACKUP_TEST_ELASTICSEARCH",
    /// The folder with OpenSearch.
    opensearch = "CKBACKUP_TEST_OPENSEARCH",
    /// The folder with kubelet, kube-scheduler and kube-controller-manager.
    node = "CKBACKUP_TEST_NODE",
    /// The folder with containerd and images, as `tests/rig/node/containers` describes it.
    containers = "CKBACKUP_TEST_CONTAINERS",
    /// The library that gives a program another clock.
    faketime = "CKBACKUP_TEST_FAKETIME",
}

/// The assets of this machine. A test that needs them fails when they are missing: it never skips itself.
pub fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| Assets::from_paths(from_environment().unwrap_or_else(from_setup)))
}

/// The environment in which another test process finds the same.
pub fn variables() -> Vec<(&'static str, PathBuf)> {
    VARIABLES.iter().copied().zip(assets().paths()).collect()
}

/// As `make test` sets it.
fn from_environment() -> Option<Vec<PathBuf>> {
    VARIABLES.iter().map(|name| std::env::var_os(name).map(PathBuf::from)).collect()
}

/// For a plain `cargo test`, after `make test` or `tests/rig/setup test` ran once.
fn from_setup() -> Vec<PathBuf> {
    let print = VARIABLES.iter().map(|name| format!("\"${name}\"")).collect::<Vec<_>>().join(" ");
    let script =
        format!("environment=$(tests/rig/setup --print-env test) && eval \"$environment\" && printf '%s\\n' {print}");
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("bash").args(["-euc", &script]).current_dir(root).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the test servers are not there: run `make test` ({})", problem.trim());
    String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect()
}
