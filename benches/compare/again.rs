//! The same restore again, when everything is there already, against reading it.
//!
//! What is there may differ from what was saved, so a restore has to read every object. It is judged by reading them one
//! by one; whole lists of them are the least that a server can be asked for, and are told.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::backup::saved_types;
use crate::bench::Bench;
use crate::ckbackup;
use crate::platform::Platform;
use crate::raw::{self, Connections, Raw};
use crate::restore::counted;
use crate::saved::Saved;
use crate::servers;
use crate::table::{Reach, Row};
use crate::ways::{self, WAYS};

const REACH: Reach = Reach::RatioAtMost(1.5);

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("restore again, with everything there already, against reading it raw");
    let platform = Platform::build(bench.settings.scale)?;
    let saved = Saved::make(bench, &platform).await?;
    let types = saved_types(&saved.vault, &saved.summary)?;
    let target = servers::empty_cluster(bench).await?;
    ckbackup::restore(bench, &saved.place, &target)?;
    let paths = platform.all().map(|object| object.path()).collect::<Result<Vec<_>>>()?;
    let read = async |client: &Raw, part, in_flight| raw::read(client, part, in_flight).await;
    let tried = ways::find_best(bench, &target, deal(&paths, 2 * WAYS.len()), read).await?;
    let client = Raw::new(&target, tried.best.connections)?;

    let (mut ours, mut singly, mut listed, mut usages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.settings.rounds {
        let again = ckbackup::restore(bench, &saved.place, &target)?;
        let (created, unchanged) = (counted(&again, "created"), counted(&again, "unchanged"));
        ensure!(
            created == 0 && unchanged >= platform.len() as u64,
            "{unchanged} objects of {} were found as they should be, and {created} created",
            platform.len()
        );
        ours.push(again.usage.seconds);
        singly.push(raw::read(&client, paths.iter().cloned(), tried.best.in_flight).await?);
        listed.push(raw::drain(&target, Connections::Http1, &types).await?.seconds);
        let at = round - 1;
        bench.say(format!(
            "  round {round}: restore again {:.2} s (CPU {:.2} s user, {:.2} s system), raw {:.2} s one by one, {:.2} s in lists",
            ours[at], again.usage.user_seconds, again.usage.system_seconds, singly[at], listed[at],
        ));
        usages.push(again.usage);
    }
    servers::discard(bench, target).await?;
    saved.discard(bench)?;
    let details = json!({
        "objects": platform.len(),
        "peer": format!("{:?}", tried.best),
        "peersTried": tried.rates(),
        "usage": usages,
    });
    let row = |figure: &str, peer, reach| Row {
        figure: figure.into(),
        unit: "s",
        ours: ours.clone(),
        peer,
        reach,
        details: details.clone(),
    };
    Ok(vec![
        row("restore again / reading one by one", singly, REACH),
        row("restore again / reading in lists", listed, Reach::Nothing),
    ])
}

/// Cuts them into parts of the same mixture.
fn deal(paths: &[String], parts: usize) -> Vec<Vec<String>> {
    (0..parts).map(|part| paths.iter().skip(part).step_by(parts).cloned().collect()).collect()
}
