//! The real servers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ckbackup::drill::sandbox::{self, Leashed, Program, SandboxOptions, free_port};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep};

use crate::bench::Bench;
use crate::platform::Platform;
use crate::raw::{self, Connections, Raw};

pub use ckbackup::drill::sandbox::Sandbox;

/// Writes in flight where a cluster is filled and nothing is measured.
const FILLING: usize = 64;

/// How long the S3 server may take until it listens; it takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

const ACCESS_KEY: &str = "bench";
const SECRET_KEY: &str = "bench-secret";

/// An empty control plane.
pub async fn empty_cluster(bench: &Bench) -> Result<Sandbox> {
    let folder = bench.new_folder("cluster");
    Ok(sandbox::Sandbox::start(SandboxOptions::new(&bench.settings.assets, folder, "bench")).await?)
}

/// A control plane that holds a platform.
pub async fn filled_cluster(bench: &Bench, platform: &Platform) -> Result<Sandbox> {
    let cluster = empty_cluster(bench).await?;
    let client = Raw::new(&cluster, Connections::Http1)?;
    let seconds = raw::create_all(&client, platform, FILLING).await?;
    bench.say(format!("a cluster with {} objects was filled in {seconds:.1} s", platform.len()));
    Ok(cluster)
}

/// Stops a control plane and removes its data.
pub async fn discard(bench: &Bench, cluster: Sandbox) -> Result<()> {
    let folder = cluster.dir().to_path_buf();
    cluster.stop().await?;
    bench.remove(&folder)
}

/// An S3 server with one bucket.
pub struct S3 {
    _server: Leashed,
    address: String,
    /// The bucket as a folder: each object is a file in it.
    pub bucket_folder: PathBuf,
}

impl S3 {
    pub async fn start(bench: &Bench) -> Result<S3> {
        let folder = bench.new_folder("s3");
        let bucket_folder = folder.join("data/bench");
        std::fs::create_dir_all(&bucket_folder).context("make the bucket")?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let data = folder.join("data").display().to_string();
        let mut server = Leashed::spawn(&Program {
            path: bench.settings.versitygw.clone(),
            args: [&format!("--port={address}"), "--region=us-east-1", "--quiet", "posix", &data]
                .map(String::from)
                .into(),
            env: vec![("ROOT_ACCESS_KEY".into(), ACCESS_KEY.into()), ("ROOT_SECRET_KEY".into(), SECRET_KEY.into())],
            log: folder.join("versitygw.log"),
        })?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).await.is_err() {
            server.require_running()?;
            anyhow::ensure!(Instant::now() < deadline, "the S3 server does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(S3 { _server: server, address, bucket_folder })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn bucket(&self) -> &str {
        "bench"
    }

    pub fn region(&self) -> &str {
        "us-east-1"
    }

    /// The id of an access key, and its secret.
    pub fn key(&self) -> (&'static str, &'static str) {
        (ACCESS_KEY, SECRET_KEY)
    }
}
