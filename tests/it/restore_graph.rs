//! Steps as a graph: what waits for what, what goes on, and what is not run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::control_plane::shared;
use crate::harness::{Action, ControlPlane, FaultProxy, Scratch, eventually};
use crate::restore_fixture::*;

/// Three kinds of objects in a namespace of its own, backed up and deleted.
async fn backed_up(rig: &Rig) -> String {
    let (api, namespace) = (shared().api(), shared().namespace("graph").await);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}});
    let of = |plural: &str| format!("/api/v1/namespaces/{namespace}/{plural}");
    fill(&namespace, 3).await;
    api.create(&of("secrets"), &secret).await;
    api.create(&of("serviceaccounts"), &account).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    api.delete(&of("secrets/s")).await;
    api.delete(&of("serviceaccounts/a")).await;
    namespace
}

fn statuses(summary: &Value) -> BTreeMap<&str, &str> {
    let steps = summary["steps"].as_array().unwrap();
    steps.iter().map(|s| (s["name"].as_str().unwrap(), s["status"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_step_begins_when_those_it_comes_after_are_done() {
    let rig = Rig::new().await;
    backed_up(&rig).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    // The file's order is not the graph's.
    let plan = rig.plan(
        "[{name: secrets, after: [accounts], apply: {kinds: [Secret]}}, \
          {name: maps, after: [secrets], apply: {kinds: [ConfigMap]}}, \
          {name: accounts, apply: {kinds: [ServiceAccount]}}]",
    );
    rig.restore(&plan, &kubeconfig).run().await.expect_success();

    let written: Vec<_> = proxy.seen().into_iter().filter(|s| s.writes()).map(|s| s.path).collect();
    let kinds: Vec<_> = written.iter().map(|path| path.split(['/', '?']).nth(5).unwrap()).collect();
    assert_eq!(kinds, ["serviceaccounts", "secrets", "configmaps", "configmaps", "configmaps"]);
}

/// Each of the two steps gets an answer only when a write of the other was seen, too.
#[tokio::test]
async fn steps_that_do_not_wait_for_one_another_run_side_by_side() {
    let rig = Rig::new().await;
    backed_up(&rig).await;
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    let (_proxy, kubeconfig) = rig.in_front_of_shared(move |request| {
        let kind = ["secrets", "configmaps"].into_iter().find(|kind| request.is("POST", kind));
        let Some(kind) = kind else { return Action::Forward };
        let mut seen = seen.lock().unwrap();
        seen.insert(kind);
        let busy = || Action::kubernetes_status(503, "ServiceUnavailable", "not yet");
        if seen.len() == 2 { Action::Forward } else { busy() }
    });
    let plan = rig.plan("[{name: secrets, apply: {kinds: [Secret]}}, {name: maps, apply: {kinds: [ConfigMap]}}]");
    let restore = rig.restore(&plan, &kubeconfig).run().await.expect_success();
    assert_eq!(items(&summary(&restore)), [4, 0, 0, 0, 0], "{restore}");
}

#[tokio::test]
async fn a_gate_that_stays_closed_stops_what_comes_after_it_and_names_what_is_not_ready() {
    let rig = Rig::new().await;
    let namespace = backed_up(&rig).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "slow"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    shared().api().create(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await;
    let plan = rig.plan(&format!(
        "[{{name: ready, gate: {{kind: Pod, condition: Ready, timeout: 1s, namespaces: {{include: [{namespace}]}}}}}}, \
          {{name: blocked, after: [ready], apply: {{kinds: [Secret]}}}}, \
          {{name: blocked-too, after: [blocked], apply: {{kinds: [ServiceAccount]}}}}, \
          {{name: independent, apply: {{kinds: [ConfigMap]}}}}]"
    ));
    let restore = rig.restore(&plan, &shared().kubeconfig).run().await.expect(3);

    let summary = summary(&restore);
    let expected = [("ready", "failed"), ("blocked", "notRun"), ("blocked-too", "notRun"), ("independent", "done")];
    assert_eq!(statuses(&summary), expected.into());
    assert_eq!(items(&summary), [3, 0, 0, 0, 0]);
    let why = step(&summary, "ready")["note"].as_str().unwrap();
    assert_eq!(why, format!("not Ready after 1s, 1 of 1: Pod {namespace}/slow: its phase is Pending"));
    assert_eq!(step(&summary, "blocked")["note"], "ready failed");
    assert!(shared().api().find(&format!("/api/v1/namespaces/{namespace}/secrets/s")).await.is_none());
}

/// A misspelt label must not open a gate, nor may a kind that is not there.
#[tokio::test]
async fn a_gate_that_selects_nothing_stays_closed() {
    let rig = Rig::new().await;
    backed_up(&rig).await;
    let plan = rig.plan(
        "[{name: misspelt, gate: {kind: Namespace, condition: Active, timeout: 1s, labels: none=such}}, \
          {name: unserved, gate: {kind: Unicorn.example.com, condition: Ready, timeout: 1s}}]",
    );
    let summary = summary(&rig.restore(&plan, &shared().kubeconfig).run().await.expect(3));
    assert_eq!(statuses(&summary), [("misspelt", "failed"), ("unserved", "failed")].into());
    assert_eq!(step(&summary, "misspelt")["note"], "no Namespace is selected by the gate after 1s");
    assert_eq!(step(&summary, "unserved")["note"], "the cluster does not serve Unicorn.example.com after 1s");
}

#[tokio::test]
async fn objects_that_fail_do_not_stop_what_comes_after_them() {
    let rig = Rig::new().await;
    backed_up(&rig).await;
    let (_proxy, kubeconfig) = rig.in_front_of_shared(|request| match request.is("POST", "/secrets") {
        true => Action::kubernetes_status(403, "Forbidden", "not this one"),
        false => Action::Forward,
    });
    let plan = rig.plan(
        "[{name: secrets, apply: {kinds: [Secret]}}, {name: maps, after: [secrets], apply: {kinds: [ConfigMap]}}]",
    );
    let summary = summary(&rig.restore(&plan, &kubeconfig).run().await.expect(3));
    assert_eq!(statuses(&summary), [("secrets", "incomplete"), ("maps", "done")].into());
    assert_eq!(items(&summary), [3, 0, 0, 0, 1]);
    assert_eq!(summary["failures"][0]["why"], "not this one");
}

/// Definitions come back first, a gate waits until they are established and served, then their objects come.
#[tokio::test]
async fn a_gate_waits_until_definitions_are_established_and_served() {
    const GROUP: &str = "gate.test";
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("gate").await);
    define(&api, GROUP).await;
    api.create(&things(GROUP, &namespace), &thing(GROUP, "one")).await;
    let scope = format!(
        "{{namespaces: {{include: [{namespace}]}}, \
          resources: {{include: [customresourcedefinitions.apiextensions.k8s.io, things.{GROUP}]}}, \
          labelSelector: \"!other\"}}"
    );
    rig.back_up(&shared().kubeconfig, &scope).await;
    let scratch = Scratch::named("restore_graph.gate");
    let plane = ControlPlane::start(&scratch, "empty").await;
    plane.api().create_namespace(&namespace).await;
    // For a while the server says of each definition that it is not established.
    let not_yet = std::sync::atomic::AtomicU32::new(3);
    let proxy = FaultProxy::tls(plane.sandbox.server(), &plane.ca_pem(), move |request| {
        let looks = request.is("GET", "/customresourcedefinitions?") && {
            use std::sync::atomic::Ordering::SeqCst;
            not_yet.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok()
        };
        if !looks {
            return Action::Forward;
        }
        let mut definition = definition(GROUP);
        definition["status"] = json!({"conditions": [{"type": "Established", "status": "False", "reason": "Wait"}]});
        let list = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinitionList",
            "metadata": {"resourceVersion": "1"}, "items": [definition],
        });
        Action::Respond(200, vec![("content-type", "application/json".into())], list.to_string())
    });
    let kubeconfig = plane.kubeconfig_through(&proxy, &rig.scratch, "empty");
    let plan = rig.plan(
        "[{name: crds, apply: {kinds: [CustomResourceDefinition]}}, \
          {name: established, after: [crds], gate: {kind: CustomResourceDefinition, condition: Established}}, \
          {name: rest, after: [established], apply: {}}]",
    );
    let restore = rig.restore(&plan, &kubeconfig).run().await.expect_success();

    let looks = proxy.seen().into_iter().filter(|s| s.is("GET", "/customresourcedefinitions?")).count();
    assert!(looks >= 4, "{looks}");
    let first_thing = proxy.seen().into_iter().find(|s| s.is("POST", "/things")).unwrap().number;
    let last_look = proxy.seen().into_iter().rfind(|s| s.is("GET", "/customresourcedefinitions?")).unwrap().number;
    assert!(last_look < first_thing);
    assert!(step(&summary(&restore), "established")["note"].as_str().unwrap().ends_with(" Established"));
    assert!(plane.api().find(&format!("{}/one", things(GROUP, &namespace))).await.is_some());
}

const MANUAL: &str = "[{name: maps, apply: {kinds: [ConfigMap]}}, \
    {name: dns, after: [maps], manual: {title: Point DNS at it, instructions: Ask the provider., runbook: dns.md}}, \
    {name: secrets, after: [dns], apply: {kinds: [Secret]}}]";

#[tokio::test]
async fn a_manual_step_without_anybody_to_ask_is_refused_before_anything_is_written() {
    let rig = Rig::new().await;
    rig.scratch.file("restore-plans/dns.md", "# How to do it\n");
    backed_up(&rig).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    let refused = rig.restore(&rig.plan(MANUAL), &kubeconfig).run().await.expect(2);
    assert!(refused.stderr.contains("step dns") && refused.stderr.contains("--yes"), "{refused}");
    assert_eq!(proxy.count("POST", "") + proxy.count("PATCH", ""), 0);

    let taken = rig.restore(&rig.plan(MANUAL), &kubeconfig).arg("--yes").run().await.expect_success();
    for shown in ["Point DNS at it", "Ask the provider.", "# How to do it", "taken as done (--yes)"] {
        assert!(taken.stderr.contains(shown), "{shown}: {taken}");
    }
    let summary = summary(&taken);
    assert_eq!(items(&summary), [4, 0, 0, 0, 0]);
    let asked = step(&summary, "dns");
    assert_eq!((&asked["status"], &asked["note"]), (&json!("leftOut"), &json!("nobody did it: Point DNS at it")));
}

/// A restore by somebody who types these answers: `script` gives the command a terminal, and types what it reads.
async fn at_a_terminal(rig: &Rig, plan: &std::path::Path, answers: &str) -> crate::harness::Finished {
    let line = format!(
        "exec {} restore -q -f {} --vault vault --identity keys/identity.txt --signers keys/allowed_signers \
         --kubeconfig {}",
        env!("CARGO_BIN_EXE_ckbackup"),
        plan.display(),
        shared().kubeconfig.display()
    );
    let script = crate::harness::Ckbackup::program("script", &rig.scratch);
    script.args(["-qec", &line, "/dev/null"]).stdin(answers).run().await
}

#[tokio::test]
async fn a_person_at_a_terminal_confirms_a_manual_step_or_refuses_it() {
    let rig = Rig::new().await;
    rig.scratch.file("restore-plans/dns.md", "# How to do it\n");
    let namespace = backed_up(&rig).await;
    let plan = rig.plan(MANUAL);
    let secret = format!("/api/v1/namespaces/{namespace}/secrets/s");
    for (answer, code, there) in [("what?\nno\n", 3, false), ("yes\n", 0, true)] {
        let typed = at_a_terminal(&rig, &plan, answer).await.expect(code);
        assert!(typed.stdout.contains("done? [yes/no]"), "{typed}");
        assert_eq!(shared().api().find(&secret).await.is_some(), there, "{typed}");
        assert_eq!(typed.stdout.contains("not confirmed: Point DNS at it"), !there, "{typed}");
    }
}

/// An answer belongs to the step that was shown last.
#[tokio::test]
async fn manual_steps_that_come_together_are_asked_for_one_by_one() {
    let rig = Rig::new().await;
    backed_up(&rig).await;
    let plan = rig.plan(
        "[{name: dns, manual: {title: Point DNS at it}}, {name: users, manual: {title: Tell the users}}, \
          {name: phone, manual: {title: Call the provider}}]",
    );
    let typed = at_a_terminal(&rig, &plan, "no\nyes\nno\n").await.expect(3);
    let shown: Vec<_> = typed.stdout.split("manual step ").skip(1).collect();
    assert_eq!(shown.len(), 3, "{typed}");
    assert!(shown.iter().all(|step| step.matches("done? [yes/no]").count() == 1), "{typed}");
    let refused = |title: &str| typed.stdout.contains(&format!("not confirmed: {title}"));
    for (step, confirmed) in shown.iter().zip([false, true, false]) {
        let title = step.lines().next().unwrap().split_once(": ").unwrap().1.trim();
        assert_eq!(refused(title), !confirmed, "{title}: {typed}");
    }
}

/// A pod that becomes ready while the gate waits opens it.
#[tokio::test]
async fn a_gate_opens_when_its_condition_comes_true() {
    let rig = Rig::new().await;
    let namespace = backed_up(&rig).await;
    let (api, pods) = (shared().api(), format!("/api/v1/namespaces/{namespace}/pods"));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "slow"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    api.create(&pods, &pod).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    let plan = rig.plan(&format!(
        "[{{name: ready, gate: {{kind: Pod, condition: Ready, namespaces: {{include: [{namespace}]}}}}}}, \
          {{name: maps, after: [ready], apply: {{kinds: [ConfigMap]}}}}]"
    ));
    let running = rig.restore(&plan, &kubeconfig).start().await;
    eventually("the gate looks twice", async || proxy.count("GET", "/pods?") >= 2).await;
    assert_eq!(proxy.count("POST", "/configmaps"), 0);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch(&format!("{pods}/slow/status"), &ready).await;
    let summary = summary(&running.finish().await.expect_success());
    assert_eq!(statuses(&summary), [("ready", "done"), ("maps", "done")].into());
}
