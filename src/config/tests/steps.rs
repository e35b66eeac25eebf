//! Gates, requests, scaling and what people do.

use super::*;

/// The action of a step.
fn action(step: &str) -> Action {
    plan(&PLAN.replace("apply: {}", step)).steps.remove(2).action
}

#[track_caller]
fn refused(step: &str, what: &str) {
    let said = why(&PLAN.replace("apply: {}", step));
    assert!(said.contains(what), "{step}: {said}");
}

fn awaited(gate: &str) -> Awaited {
    match action(&format!("gate: {{{gate}}}")) {
        Action::Gate(gate) => gate.what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gate_waits_for_one_thing() {
    let Awaited::Objects(objects) = awaited("kind: Deployment, labels: app=x") else { panic!("no objects") };
    assert_eq!((objects.kind.as_str(), objects.condition), ("Deployment", None));
    let Awaited::Http(answer) = awaited("http: {url: \"http://x/ready?a=b\", access: {caFile: ca}}") else {
        panic!("no answer")
    };
    assert_eq!((answer.status, answer.access.ca_file.as_deref()), (vec![200], Some(Path::new("s/ca"))));
    let Awaited::Elasticsearch(health) = awaited("elasticsearch: {url: \"http://x\", health: green}") else {
        panic!("no health")
    };
    assert_eq!(health.health, Health::Green);
    let Awaited::Command(command) = awaited("command: {run: [\"true\"]}") else { panic!("no command") };
    assert_eq!(command.place, CommandPlace::Here);
    for (gate, what) in [
        ("timeout: 1m", "waits for nothing; give it one of `kind`, `http`, `elasticsearch`, `prometheus`, `command`"),
        ("kind: Pod, command: {run: [x]}", "waits for `kind`, `command`; make it one gate for each"),
        ("http: {url: \"http://x\"}, labels: a=b", "gate.labels` at s/x.yaml:15:47: goes with `kind`"),
        ("http: {url: \"http://x\"}, namespaces: {include: [a]}", "goes with `kind`"),
        ("http: {url: \"http://x\", status: []}", "names no status"),
        ("http: {url: \"http://x\", status: [20]}", "20 is no status of an answer"),
        ("elasticsearch: {url: \"http://x\", health: red}", "`red` is no health to wait for"),
        ("prometheus: {url: \"http://x\", query: \"\"}", "the query is empty"),
        ("command: {run: []}", "the command is empty"),
        ("kind: Pod, condition: \"not ready\"", "`not ready` is no condition"),
        ("kind: StatefulSet.apps, condition: Ready", "a StatefulSet.apps reports no conditions; without this key"),
    ] {
        refused(&format!("gate: {{{gate}}}"), what);
    }
}

#[test]
fn a_plan_needs_a_cluster_for_what_it_looks_at_there() {
    let needs = |gate: &str| awaited(gate).needs_cluster();
    assert!(needs("kind: Pod") && needs("command: {run: [x], pod: {namespace: a, selector: b=c}}"));
    assert!(!needs("http: {url: \"http://x\"}") && !needs("command: {run: [x]}"));
}

#[test]
fn a_request_is_read_or_told_what_is_wrong() {
    let Action::Http(request) = action("http: {url: \"http://x/y\", method: POST, bodyFile: b.json, status: [201]}")
    else {
        panic!("no request")
    };
    assert_eq!(request.body, Some(HttpBody::File("s/b.json".into())));
    assert_eq!((request.method.is_idempotent(), request.status), (false, Some(vec![201])));
    for (request, what) in [
        ("method: GTE", "`GTE` is no method that can be sent, did you mean `GET`?"),
        ("method: GET, body: x, bodyFile: y", "gives both a `body` and a `bodyFile`"),
        ("method: GET, headers: {Authorization: \"Bearer x\"}", "`Authorization` logs in; credentials stand in files"),
        ("method: GET, headers: {\"a b\": x}", "`a b` is no name of a header"),
        ("method: GET, headers: {a: \"x\\ny\"}", "the value of `a` cannot stand in a header"),
    ] {
        refused(&format!("http: {{url: \"http://x\", {request}}}"), what);
    }
}

#[test]
fn scaling_is_read_or_told_what_is_wrong() {
    let workloads = "workloads: [{kind: StatefulSet, namespace: a, name: b}]";
    let Action::Scale(scale) = action(&format!("scale: {{{workloads}, to: former, timeout: 1m}}")) else {
        panic!("no scaling")
    };
    assert_eq!((scale.to, scale.timeout.as_secs()), (ScaleTo::Former, 60));
    refused(&format!("scale: {{{workloads}, to: forme}}"), "`forme` is nothing to scale to, did you mean `former`?");
    refused("scale: {workloads: [], to: zero}", "names no workload");
    let daemons = "scale: {workloads: [{kind: DaemonSet, namespace: a, name: b}], to: zero}";
    refused(daemons, "`DaemonSet` has no replicas that could be scaled");
}

#[test]
fn a_person_is_told_who_does_it_and_what_must_be_true_then() {
    let manual = "manual: {title: x, role: network, minutes: 15, check: {http: {url: \"http://x\"}}}";
    let Action::Manual(manual) = action(manual) else { panic!("nobody") };
    assert_eq!((manual.role.as_deref(), manual.minutes), (Some("network"), Some(15)));
    assert!(matches!(manual.check, Some(Awaited::Http(_))));
    refused("manual: {title: x, minutes: 0}", "nothing takes a person no time");
    refused("manual: {title: x, check: {kind: Pod, timeout: 1m}}", "a check looks once");
    refused("manual: {title: x, check: {}}", "waits for nothing");
}
