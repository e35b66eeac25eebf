//! A real control plane as child processes: etcd and kube-apiserver on loopback, with data of their own.
//!
//! `ckbackup demo`, drills and the tests restore into it. Nothing runs in it: there is no scheduler, no kubelet and no
//! controller manager, so objects stay exactly as they were written. The servers end with the process that started
//! them, however that ends.

mod access;
mod leash;
mod ports;
mod probe;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Context, Error, Result};

use access::Access;
pub use leash::{Leashed, Program};
pub use ports::free_port;
use probe::Probe;

/// How often a start is repeated with other ports when another process took one in between.
const PORT_ATTEMPTS: u32 = 5;

/// Between two looks at a server that is starting.
const POLL: Duration = Duration::from_millis(25);

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The folder that holds the programs `etcd` and `kube-apiserver`.
    pub assets: PathBuf,
    /// The folder for data, credentials and logs: it must be new or empty, and is not removed at the end.
    pub dir: PathBuf,
    /// The name of the cluster and of the context in the kubeconfig.
    pub name: String,
    /// Arguments for kube-apiserver, after (and so stronger than) those of the sandbox.
    pub extra_apiserver_args: Vec<String>,
    /// How long the servers may take until they are ready.
    pub wait: Duration,
}

impl SandboxOptions {
    /// A sandbox with nothing special, which has a minute to become ready.
    pub fn new(assets: impl Into<PathBuf>, dir: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        SandboxOptions {
            assets: assets.into(),
            dir: dir.into(),
            name: name.into(),
            extra_apiserver_args: Vec::new(),
            wait: Duration::from_secs(60),
        }
    }
}

/// A running control plane. Dropping it kills the servers without waiting for their end.
#[derive(Debug)]
pub struct Sandbox {
    options: SandboxOptions,
    access: Access,
    etcd_url: String,
    etcd: Leashed,
    apiserver: Leashed,
}

impl Sandbox {
    /// Starts etcd and the API server, and returns when the API answers and has its `default` namespace.
    ///
    /// Fails when a program is missing, when the folder is in use, or when a server ends or is not ready in time: the
    /// error then quotes the end of that server's log.
    pub async fn start(options: SandboxOptions) -> Result<Sandbox> {
        require_programs(&options.assets)?;
        claim_folder(&options.dir)?;
        let mut attempt = 1;
        loop {
            match Sandbox::start_once(&options).await {
                Err(_) if attempt < PORT_ATTEMPTS && lost_a_port(&options.dir) => {
                    attempt += 1;
                    clear_folder(&options.dir)?;
                }
                result => return result,
            }
        }
    }

    async fn start_once(options: &SandboxOptions) -> Result<Sandbox> {
        let deadline = Instant::now() + options.wait;
        let etcd_url = format!("http://127.0.0.1:{}", free_port()?);
        let mut etcd = Leashed::spawn(&etcd_program(options, &etcd_url)?)?;
        wait_for_etcd(&mut etcd, &etcd_url, deadline).await?;

        let access = Access::create(&options.dir, free_port()?)?;
        let mut apiserver = Leashed::spawn(&apiserver_program(options, &etcd_url, &access))?;
        wait_for_api(&mut apiserver, &access, deadline).await?;
        // Should etcd have ended, the API server may be talking to another process's etcd on the same port.
        etcd.require_running()?;
        access.write_kubeconfig(&options.name)?;
        Ok(Sandbox { options: options.clone(), access, etcd_url, etcd, apiserver })
    }

    /// The kubeconfig (mode 0600) whose current context is an administrator of this cluster.
    pub fn kubeconfig(&self) -> &Path {
        &self.access.kubeconfig
    }

    /// The address of the API server, `https://127.0.0.1:<port>`.
    pub fn server(&self) -> &str {
        &self.access.server
    }

    /// The bearer token of the administrator.
    pub fn token(&self) -> &str {
        &self.access.token
    }

    /// The file with the certificate that signed the API server's, in PEM.
    pub fn ca_file(&self) -> &Path {
        &self.access.ca_file
    }

    /// The folder with data and logs, as given.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// The process ids of etcd and of the API server.
    pub fn pids(&self) -> (u32, u32) {
        (self.etcd.pid(), self.apiserver.pid())
    }

    /// Kills the API server, as a power cut would; etcd keeps the data.
    pub async fn kill_apiserver(&mut self) -> Result<()> {
        self.apiserver.kill().await
    }

    /// Starts the API server again on its old address, over the same data, and waits until it is ready.
    pub async fn restart_apiserver(&mut self) -> Result<()> {
        self.apiserver.kill().await?;
        let deadline = Instant::now() + self.options.wait;
        self.apiserver = Leashed::spawn(&apiserver_program(&self.options, &self.etcd_url, &self.access))?;
        wait_for_api(&mut self.apiserver, &self.access, deadline).await
    }

    /// Stops both servers and waits until they are gone. Their data stays in the folder.
    pub async fn stop(mut self) -> Result<()> {
        self.apiserver.kill().await?;
        self.etcd.kill().await
    }
}

fn require_programs(assets: &Path) -> Result<()> {
    for program in ["etcd", "kube-apiserver"] {
        let path = assets.join(program);
        if !path.is_file() {
            return Err(Error::failed(format!("start a control plane: {} does not exist", path.display()))
                .hint("name a folder that holds etcd and kube-apiserver, for example in KUBEBUILDER_ASSETS"));
        }
    }
    Ok(())
}

/// Makes the folder, for this user only, and refuses one with something in it.
fn claim_folder(dir: &Path) -> Result<()> {
    let what = || format!("prepare sandbox folder {}", dir.display());
    DirBuilder::new().recursive(true).mode(0o700).create(dir).context(what)?;
    if std::fs::read_dir(dir).context(what)?.next().is_some() {
        return Err(Error::failed(format!("sandbox folder {} is not empty", dir.display()))
            .hint("give the sandbox a new folder: it never writes over the data of another"));
    }
    Ok(())
}

fn clear_folder(dir: &Path) -> Result<()> {
    let what = || format!("empty sandbox folder {}", dir.display());
    std::fs::remove_dir_all(dir).context(what)?;
    claim_folder(dir)
}

/// Whether a server found its port taken: nobody can reserve one for a child process.
fn lost_a_port(dir: &Path) -> bool {
    ["etcd.log", "kube-apiserver.log"]
        .iter()
        .any(|log| std::fs::read_to_string(dir.join(log)).is_ok_and(|text| text.contains("address already in use")))
}

/// Without fsync: what is in a sandbox is worth nothing after a crash of the machine.
fn etcd_program(options: &SandboxOptions, url: &str) -> Result<Program> {
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let args = vec![
        format!("--data-dir={}", options.dir.join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ];
    Ok(Program { path: options.assets.join("etcd"), args, env: Vec::new(), log: options.dir.join("etcd.log") })
}

fn apiserver_program(options: &SandboxOptions, etcd_url: &str, access: &Access) -> Program {
    let key = access.service_account_key.display();
    let mut args = vec![
        format!("--etcd-servers={etcd_url}"),
        format!("--cert-dir={}", access.cert_dir.display()),
        format!("--secure-port={}", access.port),
        "--bind-address=127.0.0.1".into(),
        // These two keep it off the machine's other addresses: it then needs no network at all.
        "--advertise-address=127.0.0.1".into(),
        "--endpoint-reconciler-type=none".into(),
        "--service-cluster-ip-range=10.0.0.0/16".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        format!("--token-auth-file={}", access.token_file.display()),
        "--authorization-mode=RBAC".into(),
        "--allow-privileged=true".into(),
        // Nobody makes default service accounts here, and this plugin refuses pods without one.
        "--disable-admission-plugins=ServiceAccount".into(),
    ];
    args.extend(options.extra_apiserver_args.iter().cloned());
    let log = options.dir.join("kube-apiserver.log");
    Program { path: options.assets.join("kube-apiserver"), args, env: Vec::new(), log }
}

/// The API server tries etcd again only after a second when it comes too early, so etcd goes first.
async fn wait_for_etcd(etcd: &mut Leashed, url: &str, deadline: Instant) -> Result<()> {
    let address = url.trim_start_matches("http://");
    while tokio::net::TcpStream::connect(address).await.is_err() {
        etcd.require_running()?;
        pause(etcd, deadline).await?;
    }
    Ok(())
}

async fn wait_for_api(apiserver: &mut Leashed, access: &Access, deadline: Instant) -> Result<()> {
    let mut probe = Probe::new(access);
    while !probe.ready().await {
        apiserver.require_running()?;
        pause(apiserver, deadline).await?;
    }
    Ok(())
}

async fn pause(server: &Leashed, deadline: Instant) -> Result<()> {
    if Instant::now() >= deadline {
        return Err(server.failure("is not ready in time"));
    }
    tokio::time::sleep(POLL).await;
    Ok(())
}
