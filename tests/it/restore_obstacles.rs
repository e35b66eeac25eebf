//! What stands in the way of a restore: found before the first write, and dealt with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::{Action, Api, ControlPlane, FaultProxy, eventually, register_group};
use crate::restore_fixture::*;

const MAPS: &str = "[{name: maps, apply: {kinds: [ConfigMap]}}]";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// A server that takes connections and says nothing; its URL.
async fn serve_silence() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    url
}

fn webhook(name: &str, namespace: &str, client: Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": format!("{name}.webhook.test"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 2, "clientConfig": client,
            "objectSelector": {"matchExpressions": [{"key": "exempt", "operator": "DoesNotExist"}]},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        }],
    })
}

/// Three config maps that were backed up and deleted, on a control plane where a webhook hangs for them.
struct HeldUp {
    rig: Rig,
    plane: ControlPlane,
    plan: PathBuf,
}

impl HeldUp {
    async fn new() -> HeldUp {
        HeldUp::by(&serve_silence().await).await
    }

    /// Held up by the webhook at this URL, which refuses writes when it does not answer.
    async fn by(url: &str) -> HeldUp {
        HeldUp::under(json!({ "url": url }), "Fail").await
    }

    /// Held up by a webhook of this client and failure policy.
    async fn under(client: Value, failure_policy: &str) -> HeldUp {
        let rig = Rig::new().await;
        let plane = ControlPlane::start(&rig.scratch, "held").await;
        let (api, plan) = (plane.api(), rig.plan(MAPS));
        for name in ["one", "two", "three"] {
            api.create(&config_maps("default"), &config_map(name)).await;
        }
        rig.back_up(plane.kubeconfig(), &only("default")).await;
        for name in ["one", "two", "three"] {
            api.delete(&format!("{}/{name}", config_maps("default"))).await;
        }
        let mut config = webhook("hung", "default", client);
        config["webhooks"][0]["failurePolicy"] = json!(failure_policy);
        api.create(WEBHOOKS, &config).await;
        // The server learns of it a moment later.
        let probe = format!("{}?dryRun=All", config_maps("default"));
        eventually("the webhook is asked", async || {
            let (body, begin) = (serde_json::to_vec(&config_map("probe")).unwrap(), Instant::now());
            let status = api.send(reqwest::Method::POST, &probe, Some(("application/json", body))).await.0;
            status != 201 || begin.elapsed() >= Duration::from_secs(2)
        })
        .await;
        HeldUp { rig, plane, plan }
    }

    fn restore(&self, words: &str) -> crate::harness::Ckbackup {
        self.rig.restore(&self.plan, self.plane.kubeconfig()).args(words.split_whitespace())
    }

    async fn there(&self) -> usize {
        let maps = self.plane.api().list(&config_maps("default")).await;
        maps.iter().filter(|map| map["metadata"]["name"] != "kube-root-ca.crt").count()
    }

    async fn config(&self) -> Value {
        let config = self.plane.api().get(&format!("{WEBHOOKS}/hung")).await;
        json!({"webhooks": config["webhooks"], "annotations": config["metadata"]["annotations"]})
    }
}

#[tokio::test]
async fn a_held_webhook_is_found_before_the_first_write_and_stops_or_is_gone_round_and_put_back() {
    let held = HeldUp::new().await;
    let before = held.config().await;
    let dry = summary(&held.restore("--dry-run").run().await.expect_success());
    let obstacles = dry["obstacles"].to_string();
    assert!(obstacles.contains("webhook hung.webhook.test of validatingwebhookconfigurations/hung"), "{obstacles}");
    assert!(obstacles.contains("does not answer within 2 s"), "{obstacles}");

    let stopped = held.restore("--webhooks stop").run().await.expect(1);
    assert!(stopped.to_string().contains("nothing was written: webhook hung.webhook.test"), "{stopped}");
    assert_eq!((held.there().await, held.config().await), (0, before.clone()));

    let begin = Instant::now();
    let restored = summary(&held.restore("--webhooks goAround").run().await.expect_success());
    assert_eq!(items(&restored), [3, 0, 0, 0, 0], "{restored:#}");
    assert!(restored["obstacles"].to_string().contains("it is gone round meanwhile"), "{restored:#}");
    assert_eq!((held.there().await, held.config().await), (3, before));
    assert!(begin.elapsed() < Duration::from_secs(40), "nothing waited for the webhook: {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_webhook_that_may_be_ignored_and_hangs_is_found_before_the_first_write_too() {
    let held = HeldUp::under(json!({"url": serve_silence().await}), "Ignore").await;
    let before = held.config().await;
    let dry = summary(&held.restore("--dry-run").run().await.expect_success());
    let obstacles = dry["obstacles"].as_array().unwrap();
    assert_eq!((obstacles.len(), &obstacles[0]["severity"]), (1, &json!("slow")), "{dry:#}");
    let what = obstacles[0]["what"].as_str().unwrap();
    let webhook = "webhook hung.webhook.test of validatingwebhookconfigurations/hung";
    assert!(what.starts_with(&format!("{webhook} would hold up each write for 2 s: https://127.0.0.1:")), "{what}");
    assert!(obstacles[0]["todo"].as_str().unwrap().contains("`--webhooks goAround` gets past it"), "{dry:#}");

    let stopped = held.restore("--webhooks stop").run().await.expect(1);
    assert!(stopped.to_string().contains(&format!("nothing was written: {webhook}")), "{stopped}");
    assert_eq!((held.there().await, held.config().await), (0, before.clone()));

    let restored = summary(&held.restore("--webhooks goAround").run().await.expect_success());
    let obstacle = &restored["obstacles"][0];
    assert_eq!((items(&restored), &obstacle["severity"]), ([3, 0, 0, 0, 0], &json!("handled")), "{restored:#}");
    assert!(obstacle["what"].as_str().unwrap().ends_with("it is gone round meanwhile"), "{restored:#}");
    assert_eq!((held.there().await, held.config().await), (3, before));
}

#[tokio::test]
async fn a_webhook_that_may_be_ignored_and_hangs_is_waited_for() {
    let up = Arc::new(AtomicBool::new(false));
    let answers = up.clone();
    let backend = FaultProxy::alone(move |_| if answers.load(SeqCst) { Action::status(400) } else { Action::Hang });
    // The API server talks to nobody whom it does not trust.
    let ca = base64::engine::general_purpose::STANDARD.encode(backend.ca_pem().unwrap());
    let held = HeldUp::under(json!({"url": backend.url(), "caBundle": ca}), "Ignore").await;
    let running = held.restore("--webhooks wait").start().await;
    eventually("it is asked for an answer", async || backend.count("GET", "/") > 0).await;
    up.store(true, SeqCst);
    let restored = summary(&running.finish().await.expect_success());
    assert_eq!((items(&restored), &restored["obstacles"]), ([3, 0, 0, 0, 0], &json!([])), "{restored:#}");
}

/// The API server learns at once that nobody is there, and goes on.
#[tokio::test]
async fn a_webhook_that_may_be_ignored_and_is_not_there_is_in_nobodys_way() {
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("ignored").await);
    fill(&namespace, 2).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    let service = json!({"service": {"namespace": format!("{namespace}-elsewhere"), "name": "gate"}});
    let clients = [json!({"url": "https://127.0.0.1:1/"}), service];
    let names = ["refused", "missing"].map(|name| format!("{namespace}-{name}"));
    for (name, client) in names.iter().zip(clients) {
        let mut config = webhook(name, &namespace, client);
        config["webhooks"][0]["failurePolicy"] = json!("Ignore");
        api.create(WEBHOOKS, &config).await;
    }
    let restore = rig.restore(&rig.plan(MAPS), &shared().kubeconfig).args(["--webhooks", "stop"]);
    let restored = summary(&restore.run().await.expect_success());
    assert_eq!((items(&restored), &restored["obstacles"]), ([2, 0, 0, 0, 0], &json!([])), "{restored:#}");
    for name in names {
        api.delete(&format!("{WEBHOOKS}/{name}")).await;
    }
}

#[tokio::test]
async fn a_webhook_that_was_gone_round_is_put_back_after_a_kill_by_whoever_restores_next() {
    let held = HeldUp::new().await;
    let before = held.config().await;
    // Writes hang on the way, so the restore is killed while the webhook is out.
    let proxy = FaultProxy::tls(held.plane.sandbox.server(), &held.plane.ca_pem(), |request| {
        match request.is("POST", "/configmaps") {
            true => Action::Hang,
            false => Action::Forward,
        }
    });
    let kubeconfig = held.plane.kubeconfig_through(&proxy, &held.rig.scratch, "slow");
    let running = held.rig.restore(&held.plan, &kubeconfig).args(["--webhooks", "goAround"]).start().await;
    eventually("a write is on its way", async || proxy.count("POST", "/configmaps") > 0).await;
    assert_ne!(held.config().await, before, "it is out");
    running.signal("KILL");
    running.finish().await;
    assert_ne!(held.config().await, before, "nobody has put it back yet");

    let dry = summary(&held.restore("--dry-run").run().await.expect_success());
    assert!(dry["obstacles"].to_string().contains("was left gone round by an earlier restore"), "{dry:#}");
    let stopped = held.restore("--webhooks stop").run().await.expect(1);
    assert!(stopped.to_string().contains("nothing was written"), "{stopped}");
    assert_eq!(held.config().await, before);
}

#[tokio::test]
async fn a_webhook_that_was_gone_round_is_put_back_as_soon_as_it_answers() {
    let up = Arc::new(AtomicBool::new(false));
    let answers = up.clone();
    let backend = FaultProxy::alone(move |_| if answers.load(SeqCst) { Action::status(400) } else { Action::Hang });
    let held = HeldUp::by(backend.url()).await;
    let (before, api) = (held.config().await, held.plane.api());
    let gate = |name: &str, after: &str| {
        format!(
            "{{name: {name}, after: [{after}], gate: {{kind: Namespace, condition: Active, labels: open={name}, timeout: 2m}}}}"
        )
    };
    let maps = "{name: maps, apply: {kinds: [ConfigMap]}}";
    let plan = held.rig.plan(&format!("[{maps}, {}, {}]", gate("one", "maps"), gate("two", "one")));
    let restore = held.rig.restore(&plan, held.plane.kubeconfig()).args(["--webhooks", "goAround"]);
    let running = restore.start().await;
    eventually("all is restored", async || held.there().await == 3).await;
    assert_ne!(held.config().await, before, "it is out");
    let open = async |name: &str| {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"open": name}}});
        api.create("/api/v1/namespaces", &namespace).await;
    };
    up.store(true, SeqCst);
    open("one").await;
    eventually("it is put back while the restore goes on", async || held.config().await == before).await;
    open("two").await;
    let summary = summary(&running.finish().await.expect_success());
    assert_eq!(step(&summary, "two")["status"], "done", "{summary:#}");
}

/// A backup may be taken between a kill and the next restore.
#[tokio::test]
async fn a_webhook_that_was_saved_while_it_was_gone_round_comes_back_as_it_was() {
    let (rig, api) = (Rig::new().await, shared().api());
    let namespace = shared().namespace("saved-around").await;
    let mut config = webhook(&namespace, &namespace, json!({"url": "https://127.0.0.1:1/"}));
    let selector = config["webhooks"][0]["objectSelector"].clone();
    let former = json!({format!("{namespace}.webhook.test"): selector}).to_string();
    config["metadata"]["annotations"] = json!({"ckbackup.io/former-object-selectors": former});
    config["metadata"]["labels"] = json!({"of": namespace});
    config["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"ckbackup.io/no-object-carries-this": "true"}});
    api.create(WEBHOOKS, &config).await;
    let resources = "[validatingwebhookconfigurations.admissionregistration.k8s.io]";
    let scope = format!("{{labelSelector: of={namespace}, clusterScoped: true, resources: {{include: {resources}}}}}");
    rig.back_up(&shared().kubeconfig, &scope).await;
    let path = format!("{WEBHOOKS}/{namespace}");
    api.delete(&path).await;
    rig.restore(&rig.plan("[{name: all, apply: {}}]"), &shared().kubeconfig).run().await.expect_success();
    let restored = api.get(&path).await;
    assert_eq!(restored["webhooks"][0]["objectSelector"], selector);
    assert!(restored["metadata"]["annotations"].is_null(), "{restored:#}");
    api.delete(&path).await;
}

#[tokio::test]
async fn a_webhook_whose_service_has_no_endpoints_is_named_with_its_service() {
    let rig = Rig::new().await;
    let namespace = shared().namespace("no-backend").await;
    let api = shared().api();
    fill(&namespace, 2).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    let client = json!({"service": {"namespace": format!("{namespace}-elsewhere"), "name": "gate"}});
    api.create(WEBHOOKS, &webhook(&namespace, &namespace, client)).await;
    let restore = rig.restore(&rig.plan(MAPS), &shared().kubeconfig).args(["--webhooks", "stop"]).run().await.expect(1);
    let words = format!("service {namespace}-elsewhere/gate is not there");
    assert!(restore.to_string().contains(&words), "{restore}");
    api.delete(&format!("{WEBHOOKS}/{namespace}")).await;
}

/// Registers a server that takes requests for a group's types and never answers.
async fn serve_hung_group(api: &Api, group: &str) -> FaultProxy {
    let proxy = FaultProxy::alone(|_| Action::Hang);
    register_group(api, group, &proxy).await;
    proxy
}

async fn undefine(api: &Api, group: &str) {
    let path = format!("{DEFINITIONS}/things.{group}");
    api.delete(&path).await;
    eventually("the definition is gone", async || api.find(&path).await.is_none()).await;
    let registration = format!("/apis/apiregistration.k8s.io/v1/apiservices/v1.{group}");
    eventually("its version is gone", async || api.find(&registration).await.is_none()).await;
}

#[tokio::test]
async fn a_hung_aggregated_api_fails_its_own_objects_and_holds_up_no_others() {
    const GROUP: &str = "hung.test";
    let rig = Rig::new().await;
    let plane = ControlPlane::start(&rig.scratch, "hung").await;
    let api = plane.api();
    define(&api, GROUP).await;
    for number in 0..40 {
        api.create(&things(GROUP, "default"), &thing(GROUP, &format!("thing-{number}"))).await;
    }
    api.create(&config_maps("default"), &config_map("other")).await;
    rig.back_up(plane.kubeconfig(), &with_things("default", &[GROUP])).await;
    undefine(&api, GROUP).await;
    api.delete(&format!("{}/other", config_maps("default"))).await;
    let _hung = serve_hung_group(&api, GROUP).await;

    let plan = rig.plan(&format!("[{{name: all, apply: {{}}}}, {{name: things, apply: {{kinds: [Thing.{GROUP}]}}}}]"));
    let begin = Instant::now();
    let restored = summary(&rig.restore(&plan, plane.kubeconfig()).run().await.expect(3));
    let took = begin.elapsed();
    assert_eq!(step(&restored, "things")["items"]["failed"], 40, "{restored:#}");
    assert_eq!(step(&restored, "all")["items"]["failed"], 0, "{restored:#}");
    let why = restored["failures"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("whoever serves things.hung.test in version v1 is not ready: "), "{why}");
    assert!(restored["obstacles"].to_string().contains("whoever serves things.hung.test"), "{restored:#}");
    assert!(api.find(&format!("{}/other", config_maps("default"))).await.is_some());
    assert!(took < Duration::from_secs(60), "40 objects waited together, not one after the other: {took:?}");
    let others = step(&restored, "all")["seconds"].as_f64().unwrap();
    assert!(others < 10.0, "others did not wait: {others} s");
}

#[tokio::test]
async fn a_terminating_namespace_is_waited_for_once_and_its_reason_is_told() {
    let (rig, api) = (Rig::new().await, shared().api());
    let (going, staying) = (shared().namespace("going").await, shared().namespace("staying").await);
    fill(&going, 8).await;
    fill(&staying, 8).await;
    rig.back_up(&shared().kubeconfig, &only(&format!("{going}, {staying}"))).await;
    empty(&staying).await;
    // Without a controller nothing takes its finalizer away.
    api.delete(&format!("/api/v1/namespaces/{going}")).await;
    let plan = rig.plan("[{name: namespaces, apply: {kinds: [Namespace]}}, {name: maps, after: [namespaces], apply: {kinds: [ConfigMap]}}]");
    let dry = summary(&rig.restore(&plan, &shared().kubeconfig).arg("--dry-run").run().await.expect_success());
    let words = format!("namespace {going} is being deleted: it waits for kubernetes");
    assert!(dry["obstacles"].to_string().contains(&words), "{dry:#}");
    for name in 0..8 {
        let path = format!("{}/item-{name:02}", config_maps(&going));
        if api.find(&path).await.is_some() {
            api.delete(&path).await;
        }
    }

    let begin = Instant::now();
    let restored = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect(3));
    let took = begin.elapsed();
    assert_eq!(step(&restored, "maps")["items"]["created"], 8, "{restored:#}");
    assert_eq!(step(&restored, "maps")["items"]["failed"], 8, "{restored:#}");
    for failure in restored["failures"].as_array().unwrap() {
        let why = failure["why"].as_str().unwrap();
        assert!(why.contains(&format!("namespace {going} is being deleted, and not gone after 45 s")), "{why}");
        assert!(why.ends_with("it waits for kubernetes"), "{why}");
    }
    assert!(took > Duration::from_secs(45) && took < Duration::from_secs(80), "it was waited for once: {took:?}");
    assert!(step(&restored, "maps")["seconds"].as_f64().unwrap() < 20.0, "{restored:#}");
}

/// A definition with an old version, which knows one field, and a new one, which takes anything.
fn two_versions(group: &str, old_only: bool) -> Value {
    let mut definition = definition(group);
    let mut new = definition["spec"]["versions"][0].clone();
    let mut old = new.clone();
    let size = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    old["name"] = json!("v1beta1");
    old["schema"]["openAPIV3Schema"] = json!({"type": "object", "properties": {"spec": size}});
    (new["served"], new["storage"], old["storage"]) = (json!(!old_only), json!(!old_only), json!(old_only));
    definition["spec"]["versions"] = json!([new, old]);
    definition
}

#[tokio::test]
async fn a_version_that_is_not_served_goes_through_another_one_and_what_does_not_fit_fails_by_name() {
    const GROUP: &str = "versions.test";
    let rig = Rig::new().await;
    let plane = ControlPlane::start(&rig.scratch, "versions").await;
    let api = plane.api();
    api.create(DEFINITIONS, &two_versions(GROUP, false)).await;
    let path = format!("/apis/{GROUP}/v1/things");
    eventually("the type is served", async || api.send(reqwest::Method::GET, &path, None).await.0 == 200).await;
    let fits = api.create(&things(GROUP, "default"), &thing(GROUP, "fits")).await;
    let mut owned = config_map("owned");
    let uid = &fits["metadata"]["uid"];
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": format!("{GROUP}/v1"), "kind": "Thing", "name": "fits", "uid": uid}]);
    api.create(&config_maps("default"), &owned).await;
    let mut large = thing(GROUP, "large");
    large["spec"]["colour"] = json!("blue");
    api.create(&things(GROUP, "default"), &large).await;
    rig.back_up(plane.kubeconfig(), &with_things("default", &[GROUP])).await;
    for name in ["fits", "large"] {
        api.delete(&format!("{}/{name}", things(GROUP, "default"))).await;
    }
    api.delete(&format!("{}/owned", config_maps("default"))).await;
    let versions = json!({"spec": {"versions": two_versions(GROUP, true)["spec"]["versions"]}});
    api.patch(&format!("{DEFINITIONS}/things.{GROUP}"), &versions).await;
    eventually("the version is gone", async || api.send(reqwest::Method::GET, &path, None).await.0 == 404).await;

    let plan = rig.plan(&format!("[{{name: things, apply: {{kinds: [ConfigMap, Thing.{GROUP}]}}}}]"));
    let dry = summary(&rig.restore(&plan, plane.kubeconfig()).arg("--dry-run").run().await.expect(3));
    let obstacles = dry["obstacles"].to_string();
    assert!(
        obstacles.contains("does not serve things.versions.test in version v1; they are written as"),
        "{obstacles}"
    );
    let restored = summary(&rig.restore(&plan, plane.kubeconfig()).run().await.expect(3));
    for seen in [&dry, &restored] {
        assert_eq!(items(seen), [2, 0, 0, 0, 1], "{seen:#}");
        assert_eq!(seen["failures"][0]["object"], "things.versions.test/default/large");
        let why = seen["failures"][0]["why"].as_str().unwrap();
        assert!(why.starts_with("v1 is not served, and v1beta1 does not take it: "), "{why}");
        assert!(why.contains("spec.colour"), "{why}");
    }
    let old = format!("/apis/{GROUP}/v1beta1/namespaces/default/things");
    assert_eq!(api.get(&format!("{old}/fits")).await["spec"], json!({"size": 1}));
    assert!(api.find(&format!("{old}/large")).await.is_none());
    let owned = api.get(&format!("{}/owned", config_maps("default"))).await;
    assert_eq!(owned["metadata"]["ownerReferences"][0]["apiVersion"], json!(format!("{GROUP}/v1beta1")));
    let compared = rig.diff(plane.kubeconfig()).run().await.expect(1).json();
    assert_eq!(compared["missing"], json!(["things.versions.test/default/large"]), "{compared:#}");
    assert_eq!((&compared["changed"], &compared["problems"]), (&json!([]), &json!([])), "{compared:#}");
}
