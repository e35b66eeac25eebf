//! Many objects of many kinds: whether time grows with their number and memory does not, and how soon the first is written.

use anyhow::Result;
use serde_json::json;

use crate::bench::Bench;
use crate::ckbackup;
use crate::custom::{self, KINDS};
use crate::process::Usage;
use crate::restore;
use crate::saved::Saved;
use crate::table::{Reach, Row};

/// With so many times fewer objects, the rate must be about the same.
const FACTOR: usize = 4;
const LINEAR: Reach = Reach::RatioAtLeast(0.9);
const MOST_MIB: Reach = Reach::OursAtMost(256.0);
const COMPILED_IN: Reach = Reach::OursAtMost(10.0);

/// A backup of so many objects.
struct Size {
    objects: usize,
    saved: Saved,
    restores: Vec<Usage>,
}

impl Size {
    async fn make(bench: &Bench, custom: usize) -> Result<Size> {
        let platform = custom::platform(custom);
        Ok(Size { objects: platform.len(), saved: Saved::make(bench, &platform).await?, restores: Vec::new() })
    }

    async fn restore(&mut self, bench: &Bench) -> Result<()> {
        let usage = restore::restore(bench, self.objects, &self.saved.place).await?.usage;
        let rate = self.objects as f64 / usage.seconds;
        bench.say(format!(
            "  {} objects: {:.1} s, {rate:.0} objects/s, {:.0} MiB (CPU {:.2} s user, {:.2} s system)",
            self.objects, usage.seconds, usage.peak_mib, usage.user_seconds, usage.system_seconds
        ));
        self.restores.push(usage);
        Ok(())
    }

    fn rates(&self) -> Vec<f64> {
        self.restores.iter().map(|usage| self.objects as f64 / usage.seconds).collect()
    }
}

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let count = bench.settings.custom;
    bench.say(format!("restore of {count} objects of {KINDS} kinds"));
    let mut few = Size::make(bench, (count / FACTOR).max(1)).await?;
    let mut many = Size::make(bench, count).await?;
    let mut compiled = Vec::new();
    for _ in 0..rounds(bench.settings.rounds) {
        few.restore(bench).await?;
        many.restore(bench).await?;
        let usage = ckbackup::compile_plan(bench, &many.saved.place)?;
        bench.say(format!("  plan compiled in {:.2} s, {:.0} MiB", usage.seconds, usage.peak_mib));
        compiled.push(usage.seconds);
    }
    let details = json!({
        "objects": [few.objects, many.objects],
        "kinds": KINDS,
        "few": few.restores,
        "many": many.restores,
    });
    let row =
        |figure: String, unit, ours, peer, reach| Row { figure, unit, ours, peer, reach, details: details.clone() };
    let peaks = many.restores.iter().map(|usage| usage.peak_mib).collect();
    let rows = vec![
        row(format!("restore of {KINDS} kinds, {FACTOR}N / N"), "objects/s", many.rates(), few.rates(), LINEAR),
        row(format!("restore of {KINDS} kinds: memory"), "MiB", peaks, Vec::new(), MOST_MIB),
        row(format!("restore of {KINDS} kinds: plan compiled"), "s", compiled, Vec::new(), COMPILED_IN),
    ];
    few.saved.discard(bench)?;
    many.saved.discard(bench)?;
    Ok(rows)
}

/// Each takes minutes.
fn rounds(wanted: usize) -> usize {
    wanted.div_ceil(3)
}
