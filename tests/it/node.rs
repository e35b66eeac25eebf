//! Tests of the node for tests: its pods run and take exec, and nothing of it is left.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::harness::command::is_running;
use crate::harness::exec::{exec, output_of};
use crate::harness::{Ckbackup, Node, Scratch, eventually, shared_node};

pub const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "busybox:test", command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: postgres}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "postgres:test", readinessProbe: {exec: {command: [pg_isready]}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: influxdb}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "influxdb:test", readinessProbe: {httpGet: {path: /ping, port: 8086}, periodSeconds: 1}}
"#;

const STREAMED: usize = 50_000_000;

#[tokio::test]
async fn pods_run_and_take_exec() {
    let node = shared_node().await;
    let namespace = node.namespace("pods").await;
    node.apply(&namespace, PODS).await;
    for pod in ["box", "postgres", "influxdb"] {
        node.pod_ready(&namespace, pod).await;
    }

    let dumped = "createdb shop && psql -qc 'create table t as select 42 as answer' shop && pg_dump shop";
    assert!(output_of(node, &namespace, "postgres", &["sh", "-c", dumped]).await.contains("\n42\n"));
    assert!(output_of(node, &namespace, "postgres", &["pg_dumpall"]).await.contains("CREATE DATABASE shop"));
    for tool in ["pg_restore", "initdb"] {
        assert!(output_of(node, &namespace, "postgres", &[tool, "--version"]).await.contains("PostgreSQL"));
    }
    let databases = ["influx", "-execute", "create database shop; show databases"];
    assert!(output_of(node, &namespace, "influxdb", &databases).await.contains("\nshop\n"));

    let (status, _) = exec(node, &namespace, "box", &["sh", "-c", "exit 7"], Vec::new()).await;
    let causes = status.details.unwrap().causes.unwrap();
    assert_eq!((status.reason.as_deref(), causes[0].message.as_deref()), (Some("NonZeroExitCode"), Some("7")));
}

#[tokio::test]
async fn exec_streams_without_loss() {
    let node = shared_node().await;
    let namespace = node.namespace("streams").await;
    node.apply(&namespace, PODS.split("---").next().unwrap()).await;
    node.pod_ready(&namespace, "box").await;
    let mut bytes = vec![0; STREAMED];
    getrandom::fill(&mut bytes).unwrap();
    let digest = hex::encode(Sha256::digest(&bytes));

    // The shell stays, and with it standard output: containerd ends the input of a program that closes its output, as
    // `dd of=…` and a shell's last command with `>` do (https://github.com/containerd/containerd/issues/12734).
    let store = ["sh", "-c", "cat >/tmp/file; sha256sum </tmp/file"];
    let (_, stored) = exec(node, &namespace, "box", &store, bytes.clone()).await;
    assert_eq!(String::from_utf8(stored).unwrap().split_whitespace().next(), Some(&*digest));

    let (_, read) = exec(node, &namespace, "box", &["cat", "/tmp/file"], Vec::new()).await;
    assert!(read == bytes, "{} bytes came back", read.len());
}

/// Two nodes at once, which do not disturb each other.
#[tokio::test]
async fn a_dropped_node_leaves_nothing() {
    let settings = kernel_settings();
    let scratch = [Scratch::new(), Scratch::new()];
    let (first, second) = tokio::join!(Node::start(&scratch[0]), Node::start(&scratch[1]));
    let traces = [&first, &second].map(Traces::of);
    assert!(traces[0].files.iter().all(|file| !traces[1].files.contains(file)));
    let namespace = second.namespace("left").await;
    second.apply(&namespace, PODS).await;
    drop(first);
    assert_eq!(traces[0].remaining(), Vec::<String>::new());

    second.pod_ready(&namespace, "postgres").await;
    let traces = Traces::of(&second);
    assert!(traces.processes.len() > 20, "{traces:?}");
    drop(second);
    assert_eq!(traces.remaining(), Vec::<String>::new());
    assert_eq!(kernel_settings(), settings);
}

/// Another process of this very test plays the test run that is killed.
#[tokio::test]
async fn a_node_ends_with_a_process_that_is_killed() {
    let scratch = Scratch::new();
    if let Some(file) = std::env::var_os("CKBACKUP_SELFTEST_NODE") {
        let node = Node::start(&scratch).await;
        std::fs::write(file, format!("{}\n", node.pid())).unwrap();
        return std::future::pending().await;
    }
    let file = scratch.path().join("pid");
    let this_test = std::thread::current().name().unwrap().to_owned();
    let running = Ckbackup::program(std::env::current_exe().unwrap(), &scratch)
        .args(["--exact", "--nocapture", &this_test])
        .env("CKBACKUP_SELFTEST_NODE", &file)
        .envs(crate::harness::assets::variables())
        .start()
        .await;
    let pid = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("the node runs", async || pid().ends_with('\n')).await;
    let traces = Traces::of_runner(pid().trim().parse().unwrap());
    assert!(traces.remaining().len() > 10, "{traces:?}");

    running.signal("KILL");

    eventually("nothing is left", async || traces.remaining().is_empty()).await;
    assert_eq!(running.finish().await.killed_by(), Some(9));
}

/// What a running node has made on the machine.
#[derive(Debug)]
struct Traces {
    processes: BTreeSet<u32>,
    /// The network interface and the cgroups, with what tells them from others that have the same name later.
    files: Vec<(PathBuf, u64)>,
}

impl Traces {
    fn of(node: &Node) -> Traces {
        Traces::of_runner(node.pid())
    }

    /// The number that its names hold is an argument of the first process inside.
    fn of_runner(pid: u32) -> Traces {
        let processes = descendants(pid);
        let command = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let inside = processes.iter().map(command).find(|command| command.contains("--inside\0")).unwrap();
        let number = inside.split('\0').skip_while(|argument| *argument != "--inside").nth(1).unwrap();
        let name = format!("ckbackup-{number}");
        let mounts = mounts();
        let hierarchies = mounts.lines().filter(|line| line.contains(" cgroup"));
        let hierarchies = hierarchies.map(|line| Path::new(line.split(' ').nth(1).unwrap()));
        let folders = hierarchies.chain([Path::new("/sys/class/net")]).map(|folder| folder.join(&name));
        let files = folders.map(|file| (file.clone(), inode(&file).unwrap())).collect();
        Traces { processes, files }
    }

    /// What of it is still there.
    fn remaining(&self) -> Vec<String> {
        let processes = self.processes.iter().filter(|pid| is_running(**pid)).map(|pid| format!("process {pid}"));
        let files = self.files.iter().filter(|(file, number)| inode(file) == Some(*number));
        let files = files.map(|(file, _)| file.display().to_string());
        let mounts = mounts();
        let mounts = mounts.lines().filter(|line| line.contains("/node/disk") || line.contains("containerd"));
        processes.chain(files).chain(mounts.map(str::to_owned)).collect()
    }
}

fn inode(file: &Path) -> Option<u64> {
    file.metadata().ok().map(|metadata| metadata.ino())
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/mounts").unwrap()
}

/// A process and all that descend from it.
fn descendants(root: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([root]);
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    loop {
        let before = found.len();
        found.extend(
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

/// Those that a kubelet changes where it can.
fn kernel_settings() -> Vec<String> {
    let files = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"];
    files.map(|file| std::fs::read_to_string(Path::new("/proc/sys").join(file)).unwrap()).into()
}
