//! Child processes that cannot outlive this one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::error::{Context, Error, Result};

/// Waits for a line, then becomes the server. If this process dies before it sent the line, the server never starts.
const START: &str = r#"read -r _ && exec "$0" "$@" </dev/null"#;

/// Waits for the end of this process, which closes the pipe, however it dies; then kills the server.
const WATCH: &str = r#"read -r _; kill -9 "$0""#;

/// How much of the end of a log an error quotes.
const QUOTED_BYTES: i64 = 8 * 1024;
const QUOTED_LINES: usize = 8;

/// A server program, and what it is started with.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment: it inherits nothing, as servers such as etcd take settings from there.
    pub env: Vec<(String, String)>,
    /// The file that its standard output and error are appended to.
    pub log: PathBuf,
}

/// A running server that ends with this process, even when this process is killed without a chance to clean up.
///
/// It is started in a process group of its own, so that Ctrl-C on the terminal reaches only the program that the
/// person is talking to. Dropping a `Leashed` kills the server without waiting.
#[derive(Debug)]
pub struct Leashed {
    program: Program,
    pid: u32,
    // The server is dropped, and so killed, before its watcher.
    server: Child,
    watcher: Child,
}

impl Leashed {
    /// Starts the program. Must be called within a Tokio runtime that lives as long as the server.
    pub fn spawn(program: &Program) -> Result<Leashed> {
        let what = || format!("start {}", program.path.display());
        let log = open_log(&program.log)?;
        let (mut go, stdin) = pipe().context(what)?;
        let server = shell(START)
            .arg(&program.path)
            .args(&program.args)
            .envs(program.env.iter().map(|(key, value)| (key, value)))
            .stdin(stdin)
            .stdout(log.try_clone().context(what)?)
            .stderr(log)
            .spawn()
            .context(what)?;
        let pid = server.id().ok_or_else(|| Error::failed(what()))?;
        let watcher = shell(WATCH)
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context(what)?;
        go.write_all(b"\n").context(what)?;
        Ok(Leashed { program: program.clone(), pid, server, watcher })
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Fails, quoting the log, when the server has ended.
    pub fn require_running(&mut self) -> Result<()> {
        let ended = self.server.try_wait().context(|| format!("look at process {}", self.pid))?;
        ended.map_or(Ok(()), |status| Err(self.failure(&format!("ended with {status}"))))
    }

    /// Kills the server, if it still runs, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        let what = || format!("stop {} (process {})", self.program.path.display(), self.pid);
        self.server.kill().await.context(what)?;
        self.watcher.kill().await.context(what)
    }

    /// An error that says what became of the server, quotes the end of its log and names the file.
    pub fn failure(&self, fate: &str) -> Error {
        let name = self.program.path.file_name().unwrap_or_default().to_string_lossy();
        let log = self.program.log.display();
        Error::failed(format!("{name} {fate}; its log ends:\n{}", tail(&self.program.log)))
            .hint(format!("the whole log is in {log}"))
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).env_clear().process_group(0).kill_on_drop(true);
    command
}

/// A pipe whose ends close on exec, the write end for this process alone.
fn pipe() -> std::io::Result<(std::io::PipeWriter, std::io::PipeReader)> {
    std::io::pipe().map(|(reader, writer)| (writer, reader))
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("open log {}", path.display()))
}

/// The last lines of a log; what cannot be read is no reason for another error.
fn tail(path: &Path) -> String {
    let text = read_end(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(QUOTED_LINES);
    match lines.get(first..) {
        Some(last) if !last.is_empty() => last.join("\n"),
        _ => "(nothing)".into(),
    }
}

fn read_end(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len() as i64;
    file.seek(SeekFrom::End(-size.min(QUOTED_BYTES)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end)
}
