//! `ckbackup backup`, the whole process, against draining the same lists to nowhere.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::ckbackup::{self, Backup, Place};
use crate::platform::Platform;
use crate::raw::{self, Connections};
use crate::servers;
use crate::table::{Reach, Row};

const REACH: Reach = Reach::RatioAtMost(1.4);

/// Rounds take seconds here, and the server's garbage collection falls now into this side, now into that one.
const MORE: usize = 3;

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("backup against a plain drain of the same lists");
    let platform = Platform::build(bench.settings.scale)?;
    let cluster = servers::filled_cluster(bench, &platform).await?;
    // The first round warms up both sides, and tells which types the peer has to read.
    let vault = bench.new_folder("vault");
    let first = ckbackup::back_up(bench, &cluster, &Place::Folder(vault.clone()))?;
    let types = saved_types(&vault, &first.summary)?;
    bench.remove(&vault)?;
    raw::drain(&cluster, Connections::Http1, &types).await?;

    let (mut backups, mut drains, mut paged_alike) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=MORE * bench.settings.rounds {
        let backup = into_new_vault(bench, |place| ckbackup::back_up(bench, &cluster, place))?;
        let drained = raw::drain(&cluster, Connections::Http1, &types).await?;
        let alike = into_new_vault(bench, |place| ckbackup::back_up_in_pages(bench, &cluster, place, raw::PAGE))?;
        bench.say(format!(
            "  round {round}: backup {:.3} s (its own clock {:.3} s; CPU {:.2} s user, {:.2} s system), drain {:.3} s, \
             backup in the drain's pages {:.3} s",
            backup.usage.seconds,
            own_seconds(&backup),
            backup.usage.user_seconds,
            backup.usage.system_seconds,
            drained.seconds,
            alike.usage.seconds,
        ));
        paged_alike.push(alike.usage.seconds);
        backups.push(backup);
        drains.push(drained);
    }
    servers::discard(bench, cluster).await?;

    let peer: Vec<f64> = drains.iter().map(|drained| drained.seconds).collect();
    let details = json!({
        "types": types.len(),
        "drainedBytes": drains.iter().map(|drained| drained.bytes).collect::<Vec<_>>(),
        "savedBytes": first.summary["sources"][0]["bytes"],
        "items": first.summary["sources"][0]["items"],
        "usage": backups.iter().map(|backup| backup.usage).collect::<Vec<_>>(),
    });
    let row = |figure: &str, ours: Vec<f64>, reach| Row {
        figure: figure.into(),
        unit: "s",
        ours,
        peer: peer.clone(),
        reach,
        details: details.clone(),
    };
    Ok(vec![
        row("backup, whole process", backups.iter().map(|backup| backup.usage.seconds).collect(), REACH),
        row("backup, in the drain's pages", paged_alike, REACH),
        row("backup, by its own clock", backups.iter().map(own_seconds).collect(), Reach::Nothing),
    ])
}

fn into_new_vault(bench: &Bench, back_up: impl FnOnce(&Place) -> Result<Backup>) -> Result<Backup> {
    let vault = bench.new_folder("vault");
    let backup = back_up(&Place::Folder(vault.clone()))?;
    bench.remove(&vault)?;
    Ok(backup)
}

fn own_seconds(backup: &Backup) -> f64 {
    backup.summary["seconds"].as_f64().unwrap_or(f64::NAN)
}

/// The types that the backup's manifest names, as `deployments.apps/v1`.
pub fn saved_types(vault: &Path, summary: &Value) -> Result<HashSet<String>> {
    let (cluster, id) = (summary["cluster"].as_str(), summary["id"].as_str());
    let (cluster, id) = cluster.zip(id).context("the summary names no cluster or no backup")?;
    let file = vault.join(cluster).join(id).join("manifest.json");
    let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let manifest: Value = serde_json::from_slice(&text)?;
    let sources = manifest["sources"].as_array().context("the manifest has no sources")?;
    let types = sources.iter().filter_map(|source| source["types"].as_object()).flatten();
    Ok(types.map(|(name, record)| format!("{name}/{}", record["version"].as_str().unwrap_or_default())).collect())
}
