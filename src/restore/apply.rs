//! Runs an `apply` step: frames are fetched ahead, their objects made fit and written, wave after wave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::batch::{OpenBatch, to_do};
use super::compile::{SavedType, subject};
use super::journal;
use super::limit::Place;
use super::owners::Waiting;
use super::preflight::{bring_back, is_configuration};
use super::rules::{Facts, fit, text};
use super::summary::Outcome;
use super::target::{ServedType, Target, Unserved};
use super::work::{Tally, Work};
use super::write::{Fitted, Lost, Writer, Written};
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::cluster::discovery::group_version_path;
use crate::config::{Action, Apply};
use crate::error::{Error, Result};
use crate::object_path::ObjectPath;
use crate::reader::StoredFrame;

/// Frames of about a MiB that are fetched before they are needed.
const FRAMES_AHEAD: usize = 3;

/// The reason for which an object that is there already is skipped.
pub const EXISTS: &str = "exists";

/// Why a constraint has no type, though its template is there.
const NO_GATEKEEPER: &str = "Gatekeeper has made no definition of its template; see that the pods of Gatekeeper run and \
                             what the template's status says, then run the same command again";

/// One object on its way.
struct Job {
    step: usize,
    source: Arc<str>,
    entry: Entry,
    content: Vec<u8>,
    batch: Arc<OpenBatch>,
    /// Its place in the frame, among those of the step.
    at: u32,
}

/// Applies every object of a step. What went wrong with single objects is in the tally; an error ends the step.
pub async fn apply(work: &Arc<Work>, step: usize) -> Result<Tally> {
    let name = work.plan.steps[step].name.to_string();
    let compiled = &work.compiled.steps[step];
    work.progress.begin(&name, Some(compiled.objects()));
    let tally = work.tallies[step].clone();
    for wave in compiled.waves.values() {
        if work.lost.is_cancelled() {
            break;
        }
        run_wave(work, step, wave, &tally).await?;
        write_owner_references(work, false, &name, &tally).await;
    }
    let mut tally = std::mem::take(&mut *tally.lock().await);
    if work.lost.is_cancelled() {
        tally.lost.get_or_insert_with(|| "another step found no answer".into());
    }
    work.progress.end(&name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok(tally)
}

async fn run_wave(work: &Arc<Work>, step: usize, wave: &[usize], tally: &Arc<Mutex<Tally>>) -> Result<()> {
    let fetches = wave.iter().copied().map(|at| fetch(work.clone(), step, at));
    let mut frames = futures::stream::iter(fetches).buffered(FRAMES_AHEAD);
    let mut writes = JoinSet::new();
    while let Some(jobs) = frames.next().await {
        for job in jobs? {
            let place = work.limiter.acquire().await;
            while let Some(done) = writes.try_join_next() {
                done.map_err(|e| Error::failed("write an object").because(e))?;
            }
            if work.lost.is_cancelled() {
                break;
            }
            let (work, tally) = (work.clone(), tally.clone());
            writes.spawn(async move {
                write_job(&work, job, place, &tally).await;
            });
        }
    }
    while let Some(done) = writes.join_next().await {
        done.map_err(|e| Error::failed("write an object").because(e))?;
    }
    Ok(())
}

/// The objects of one frame that belong to the step, without those that were found to be done before.
async fn fetch(work: Arc<Work>, step: usize, at: usize) -> Result<Vec<Job>> {
    let stored = &work.backup.directory()[at];
    let entries = work.backup.entries(stored).await?;
    let mine: Vec<Entry> = entries.into_iter().filter(|e| belongs(&work, step, stored, e)).collect();
    let batches = to_do(&work, step, at, &mine).await;
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let decoded = work.backup.frame(stored).await?;
    let source = stored.source.clone();
    let cut = tokio::task::spawn_blocking(move || {
        let mut jobs = Vec::with_capacity(mine.len());
        for batch in batches {
            for at in batch.range() {
                let entry = mine[at as usize].clone();
                let content = frame::member(&decoded, &entry)?.to_vec();
                jobs.push(Job { step, source: source.clone(), entry, content, batch: batch.clone(), at });
            }
        }
        Ok(jobs)
    });
    cut.await.map_err(|e| Error::failed("unpack a frame").because(e))?
}

fn belongs(work: &Work, step: usize, stored: &StoredFrame, entry: &Entry) -> bool {
    let path = ObjectPath::parse(&entry.path);
    let of = path.and_then(|path| work.compiled.step_of(&work.plan, &stored.source, &path, entry));
    of.is_some_and(|(of, _)| of == step)
}

async fn write_job(work: &Work, job: Job, place: Place, tally: &Mutex<Tally>) {
    let step = work.plan.steps[job.step].name.to_string();
    let size = job.content.len() as u64;
    let shown = ObjectPath::parse(&job.entry.path).map(|p| p.shown()).unwrap_or_default();
    let (batch, at) = (job.batch.clone(), job.at);
    let mut place = Some(place);
    // Once the server is known to be lost, nobody waits for it any longer.
    let result = tokio::select! {
        biased;
        result = handle(work, job, &mut place, &shown) => result,
        () = work.lost.cancelled() => Err(Lost("the API server was lost".into())),
    };
    work.progress.advance(&step, 1, size);
    let mut tally = tally.lock().await;
    match result {
        Ok(outcome) => {
            if let Some(done) = batch.add(at, &shown, &outcome) {
                work.journal.note(&journal::Entry::Batch(done));
            }
            tally.add(&step, &shown, outcome);
        }
        Err(Lost(why)) => {
            work.lost.cancel();
            tally.items.failed += 1;
            tally.lost.get_or_insert_with(|| why.clone());
            tally.fail(&step, &shown, why);
        }
    }
}

async fn handle(work: &Work, job: Job, place: &mut Option<Place>, shown: &str) -> Result<Outcome, Lost> {
    let Action::Apply(apply) = &work.plan.steps[job.step].action else {
        return Ok(Outcome::Failed("the step applies nothing".into()));
    };
    let Some(path) = ObjectPath::parse(&job.entry.path) else {
        return Ok(Outcome::Failed("it is no Kubernetes object".into()));
    };
    let Some(kind) = work.compiled.saved_type(&job.source, path.resource) else {
        return Ok(Outcome::Failed("the manifest does not name its type".into()));
    };
    let mut object: Value = match serde_json::from_slice(&job.content) {
        Ok(object) => object,
        Err(e) => return Ok(Outcome::Failed(format!("it is not JSON: {e}"))),
    };
    let target = work.target()?;
    let served = match served_type(work, target, kind, place).await? {
        Ok(served) => served,
        Err(why) => return Ok(Outcome::Failed(why)),
    };
    let resource = match &served {
        Some(served) => {
            if let Err(why) = served.convert(&mut object) {
                return Ok(Outcome::Failed(why));
            }
            served.resource()
        }
        None => kind.resource.clone(),
    };
    if is_configuration(&resource) {
        // It may have been saved while a restore went round it.
        bring_back(&mut object);
    }
    if let Some(types) = work.compiled.types.get(&*job.source) {
        target.rename_owners(&mut object, types).await;
    }
    let references = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let facts = Facts {
        resource: &resource,
        owners: &work.compiled.owners,
        volumes: &work.compiled.volumes,
        preserve_node_ports: apply.preserve_node_ports,
        status_subresource: served.as_ref().is_none_or(|s| s.status_subresource),
    };
    let status = wanted_status(apply, kind, &object, facts.status_subresource);
    let owners_to_come = facts.owners.any_to_come(&references);
    if let Err((rule, why)) = fit(&mut object, &facts) {
        return Ok(Outcome::Skipped { rule: rule.into(), why });
    }
    if let Some(spared) = work.stage.and_then(|stage| stage.spares(&resource, &object)) {
        return Ok(Outcome::Skipped { rule: spared.rule.into(), why: spared.what.into() });
    }
    match work.remap.apply(&mut object, &resource, &subject(&job.source, kind, &path, &job.entry)) {
        Ok(uses) if uses.is_empty() => {}
        Ok(uses) => work.tallies[job.step].lock().await.remapped.add(shown, uses),
        Err(why) => return Ok(Outcome::Failed(why)),
    }
    let name = text(&object["metadata"], "name").to_string();
    let namespace = path.namespace.map(|namespace| work.remap.mappings().namespace(namespace));
    let collection = match &served {
        Some(served) => served.collection(namespace),
        None => format!("{}/{}", group_version_path(&kind.group, &kind.version), kind.plural()),
    };
    let fitted = Fitted { collection, name, object, status, facts, owners_to_come };
    let writer = Writer {
        cluster: target.cluster(),
        limiter: &work.limiter,
        in_vain: &work.in_vain,
        met: &work.met,
        terminating: &target.terminating,
        conflict: apply.conflict.unwrap_or(work.conflict),
    };
    if served.as_ref().is_some_and(ServedType::is_other_version)
        && let Err(why) = writer.rehearse(&fitted).await?
    {
        let (from, to) = (&kind.version, served.as_ref().map_or("", ServedType::version));
        return Ok(Outcome::Failed(format!("{from} is not served, and {to} does not take it: {why}")));
    }
    if work.dry_run {
        // What the target does not serve yet is not there.
        return if served.is_some() { writer.foresee(&fitted).await } else { Ok(Outcome::Created) };
    }
    if is_configuration(&resource) {
        let waiting = work.webhooks.before_write(target.cluster(), &fitted);
        note(work, job.step, work.limiter.aside(place, waiting).await).await;
    }
    let Written { outcome, uid, .. } = writer.write(&fitted, place).await?;
    if let Some(uid) = uid {
        work.compiled.owners.restored(&job.entry.traits.uid, &uid);
        if owners_to_come && outcome.is_there() {
            let path = format!("{}/{}", fitted.collection, fitted.name);
            work.compiled.owners.wait(Waiting { path, shown: shown.into(), references });
            job.batch.keep_open();
        }
    }
    Ok(outcome)
}

/// How the target serves a type; none where a dry run finds that it is still to come. The inner error says why it is not served.
async fn served_type(
    work: &Work,
    target: &Target,
    kind: &SavedType,
    place: &mut Option<Place>,
) -> Result<Result<Option<ServedType>, String>, Lost> {
    if let Some(served) = target.known(kind).await {
        return Ok(Ok(Some(served)));
    }
    let to_come = work.compiled.is_to_come(kind);
    // A type that is waited for, or whose server hangs, must not hold up others.
    Ok(match work.limiter.aside(place, target.served(kind, to_come && !work.dry_run)).await {
        Ok(served) => Ok(Some(served)),
        Err(Unserved::Lost(why)) => return Err(Lost(why)),
        Err(_) if work.dry_run && to_come => Ok(None),
        Err(Unserved::Missing(_)) if work.compiled.comes_of_template(kind) => Err(NO_GATEKEEPER.into()),
        Err(Unserved::Missing(why) | Unserved::NotReady(why)) => Err(why),
    })
}

/// Says something about a step, once.
async fn note(work: &Work, step: usize, what: Option<String>) {
    let notes = &mut work.tallies[step].lock().await.notes;
    notes.extend(what.filter(|what| !notes.contains(what)));
}

fn wanted_status(apply: &Apply, kind: &SavedType, object: &Value, subresource: bool) -> Option<Value> {
    let wanted = subresource && apply.restores_status(&kind.kind, &kind.group);
    object.get("status").filter(|_| wanted).cloned()
}

/// Gives objects their owners that came after them. With `last`, owners that never came are left out.
pub async fn write_owner_references(work: &Work, last: bool, step: &str, tally: &Mutex<Tally>) {
    let Some(target) = &work.target else { return };
    let failed = AtomicU64::new(0);
    let patches = work.compiled.owners.take_ready(last).into_iter().map(|waiting| {
        let failed = &failed;
        async move {
            let references = work.compiled.owners.map(&waiting.references);
            if references.is_empty() {
                return;
            }
            let patch = json!({ "metadata": { "ownerReferences": references } }).to_string();
            let retry = crate::cluster::Retry::default();
            let done = retry.run(|| target.cluster().merge(&waiting.path, patch.clone().into())).await;
            if let Err(e) = done {
                failed.fetch_add(1, Ordering::AcqRel);
                let why = format!("its owner references could not be set: {}", e.message());
                tally.lock().await.fail(step, &waiting.shown, why);
            }
        }
    });
    futures::stream::iter(patches).buffer_unordered(16).collect::<Vec<()>>().await;
    let failed = failed.load(Ordering::Acquire);
    if failed > 0 {
        // They are there, and counted as created; without their owner they are not what was saved.
        let mut tally = tally.lock().await;
        tally.items.failed += failed;
        tally.items.created = tally.items.created.saturating_sub(failed);
    }
}
