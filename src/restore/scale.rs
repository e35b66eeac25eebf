//! Workloads that must not run while what they use is replaced.

mod step;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use self::step::{is_scaled_by, scale};
use crate::cluster::{Cluster, Retry};
use crate::config::{Workload, format_duration};
use crate::error::{Error, Result};

/// Where the former count stands meanwhile, so that a restore that was cut off does not forget it.
const FORMER: &str = "ckbackup.io/former-replicas";

/// How long its pods may take to be gone, or to be back.
const PATIENCE: Duration = Duration::from_secs(300);

const POLL: Duration = Duration::from_millis(500);

const TIMEOUT: Duration = Duration::from_secs(30);

/// A workload that is scaled to zero, its former count, and the steps that need it so.
#[derive(Debug, Clone)]
struct Scaled {
    workload: Workload,
    former: u64,
    steps: Vec<String>,
    /// The step of the plan that scaled it to zero, until another one scales it back.
    held_by: Option<String>,
    /// Whether the server has been told.
    is_sent: bool,
}

/// Who needs workloads at zero.
#[derive(Debug, Clone, Copy)]
pub enum Need<'s> {
    /// A step, until it is done.
    Meanwhile(&'s str),
    /// A step, until another one scales them back; and how long their pods may take to be gone.
    Held(&'s str, Duration),
}

/// What was done about workloads at the end of a restore.
#[derive(Debug, Default)]
pub struct AtTheEnd {
    /// What could not be put right, and why.
    pub failed: Vec<(String, String)>,
    /// What became of workloads that a step had scaled to zero, with the step.
    pub notes: Vec<(String, String)>,
}

/// What all steps have in the cluster only meanwhile: whoever ends the restore puts it right.
#[derive(Debug, Default)]
pub struct Interim {
    /// Workloads that are scaled to zero.
    scaled: Mutex<Vec<Scaled>>,
    /// The paths of pods that were made.
    pods: Mutex<Vec<String>>,
}

impl Interim {
    /// A pod is about to be made at this path.
    pub async fn add_pod(&self, path: &str) {
        self.pods.lock().await.push(path.into());
    }

    /// It is gone.
    pub async fn forget_pod(&self, path: &str) {
        self.pods.lock().await.retain(|pod| pod != path);
    }
}

impl Scaled {
    fn new(workload: &Workload, former: u64) -> Scaled {
        Scaled { workload: workload.clone(), former, steps: Vec::new(), held_by: None, is_sent: false }
    }

    fn words(&self) -> String {
        format!("{} was scaled to 0 and back to {}", shown(&self.workload), self.former)
    }
}

fn shown(workload: &Workload) -> String {
    format!("{} {}/{}", workload.kind, workload.namespace, workload.name)
}

/// Notes that a step needs a workload at zero. The patch that does it, unless another step has sent it.
fn note(all: &mut Vec<Scaled>, workload: &Workload, object: &Value, need: Need<'_>) -> Option<Value> {
    let known = all.iter().position(|scaled| scaled.workload == *workload);
    let at = known.unwrap_or_else(|| {
        all.push(Scaled::new(workload, former(object)));
        all.len() - 1
    });
    let scaled = &mut all[at];
    match need {
        Need::Meanwhile(step) => scaled.steps.push(step.into()),
        Need::Held(step, _) => scaled.held_by = Some(step.into()),
    }
    let annotations = json!({ FORMER: scaled.former.to_string() });
    let zero = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": 0 } });
    Some(zero).filter(|_| !scaled.is_sent)
}

fn sent(all: &mut [Scaled], workload: &Workload) {
    all.iter_mut().filter(|scaled| scaled.workload == *workload).for_each(|scaled| scaled.is_sent = true);
}

/// The step needs nothing at zero any more. Those that nobody needs so; they stay known until it is done, as whoever ends the restore
/// tries what failed once more.
fn release(all: &mut [Scaled], step: &str) -> Vec<Scaled> {
    all.iter_mut().for_each(|scaled| scaled.steps.retain(|holder| holder != step));
    all.iter().filter(|scaled| scaled.steps.is_empty() && scaled.held_by.is_none()).cloned().collect()
}

/// Scales all of them to zero for a step, and waits until none of their pods is left.
pub async fn to_zero(cluster: &Cluster, workloads: &[Workload], need: Need<'_>, interim: &Interim) -> Result<()> {
    let limit = match need {
        Need::Meanwhile(_) => PATIENCE,
        Need::Held(_, limit) => limit,
    };
    let mut selectors = Vec::new();
    for workload in workloads {
        // Held until it is done: no other step brings it back in between.
        let mut all = interim.scaled.lock().await;
        let object = get(cluster, workload).await?;
        selectors.push((workload, selector(workload, &object)?));
        if let Some(zero) = note(&mut all, workload, &object, need) {
            patch(cluster, workload, &zero).await?;
            sent(&mut all, workload);
        }
    }
    for (workload, selector) in selectors {
        let patience = Patience::new(format!("wait for the pods of {} to be gone", shown(workload)), limit);
        // Those that are ending still hold connections, and are counted nowhere else.
        while count_pods(cluster, workload, &selector).await? > 0 {
            patience.pause().await?;
        }
    }
    Ok(())
}

/// Its replicas; those of before, where a restore that was cut off has left it at zero.
fn former(object: &Value) -> u64 {
    let now = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let noted = object["metadata"]["annotations"][FORMER].as_str().and_then(|text| text.parse().ok());
    if now > 0 { now } else { noted.unwrap_or(0) }
}

/// Gives those of a step their former count: all first, as they may need each other, then each is waited for. One that another step
/// still needs at zero stays so until that is done. The first error is told, in words what was done.
pub async fn back(cluster: &Cluster, step: &str, interim: &Interim) -> Result<Vec<String>> {
    let (mut first, mut mine) = (Ok(()), Vec::new());
    let mut all = interim.scaled.lock().await;
    for scaled in release(&mut all, step) {
        match give_back(cluster, &scaled).await {
            Ok(()) => {
                all.retain(|other| other.workload != scaled.workload);
                mine.push(scaled);
            }
            Err(e) => first = first.and(Err(e)),
        }
    }
    drop(all);
    for scaled in &mine {
        first = first.and(wait_until_ready(cluster, scaled, PATIENCE).await);
    }
    first.map(|()| mine.iter().map(Scaled::words).collect())
}

/// The same for all that are left when a restore has ended, without waiting for them. Pods go first, as they may hold a volume.
/// What a step of the plan holds at zero stays so where `stays`: a restore that goes on brings it back.
pub async fn back_at_the_end(cluster: &Cluster, interim: &Interim, stays: impl Fn(&Workload) -> bool) -> AtTheEnd {
    let mut end = AtTheEnd::default();
    for pod in interim.pods.lock().await.drain(..) {
        match Retry::default().run(|| cluster.delete(&pod)).await {
            Err(e) if e.code() != Some(404) => end.failed.push((pod, e.to_string())),
            _ => {}
        }
    }
    for scaled in interim.scaled.lock().await.drain(..) {
        let (what, count) = (shown(&scaled.workload), scaled.former);
        let note = match &scaled.held_by {
            Some(_) if scaled.is_sent && stays(&scaled.workload) => {
                format!("{what} stays at 0, formerly {count}: run the restore again, and it is scaled back")
            }
            _ => match give_back(cluster, &scaled).await {
                Ok(()) => format!("{what} was scaled back to {count} at the end, as no step had done it"),
                Err(e) => {
                    end.failed.push((what, e.one_line()));
                    continue;
                }
            },
        };
        end.notes.extend(scaled.held_by.map(|step| (step, note)));
    }
    end
}

/// Brings back what a restore that was cut off has left at zero.
pub async fn recover(cluster: &Cluster, workloads: &[Workload], interim: &Interim) -> Result<()> {
    for workload in workloads {
        let all = interim.scaled.lock().await;
        let object = get(cluster, workload).await?;
        let is_held = all.iter().any(|scaled| scaled.workload == *workload);
        if object["metadata"]["annotations"][FORMER].is_string() && !is_held {
            give_back(cluster, &Scaled::new(workload, former(&object))).await?;
        }
    }
    Ok(())
}

async fn give_back(cluster: &Cluster, scaled: &Scaled) -> Result<()> {
    let annotations = json!({ FORMER: null });
    let former = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": scaled.former } });
    patch(cluster, &scaled.workload, &former).await
}

async fn is_ready(cluster: &Cluster, scaled: &Scaled) -> Result<bool> {
    let object = get(cluster, &scaled.workload).await?;
    // A count from before the change says nothing.
    let is_current = object["status"]["observedGeneration"].as_u64() >= object["metadata"]["generation"].as_u64();
    Ok(is_current && object["status"]["readyReplicas"].as_u64().unwrap_or_default() >= scaled.former)
}

/// What its pods carry, as a query.
fn selector(workload: &Workload, object: &Value) -> Result<String> {
    let text = selector_of(object).map_err(|why| Error::failed(format!("{} {why}", shown(workload))))?;
    Ok(url::form_urlencoded::byte_serialize(text.as_bytes()).collect())
}

/// What the pods of anything that selects some carry, or why it is not known.
pub fn selector_of(object: &Value) -> Result<String, String> {
    let selector = &object["spec"]["selector"];
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut all: Vec<_> = labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        all.push(requirement(expression).ok_or(format!("selects its pods by {expression}, which is not known"))?);
    }
    match all.is_empty() {
        true => Err("does not say which pods are its own".into()),
        false => Ok(all.join(",")),
    }
}

fn requirement(expression: &Value) -> Option<String> {
    let key = expression["key"].as_str()?;
    let values = || expression["values"].as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    Some(match expression["operator"].as_str()? {
        "In" => format!("{key} in ({})", values()?.join(",")),
        "NotIn" => format!("{key} notin ({})", values()?.join(",")),
        "Exists" => key.to_string(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    })
}

async fn count_pods(cluster: &Cluster, workload: &Workload, selector: &str) -> Result<usize> {
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", workload.namespace);
    let list = read(cluster, &path, &format!("look at the pods of {}", shown(workload))).await?;
    Ok(list["items"].as_array().map_or(0, Vec::len))
}

async fn get(cluster: &Cluster, workload: &Workload) -> Result<Value> {
    let missing = || Error::failed(format!("{} is not there", shown(workload)));
    find(cluster, workload).await?.ok_or_else(missing)
}

async fn find(cluster: &Cluster, workload: &Workload) -> Result<Option<Value>> {
    let (path, doing) = (workload.path(), || format!("look at {}", shown(workload)));
    match Retry::default().run(|| cluster.get(&path, None, TIMEOUT)).await {
        Ok(body) => serde_json::from_slice(&body).map(Some).map_err(|e| Error::failed(doing()).because(e)),
        Err(e) if e.code() == Some(404) => Ok(None),
        Err(e) => Err(Error::failed(doing()).because(e)),
    }
}

async fn read(cluster: &Cluster, path: &str, doing: &str) -> Result<Value> {
    let body = Retry::default().run(|| cluster.get(path, None, TIMEOUT)).await;
    let body = body.map_err(|e| Error::failed(doing).because(e))?;
    serde_json::from_slice(&body).map_err(|e| Error::failed(doing).because(e))
}

async fn patch(cluster: &Cluster, workload: &Workload, patch: &Value) -> Result<()> {
    let (path, body) = (workload.path(), patch.to_string());
    let patched = Retry::default().run(|| cluster.merge(&path, body.clone().into())).await;
    patched.map(drop).map_err(|e| Error::failed(format!("scale {}", shown(workload))).because(e))
}

async fn wait_until_ready(cluster: &Cluster, scaled: &Scaled, limit: Duration) -> Result<()> {
    let patience = Patience::new(format!("wait for {} to be ready again", shown(&scaled.workload)), limit);
    while !is_ready(cluster, scaled).await? {
        patience.pause().await?;
    }
    Ok(())
}

/// How long something may take.
struct Patience {
    what: String,
    limit: Duration,
    deadline: Instant,
}

impl Patience {
    fn new(what: String, limit: Duration) -> Patience {
        Patience { what, limit, deadline: Instant::now() + limit }
    }

    /// A moment until the next look; an error when there was time enough.
    async fn pause(&self) -> Result<()> {
        if Instant::now() >= self.deadline {
            return Err(Error::failed(format!("{}: not within {}", self.what, format_duration(self.limit))));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_steps_need_at_zero_is_free_after_the_second() {
        let workload = Workload { kind: "Deployment".into(), namespace: "shop".parse().unwrap(), name: "web".into() };
        let (running, zero) = (json!({"spec": {"replicas": 3}}), json!({"spec": {"replicas": 0}}));
        let mut all = Vec::new();
        assert!(note(&mut all, &workload, &running, Need::Meanwhile("registry")).is_some());
        assert!(note(&mut all, &workload, &running, Need::Meanwhile("registry-again")).is_some(), "it was not sent");
        sent(&mut all, &workload);
        assert!(note(&mut all, &workload, &zero, Need::Meanwhile("notary")).is_none());
        for (step, holders) in [("registry", 2), ("other", 2), ("registry-again", 1), ("notary", 0)] {
            let free = release(&mut all, step);
            assert_eq!((all[0].steps.len(), all[0].former, all.len()), (holders, 3, 1), "{step}");
            assert_eq!(free.len(), usize::from(holders == 0), "{step}");
        }
    }

    #[test]
    fn what_a_step_of_the_plan_scaled_to_zero_is_not_free_when_others_are_done() {
        let workload = Workload { kind: "Deployment".into(), namespace: "shop".parse().unwrap(), name: "web".into() };
        let mut all = Vec::new();
        let running = json!({"spec": {"replicas": 3}});
        assert!(note(&mut all, &workload, &running, Need::Held("down", PATIENCE)).is_some());
        sent(&mut all, &workload);
        assert!(note(&mut all, &workload, &running, Need::Meanwhile("load")).is_none());
        assert!(release(&mut all, "load").is_empty() && release(&mut all, "down").is_empty());
        all[0].held_by = None;
        assert_eq!(release(&mut all, "load").len(), 1);
    }

    #[test]
    fn pods_are_found_by_labels_and_by_expressions() {
        let workload = Workload { kind: "Deployment".into(), namespace: "shop".parse().unwrap(), name: "web".into() };
        let of = |spec: Value| selector(&workload, &json!({"spec": {"selector": spec}}));
        let expression = |operator: &str, values: Value| json!({"key": "tier", "operator": operator, "values": values});
        let decoded = |query: String| url::form_urlencoded::parse(query.as_bytes()).next().unwrap().0.into_owned();
        let both = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            expression("In", json!(["a", "b"])), expression("DoesNotExist", Value::Null)]});
        assert_eq!(decoded(of(both).unwrap()), "app=web,tier in (a,b),!tier");
        assert_eq!(decoded(of(json!({"matchExpressions": [expression("Exists", Value::Null)]})).unwrap()), "tier");
        assert!(of(json!({})).is_err() && of(json!({"matchExpressions": [expression("Gt", json!(["1"]))]})).is_err());
    }

    #[test]
    fn what_somebody_has_scaled_since_counts_more_than_what_was_noted() {
        let object = |replicas: u64, noted: Option<&str>| json!({"metadata": {"annotations": {FORMER: noted}}, "spec": {"replicas": replicas}});
        assert_eq!(former(&object(3, None)), 3);
        assert_eq!(former(&object(0, Some("3"))), 3);
        assert_eq!(former(&object(5, Some("3"))), 5);
        assert_eq!(former(&object(0, None)), 0);
    }
}
