//! Runs a program and sees what it takes.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Between two looks at a process. What it takes in its last moments, after the last look, is not seen.
const LOOK: Duration = Duration::from_millis(5);

/// Linux counts the time of processes in hundredths of a second, for programs that ask.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process took.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// From before its start to after its end.
    pub seconds: f64,
    pub user_seconds: f64,
    pub system_seconds: f64,
    /// The kernel's own high-water mark of memory in use.
    pub peak_mib: f64,
}

/// A program that ended well.
pub struct Ended {
    pub usage: Usage,
    pub stdout: Vec<u8>,
}

/// What happens to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Kept,
    /// Goes to /dev/null.
    Dropped,
}

/// Runs it to its end; an error when that is not a good one.
pub fn run(command: &mut Command, output: Output) -> Result<Ended> {
    let what = format!("{command:?}");
    let stdout = if output == Output::Kept { Stdio::piped() } else { Stdio::null() };
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    let begin = Instant::now();
    let child = command.spawn().with_context(|| format!("start {what}"))?;
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let (finished, seconds, mut usage) = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(pid, &ended));
        let finished = child.wait_with_output();
        let seconds = begin.elapsed().as_secs_f64();
        ended.store(true, Ordering::Release);
        (finished, seconds, watcher.join().unwrap_or_default())
    });
    let finished = finished.with_context(|| format!("wait for {what}"))?;
    if !finished.status.success() {
        let stdout = String::from_utf8_lossy(&finished.stdout);
        bail!("{what}: {}\n{stdout}\n{}", finished.status, String::from_utf8_lossy(&finished.stderr));
    }
    usage.seconds = seconds;
    Ok(Ended { usage, stdout: finished.stdout })
}

/// Runs it until enough is done, and kills it then without a warning; an error when it ends before.
pub fn run_and_kill(command: &mut Command, mut is_enough: impl FnMut() -> bool) -> Result<()> {
    let what = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("start {what}"))?;
    while !is_enough() {
        if let Some(status) = child.try_wait()? {
            bail!("{what} ended before enough was done: {status}");
        }
        thread::sleep(LOOK);
    }
    child.kill().with_context(|| format!("kill {what}"))?;
    child.wait().with_context(|| format!("wait for {what}"))?;
    Ok(())
}

fn watch(pid: u32, ended: &AtomicBool) -> Usage {
    let mut usage = Usage::default();
    while !ended.load(Ordering::Acquire) {
        // The marks of a process that has just ended are gone: the last ones stand.
        if let Some(peak) = peak_mib(pid) {
            usage.peak_mib = peak.max(usage.peak_mib);
        }
        if let Some((user, system)) = cpu_seconds(pid) {
            (usage.user_seconds, usage.system_seconds) = (user, system);
        }
        thread::sleep(LOOK);
    }
    usage
}

/// The kernel's high-water mark of a process that runs.
pub fn peak_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// In user and in kernel mode.
pub fn cpu_seconds(pid: u32) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user time is the 12th field behind it, counted from 1.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? / TICKS_PER_SECOND, next()? / TICKS_PER_SECOND))
}
