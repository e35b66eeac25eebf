//! Gigabytes of JSON logs into a vault in a folder and back, against stock tools and restic; and an unchanged second night.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::process::{Output, Usage, run};
use crate::table::{Reach, Row};

/// Size of each log file, in bytes.
const FILE_BYTES: usize = 100 << 20;

/// A measurement of one way to do it.
#[derive(Default)]
struct Times {
    backup: Vec<f64>,
    restore: Vec<f64>,
}

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let bytes = bench.settings.log_bytes;
    bench.say(format!("{:.1} GB of JSON logs against stock tools and restic", bytes as f64 / 1e9));
    let logs = bench.new_folder("logs");
    write_logs(&logs, bytes)?;
    let (mut ours, mut stock, mut restic) = (Times::default(), Times::default(), Times::default());
    let (mut second, mut peak) = (Vec::new(), [0.0_f64; 3]);
    for round in 1..=bench.settings.rounds {
        // Who goes first finds the disk as the one before left it, so they take turns in that, too.
        for side in 0..3 {
            match (side + round) % 3 {
                0 => {
                    let (night, again, back) = by_ckbackup(bench, &logs)?;
                    ours.backup.push(night.seconds);
                    second.push(again.seconds);
                    ours.restore.push(back.seconds);
                    for (peak, usage) in peak.iter_mut().zip([night, again, back]) {
                        *peak = peak.max(usage.peak_mib);
                    }
                }
                1 => by_stock_tools(bench, &logs, &mut stock)?,
                _ => by_restic(bench, &logs, &mut restic)?,
            }
        }
        let at = round - 1;
        bench.say(format!(
            "  round {round}: ckbackup {:.1} s, again {:.1} s, back {:.1} s; stock tools {:.1} s, back {:.1} s; restic \
             {:.1} s, back {:.1} s",
            ours.backup[at],
            second[at],
            ours.restore[at],
            stock.backup[at],
            stock.restore[at],
            restic.backup[at],
            restic.restore[at]
        ));
    }
    bench.remove(&logs)?;
    let details = json!({"bytes": bytes});
    let row = |figure: &str, unit, ours: &[f64], peer: &[f64], reach| Row {
        figure: figure.into(),
        unit,
        ours: ours.to_vec(),
        peer: peer.to_vec(),
        reach,
        details: details.clone(),
    };
    let [backup_peak, second_peak, restore_peak] = peak;
    Ok(vec![
        row("logs / tar | zstd -3 -T0 | age", "s", &ours.backup, &stock.backup, Reach::RatioAtMost(0.9)),
        row("logs back / age | zstd | tar", "s", &ours.restore, &stock.restore, Reach::RatioAtMost(0.7)),
        row("logs / restic backup", "s", &ours.backup, &restic.backup, Reach::RatioAtMost(0.5)),
        row("logs back / restic restore", "s", &ours.restore, &restic.restore, Reach::RatioAtMost(0.5)),
        row("unchanged second night / first", "s", &second, &ours.backup, Reach::RatioAtMost(0.1)),
        row("memory of logs, at most", "MiB", &[backup_peak.max(second_peak)], &[], Reach::OursAtMost(256.0)),
        row("memory of logs back, at most", "MiB", &[restore_peak], &[], Reach::OursAtMost(256.0)),
    ])
}

/// First night, second night, restore.
fn by_ckbackup(bench: &Bench, logs: &Path) -> Result<(Usage, Usage, Usage)> {
    let place = Place::Folder(bench.new_folder("vault"));
    let source = json!({"name": "logs", "files": {"path": logs}});
    let schedule = ckbackup::write_schedule_of(bench, &place, &source)?;
    let night = ckbackup::back_up_data(&place, &schedule)?;
    // An id names a second: the second night must not begin in the first one's.
    let again = ckbackup::back_up_data(&place, &schedule)?;
    let copied = &again.summary["sources"][0]["copiedBytes"];
    ensure!(copied.as_u64() > Some(0), "the second night copied nothing: {}", again.summary);
    let to = bench.new_folder("back");
    let steps = json!([{"name": "logs", "files": {"source": "logs", "to": to}}]);
    let back = ckbackup::restore_data(bench, &place, &steps)?;
    require_same(logs, &to)?;
    let Place::Folder(vault) = place else { unreachable!("it is a folder") };
    bench.remove(&vault)?;
    bench.remove(&to)?;
    Ok((night.usage, again.usage, back.usage))
}

/// Sizes and names are enough here: contents are compared by the tests.
fn require_same(logs: &Path, back: &Path) -> Result<()> {
    let sizes = |folder: &Path| -> Result<Vec<(PathBuf, u64)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            all.push((PathBuf::from(entry.file_name()), entry.metadata()?.len()));
        }
        all.sort();
        Ok(all)
    };
    ensure!(sizes(logs)? == sizes(back)?, "what came back is not what was there");
    Ok(())
}

fn shell(script: &str, args: &[&Path]) -> Result<f64> {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script, "bench"]).args(args);
    Ok(run(&mut command, Output::Dropped)?.usage.seconds)
}

fn by_stock_tools(bench: &Bench, logs: &Path, times: &mut Times) -> Result<()> {
    let (file, to) = (bench.new_folder("logs.tar.zst.age"), bench.new_folder("back"));
    let recipients = |who: &str| bench.keys.join(who).join("recipient.txt");
    let pack = "tar -C \"$1\" -c . | zstd -q -3 -T0 | age -R \"$3\" -R \"$4\" > \"$2\"";
    times.backup.push(shell(pack, &[logs, &file, &recipients("on-call"), &recipients("escrow")])?);
    let unpack = "mkdir \"$2\" && age -d -i \"$3\" \"$1\" | zstd -q -d | tar -C \"$2\" -x";
    times.restore.push(shell(unpack, &[&file, &to, &bench.keys.join("on-call/identity.txt")])?);
    require_same(logs, &to)?;
    fs::remove_file(file)?;
    bench.remove(&to)
}

fn by_restic(bench: &Bench, logs: &Path, times: &mut Times) -> Result<()> {
    let (repository, to) = (bench.new_folder("restic"), bench.new_folder("back"));
    let restic = |words: &str| {
        format!("export RESTIC_PASSWORD=bench RESTIC_REPOSITORY=\"$1\"; cd \"$2\" && restic --no-cache -q {words}")
    };
    shell(&restic("init"), &[&repository, logs])?;
    times.backup.push(shell(&restic("backup ."), &[&repository, logs])?);
    times.restore.push(shell(&restic("restore latest --target \"$3\""), &[&repository, logs, &to])?);
    require_same(logs, &to)?;
    bench.remove(&repository)?;
    bench.remove(&to)
}

/// Log records as Fluentd writes them: much that repeats, and some numbers that do not.
fn write_logs(folder: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let files = (bytes / FILE_BYTES as u64).max(1);
    for number in 0..files {
        let file = folder.join(format!("kubernetes.{number:03}.log"));
        let mut out = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(&file)?);
        let (mut written, mut line) = (0, String::new());
        while written < FILE_BYTES {
            line.clear();
            record(&mut line, &mut random, number);
            out.write_all(line.as_bytes())?;
            written += line.len();
        }
        out.flush()?;
        // Nobody writes to it any more.
        let settled = SystemTime::now() - Duration::from_secs(24 * 3600);
        out.get_ref().set_modified(settled)?;
    }
    Ok(())
}

fn record(line: &mut String, random: &mut u64, number: u64) {
    let mut next = |below: u64| {
        *random ^= *random >> 12;
        *random ^= *random << 25;
        *random ^= *random >> 27;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    };
    let (app, pod, path) = (next(20), next(60), next(200));
    let (request, user, millis, size, status) = (next(u64::MAX), next(5000), next(900), next(60_000), next(40));
    let status = if status == 0 { 500 } else { 200 };
    let level = if status == 500 { "error" } else { "info" };
    let (minute, second, nanos) = (next(60), next(60), next(1_000_000_000));
    let _ = writeln!(
        line,
        "{{\"@timestamp\":\"2026-11-20T{:02}:{minute:02}:{second:02}.{nanos:09}Z\",\"kubernetes\":{{\"namespace_name\":\
         \"shop-{}\",\"pod_name\":\"web-{app}-{pod:05x}\",\"container_name\":\"app\",\"labels\":{{\"app\":\"web-{app}\",\
         \"team\":\"shop\"}}}},\"level\":\"{level}\",\"message\":\"GET /api/v1/items/{path} {status} in {millis} ms\",\
         \"request_id\":\"{request:016x}\",\"user\":\"u{user}\",\"bytes\":{size},\"stream\":\"stdout\"}}",
        number % 24,
        app % 5,
    );
}
