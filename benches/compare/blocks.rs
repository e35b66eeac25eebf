//! Blocks of a Prometheus, and a second night in which none of them has changed.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::table::{Reach, Row};

/// Chunks of each block, in bytes: about what two hours of 50,000 series take.
const BLOCK_BYTES: usize = 48 << 20;

/// Milliseconds in a block.
const TWO_HOURS: u64 = 2 * 3_600_000;

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let blocks = (bench.settings.log_bytes / 2 / BLOCK_BYTES as u64).max(1);
    bench.say(format!("{blocks} blocks of a Prometheus, {:.1} GB", blocks as f64 * BLOCK_BYTES as f64 / 1e9));
    let data = bench.new_folder("blocks");
    for number in 0..blocks {
        write_block(&data, number)?;
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for round in 1..=bench.settings.rounds {
        let place = Place::Folder(bench.new_folder("vault"));
        let source = json!({"name": "metrics", "prometheus": {"data": {"path": data}, "head": false}});
        let schedule = ckbackup::write_schedule_of(bench, &place, &source)?;
        let night = ckbackup::back_up_data(&place, &schedule)?;
        let again = ckbackup::back_up_data(&place, &schedule)?;
        let copied = &again.summary["sources"][0]["copiedBytes"];
        ensure!(copied.as_u64() > Some(0), "the second night copied nothing: {}", again.summary);
        first.push(night.usage.seconds);
        second.push(again.usage.seconds);
        bench.say(format!("  round {round}: {:.1} s, again {:.2} s", night.usage.seconds, again.usage.seconds));
        let Place::Folder(vault) = place else { unreachable!("it is a folder") };
        bench.remove(&vault)?;
    }
    bench.remove(&data)?;
    Ok(vec![Row {
        figure: "unchanged blocks, second night / first".into(),
        unit: "s",
        ours: second,
        peer: first,
        reach: Reach::RatioAtMost(0.1),
        details: json!({"blocks": blocks, "bytesOfEach": BLOCK_BYTES}),
    }])
}

/// Samples are compressed already, so noise stands for them.
fn write_block(data: &Path, number: u64) -> Result<()> {
    let ulid = format!("01BX5ZZKBKACTAV9WEVG{number:06}");
    let folder = data.join(&ulid);
    fs::create_dir_all(folder.join("chunks"))?;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64 ^ (number + 1);
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    };
    let noise: Vec<u8> = (0..BLOCK_BYTES / 8).flat_map(|_| next()).collect();
    fs::write(folder.join("chunks/000001"), &noise)?;
    fs::write(folder.join("index"), &noise[..BLOCK_BYTES / 16])?;
    let (begin, stats) =
        (number * TWO_HOURS, json!({"numSamples": 24_000_000, "numSeries": 50_000, "numChunks": 100_000}));
    let meta = json!({"ulid": ulid, "minTime": begin, "maxTime": begin + TWO_HOURS, "version": 1, "stats": stats});
    fs::write(folder.join("meta.json"), meta.to_string())?;
    Ok(())
}
