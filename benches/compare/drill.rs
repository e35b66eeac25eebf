//! `ckbackup drill run` in a sandbox, against the plain restore of the same into a control plane that runs already.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::ckbackup;
use crate::platform::Platform;
use crate::saved::Saved;
use crate::servers;
use crate::table::{Reach, Row};

const REACH: Reach = Reach::RatioAtMost(1.3);

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("drill in a sandbox against the plain restore");
    let platform = Platform::build(bench.settings.scale)?;
    let saved = Saved::make(bench, &platform).await?;

    let (mut ours, mut restores, mut with_start, mut usages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.settings.rounds {
        let drilled = ckbackup::drill(bench, &saved.place)?;
        require_all(&drilled.summary["report"], platform.len())?;
        let begin = Instant::now();
        let target = servers::empty_cluster(bench).await?;
        let start = begin.elapsed().as_secs_f64();
        let restored = ckbackup::restore(bench, &saved.place, &target)?.usage.seconds;
        servers::discard(bench, target).await?;
        bench.say(format!(
            "  round {round}: drill {:.2} s (of them its restore {:.2} s; CPU {:.2} s user, {:.2} s system), restore {restored:.2} s, \
             start of the servers {start:.2} s",
            drilled.usage.seconds,
            drilled.summary["report"]["clock"]["achievedSeconds"].as_f64().unwrap_or_default(),
            drilled.usage.user_seconds,
            drilled.usage.system_seconds,
        ));
        ours.push(drilled.usage.seconds);
        restores.push(restored);
        with_start.push(restored + start);
        usages.push(drilled.usage);
    }
    saved.discard(bench)?;
    let details = json!({"objects": platform.len(), "usage": usages});
    let row = |figure: &str, peer, reach| Row {
        figure: figure.into(),
        unit: "s",
        ours: ours.clone(),
        peer,
        reach,
        details: details.clone(),
    };
    Ok(vec![
        row("sandbox drill / restore", restores, REACH),
        row("sandbox drill / restore and start of the servers", with_start, Reach::Nothing),
    ])
}

/// A drill that compared less is no drill of all.
fn require_all(report: &Value, objects: usize) -> Result<()> {
    let verifications = report["verifications"].as_array().into_iter().flatten();
    let equal: u64 = verifications.filter_map(|verification| verification["equal"].as_u64()).sum();
    ensure!(equal >= objects as u64, "the drill found {equal} objects of {objects} to be equal: {report}");
    Ok(())
}
