//! Writes that do not succeed at once: what passes is waited for, what does not is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::{Action, ControlPlane, Seen, eventually};
use crate::restore_fixture::*;

const MAPS: &str = "[{name: maps, apply: {kinds: [ConfigMap]}}]";

/// Config maps that were backed up and deleted.
async fn lost_maps(rig: &Rig, count: usize) -> String {
    let namespace = shared().namespace("writes").await;
    fill(&namespace, count).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    namespace
}

/// Restores ten config maps through a proxy that treats the writes so.
async fn restore_through(decide: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> (Value, Vec<Seen>, usize) {
    let rig = Rig::new().await;
    let namespace = lost_maps(&rig, 10).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(move |request| match request.is("POST", "/configmaps") {
        true => decide(request),
        false => Action::Forward,
    });
    let restore = rig.restore(&rig.plan(MAPS), &kubeconfig).run().await.expect_success();
    (summary(&restore), proxy.seen(), shared().api().list(&config_maps(&namespace)).await.len())
}

/// Says so to the first few writes.
fn at_first(few: usize, answer: fn() -> Action) -> impl Fn(&Seen) -> Action {
    let count = AtomicUsize::new(0);
    move |_| if count.fetch_add(1, SeqCst) < few { answer() } else { Action::Forward }
}

#[tokio::test]
async fn a_server_that_is_too_busy_is_given_the_time_that_it_asks_for() {
    let begin = Instant::now();
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = times.clone();
    let refuse = at_first(5, || Action::too_many_requests(2));
    let (summary, _, there) = restore_through(move |request| {
        noted.lock().unwrap().push(begin.elapsed());
        refuse(request)
    })
    .await;
    assert_eq!((items(&summary), there), ([10, 0, 0, 0, 0], 10));
    let times = times.lock().unwrap().clone();
    assert_eq!(times.len(), 15);
    let again = times[14] - times[0];
    assert!(again >= Duration::from_secs(2), "a refused write came again after {again:?}");
}

#[tokio::test]
async fn conflicts_and_failures_of_a_moment_are_tried_again() {
    for answer in [
        || Action::kubernetes_status(409, "Conflict", "the object has been modified"),
        || Action::kubernetes_status(500, "InternalError", "etcd leader changed"),
        || Action::status(503),
        || Action::DropBefore,
    ] {
        let (summary, _, there) = restore_through(at_first(3, answer)).await;
        assert_eq!((items(&summary), there), ([10, 0, 0, 0, 0], 10));
    }
}

#[tokio::test]
async fn an_object_whose_creation_got_no_answer_is_counted_once_and_fails_nothing() {
    let (summary, _, there) = restore_through(at_first(3, || Action::DropAfter)).await;
    assert_eq!(there, 10);
    let [created, updated, unchanged, skipped, failed] = items(&summary);
    assert_eq!((created + unchanged, updated, skipped, failed), (10, 0, 0, 0), "{summary:#}");
}

#[tokio::test]
async fn what_the_server_refuses_for_good_is_tried_once() {
    let rig = Rig::new().await;
    let namespace = lost_maps(&rig, 4).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|request| match request.is("POST", "/configmaps") {
        true => Action::kubernetes_status(422, "Invalid", "data: Invalid value"),
        false => Action::Forward,
    });
    let summary = summary(&rig.restore(&rig.plan(MAPS), &kubeconfig).run().await.expect(3));
    assert_eq!(items(&summary), [0, 0, 0, 0, 4]);
    assert_eq!(proxy.count("POST", "/configmaps"), 4);
    let objects: Vec<_> = summary["failures"].as_array().unwrap().iter().map(|f| f["object"].clone()).collect();
    assert_eq!(objects[0], json!(format!("configmaps/{namespace}/item-00")), "{objects:?}");
    assert_eq!(summary["failures"][0]["why"], "data: Invalid value");
}

/// A proxy on the way that breaks every request of one sort is no lost server.
#[tokio::test]
async fn writes_that_always_break_off_fail_by_themselves_and_the_others_go_on() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("broken").await);
    fill(&namespace, 3).await;
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    api.create(&secrets, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "large"}})).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    api.delete(&format!("{secrets}/large")).await;
    let (_proxy, kubeconfig) = rig.in_front_of_shared(|request| match request.is("POST", "/secrets") {
        true => Action::DropBefore,
        false => Action::Forward,
    });
    let plan = rig.plan(
        "[{name: secrets, apply: {kinds: [Secret]}}, {name: maps, after: [secrets], apply: {kinds: [ConfigMap]}}]",
    );
    let summary = summary(&rig.restore(&plan, &kubeconfig).run().await.expect(3));
    assert_eq!((items(&summary), &summary["status"]), ([3, 0, 0, 0, 1], &json!("incomplete")), "{summary:#}");
    assert_eq!(summary["failures"][0]["object"], json!(format!("secrets/{namespace}/large")));
}

/// A webhook for config maps of one namespace, at an address.
async fn register_webhook(namespace: &str, url: &str, ca_pem: &str) {
    use base64::Engine;
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": format!("{namespace}.test")},
        "webhooks": [{
            "name": format!("{namespace}.webhook.test"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 2,
            "clientConfig": {"url": url, "caBundle": base64::engine::general_purpose::STANDARD.encode(ca_pem)},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    shared().api().create(path, &webhook).await;
    // The server learns of it a moment later.
    let probe = format!("{}?dryRun=All", config_maps(namespace));
    eventually("the webhook is asked", async || {
        let body = serde_json::to_vec(&config_map("probe")).unwrap();
        shared().api().send(reqwest::Method::POST, &probe, Some(("application/json", body))).await.0 != 201
    })
    .await;
}

/// A webhook that allows everything once it is up, and answers 503 before; its URL and certificate.
async fn serve_webhook(up: Arc<AtomicBool>) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, up) = (acceptor.clone(), up.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| review(request, up.load(SeqCst)));
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url, made.cert.pem())
}

async fn review(request: Request<Incoming>, up: bool) -> Result<Response<String>, hyper::Error> {
    let question: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes()).unwrap();
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": question["request"]["uid"], "allowed": true},
    });
    let response = Response::builder().status(if up { 200 } else { 503 }).header("content-type", "application/json");
    Ok(response.body(answer.to_string()).unwrap())
}

/// Both waits run at the same time: the first takes as long as the patience with a webhook lasts.
#[tokio::test]
async fn a_webhook_that_is_not_there_fails_objects_with_the_servers_reason_and_one_that_comes_up_does_not() {
    let never = async {
        let rig = Rig::new().await;
        let namespace = lost_maps(&rig, 2).await;
        let closed = format!("https://127.0.0.1:{}/", ckbackup::drill::sandbox::free_port().unwrap());
        register_webhook(&namespace, &closed, &shared().ca_pem).await;
        let restore = rig.restore(&rig.plan(MAPS), &shared().kubeconfig).timeout(Duration::from_secs(90));
        let restore = restore.run().await.expect(3);
        let summary = summary(&restore);
        assert_eq!(items(&summary), [0, 0, 0, 0, 2]);
        let why = summary["failures"][0]["why"].as_str().unwrap();
        assert!(why.contains(&format!("{namespace}.webhook.test")) && why.contains("connection refused"), "{why}");
    };
    let late = async {
        let rig = Rig::new().await;
        let namespace = lost_maps(&rig, 2).await;
        let up = Arc::new(AtomicBool::new(false));
        let (url, ca_pem) = serve_webhook(up.clone()).await;
        register_webhook(&namespace, &url, &ca_pem).await;
        let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
        let running = rig.restore(&rig.plan(MAPS), &kubeconfig).start().await;
        eventually("a write is tried again", async || proxy.count("POST", "/configmaps") > 2).await;
        up.store(true, SeqCst);
        let summary = summary(&running.finish().await.expect_success());
        assert_eq!(items(&summary), [2, 0, 0, 0, 0]);
    };
    tokio::join!(never, late);
}

/// One definition is in the backup and comes back moments before its objects; the other is not.
#[tokio::test]
async fn a_type_that_is_not_served_yet_is_waited_for_and_one_that_never_is_fails_by_name() {
    const LATE: &str = "late.test";
    const GONE: &str = "gone.test";
    // A control plane of its own: types that go would disturb the backups of other tests.
    let rig = Rig::new().await;
    let plane = ControlPlane::start(&rig.scratch, "served").await;
    let (api, namespace) = (plane.api(), "default");
    for group in [LATE, GONE] {
        define(&api, group).await;
        api.create(&things(group, namespace), &thing(group, "one")).await;
    }
    api.create(&config_maps(namespace), &config_map("other")).await;
    let scope = format!(
        "{{namespaces: {{include: [{namespace}]}}, clusterScoped: true, \
          resources: {{include: [configmaps, \"things.*\", customresourcedefinitions.apiextensions.k8s.io]}}}}"
    );
    let label = json!({"metadata": {"labels": {"ckbackup.io/exclude": "true"}}});
    api.patch(&format!("{DEFINITIONS}/things.{GONE}"), &label).await;
    rig.back_up(plane.kubeconfig(), &scope).await;
    for group in [LATE, GONE] {
        let path = format!("{DEFINITIONS}/things.{group}");
        api.delete(&path).await;
        eventually("the definition is gone", async || api.find(&path).await.is_none()).await;
        let (get, served) = (reqwest::Method::GET, format!("/apis/{group}/v1/things"));
        eventually("the type is gone", async || api.send(get.clone(), &served, None).await.0 == 404).await;
    }
    api.delete(&format!("{}/other", config_maps(namespace))).await;

    let plan = rig.plan(&format!(
        "[{{name: definition, apply: {{kinds: [CustomResourceDefinition]}}}}, \
          {{name: rest, after: [definition], apply: {{namespaces: {{include: [{namespace}]}}}}}}]"
    ));
    let restore = rig.restore(&plan, plane.kubeconfig()).run().await.expect(3);
    let summary = summary(&restore);
    let rest = step(&summary, "rest");
    assert_eq!((rest["items"]["created"].as_u64(), rest["items"]["failed"].as_u64()), (Some(2), Some(1)), "{restore}");
    // A type whose definition is restored is waited for 30 s; the other is not waited for.
    assert!(rest["seconds"].as_f64().unwrap() < 30.0, "{rest}");
    let failure = &summary["failures"][0];
    assert_eq!(failure["object"], format!("things.{GONE}/{namespace}/one"));
    assert_eq!(failure["why"], format!("the target does not serve things.{GONE} in version v1"));
    assert!(api.find(&format!("{}/one", things(LATE, namespace))).await.is_some());
}
