//! `ckbackup restore` into an empty control plane, against creating the same objects raw in another.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bench::Bench;
use crate::ckbackup::{self, Backup, Place};
use crate::platform::Platform;
use crate::raw::{self, Raw};
use crate::saved::Saved;
use crate::servers;
use crate::settings::Scale;
use crate::table::{Reach, Row};
use crate::ways::{self, Tried, WAYS, Way};

/// Of a platform, and of Secrets alone.
const REACH: Reach = Reach::RatioAtLeast(0.8);
const REACH_OF_SECRETS: Reach = Reach::RatioAtLeast(0.9);

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("restore against creating the same objects raw");
    compare(bench, "restore", bench.settings.scale, REACH).await
}

pub async fn measure_secrets(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("restore of Secrets against creating them raw");
    compare(bench, "restore of Secrets", bench.settings.scale.only_secrets(), REACH_OF_SECRETS).await
}

async fn compare(bench: &Bench, figure: &str, scale: Scale, reach: Reach) -> Result<Vec<Row>> {
    let platform = Platform::build(scale)?;
    let saved = Saved::make(bench, &platform).await?;
    let tried = find_best(bench, &platform).await?;

    let (mut ours, mut peer, mut usages) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.settings.rounds {
        let restored = restore(bench, platform.len(), &saved.place).await?;
        ours.push(platform.len() as f64 / restored.usage.seconds);
        peer.push(platform.len() as f64 / write_raw(bench, &platform, tried.best).await?);
        bench.say(format!(
            "  round {round}: restore {:.0} objects/s (CPU {:.2} s user, {:.2} s system), raw {:.0} objects/s",
            ours[round - 1],
            restored.usage.user_seconds,
            restored.usage.system_seconds,
            peer[round - 1],
        ));
        usages.push(restored.usage);
    }
    saved.discard(bench)?;
    let details = json!({
        "objects": platform.len(),
        "peer": format!("{:?}", tried.best),
        "peersTried": tried.rates(),
        "usage": usages,
    });
    Ok(vec![Row { figure: figure.into(), unit: "objects/s", ours, peer, reach, details }])
}

/// By the default plan, into an empty control plane.
pub async fn restore(bench: &Bench, objects: usize, place: &Place) -> Result<Backup> {
    let target = servers::empty_cluster(bench).await?;
    let restored = ckbackup::restore(bench, place, &target)?;
    let created = counted(&restored, "created");
    ensure!(created >= objects as u64, "{created} objects were created of {objects}");
    servers::discard(bench, target).await?;
    Ok(restored)
}

/// Objects of a restore with that outcome, in all steps.
pub fn counted(restored: &Backup, outcome: &str) -> u64 {
    let steps = restored.summary["steps"].as_array().into_iter().flatten();
    steps.filter_map(|step| step["items"][outcome].as_u64()).sum()
}

async fn write_raw(bench: &Bench, platform: &Platform, way: Way) -> Result<f64> {
    let target = servers::empty_cluster(bench).await?;
    let seconds = raw::create_all(&Raw::new(&target, way.connections)?, platform, way.in_flight).await?;
    servers::discard(bench, target).await?;
    Ok(seconds)
}

async fn find_best(bench: &Bench, platform: &Platform) -> Result<Tried> {
    let target = servers::empty_cluster(bench).await?;
    let namespaces = platform.namespaces.iter().cloned();
    raw::create(&Raw::new(&target, WAYS[0].connections)?, namespaces, 1).await?;
    let write = async |client: &Raw, part, in_flight| raw::create(client, part, in_flight).await;
    let tried = ways::find_best(bench, &target, platform.deal(2 * WAYS.len()), write).await?;
    servers::discard(bench, target).await?;
    Ok(tried)
}
