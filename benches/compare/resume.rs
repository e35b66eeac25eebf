//! `ckbackup restore --resume` of a restore that was killed, against the whole restore.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bench::Bench;
use crate::ckbackup;
use crate::platform::Platform;
use crate::restore::{self, counted};
use crate::saved::Saved;
use crate::servers;
use crate::table::{Reach, Row};

const REACH: Reach = Reach::RatioAtMost(0.2);

/// Parts of a hundred that are done when it is killed.
const KILLED_AT: usize = 90;

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say(format!("restore gone on with after a kill at {KILLED_AT} %, against the whole restore"));
    let platform = Platform::build(bench.settings.scale)?;
    let objects = platform.len();
    let saved = Saved::make(bench, &platform).await?;

    let (mut ours, mut peer, mut done, mut usages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.settings.rounds {
        let whole = restore::restore(bench, objects, &saved.place).await?.usage;
        let target = servers::empty_cluster(bench).await?;
        let enough = (objects * KILLED_AT / 100) as u64;
        let cut_off = ckbackup::restore_until_killed(bench, &saved.place, &target, enough)?;
        let resumed = ckbackup::resume(bench, &saved.place, &target, &cut_off)?;
        let there = counted(&resumed, "created") + counted(&resumed, "unchanged");
        ensure!(there >= objects as u64, "{there} objects of {objects} are there after it was gone on with");
        servers::discard(bench, target).await?;
        bench.say(format!(
            "  round {round}: whole {:.2} s; killed with {} objects of {objects} done, gone on with in {:.2} s (CPU {:.2} s \
             user, {:.2} s system)",
            whole.seconds,
            cut_off.done,
            resumed.usage.seconds,
            resumed.usage.user_seconds,
            resumed.usage.system_seconds,
        ));
        ours.push(resumed.usage.seconds);
        peer.push(whole.seconds);
        done.push(cut_off.done);
        usages.push(resumed.usage);
    }
    saved.discard(bench)?;
    let details = json!({"objects": objects, "doneWhenKilled": done, "usage": usages});
    let figure = format!("resume after a kill at {KILLED_AT} %");
    Ok(vec![Row { figure, unit: "s", ours, peer, reach: REACH, details }])
}
