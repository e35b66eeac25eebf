//! Jobs and pods.

use serde_json::{Value, json};

use super::place::*;

fn job(name: &str, spec: Value) -> Value {
    let mut template = template();
    template["spec"]["restartPolicy"] = "OnFailure".into();
    let mut job = object("batch/v1", "Job", name, json!({"spec": {"template": template}}));
    job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    job
}

pub async fn a_deployments_revisions_are_counted_anew() {
    let place = Place::new().await;
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template});
    let mut web = object("apps/v1", "Deployment", "web", json!({"spec": spec}));
    // What the deployment controller writes after the third change, beside what people wrote.
    web["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "3", "team": "shop"});
    let saved = place.save_here("deployments.apps", web).await;
    let but = [".metadata.annotations.deployment.kubernetes.io/revision"];
    let restored = comes_back(&place, &Surroundings::default(), "deployments.apps", &saved, &but).await;
    assert_eq!(restored["metadata"]["annotations"], json!({"team": "shop"}));
    // The controller of the new cluster begins to count again: no difference.
    let mut counted = restored.clone();
    counted["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1".into();
    assert!(Surroundings::default().comparable("deployments.apps", &saved, &counted).is_empty());
}

pub async fn a_job_gets_a_selector_of_its_own() {
    let place = Place::new().await;
    let spec = json!({"suspend": true, "backoffLimit": 2, "ttlSecondsAfterFinished": 100, "completionMode": "Indexed",
        "completions": 3, "parallelism": 2});
    let saved = place.save_here("jobs.batch", job("migrate", spec)).await;
    let (status, why) = place.post_as_saved("jobs.batch", &saved).await;
    assert!(status == 422 && why.contains("selector"), "{status} {why}");

    let but = [
        ".metadata.labels.batch.kubernetes.io/controller-uid",
        ".metadata.labels.controller-uid",
        ".spec.selector.matchLabels.batch.kubernetes.io/controller-uid",
        ".spec.template.metadata.labels.batch.kubernetes.io/controller-uid",
        ".spec.template.metadata.labels.controller-uid",
    ];
    let restored = comes_back(&place, &Surroundings::default(), "jobs.batch", &saved, &but).await;
    let selected = &restored["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"];
    assert_eq!(selected, uid(&restored));

    // Without labels of its own in the template, only the server's are there.
    let mut bare = job("bare", json!({}));
    bare["spec"]["template"].as_object_mut().unwrap().remove("metadata");
    let saved = place.save_here("jobs.batch", bare).await;
    comes_back(&place, &Surroundings::default(), "jobs.batch", &saved, &but).await;
}

pub async fn a_job_with_a_manual_selector_keeps_it() {
    let place = Place::new().await;
    let spec = json!({"manualSelector": true, "selector": {"matchLabels": {"app": "x"}}});
    let mut manual = job("manual", spec);
    manual["spec"]["template"]["metadata"]["labels"]["controller-uid"] = "mine".into();
    let saved = place.save_here("jobs.batch", manual).await;
    comes_back(&place, &Surroundings::default(), "jobs.batch", &saved, &[]).await;
}

pub async fn labels_with_a_jobs_name_stay() {
    let place = Place::new().await;
    let mut labelled = job("named", json!({}));
    labelled["metadata"]["labels"] = json!({"job-name": "what the team calls it".replace(' ', "-")});
    let saved = place.save_here("jobs.batch", labelled).await;
    let restored = Surroundings::default().fit("jobs.batch", &saved).unwrap();
    let restored = place.restore("jobs.batch", &restored).await;
    assert_eq!(restored["metadata"]["labels"]["job-name"], "what-the-team-calls-it");
}

/// A job whose controller is done with it, and a pod that nobody owns whose containers ended.
async fn finished(place: &Place, condition: &str, phase: &str) -> [(&'static str, Value); 2] {
    let made = place.save_here("jobs.batch", job(&format!("db-migrate-{}", condition.to_lowercase()), json!({}))).await;
    let start = "2026-11-20T01:00:00Z";
    let before = if condition == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "x", "lastTransitionTime": start});
    let conditions = [condition(before), condition(if before == "FailureTarget" { "Failed" } else { "Complete" })];
    let mut status = json!({"startTime": start, "conditions": conditions});
    if before == "SuccessCriteriaMet" {
        status["completionTime"] = start.into();
        status["succeeded"] = 1.into();
    }
    let job = place.change("jobs.batch", &made, "/status", json!({ "status": status })).await;
    let pod = object("v1", "Pod", &format!("debug-{}", phase.to_lowercase()), json!({"spec": pod_spec()}));
    let made = place.save_here("pods", pod).await;
    let pod = place.change("pods", &made, "/status", json!({"status": {"phase": phase}})).await;
    [("jobs.batch", job), ("pods", pod)]
}

pub async fn what_came_to_its_end_does_not_run_again() {
    let place = Place::new().await;
    for (condition, phase) in [("Complete", "Succeeded"), ("Failed", "Failed")] {
        for (resource, saved) in finished(&place, condition, phase).await {
            // Posted as it is, it begins anew.
            let (code, answer) = place.post_as_saved(resource, &without_selector(&saved)).await;
            assert_eq!(code, 201, "{answer}");
            let again: Value = serde_json::from_str(&answer).unwrap();
            assert!(again["status"]["conditions"].is_null() && again["status"]["phase"] != phase, "{again}");
            Surroundings::default().refuses("finished", resource, &saved);
        }
    }
}

/// What the API server and the job controller keep for themselves.
fn without_selector(saved: &Value) -> Value {
    let mut object = saved.clone();
    if object["kind"] == "Job" {
        object["spec"].as_object_mut().unwrap().remove("selector");
        object["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("labels");
        object["metadata"].as_object_mut().unwrap().remove("labels");
    }
    object
}

pub async fn what_has_not_come_to_its_end_runs() {
    let place = Place::new().await;
    let pod = place.save_here("pods", object("v1", "Pod", "runs", json!({"spec": pod_spec()}))).await;
    let running = place.change("pods", &pod, "/status", json!({"status": {"phase": "Running"}})).await;
    assert!(Surroundings::default().fit("pods", &running).is_ok());
    let job = place.save_here("jobs.batch", job("import", json!({"suspend": true}))).await;
    assert!(Surroundings::default().fit("jobs.batch", &job).is_ok());
    let map = place.save_here("configmaps", config_map("phase")).await;
    assert!(Surroundings::default().fit("configmaps", &map).is_ok());
}

pub async fn a_pod_is_placed_anew() {
    let place = Place::new().await;
    let mut pod = object("v1", "Pod", "alone", json!({"spec": pod_spec()}));
    pod["spec"]["nodeName"] = "node-of-the-lost-cluster".into();
    let saved = place.save_here("pods", pod).await;
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", "targetContainerName": "main"}]}});
    let path = format!("{}/ephemeralcontainers", place.path("pods", &saved));
    let content = ("application/strategic-merge-patch+json", serde_json::to_vec(&debug).unwrap());
    assert_eq!(place.api.send(reqwest::Method::PATCH, &path, Some(content)).await.0, 200);
    let running = json!({"status": {"phase": "Running", "podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}]}});
    let saved = place.change("pods", &saved, "/status", running).await;
    let (status, why) = place.post_as_saved("pods", &saved).await;
    assert!(status == 422 && why.contains("ephemeralContainers"), "{status} {why}");

    let but = [".spec.ephemeralContainers", ".spec.nodeName", ".status.phase", ".status.podIP", ".status.podIPs"];
    comes_back(&place, &Surroundings::default(), "pods", &saved, &but).await;
}

pub async fn a_pod_gets_the_priority_that_its_class_has_now() {
    let place = Place::new().await;
    let name = place.unique("class");
    let class = |value: i64, policy: &str| {
        let rest = json!({"value": value, "preemptionPolicy": policy});
        object("scheduling.k8s.io/v1", "PriorityClass", &name, rest)
    };
    let classes = "priorityclasses.scheduling.k8s.io";
    let before = place.save(classes, class(1000, "Never")).await;
    let mut pod = object("v1", "Pod", "urgent", json!({"spec": pod_spec()}));
    pod["spec"]["priorityClassName"] = name.as_str().into();
    let of_class = |value: i64| {
        let (place, pod) = (&place, &pod);
        async move {
            // The API server knows of classes from a watch, and so a little late.
            crate::harness::eventually("the class counts", async || {
                let (status, _) = place
                    .post("pods", &{
                        let mut pod = pod.clone();
                        pod["metadata"] = json!({"generateName": "probe-", "namespace": place.here});
                        pod["spec"]["priority"] = value.into();
                        pod
                    })
                    .await;
                status == 201
            })
            .await;
        }
    };
    of_class(1000).await;
    let saved = place.save_here("pods", pod.clone()).await;
    assert_eq!(saved["spec"]["priority"], 1000);
    place.delete(classes, &before).await;
    place.save(classes, class(2000, "PreemptLowerPriority")).await;
    of_class(2000).await;

    let (status, why) = place.post_as_saved("pods", &saved).await;
    assert!(status == 403 && why.contains("priority"), "{status} {why}");
    let but = [".spec.preemptionPolicy", ".spec.priority"];
    let restored = comes_back(&place, &Surroundings::default(), "pods", &saved, &but).await;
    assert_eq!(restored["spec"]["priority"], 2000);
}

/// As the service account plugin and the pod's owner left it.
pub async fn a_pod_keeps_its_volumes_tokens_and_tolerations() {
    let place = Place::new().await;
    let token = json!({"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}});
    let mount = json!({"name": "kube-api-access-x7k2p", "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    let container = json!({
        "name": "main", "image": "registry.example.com/app@sha256:0", "volumeMounts": [mount],
        "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "1"}},
        "env": [{"name": "EMPTY", "value": ""}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    });
    let spec = json!({
        "serviceAccountName": "robot", "containers": [container], "volumes": [token, {"name": "e", "emptyDir": {}}],
        "initContainers": [{"name": "sidecar", "image": "x", "restartPolicy": "Always"}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "schedulingGates": [{"name": "example.com/wait"}], "hostname": "alone", "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": 2147483647, "fsGroup": 0},
    });
    let saved = place.save_here("pods", object("v1", "Pod", "alone", json!({"spec": spec}))).await;
    let restored = comes_back(&place, &Surroundings::default(), "pods", &saved, &[]).await;
    assert_eq!(restored["spec"], saved["spec"]);
}
