//! `ckbackup restore` into an empty control plane, against creating the same objects raw in another.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bench::Bench;
use crate::ckbackup::{self, Backup, Place};
use crate::platform::Platform;
use crate::raw::{self, Connections, Raw};
use crate::servers;
use crate::table::{Reach, Row};

const REACH: Reach = Reach::RatioAtLeast(0.8);

/// The ways in which the raw writer could be fastest.
const WAYS: [Way; 6] = [
    Way { connections: Connections::Http1, in_flight: 32 },
    Way { connections: Connections::Http1, in_flight: 64 },
    Way { connections: Connections::Http1, in_flight: 128 },
    Way { connections: Connections::Http2(4), in_flight: 32 },
    Way { connections: Connections::Http2(4), in_flight: 64 },
    Way { connections: Connections::Http2(4), in_flight: 128 },
];

/// How a raw writer writes.
#[derive(Debug, Clone, Copy)]
struct Way {
    connections: Connections,
    in_flight: usize,
}

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("restore against creating the same objects raw");
    let platform = Platform::build(bench.settings.scale)?;
    let cluster = servers::filled_cluster(bench, &platform).await?;
    let vault = bench.new_folder("vault");
    let place = Place::Folder(vault.clone());
    ckbackup::back_up(bench, &cluster, &place)?;
    servers::discard(bench, cluster).await?;
    let (way, rates) = find_best(bench, &platform).await?;

    let (mut ours, mut peer, mut usages) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.settings.rounds {
        let restored = restore(bench, &platform, &place).await?;
        ours.push(platform.len() as f64 / restored.usage.seconds);
        peer.push(platform.len() as f64 / write_raw(bench, &platform, way).await?);
        bench.say(format!(
            "  round {round}: restore {:.0} objects/s (CPU {:.2} s user, {:.2} s system), raw {:.0} objects/s",
            ours[round - 1],
            restored.usage.user_seconds,
            restored.usage.system_seconds,
            peer[round - 1],
        ));
        usages.push(restored.usage);
    }
    bench.remove(&vault)?;
    let details = json!({
        "objects": platform.len(),
        "peer": format!("{way:?}"),
        "peersTried": WAYS.iter().zip(rates).map(|(way, rate)| json!([format!("{way:?}"), rate])).collect::<Vec<_>>(),
        "usage": usages,
    });
    Ok(vec![Row { figure: "restore".into(), unit: "objects/s", ours, peer, reach: REACH, details }])
}

/// By the default plan, into an empty control plane.
pub async fn restore(bench: &Bench, platform: &Platform, place: &Place) -> Result<Backup> {
    let target = servers::empty_cluster(bench).await?;
    let restored = ckbackup::restore(bench, place, &target)?;
    let steps = restored.summary["steps"].as_array().into_iter().flatten();
    let created: u64 = steps.filter_map(|step| step["items"]["created"].as_u64()).sum();
    ensure!(created >= platform.len() as u64, "{created} objects were created of {}", platform.len());
    servers::discard(bench, target).await?;
    Ok(restored)
}

async fn write_raw(bench: &Bench, platform: &Platform, way: Way) -> Result<f64> {
    let target = servers::empty_cluster(bench).await?;
    let seconds = raw::create_all(&Raw::new(&target, way.connections)?, platform, way.in_flight).await?;
    servers::discard(bench, target).await?;
    Ok(seconds)
}

/// Each way writes two parts of the objects into one cluster: the ways go there and back, so that none is the better for
/// coming early, when the cluster is still empty. Gives the fastest, and the rate of each.
async fn find_best(bench: &Bench, platform: &Platform) -> Result<(Way, Vec<f64>)> {
    let target = servers::empty_cluster(bench).await?;
    let clients = WAYS.iter().map(|way| Raw::new(&target, way.connections)).collect::<Result<Vec<_>>>()?;
    raw::create(&clients[0], platform.namespaces.iter().cloned(), 1).await?;
    let (mut written, mut seconds) = ([0.0; WAYS.len()], [0.0; WAYS.len()]);
    let there_and_back = (0..WAYS.len()).chain((0..WAYS.len()).rev());
    for (at, part) in there_and_back.zip(platform.deal(2 * WAYS.len())) {
        written[at] += part.len() as f64;
        seconds[at] += raw::create(&clients[at], part, WAYS[at].in_flight).await?;
    }
    servers::discard(bench, target).await?;
    let rates: Vec<f64> = written.iter().zip(seconds).map(|(written, seconds)| written / seconds).collect();
    for (way, rate) in WAYS.iter().zip(&rates) {
        bench.say(format!("  raw, {way:?}: {rate:.0} objects/s"));
    }
    let best = (1..WAYS.len()).fold(0, |best, at| if rates[at] > rates[best] { at } else { best });
    Ok((WAYS[best], rates))
}
