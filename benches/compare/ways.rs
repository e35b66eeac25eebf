//! In which way a plain client is fastest.

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::raw::{Connections, Raw};
use crate::servers::Sandbox;

/// The ways in which it could be.
pub const WAYS: [Way; 6] = [
    Way { connections: Connections::Http1, in_flight: 32 },
    Way { connections: Connections::Http1, in_flight: 64 },
    Way { connections: Connections::Http1, in_flight: 128 },
    Way { connections: Connections::Http2(4), in_flight: 32 },
    Way { connections: Connections::Http2(4), in_flight: 64 },
    Way { connections: Connections::Http2(4), in_flight: 128 },
];

/// How a plain client writes or reads.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub connections: Connections,
    pub in_flight: usize,
}

/// The fastest way, and objects in each second of every one.
pub struct Tried {
    pub best: Way,
    rates: Vec<f64>,
}

impl Tried {
    pub fn rates(&self) -> Value {
        WAYS.iter().zip(&self.rates).map(|(way, rate)| json!([format!("{way:?}"), rate])).collect()
    }
}

/// Each way does two parts of the work at one cluster: the ways go there and back, so that none is the better for
/// coming early, when the cluster is still empty. What the work gives is seconds.
pub async fn find_best<T>(
    bench: &Bench,
    cluster: &Sandbox,
    parts: Vec<Vec<T>>,
    work: impl AsyncFn(&Raw, Vec<T>, usize) -> Result<f64>,
) -> Result<Tried> {
    let clients = WAYS.iter().map(|way| Raw::new(cluster, way.connections)).collect::<Result<Vec<_>>>()?;
    let (mut done, mut seconds) = ([0.0; WAYS.len()], [0.0; WAYS.len()]);
    let there_and_back = (0..WAYS.len()).chain((0..WAYS.len()).rev());
    for (at, part) in there_and_back.zip(parts) {
        done[at] += part.len() as f64;
        seconds[at] += work(&clients[at], part, WAYS[at].in_flight).await?;
    }
    let rates: Vec<f64> = done.iter().zip(seconds).map(|(done, seconds)| done / seconds).collect();
    for (way, rate) in WAYS.iter().zip(&rates) {
        bench.say(format!("  raw, {way:?}: {rate:.0} objects/s"));
    }
    let best = (1..WAYS.len()).fold(0, |best, at| if rates[at] > rates[best] { at } else { best });
    Ok(Tried { best: WAYS[best], rates })
}
