//! Runs a `prometheus` step: blocks are put into an empty data directory, here or in the volume of a workload, and a Prometheus that
//! serves it is asked. Silences are given to an Alertmanager.

mod check;
mod claim;
mod folder;
mod silences;
mod writer;

use self::silences::restore_silences;
use super::files::{of_the_backup, require_source};
use super::summary::{Compared, Failure};
use super::tree::{self, Planned};
use super::work::{Tally, Work};
use crate::config::{BlocksTo, RestorePrometheus};
use crate::error::{Error, Result};
use crate::inventory::Metrics;
use crate::sources::{SILENCES, is_block_name};
use crate::vault::manifest::SourceRecord;

/// The file without which Prometheus takes a folder for no block.
const META: &str = "/meta.json";

/// Restores what the step wants, and checks that it is there.
pub async fn restore_prometheus(work: &Work, step: usize, wanted: &RestorePrometheus) -> Result<Tally> {
    let source = require_source(work, wanted.source.as_str(), "prometheus")?;
    let mut tally = match &wanted.to {
        Some(to) => restore_blocks(work, step, wanted, to, source).await?,
        None => Tally::default(),
    };
    match &wanted.alertmanager {
        Some(server) => restore_silences(work, step, wanted, server, &mut tally).await?,
        None if silences::are_in(work, wanted).await? => {
            tally
                .notes
                .push("the backup has silences, which this step does not restore: it names no alertmanager".into());
        }
        None => {}
    }
    Ok(tally)
}

async fn restore_blocks(
    work: &Work,
    step: usize,
    wanted: &RestorePrometheus,
    to: &BlocksTo,
    source: &SourceRecord,
) -> Result<Tally> {
    let planned = tree::plan(&work.backup, wanted.source.as_str(), |path| path != SILENCES).await;
    let planned = of_the_backup(work, planned).await?;
    let blocks = whole_blocks(&planned);
    let (mut tally, found) = match to {
        BlocksTo::Folder(to) => {
            let tally = folder::write(work, step, to, planned).await?;
            if work.dry_run || tally.items.failed > 0 {
                return Ok(tally);
            }
            (tally, folder::read_metas(to, blocks).await)
        }
        BlocksTo::Claim(claim) => match claim::write(work, step, wanted.source.as_str(), claim, &blocks).await? {
            (tally, None) => return Ok(tally),
            (tally, Some(found)) => (tally, Ok(found)),
        },
    };
    let problems = match found {
        Ok(found) => problems_of(wanted, source, &found, &mut tally.compared).await,
        Err(e) => Err(e),
    };
    // What was written stays counted.
    let problems = problems.unwrap_or_else(|e| vec![e.one_line()]);
    if wanted.check.is_none() && problems.is_empty() {
        tally.notes.push("no Prometheus was asked whether it has them (`check`)".into());
    }
    let name = work.plan.steps[step].name.to_string();
    tally.items.failed += problems.len() as u64;
    let failure = |why| Failure { step: name.clone(), object: words(to), why };
    tally.failures.extend(problems.into_iter().map(failure));
    Ok(tally)
}

fn words(to: &BlocksTo) -> String {
    match to {
        BlocksTo::Folder(to) => to.display().to_string(),
        BlocksTo::Claim(claim) => format!("claim {}/{}", claim.workload.namespace, claim.claim),
    }
}

/// A folder without description is a block that could not be saved whole.
fn whole_blocks(planned: &Planned) -> Vec<String> {
    planned.folders().into_iter().filter(|block| planned.has(&format!("{block}{META}"))).collect()
}

/// What is wrong with what was restored.
async fn problems_of(
    wanted: &RestorePrometheus,
    source: &SourceRecord,
    found: &[Metrics],
    compared: &mut Vec<Compared>,
) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let sum = |get: fn(&Metrics) -> u64| found.iter().map(get).sum::<u64>();
    let all = (found.len() as u64, sum(|m| m.series), sum(|m| m.samples));
    if let Some(expected) = &source.contents.metrics {
        compared.push(Compared::new("blocks", expected.blocks, all.0));
        compared.push(Compared::new("series in blocks", expected.series, all.1));
        compared.push(Compared::new("samples in blocks", expected.samples, all.2));
    }
    if let Some(expected) = &source.contents.metrics
        && all != (expected.blocks, expected.series, expected.samples)
    {
        problems.push(format!(
            "the manifest says {} blocks, {} series and {} samples; the folder has {}, {} and {}",
            expected.blocks, expected.series, expected.samples, all.0, all.1, all.2
        ));
    }
    let saved = source.units.iter().filter_map(|unit| unit.contents.metrics.as_ref());
    for block in saved.filter(|block| !found.contains(block)) {
        problems.push(format!(
            "the manifest says that there is a block from {} to {} with {} series and {} samples; the folder has none such",
            block.first, block.last, block.series, block.samples
        ));
    }
    if let Some(wanted) = &wanted.check {
        problems.extend(check::ask(wanted, found, compared).await?);
    }
    Ok(problems)
}

/// Why a data directory with an entry of that name is not used; none where that is fine.
fn refusal(folder: &str, name: &str, blocks: &[String]) -> Option<Error> {
    let hint = match name {
        "lost+found" => return None,
        // A restore that was cut off; each file in it is compared.
        block if blocks.iter().any(|known| known == block) => return None,
        "lock" => "stop the Prometheus that uses it, then give an empty folder",
        block if is_block_name(block) => "it has blocks that are not in the backup; give an empty folder",
        _ => "give an empty folder: what is there is never mixed with what comes back",
    };
    Some(Error::failed(format!("{folder} is not empty: it has {name}")).hint(hint))
}
