//! Steps that send a request, and steps that scale workloads to zero and back.

use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::web::Web;
use crate::harness::{Action, eventually};
use crate::restore_fixture::*;

/// A backup of almost nothing, and its namespace.
async fn rig() -> (Rig, String) {
    let (rig, namespace) = (Rig::new().await, shared().namespace("steps").await);
    fill(&namespace, 1).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    (rig, namespace)
}

fn note<'s>(summary: &'s Value, name: &str) -> &'s str {
    step(summary, name)["note"].as_str().unwrap_or_else(|| panic!("no note: {summary:#}"))
}

/// Where no step needs a cluster, none is asked for.
fn no_cluster(rig: &Rig) -> PathBuf {
    rig.path("none.kubeconfig")
}

#[tokio::test]
async fn a_request_is_sent_once_and_never_by_a_dry_run() {
    let (rig, _) = rig().await;
    let server = Web::start(|_| Some((201, "made".into()))).await;
    rig.scratch.file("restore-plans/user", "robot");
    rig.scratch.file("restore-plans/project.json", "{\"public\": false}");
    let plan = rig.plan(&format!(
        "[{{name: project, http: {{method: POST, url: \"{0}/projects?dry=no\", bodyFile: project.json, \
            headers: {{X-Who: ckbackup}}, access: {{username: admin, passwordFile: user}}}}}}, \
          {{name: text, after: [project], http: {{method: PUT, url: \"{0}/motto\", body: so it is, status: [201]}}}}]",
        server.url()
    ));
    let dry = rig.restore(&plan, &no_cluster(&rig)).arg("--dry-run").run().await.expect_success();
    assert_eq!(note(&summary(&dry), "project"), format!("would send POST {}/projects with 17 bytes", server.url()));
    assert!(server.asked().is_empty());

    let sent = summary(&rig.restore(&plan, &no_cluster(&rig)).run().await.expect_success());
    assert_eq!(note(&sent, "project"), format!("POST {}/projects answered 201 Created", server.url()));
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let header = |at: usize, name: &str| asked[at].headers.get(name).map(|value| value.to_str().unwrap().to_string());
    let [post, put] = [&asked[0], &asked[1]];
    assert_eq!((&*post.method, &*post.path, &*post.body), ("POST", "/projects?dry=no", "{\"public\": false}"));
    assert_eq!((&*put.method, &*put.path, &*put.body), ("PUT", "/motto", "so it is"));
    assert_eq!(header(0, "content-type").unwrap(), "application/json");
    assert_eq!(header(1, "content-type").unwrap(), "text/plain; charset=utf-8");
    assert_eq!(header(0, "x-who").unwrap(), "ckbackup");
    assert_eq!(header(0, "authorization").unwrap(), "Basic YWRtaW46cm9ib3Q=");
}

#[tokio::test]
async fn an_answer_that_is_not_wanted_fails_the_step_and_is_told() {
    let (rig, _) = rig().await;
    let server = Web::start(|asked| {
        let (code, text) = if asked.path == "/moved" { (302, "") } else { (409, "\n the project exists\nalready") };
        Some((code, text.into()))
    })
    .await;
    let plan = rig.plan(&format!(
        "[{{name: made, http: {{method: POST, url: \"{0}/x\"}}}}, \
          {{name: moved, http: {{method: GET, url: \"{0}/moved\"}}}}, \
          {{name: exists, http: {{method: POST, url: \"{0}/x\", status: [201, 409]}}}}, \
          {{name: later, after: [made], http: {{method: GET, url: \"{0}/later\"}}}}]",
        server.url()
    ));
    let sent = summary(&rig.restore(&plan, &no_cluster(&rig)).run().await.expect(3));
    assert_eq!(note(&sent, "made"), format!("POST {}/x answered 409 Conflict: the project exists", server.url()));
    assert_eq!(note(&sent, "moved"), format!("GET {}/moved answered 302 Found", server.url()));
    assert_eq!(step(&sent, "exists")["status"], "done");
    assert_eq!((&step(&sent, "later")["status"], server.asked().len()), (&json!("notRun"), 3), "{sent:#}");
}

#[tokio::test]
async fn what_may_have_been_done_is_sent_again_only_where_that_does_no_more() {
    let (rig, _) = rig().await;
    let count = AtomicU32::new(0);
    // The first request of each method is read, and never answered.
    let server = Web::start(move |asked| match asked.method.as_str() {
        "POST" => None,
        _ => (count.fetch_add(1, SeqCst) > 0).then(|| (204, String::new())),
    })
    .await;
    let plan = rig.plan(&format!(
        "[{{name: put, http: {{method: PUT, url: \"{0}/x\", body: a}}}}, \
          {{name: post, http: {{method: POST, url: \"{0}/x\", body: b}}}}, \
          {{name: nobody, http: {{method: POST, url: \"http://127.0.0.1:1/\", timeout: 1s}}}}]",
        server.url()
    ));
    let sent = summary(&rig.restore(&plan, &no_cluster(&rig)).run().await.expect(3));
    assert_eq!(step(&sent, "put")["status"], "done", "{sent:#}");
    let unknown = format!("POST {}/x was sent, and whether it was done is not known: ", server.url());
    assert!(note(&sent, "post").starts_with(&unknown), "{sent:#}");
    assert!(note(&sent, "nobody").starts_with("POST http://127.0.0.1:1/ got no answer: "), "{sent:#}");
    assert!(step(&sent, "nobody")["seconds"].as_f64().unwrap() > 0.5, "it is tried until the time is over: {sent:#}");
    let methods: Vec<_> = server.asked().into_iter().map(|asked| asked.method).collect();
    let of = |method: &str| methods.iter().filter(|known| *known == method).count();
    assert_eq!((of("PUT"), of("POST")), (2, 1), "{methods:?}");
}

/// A Deployment that nobody runs: its pods and its status are written by hand.
struct Deployed {
    namespace: String,
}

impl Deployed {
    async fn create(namespace: &str) -> Deployed {
        let api = shared().api();
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        api.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &deployment).await;
        let web = Deployed { namespace: namespace.into() };
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]}});
        api.create(&web.pods(), &pod).await;
        web
    }

    fn path(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/deployments/web", self.namespace)
    }

    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    fn step(&self, name: &str, after: &str, to: &str) -> String {
        let workload = format!("{{kind: Deployment, namespace: {}, name: web}}", self.namespace);
        format!("{{name: {name}, after: [{after}], scale: {{workloads: [{workload}], to: {to}}}}}")
    }

    /// Its count, and the one that it had before.
    async fn counts(&self) -> (Value, Value) {
        let object = shared().api().get(&self.path()).await;
        (object["spec"]["replicas"].clone(), object["metadata"]["annotations"]["ckbackup.io/former-replicas"].clone())
    }

    async fn is_at(&self, replicas: u64) -> bool {
        self.counts().await.0 == replicas
    }

    /// What its controller does when it is scaled to zero.
    async fn end_pods(&self) {
        eventually("it is scaled to zero", async || self.is_at(0).await).await;
        shared().api().delete(&format!("{}/web-1", self.pods())).await;
    }

    /// What its controller says when all run again.
    async fn report_ready(&self) {
        eventually("it is scaled back", async || self.is_at(3).await).await;
        let status = json!({"observedGeneration": 1000, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3});
        shared().api().patch(&format!("{}/status", self.path()), &json!({"status": status})).await;
    }
}

#[tokio::test]
async fn a_workload_is_scaled_to_zero_by_one_step_and_back_by_another() {
    let (rig, namespace) = rig().await;
    let web = Deployed::create(&namespace).await;
    empty(&namespace).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    let plan = rig.plan(&format!(
        "[{}, {{name: maps, after: [down], apply: {{kinds: [ConfigMap]}}}}, {}]",
        web.step("down", "", "zero"),
        web.step("up", "maps", "former")
    ));
    let dry = summary(&rig.restore(&plan, &kubeconfig).arg("--dry-run").run().await.expect_success());
    let what = format!("Deployment {namespace}/web");
    assert_eq!(note(&dry, "down"), format!("would scale {what} from 3 to 0"));
    assert_eq!(note(&dry, "up"), format!("would scale {what} back to 3"));
    assert_eq!(web.counts().await, (json!(3), Value::Null));

    let running = rig.restore(&plan, &kubeconfig).start().await;
    eventually("it is scaled to zero", async || web.is_at(0).await).await;
    eventually("its pods are looked at", async || proxy.count("GET", "/pods?") >= 2).await;
    assert_eq!(proxy.count("POST", "/configmaps"), 0, "a pod is still there");
    assert_eq!(web.counts().await, (json!(0), json!("3")));
    web.end_pods().await;
    web.report_ready().await;
    let done = summary(&running.finish().await.expect_success());
    assert_eq!(note(&done, "up"), format!("{what} has its former 3"));
    assert_eq!(step(&done, "down")["note"], Value::Null);
    assert_eq!(items(&done), [1, 2, 0, 0, 0], "{done:#}");
    assert_eq!(web.counts().await, (json!(3), Value::Null));

    let again = rig.plan(&format!("[{}]", web.step("up", "", "former")));
    let again = summary(&rig.restore(&again, &kubeconfig).run().await.expect_success());
    assert_eq!(items(&again), [0, 0, 1, 0, 0], "it was not scaled to zero: {again:#}");
}

#[tokio::test]
async fn a_workload_that_no_step_has_scaled_back_is_scaled_back_at_the_end() {
    let (rig, namespace) = rig().await;
    let web = Deployed::create(&namespace).await;
    let plan = rig.plan(&format!(
        "[{}, {{name: never, after: [down], gate: {{timeout: 1s, command: {{run: [\"false\"]}}}}}}, {}]",
        web.step("down", "", "zero"),
        web.step("up", "never", "former")
    ));
    let restore = rig.restore(&plan, &shared().kubeconfig);
    let (ended, ()) = tokio::join!(restore.run(), web.end_pods());
    let ended = summary(&ended.expect(3));
    let said = format!("Deployment {namespace}/web was scaled back to 3 at the end, as no step had done it");
    assert_eq!((note(&ended, "down"), &step(&ended, "up")["status"]), (said.as_str(), &json!("notRun")));
    assert_eq!(web.counts().await, (json!(3), Value::Null));
}

/// What was cut off goes on: until then nothing runs on what is half restored.
#[tokio::test]
async fn a_restore_that_is_cut_off_leaves_a_workload_at_zero_for_the_one_that_goes_on() {
    let (rig, namespace) = rig().await;
    let web = Deployed::create(&namespace).await;
    let (begun, go_on) = (rig.path("begun"), rig.path("go-on"));
    let script = format!("touch {}; ls {}", begun.display(), go_on.display());
    let plan = rig.plan(&format!(
        "[{}, {{name: waits, after: [down], gate: {{timeout: 1h, command: {{run: [sh, -c, \"{script}\"]}}}}}}, {}]",
        web.step("down", "", "zero"),
        web.step("up", "waits", "former")
    ));
    let running = rig.restore(&plan, &shared().kubeconfig).start().await;
    web.end_pods().await;
    eventually("the step after it begins", async || begun.exists()).await;
    running.signal("INT");
    let cut = summary(&running.finish().await.expect(130));
    let stays =
        format!("Deployment {namespace}/web stays at 0, formerly 3: run the restore again, and it is scaled back");
    assert_eq!(note(&cut, "down"), stays, "{cut:#}");
    assert_eq!(web.counts().await, (json!(0), json!("3")));

    std::fs::write(&go_on, "").unwrap();
    let restore = rig.restore(&plan, &shared().kubeconfig);
    let (ended, ()) = tokio::join!(restore.run(), web.report_ready());
    let ended = summary(&ended.expect_success());
    assert_eq!(note(&ended, "up"), format!("Deployment {namespace}/web has its former 3"));
    assert_eq!(web.counts().await, (json!(3), Value::Null));
}

#[tokio::test]
async fn a_workload_that_is_not_there_cannot_be_scaled() {
    let (rig, namespace) = rig().await;
    let plan = rig.plan(&format!(
        "[{{name: down, scale: {{to: zero, workloads: [{{kind: StatefulSet, namespace: {namespace}, name: none}}]}}}}]"
    ));
    let dry = summary(&rig.restore(&plan, &shared().kubeconfig).arg("--dry-run").run().await.expect_success());
    assert_eq!(note(&dry, "down"), format!("StatefulSet {namespace}/none is not there yet"));
    let failed = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect(3));
    assert_eq!(note(&failed, "down"), format!("StatefulSet {namespace}/none is not there"));
}
