//! HTTP/2 against pooled HTTP/1.1, both raw: which connection ckbackup should have.

use anyhow::Result;
use serde_json::Value;

use crate::backup::saved_types;
use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::platform::{Object, Platform};
use crate::raw::{self, Connections, Raw};
use crate::servers;
use crate::table::{Reach, Row};

const IN_FLIGHT: usize = 64;

const HTTP2: [Connections; 2] = [Connections::Http2(1), Connections::Http2(4)];

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("HTTP/2 against HTTP/1.1, raw");
    let platform = Platform::build(bench.settings.scale)?;
    let mut rows = creates(bench, &platform).await?;
    rows.extend(drains(bench, &platform).await?);
    Ok(rows)
}

/// All write into one cluster, each a part of the objects in each round.
async fn creates(bench: &Bench, platform: &Platform) -> Result<Vec<Row>> {
    let target = servers::empty_cluster(bench).await?;
    let http1 = Raw::new(&target, Connections::Http1)?;
    let http2 = HTTP2.iter().map(|c| Raw::new(&target, *c)).collect::<Result<Vec<_>>>()?;
    raw::create(&http1, platform.namespaces.iter().cloned(), 1).await?;
    let mut parts = platform.deal((1 + HTTP2.len()) * bench.settings.rounds).into_iter();
    let mut rate = async |client: &Raw| {
        let part: Vec<Object> = parts.next().unwrap_or_default();
        let count = part.len() as f64;
        anyhow::Ok(count / raw::create(client, part, IN_FLIGHT).await?)
    };
    let (mut peer, mut ours) = (Vec::new(), vec![Vec::new(); HTTP2.len()]);
    for _ in 0..bench.settings.rounds {
        peer.push(rate(&http1).await?);
        for (client, rates) in http2.iter().zip(&mut ours) {
            rates.push(rate(client).await?);
        }
    }
    servers::discard(bench, target).await?;
    Ok(rows("create", "objects/s", ours, peer))
}

async fn drains(bench: &Bench, platform: &Platform) -> Result<Vec<Row>> {
    let cluster = servers::filled_cluster(bench, platform).await?;
    let vault = bench.new_folder("vault");
    let summary = ckbackup::back_up(bench, &cluster, &Place::Folder(vault.clone()))?.summary;
    let types = saved_types(&vault, &summary)?;
    let (mut peer, mut ours) = (Vec::new(), vec![Vec::new(); HTTP2.len()]);
    for _ in 0..bench.settings.rounds {
        peer.push(raw::drain(&cluster, Connections::Http1, &types).await?.seconds);
        for (connections, seconds) in HTTP2.iter().zip(&mut ours) {
            seconds.push(raw::drain(&cluster, *connections, &types).await?.seconds);
        }
    }
    servers::discard(bench, cluster).await?;
    Ok(rows("drain", "s", ours, peer))
}

fn rows(what: &str, unit: &'static str, ours: Vec<Vec<f64>>, peer: Vec<f64>) -> Vec<Row> {
    let row = |(connections, ours): (&Connections, Vec<f64>)| Row {
        figure: format!("{what}, raw: {connections:?} / Http1"),
        unit,
        ours,
        peer: peer.clone(),
        reach: Reach::Nothing,
        details: Value::Null,
    };
    HTTP2.iter().zip(ours).map(row).collect()
}
