//! Runs the built binary the way a user does, with nothing of the developer's environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{PATIENCE, Scratch};

/// One call of `ckbackup` in the making.
#[derive(Debug)]
pub struct Ckbackup {
    command: Command,
    stdin: Vec<u8>,
    timeout: Duration,
    shown: Vec<OsString>,
}

impl Ckbackup {
    /// The binary with an empty home in the scratch folder, which is also its working directory.
    pub fn new(scratch: &Scratch) -> Self {
        Ckbackup::program(env!("CARGO_BIN_EXE_ckbackup"), scratch)
    }

    /// Another program under the same conditions: the stock tools that open a backup.
    pub fn program(program: impl AsRef<OsStr>, scratch: &Scratch) -> Self {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", scratch.folder("home"))
            .env("TMPDIR", scratch.folder("tmp"))
            .env("TZ", "UTC")
            .env("LANG", "C.UTF-8")
            .env("NO_COLOR", "1")
            .current_dir(scratch.path())
            .kill_on_drop(true);
        // Where coverage is measured, the binary is told by this where to leave it.
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        Ckbackup { command, stdin: Vec::new(), timeout: PATIENCE, shown: vec![program.as_ref().into()] }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(arg.as_ref().into());
        self.command.arg(arg);
        self
    }

    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        args.into_iter().fold(self, Ckbackup::arg)
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn envs(self, variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> Self {
        variables.into_iter().fold(self, |command, (name, value)| command.env(name, value))
    }

    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.command.current_dir(dir.into());
        self
    }

    /// What the program reads from standard input; without it, that is empty.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// After this time the program is killed and the test fails.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end.
    pub async fn run(self) -> Finished {
        self.start().await.finish().await
    }

    /// Starts it and returns at once; its output is read in the background.
    pub async fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("start {:?}: {e}", self.shown));
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        let text = self.stdin;
        // A program may end without reading its input.
        tokio::spawn(async move { stdin.write_all(&text).await });
        Running { pid: child.id().unwrap(), child, stdout, stderr, timeout: self.timeout, shown: self.shown }
    }
}

/// What a pipe gave so far, and the end of it.
#[derive(Debug)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: JoinHandle<()>,
}

fn collect(mut pipe: impl tokio::io::AsyncRead + Unpin + Send + 'static) -> Collected {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = bytes.clone();
    let end = tokio::spawn(async move {
        let mut piece = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut piece).await.unwrap() {
                0 => return,
                length => sink.lock().unwrap().extend_from_slice(&piece[..length]),
            }
        }
    });
    Collected { bytes, end }
}

impl Collected {
    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    async fn all(mut self) -> String {
        (&mut self.end).await.unwrap();
        self.so_far()
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    child: Child,
    stdout: Collected,
    stderr: Collected,
    timeout: Duration,
    shown: Vec<OsString>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until this text stands on its standard error.
    pub async fn says(&self, text: &str) {
        super::eventually(text, async || self.stderr.so_far().contains(text)).await;
    }

    /// What stands on its standard error by now.
    pub fn said(&self) -> String {
        self.stderr.so_far()
    }

    /// Sends a signal by its short name: `INT`, `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// Waits for the end.
    pub async fn finish(mut self) -> Finished {
        let ended = tokio::time::timeout(self.timeout, self.child.wait()).await;
        if ended.is_err() {
            self.child.kill().await.unwrap();
        }
        let finished = Finished {
            status: self.child.wait().await.unwrap(),
            stdout: self.stdout.all().await,
            stderr: self.stderr.all().await,
            shown: self.shown,
        };
        assert!(ended.is_ok(), "still running after {:?}: {finished}", self.timeout);
        finished
    }
}

/// Sends a signal to a process. It may have ended just now, so a failure is none of the test.
pub fn signal(pid: u32, name: &str) {
    std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).output().unwrap();
}

/// Whether a process exists and has not ended.
pub fn is_running(pid: u32) -> bool {
    // The state stands behind the name, which is in parentheses and may contain anything.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Peak resident memory of a process so far, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The most memory that a process has had by its end, in KiB.
pub async fn highest_memory(pid: u32) -> u64 {
    let mut highest = 0;
    while is_running(pid) {
        highest = highest.max(peak(pid).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    highest
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    shown: Vec<OsString>,
}

impl Finished {
    /// The exit code, or nothing when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn killed_by(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Fails the test, showing all output, unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.code() == Some(code), "expected exit code {code}: {self}");
        self
    }

    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect(0)
    }

    /// What was run, as it would be typed.
    pub fn command(&self) -> String {
        let words = self.shown.iter().map(|word| word.to_string_lossy());
        let program = Path::new(env!("CARGO_BIN_EXE_ckbackup")).to_string_lossy().into_owned();
        words.collect::<Vec<_>>().join(" ").replacen(&program, "ckbackup", 1)
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let command: Vec<_> = self.shown.iter().map(|part| part.to_string_lossy()).collect();
        let Finished { status, stdout, stderr, .. } = self;
        write!(f, "{}\n{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", command.join(" "))
    }
}
