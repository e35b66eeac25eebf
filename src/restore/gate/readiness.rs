//! What makes an object ready, by its kind.

use serde_json::Value;

use crate::restore::rules::text;

/// What a look at one object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is ready.
    Ready,
    /// It is not, and may become so; why.
    NotYet(String),
    /// It is not, and will not become so by itself; why.
    Failed(String),
}

use Verdict::{Failed, NotYet, Ready};

type Judge = fn(&Value) -> Verdict;

/// Kinds of which more is known than their conditions: kind, group, and who judges.
const KINDS: &[(&str, &str, Judge)] = &[
    ("Deployment", "apps", deployment),
    ("StatefulSet", "apps", stateful_set),
    ("DaemonSet", "apps", daemon_set),
    ("ReplicaSet", "apps", replica_set),
    ("ReplicationController", "", replica_set),
    ("Job", "batch", job),
    ("CronJob", "batch", |_| Ready),
    ("Pod", "", pod),
    ("Namespace", "", |object| has_phase(object, &["Active"])),
    ("PersistentVolumeClaim", "", |object| has_phase(object, &["Bound"])),
    ("PersistentVolume", "", |object| has_phase(object, &["Bound", "Available"])),
    ("Node", "", |object| reports(object, "Ready")),
    ("CustomResourceDefinition", "apiextensions.k8s.io", |object| reports(object, "Established")),
    ("APIService", "apiregistration.k8s.io", |object| reports(object, "Available")),
    ("Certificate", "cert-manager.io", |object| reports(object, "Ready")),
    ("Issuer", "cert-manager.io", |object| reports(object, "Ready")),
    ("ClusterIssuer", "cert-manager.io", |object| reports(object, "Ready")),
];

/// Whether an object is ready by what is known of its kind.
pub fn judge(kind: &str, group: &str, object: &Value) -> Verdict {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return NotYet(deletion(object));
    }
    match KINDS.iter().find(|(known, of, _)| *known == kind && *of == group) {
        Some((.., judge)) => judge(object),
        None => other(object),
    }
}

/// Whether an object reports a condition that a plan names, or has it as its phase. A job that failed never completes.
pub fn judge_condition(kind: &str, group: &str, object: &Value, wanted: &str) -> Verdict {
    if (kind, group) == ("Job", "batch")
        && let Some(why) = failure(object)
    {
        return Failed(why);
    }
    let phase = text(&object["status"], "phase");
    match condition(object, wanted) {
        None if phase.eq_ignore_ascii_case(wanted) => Ready,
        None if !phase.is_empty() => NotYet(format!("its phase is {phase}")),
        _ => reports(object, wanted),
    }
}

fn condition<'o>(object: &'o Value, wanted: &str) -> Option<&'o Value> {
    let all = object["status"]["conditions"].as_array();
    all.into_iter().flatten().find(|c| text(c, "type").eq_ignore_ascii_case(wanted))
}

/// Whether a condition is true, and about the object as it is now.
fn reports(object: &Value, wanted: &str) -> Verdict {
    let Some(condition) = condition(object, wanted) else { return NotYet("no such condition yet".into()) };
    let observed = condition["observedGeneration"].as_u64().or(object["status"]["observedGeneration"].as_u64());
    if observed.is_some_and(|observed| observed < generation(object)) {
        return NotYet(format!("{wanted} is {} of an earlier state", text(condition, "status")));
    }
    match text(condition, "status") {
        "True" => Ready,
        _ => NotYet(words(wanted, condition)),
    }
}

/// `Available is False MinimumReplicasUnavailable Deployment does not …`.
fn words(name: &str, condition: &Value) -> String {
    let said = ["status", "reason", "message"].map(|key| text(condition, key));
    format!("{name} is {}", said.join(" ")).trim_end().into()
}

fn has_phase(object: &Value, good: &[&str]) -> Verdict {
    match text(&object["status"], "phase") {
        phase if good.contains(&phase) => Ready,
        "" => NotYet("it has no phase yet".into()),
        phase => NotYet(format!("its phase is {phase}")),
    }
}

/// Custom resources and all else: by the condition that most controllers keep, or by being there.
fn other(object: &Value) -> Verdict {
    let known = ["Ready", "Available"].into_iter().find(|name| condition(object, name).is_some());
    known.map_or(Ready, |name| reports(object, name))
}

fn generation(object: &Value) -> u64 {
    object["metadata"]["generation"].as_u64().unwrap_or_default()
}

/// Counts from before a change say nothing.
fn is_current(object: &Value) -> bool {
    object["status"]["observedGeneration"].as_u64().unwrap_or_default() >= generation(object)
}

const NOT_SEEN: &str = "its controller has not seen it as it is now";

fn count(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

/// Each count, by its name in the status, must reach what is wanted; why not, by the first that does not.
fn reach(object: &Value, wanted: u64, counts: &[(&str, &str)]) -> Verdict {
    if !is_current(object) {
        return NotYet(NOT_SEEN.into());
    }
    for (field, word) in counts {
        let found = count(object, &format!("/status/{field}")).unwrap_or_default();
        if found < wanted {
            return NotYet(format!("{found} of {wanted} {word}"));
        }
    }
    Ready
}

fn replicas(object: &Value) -> u64 {
    count(object, "/spec/replicas").unwrap_or(1)
}

fn deployment(object: &Value) -> Verdict {
    let verdict =
        reach(object, replicas(object), &[("updatedReplicas", "updated"), ("availableReplicas", "available")]);
    // Why it stays so stands in conditions, which controllers of pods fill late.
    let told = ["ReplicaFailure", "Progressing"].into_iter().find_map(|name| {
        let bad = if name == "Progressing" { "False" } else { "True" };
        condition(object, name).filter(|c| text(c, "status") == bad).map(|c| words(name, c))
    });
    with_reason(verdict, told)
}

fn with_reason(verdict: Verdict, told: Option<String>) -> Verdict {
    match (verdict, told) {
        (NotYet(why), Some(told)) => NotYet(format!("{why}, {told}")),
        (verdict, _) => verdict,
    }
}

fn replica_set(object: &Value) -> Verdict {
    let failure = condition(object, "ReplicaFailure").filter(|c| text(c, "status") == "True");
    let verdict = reach(object, replicas(object), &[("readyReplicas", "ready"), ("availableReplicas", "available")]);
    with_reason(verdict, failure.map(|c| words("ReplicaFailure", c)))
}

fn stateful_set(object: &Value) -> Verdict {
    let (wanted, status) = (replicas(object), &object["status"]);
    let ready = reach(object, wanted, &[("readyReplicas", "ready")]);
    let partition = count(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or_default();
    let updates_itself = text(&object["spec"]["updateStrategy"], "type") != "OnDelete";
    if ready != Ready || wanted == 0 || !updates_itself {
        return ready;
    }
    match partition {
        0 if text(status, "currentRevision") == text(status, "updateRevision") => Ready,
        0 => NotYet(format!("{} of {wanted} updated", count(status, "/updatedReplicas").unwrap_or_default())),
        _ => reach(object, wanted.saturating_sub(partition), &[("updatedReplicas", "updated")]),
    }
}

fn daemon_set(object: &Value) -> Verdict {
    let wanted = count(object, "/status/desiredNumberScheduled").unwrap_or_default();
    let counts = [("updatedNumberScheduled", "updated"), ("numberAvailable", "available")];
    let updates_itself = text(&object["spec"]["updateStrategy"], "type") != "OnDelete";
    reach(object, wanted, if updates_itself { &counts } else { &counts[1..] })
}

fn job(object: &Value) -> Verdict {
    if let Some(why) = failure(object) {
        return Failed(why);
    }
    match condition(object, "Complete").filter(|c| text(c, "status") == "True") {
        Some(_) => Ready,
        None if object["spec"]["suspend"] == true => NotYet("it is suspended".into()),
        None => {
            let done = count(object, "/status/succeeded").unwrap_or_default();
            let wanted = count(object, "/spec/completions").unwrap_or(1);
            NotYet(format!("{done} of {wanted} completed"))
        }
    }
}

/// Why a job failed, as soon as that is decided: its pods may take long to end after that.
fn failure(object: &Value) -> Option<String> {
    let bad = |name| condition(object, name).filter(|c| text(c, "status") == "True");
    let failed = bad("Failed").or_else(|| bad("FailureTarget"))?;
    Some(
        format!("it failed: {} {}", text(failed, "reason"), text(failed, "message"))
            .trim_end_matches([' ', ':'])
            .into(),
    )
}

fn pod(object: &Value) -> Verdict {
    let status = &object["status"];
    let ready = condition(object, "Ready").is_some_and(|c| text(c, "status") == "True");
    if ready || text(status, "phase") == "Succeeded" {
        return Ready;
    }
    let phase = match text(status, "phase") {
        "" => "unknown",
        phase => phase,
    };
    let why = container_waits(status).or_else(|| not_scheduled(object)).or_else(|| {
        let said = format!("{} {}", text(status, "reason"), text(status, "message"));
        Some(said.trim().to_string()).filter(|said| !said.is_empty())
    });
    NotYet(match why {
        Some(why) => format!("its phase is {phase}, {why}"),
        None if phase == "Running" => "it is running, and not ready".into(),
        None => format!("its phase is {phase}"),
    })
}

/// `container main: ImagePullBackOff`.
fn container_waits(status: &Value) -> Option<String> {
    let all = ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|key| status[key].as_array());
    all.flatten().find_map(|container| {
        let state = &container["state"];
        let reason = [&state["waiting"], &state["terminated"]].into_iter().find_map(|state| state["reason"].as_str());
        let reason =
            reason.filter(|reason| !matches!(*reason, "Completed" | "PodInitializing" | "ContainerCreating"))?;
        Some(format!("container {}: {reason}", text(container, "name")))
    })
}

fn not_scheduled(object: &Value) -> Option<String> {
    let scheduled = condition(object, "PodScheduled").filter(|c| text(c, "status") == "False")?;
    Some(words("PodScheduled", scheduled))
}

/// Something that goes is not what was restored. What holds it up stands in a namespace's conditions, or in finalizers.
fn deletion(object: &Value) -> String {
    let remains = ["NamespaceContentRemaining", "NamespaceDeletionContentFailure", "NamespaceFinalizersRemaining"];
    let told = remains.into_iter().find_map(|name| condition(object, name).filter(|c| text(c, "status") == "True"));
    match told {
        Some(condition) => format!("it is being deleted: {}", text(condition, "message")),
        None => "it is being deleted".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn not_yet(kind: &str, group: &str, object: Value) -> String {
        match judge(kind, group, &object) {
            NotYet(why) => why,
            other => panic!("{other:?}: {object}"),
        }
    }

    fn is_ready(kind: &str, group: &str, object: Value) {
        assert_eq!(judge(kind, group, &object), Ready, "{object}");
    }

    #[test]
    fn counts_of_another_generation_say_nothing() {
        let deployment = |observed: u64, updated: u64, available: u64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status":
                {"observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available}})
        };
        is_ready("Deployment", "apps", deployment(2, 3, 3));
        assert_eq!(not_yet("Deployment", "apps", deployment(1, 3, 3)), NOT_SEEN);
        assert_eq!(not_yet("Deployment", "apps", deployment(2, 1, 3)), "1 of 3 updated");
        assert_eq!(not_yet("Deployment", "apps", deployment(2, 3, 2)), "2 of 3 available");
        assert_eq!(not_yet("Deployment", "apps", json!({"metadata": {"generation": 1}})), NOT_SEEN);
        is_ready("Deployment", "apps", json!({"metadata": {}, "spec": {"replicas": 0}, "status": {}}));
    }

    #[test]
    fn what_keeps_a_workload_back_is_told() {
        let condition =
            json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"});
        let status = json!({"conditions": [condition]});
        assert_eq!(
            not_yet("Deployment", "apps", json!({"status": status})),
            "0 of 1 updated, ReplicaFailure is True FailedCreate quota"
        );
        assert_eq!(
            not_yet("ReplicaSet", "apps", json!({"status": status})),
            "0 of 1 ready, ReplicaFailure is True FailedCreate quota"
        );
    }

    #[test]
    fn a_stateful_set_must_have_its_revision() {
        let set = |ready: u64, current: &str, strategy: Value| {
            json!({"spec": {"replicas": 2, "updateStrategy": strategy}, "status":
                {"readyReplicas": ready, "updatedReplicas": 1, "currentRevision": current, "updateRevision": "b"}})
        };
        is_ready("StatefulSet", "apps", set(2, "b", json!({"type": "RollingUpdate"})));
        assert_eq!(not_yet("StatefulSet", "apps", set(1, "b", json!({}))), "1 of 2 ready");
        assert_eq!(not_yet("StatefulSet", "apps", set(2, "a", json!({}))), "1 of 2 updated");
        is_ready("StatefulSet", "apps", set(2, "a", json!({"type": "OnDelete"})));
        is_ready("StatefulSet", "apps", set(2, "a", json!({"rollingUpdate": {"partition": 1}})));
    }

    #[test]
    fn a_daemon_set_must_be_on_all_its_nodes() {
        let set = |available: u64| json!({"status": {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": available}});
        is_ready("DaemonSet", "apps", set(3));
        assert_eq!(not_yet("DaemonSet", "apps", set(2)), "2 of 3 available");
    }

    #[test]
    fn a_job_that_failed_is_told_at_once_whatever_was_asked() {
        let job = |name: &str| {
            let condition =
                json!({"type": name, "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"});
            json!({"status": {"conditions": [condition], "succeeded": 1}, "spec": {"completions": 2}})
        };
        is_ready("Job", "batch", job("Complete"));
        let failed = Failed("it failed: BackoffLimitExceeded too often".into());
        for name in ["Failed", "FailureTarget"] {
            assert_eq!(judge("Job", "batch", &job(name)), failed);
            assert_eq!(judge_condition("Job", "batch", &job(name), "Complete"), failed);
        }
        assert_eq!(
            not_yet("Job", "batch", json!({"status": {"succeeded": 1}, "spec": {"completions": 2}})),
            "1 of 2 completed"
        );
        assert_eq!(not_yet("Job", "batch", json!({"spec": {"suspend": true}})), "it is suspended");
        is_ready("CronJob", "batch", json!({}));
    }

    #[test]
    fn a_condition_of_an_earlier_state_does_not_count() {
        let certificate = |generation: u64, status: &str| {
            let condition = json!({"type": "Ready", "status": status, "observedGeneration": 4, "reason": "Issuing"});
            json!({"metadata": {"generation": generation}, "status": {"conditions": [condition]}})
        };
        is_ready("Certificate", "cert-manager.io", certificate(4, "True"));
        assert_eq!(
            not_yet("Certificate", "cert-manager.io", certificate(5, "True")),
            "Ready is True of an earlier state"
        );
        assert_eq!(not_yet("Certificate", "cert-manager.io", certificate(4, "False")), "Ready is False Issuing");
        let stale = judge_condition("Certificate", "cert-manager.io", &certificate(5, "True"), "Ready");
        assert_eq!(stale, NotYet("Ready is True of an earlier state".into()));
    }

    #[test]
    fn a_pod_says_what_it_waits_for() {
        let waits = json!({"phase": "Pending", "containerStatuses":
            [{"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
        assert_eq!(
            not_yet("Pod", "", json!({"status": waits})),
            "its phase is Pending, container main: ImagePullBackOff"
        );
        let unscheduled = json!({"phase": "Pending", "conditions":
            [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
        assert_eq!(
            not_yet("Pod", "", json!({"status": unscheduled})),
            "its phase is Pending, PodScheduled is False Unschedulable 0/3 nodes"
        );
        is_ready("Pod", "", json!({"status": {"phase": "Succeeded"}}));
        is_ready(
            "Pod",
            "",
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
        );
    }

    #[test]
    fn other_kinds_are_ready_by_a_condition_that_they_have_or_by_being_there() {
        is_ready("ConfigMap", "", json!({"data": {}}));
        is_ready("Thing", "x.test", json!({"status": {"conditions": [{"type": "Available", "status": "True"}]}}));
        let both = json!([{"type": "Available", "status": "True"}, {"type": "Ready", "status": "Unknown"}]);
        assert_eq!(not_yet("Thing", "x.test", json!({"status": {"conditions": both}})), "Ready is Unknown");
        assert_eq!(not_yet("Namespace", "", json!({"status": {"phase": "Terminating"}})), "its phase is Terminating");
        let going = json!({"metadata": {"deletionTimestamp": "2026-11-26T00:00:00Z"}, "status": {"phase": "Active"}});
        assert_eq!(not_yet("Namespace", "", going), "it is being deleted");
    }
}
