//! What a drill by each shipped plan was predicted to take, against what it took: by the plan's budgets before anything is known,
//! then by the drills before it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::ckbackup;
use crate::platform::Platform;
use crate::saved::Saved;
use crate::table::{Reach, Row};

/// Plans that restore objects into an empty control plane. What the others do, a control plane alone does not have.
const PLANS: [&str; 5] = ["default", "workload-cluster", "management-cluster", "another-provider", "full-platform"];

pub async fn measure(bench: &Bench) -> Result<Vec<Row>> {
    bench.say("what drills are predicted to take");
    let platform = Platform::build(bench.settings.scale)?;
    let saved = Saved::make(bench, &platform).await?;
    let plans = plans(bench)?;
    let mut rows = Vec::new();
    for name in PLANS {
        let plan = plans.join(format!("{name}.yaml"));
        let (mut predicted, mut took) = (Vec::new(), Vec::new());
        for round in 0..=bench.settings.rounds {
            let drilled = ckbackup::drill_recorded(bench, &saved.place, &plan)?;
            let (said, came) = clock(&drilled.summary["report"])?;
            bench.say(format!("  {name}, drill {}: predicted {said:.2} s, took {came:.2} s", round + 1));
            predicted.push(said);
            took.push(came);
        }
        let (later, came) = (predicted.split_off(1), took.split_off(1));
        rows.push(row(format!("predicted by budgets / taken: {name}"), predicted, took));
        rows.push(row(format!("predicted by drills / taken: {name}"), later, came));
    }
    saved.discard(bench)?;
    Ok(rows)
}

fn row(figure: String, ours: Vec<f64>, peer: Vec<f64>) -> Row {
    Row { figure, unit: "s", ours, peer, reach: Reach::Nothing, details: json!({}) }
}

/// The shipped plans, for the cluster that is measured with, beside the runbooks that they name.
fn plans(bench: &Bench) -> Result<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (shipped, both) = (project.join("restore-plans"), bench.new_folder("plans"));
    let folder = both.join("restore-plans");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    std::os::unix::fs::symlink(project.join("runbooks"), both.join("runbooks")).context("link the runbooks")?;
    for file in std::fs::read_dir(&shipped).with_context(|| format!("read {}", shipped.display()))? {
        let file = file?;
        let text = std::fs::read_to_string(file.path())?;
        let text = ["management", "workload-1"]
            .iter()
            .fold(text, |text, of| text.replace(&format!("{{cluster: {of}}}"), "{cluster: bench}"));
        std::fs::write(folder.join(file.file_name()), text)?;
    }
    Ok(folder)
}

/// Predicted, and taken: seconds.
fn clock(report: &Value) -> Result<(f64, f64)> {
    let prediction = &report["clock"]["prediction"];
    let seconds = |key: &str| prediction[key].as_f64().with_context(|| format!("the report has no {key}: {report}"));
    Ok((seconds("predictedSeconds")?, seconds("actualSeconds")?))
}
