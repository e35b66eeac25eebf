//! Runs the steps of a plan as a graph: each begins when all that it comes after are done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::apply::{Tally, Work, apply, write_owner_references};
use super::command::restore_command;
use super::elasticsearch::restore_elasticsearch;
use super::files::{of_the_backup, restore_files};
use super::gate::Closed;
use super::objects::restore_objects;
use super::prometheus::restore_prometheus;
use super::scale::back_at_the_end;
use super::summary::{Failure, Items, StepStatus, StepSummary};
use super::{Operator, gate, rounded};
use crate::config::{Action, Manual};
use crate::error::{Error, Result};

/// How often webhooks that were gone round are looked at.
const LOOK_AT_WEBHOOKS: Duration = Duration::from_secs(5);

/// What came of all steps.
pub struct Done {
    /// In the order of the plan.
    pub steps: Vec<StepSummary>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Whether the restore was cut off: by a signal, or because the API server was lost.
    pub stopped: bool,
}

/// Runs every step.
pub async fn run(work: &Arc<Work>, operator: Arc<dyn Operator>, cancel: CancellationToken) -> Result<Done> {
    let count = work.plan.steps.len();
    let mut ended: Vec<Option<StepSummary>> = (0..count).map(|_| None).collect();
    let mut begun = vec![false; count];
    let mut failures = Vec::new();
    let mut running = JoinSet::new();
    let mut meanwhile = JoinSet::new();
    meanwhile.spawn(put_back_what_answers(work.clone()));
    loop {
        start_ready(work, &operator, &mut ended, &mut begun, &mut running, &cancel);
        let finished = tokio::select! {
            biased;
            () = cancel.cancelled(), if !running.is_empty() => {
                // Dropping a write in flight loses only its answer: the object is there or not, and the next run sees which.
                work.lost.cancel();
                running.shutdown().await;
                None
            }
            finished = running.join_next() => finished,
        };
        let Some(finished) = finished else { break };
        let (step, summary, failed) = finished.map_err(|e| Error::failed("run a step").because(e))??;
        ended[step] = Some(summary);
        failures.extend(failed);
    }
    let stopped = cancel.is_cancelled() || work.lost.is_cancelled();
    failures.extend(last_owners(work, stopped).await);
    failures.extend(scale_back(work).await);
    meanwhile.shutdown().await;
    failures.extend(put_back_webhooks(work, true).await);
    let mut steps = Vec::with_capacity(count);
    for (step, summary) in ended.into_iter().enumerate() {
        steps.push(match summary {
            Some(summary) => summary,
            None => cut_off(work, step, begun[step], &mut failures).await,
        });
    }
    failures.sort();
    Ok(Done { steps, failures, stopped })
}

type Ended = Result<(usize, StepSummary, Vec<Failure>)>;

fn start_ready(
    work: &Arc<Work>,
    operator: &Arc<dyn Operator>,
    ended: &mut [Option<StepSummary>],
    begun: &mut [bool],
    running: &mut JoinSet<Ended>,
    cancel: &CancellationToken,
) {
    // A step that cannot run is ended at once, which may decide over later ones: go round until nothing changes.
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for step in 0..begun.len() {
            let after = &work.plan.steps[step].after;
            if begun[step] || cancel.is_cancelled() || after.iter().any(|a| ended[*a].is_none()) {
                continue;
            }
            begun[step] = true;
            let blocking = after.iter().find(|a| ended[**a].as_ref().is_some_and(is_blocking));
            if let Some(before) = blocking {
                ended[step] = Some(not_run(work, step, format!("{} failed", work.plan.steps[*before].name)));
                changed = true;
            } else if work.lost.is_cancelled() {
                ended[step] = Some(not_run(work, step, "the API server was lost".into()));
                changed = true;
            } else {
                let (work, operator) = (work.clone(), operator.clone());
                running.spawn(async move { run_step(&work, step, operator).await });
            }
        }
    }
}

/// Objects that failed do not stop what comes after; a gate that did not open does.
fn is_blocking(summary: &StepSummary) -> bool {
    matches!(summary.status, StepStatus::Failed | StepStatus::NotRun)
}

async fn run_step(work: &Arc<Work>, step: usize, operator: Arc<dyn Operator>) -> Ended {
    let begin = Instant::now();
    let planned = &work.plan.steps[step];
    let name = planned.name.to_string();
    let (status, tally, note) = match &planned.action {
        Action::Apply(_) => {
            let applied = of_the_backup(work, apply(work, step).await).await;
            ended(work, step, applied).await
        }
        Action::Files(wanted) => ended(work, step, restore_files(work, step, wanted).await).await,
        Action::Prometheus(wanted) => ended(work, step, restore_prometheus(work, step, wanted).await).await,
        Action::Command(wanted) => ended(work, step, restore_command(work, step, wanted).await).await,
        Action::Elasticsearch(wanted) => ended(work, step, restore_elasticsearch(work, step, wanted).await).await,
        Action::Objects(wanted) => ended(work, step, restore_objects(work, step, wanted).await).await,
        Action::Gate(_) if work.dry_run => (StepStatus::Planned, Tally::default(), None),
        Action::Gate(gate) => {
            work.progress.begin(&name, None);
            let waiting = async {
                match &work.target {
                    Some(target) => gate::wait(target.cluster(), gate).await,
                    None => Err(Closed::Lost("no cluster is connected".into())),
                }
            };
            let waited = tokio::select! {
                waited = waiting => waited,
                () = work.lost.cancelled() => Err(Closed::Lost("another step found no answer".into())),
            };
            let (status, note) = match waited {
                Ok(note) => (StepStatus::Done, note),
                Err(Closed::NotReady(why)) => (StepStatus::Failed, why),
                Err(Closed::Lost(why)) => {
                    work.lost.cancel();
                    (StepStatus::Failed, format!("the API server was lost: {why}"))
                }
            };
            work.progress.end(&name, &note);
            (status, Tally::default(), Some(note))
        }
        Action::Manual(manual) if work.dry_run => (StepStatus::Planned, Tally::default(), Some(manual.title.clone())),
        Action::Manual(manual) => tokio::select! {
            asked = ask(&name, manual, operator) => asked,
            () = work.lost.cancelled() => (StepStatus::Failed, Tally::default(), Some("the API server was lost".into())),
        },
    };
    let mut failures = tally.failures;
    if let (StepStatus::Failed, Some(note)) = (status, &note) {
        failures.push(Failure { step: name.clone(), object: name.clone(), why: note.clone() });
    }
    let summary = StepSummary {
        name,
        kind: planned.action.as_str(),
        status,
        seconds: rounded(begin.elapsed().as_secs_f64()),
        items: tally.items,
        skipped: tally.skipped,
        standing: tally.standing,
        remapped: tally.remapped.into_list(),
        types: work.compiled.steps[step].types.clone(),
        note,
    };
    Ok((step, summary, failures))
}

/// How a step that writes ended.
async fn ended(work: &Work, step: usize, result: Result<Tally>) -> (StepStatus, Tally, Option<String>) {
    match result {
        Ok(tally) => applied(tally, work.dry_run),
        Err(e) => {
            let tally = std::mem::take(&mut *work.tallies[step].lock().await);
            (StepStatus::Failed, tally, Some(e.one_line()))
        }
    }
}

fn applied(tally: Tally, dry_run: bool) -> (StepStatus, Tally, Option<String>) {
    let status = match &tally {
        Tally { lost: Some(_), .. } => StepStatus::Failed,
        Tally { items: Items { failed: 0, .. }, .. } if dry_run => StepStatus::Planned,
        Tally { items: Items { failed: 0, .. }, .. } => StepStatus::Done,
        _ => StepStatus::Incomplete,
    };
    let lost = tally.lost.as_ref().map(|why| format!("the API server was lost: {why}"));
    let note = lost.or_else(|| Some(tally.notes.join("; ")).filter(|notes| !notes.is_empty()));
    (status, tally, note)
}

async fn ask(step: &str, manual: &Manual, operator: Arc<dyn Operator>) -> (StepStatus, Tally, Option<String>) {
    match operator.confirm(step, manual).await {
        true => (StepStatus::Done, Tally::default(), Some(manual.title.clone())),
        false => (StepStatus::Failed, Tally::default(), Some(format!("not confirmed: {}", manual.title))),
    }
}

fn not_run(work: &Work, step: usize, why: String) -> StepSummary {
    let planned = &work.plan.steps[step];
    StepSummary {
        name: planned.name.to_string(),
        kind: planned.action.as_str(),
        status: StepStatus::NotRun,
        seconds: 0.0,
        items: Items::default(),
        skipped: Default::default(),
        standing: Vec::new(),
        remapped: Vec::new(),
        types: work.compiled.steps[step].types.clone(),
        note: Some(why),
    }
}

/// A step that did not come to its end, with what it had done until then.
async fn cut_off(work: &Work, step: usize, begun: bool, failures: &mut Vec<Failure>) -> StepSummary {
    let (status, note) = match begun {
        true => (StepStatus::Failed, "stopped in the middle"),
        false => (StepStatus::NotRun, "stopped before it began"),
    };
    let Tally { items, skipped, standing, failures: failed, remapped, .. } =
        std::mem::take(&mut *work.tallies[step].lock().await);
    failures.extend(failed);
    let remapped = remapped.into_list();
    StepSummary { status, items, skipped, standing, remapped, ..not_run(work, step, note.into()) }
}

/// What steps that were cut off had scaled to zero.
async fn scale_back(work: &Work) -> Vec<Failure> {
    let Some(target) = &work.target else { return Vec::new() };
    let failed = back_at_the_end(target.cluster(), &work.interim).await;
    failed.into_iter().map(|(object, why)| Failure { step: "scale".into(), object, why }).collect()
}

/// Webhooks that were gone round come back as soon as they answer.
async fn put_back_what_answers(work: Arc<Work>) {
    while work.webhooks.is_any_out().await {
        tokio::time::sleep(LOOK_AT_WEBHOOKS).await;
        put_back_webhooks(&work, false).await;
    }
}

/// Webhooks that were gone round: those that answer again, at the end all of them.
async fn put_back_webhooks(work: &Work, last: bool) -> Vec<Failure> {
    let Some(target) = &work.target else { return Vec::new() };
    let failed = work.webhooks.put_back(target.cluster(), last).await;
    failed.into_iter().map(|(object, why)| Failure { step: "webhooks".into(), object, why }).collect()
}

/// Objects whose owner never came get those that did.
async fn last_owners(work: &Work, stopped: bool) -> Vec<Failure> {
    let tally = Mutex::new(Tally::default());
    if !stopped {
        write_owner_references(work, true, "owners", &tally).await;
    }
    tally.into_inner().failures
}
