//! The largest resident memory of `backup` and `restore`, and whether it grows with the cluster.

use anyhow::Result;
use serde_json::json;

use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::platform::Platform;
use crate::servers;
use crate::settings::Scale;
use crate::table::{Reach, Row};

const MOST_MIB: f64 = 256.0;

/// What counts as "the same": buffers fill a little more when there is more to fill them with.
const SAME: f64 = 1.2;

const FACTOR: usize = 4;

/// A backup takes seconds, so its peak is that of several.
const BACKUPS: usize = 3;

/// Peaks in MiB.
struct Peaks {
    backup: f64,
    restore: f64,
}

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say(format!("peak memory, with {FACTOR} times the objects"));
    let scale = bench.settings.scale;
    let few = peaks(bench, scale).await?;
    let many = peaks(bench, scale.times(FACTOR)).await?;
    let backup = rows("backup", few.backup, many.backup, scale);
    Ok(backup.into_iter().chain(rows("restore", few.restore, many.restore, scale)).collect())
}

async fn peaks(bench: &Bench, scale: Scale) -> Result<Peaks> {
    let cluster = servers::filled_cluster(bench, &Platform::build(scale)?).await?;
    let (mut backup, mut vault) = (0.0_f64, bench.new_folder("vault"));
    for again in 0..BACKUPS {
        if again > 0 {
            bench.remove(&vault)?;
            vault = bench.new_folder("vault");
        }
        let taken = ckbackup::back_up(bench, &cluster, &Place::Folder(vault.clone()))?;
        backup = backup.max(taken.usage.peak_mib);
    }
    servers::discard(bench, cluster).await?;
    let target = servers::empty_cluster(bench).await?;
    let restore = ckbackup::restore(bench, &Place::Folder(vault.clone()), &target)?.usage.peak_mib;
    servers::discard(bench, target).await?;
    bench.remove(&vault)?;
    bench.say(format!("  {} objects: backup {backup:.0} MiB, restore {restore:.0} MiB", scale.objects()));
    Ok(Peaks { backup, restore })
}

fn rows(verb: &str, few: f64, many: f64, scale: Scale) -> [Row; 2] {
    let row = |figure: String, ours, peer, reach| Row {
        figure,
        unit: "MiB",
        ours,
        peer,
        reach,
        details: json!({"objects": [scale.objects(), scale.times(FACTOR).objects()]}),
    };
    [
        row(format!("memory of {verb}, at most"), vec![few.max(many)], Vec::new(), Reach::OursAtMost(MOST_MIB)),
        row(format!("memory of {verb}, {FACTOR}N / N"), vec![many], vec![few], Reach::RatioAtMost(SAME)),
    ]
}
