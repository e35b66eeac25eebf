//! Restore plans.

use super::*;

#[test]
fn a_plan_says_what_it_means() {
    let plan = plan(PLAN);
    assert_eq!((plan.rto.to_string().as_str(), plan.order()), ("4h", &[vec![0], vec![1], vec![2]][..]));
    assert_eq!(plan.steps[1].after, [0]);
    assert!(matches!(&plan.steps[1].action, Action::Gate(gate) if gate.timeout == DEFAULT_GATE_TIMEOUT));
}

#[test]
fn each_object_belongs_to_one_step() {
    let plan = plan(PLAN);
    let labels = Default::default();
    let step = |kind, group| {
        plan.step_for(&Subject { source: "platform", kind, group, namespace: None, name: "x", labels: &labels })
    };
    assert_eq!(step("CustomResourceDefinition", "apiextensions.k8s.io"), Some(0));
    assert_eq!(step("Certificate", "cert-manager.io"), Some(2));
}

#[test]
fn namespaces_of_a_step_take_their_namespace_objects_along() {
    let text = PLAN.replace("apply: {}", "apply: {namespaces: {include: [shop]}}");
    let plan = plan(&text);
    let labels = Default::default();
    let step = |kind, namespace, name| {
        plan.step_for(&Subject { source: "platform", kind, group: "", namespace, name, labels: &labels })
    };
    assert_eq!(step("Secret", Some("shop"), "x"), Some(2));
    assert_eq!(step("Secret", Some("other"), "x"), None);
    assert_eq!(step("Namespace", None, "shop"), Some(2));
    assert_eq!(step("PersistentVolume", None, "shop"), None);
}

#[test]
fn a_place_for_blocks_is_read_or_told_what_is_wrong() {
    let workload = "workload: {kind: StatefulSet, namespace: a, name: p}";
    for (step, what) in [
        ("{source: x}".to_string(), "say where the blocks are put"),
        (
            "{source: x, check: {url: \"http://p\"}, alertmanager: {url: \"http://a\"}}".into(),
            "there is nothing to check",
        ),
        (format!("{{source: x, to: y, pod: {{{workload}, claim: c}}}}"), "gives both a folder (`to`) and a `pod`"),
        (format!("{{source: x, pod: {{{workload}, claim: \"\"}}}}"), "names no claim of a volume"),
        (format!("{{source: x, pod: {{{workload}, claim: c, path: y}}}}"), "it begins with `/`"),
    ] {
        let told = why(&PLAN.replace("apply: {}", &format!("prometheus: {step}")));
        assert!(told.contains(what), "{told}");
    }
    let sound = format!("prometheus: {{source: x, pod: {{{workload}, claim: c}}}}");
    let plan = plan(&PLAN.replace("apply: {}", &sound));
    let Action::Prometheus(read) = &plan.steps[2].action else { panic!("another step") };
    assert!(matches!(&read.to, Some(BlocksTo::Claim(claim)) if claim.claim == "c"));
}

#[test]
fn steps_have_one_action_and_their_own_name() {
    assert_eq!(
        wrong(PLAN, "name: served", "name: crds"),
        "2 problems in s/x.yaml:\n  `spec.steps[1].name` at s/x.yaml:10:13: `crds` is already the name of `spec.steps[0]`\n  \
         `spec.steps[2].after[0]` at s/x.yaml:14:15: there is no step `served`"
    );
    assert_eq!(
        wrong(PLAN, "      apply: {}\n", ""),
        "`spec.steps[2]` at s/x.yaml:13:7: step `rest` does nothing; give it `apply`, `gate`, `http`, `scale`, `manual`, \
         `files`, `prometheus`, `elasticsearch`, `objects`, `command`"
    );
    assert_eq!(
        wrong(PLAN, "apply: {}", "apply: {}\n      manual: {title: x}"),
        "`spec.steps[2]` at s/x.yaml:13:7: step `rest` has `apply`, `manual`; make it one step for each"
    );
    assert_eq!(
        wrong(PLAN, "4h", "soon"),
        "`spec.rto` at s/x.yaml:5:8: `soon` is no duration; write it like `4h`, `30m` or `1m30s`"
    );
    assert_eq!(
        wrong(PLAN, "kinds: [CustomResourceDefinition]", "kinds: [CustomResourceDefintion]"),
        "`spec.steps[0].apply.kinds[0]` at s/x.yaml:8:23: `CustomResourceDefintion` is no kind of Kubernetes itself, did \
         you mean `CustomResourceDefinition`?"
    );
    assert_eq!(
        wrong(PLAN, "apply: {}", "apply: {conflict: overwite}"),
        "`spec.steps[2].apply.conflict` at s/x.yaml:15:25: `overwite` is no way to treat existing objects, did you mean \
         `overwrite`?"
    );
}

#[test]
fn steps_wait_for_steps_that_are_there() {
    assert_eq!(
        wrong(PLAN, "after: [crds]", "after: [crd]"),
        "`spec.steps[1].after[0]` at s/x.yaml:11:15: there is no step `crd`, did you mean `crds`?"
    );
}

#[test]
fn steps_that_wait_for_one_another_are_walked_round() {
    assert_eq!(
        wrong(PLAN, "- name: crds", "- name: crds\n      after: [rest]"),
        "`spec.steps[0].after` at s/x.yaml:8:14: the steps wait for one another: crds → rest → served → crds"
    );
    assert_eq!(
        wrong(PLAN, "after: [crds]", "after: [served]"),
        "`spec.steps[1].after` at s/x.yaml:11:14: the steps wait for one another: served → served"
    );
}

#[test]
fn a_runbook_must_be_there() {
    assert_eq!(
        wrong(PLAN, "apply: {}", "manual: {title: Point DNS, runbook: runbooks/gone.md}"),
        "`spec.steps[2].manual.runbook` at s/x.yaml:15:43: runbook `runbooks/gone.md` is not there: neither \
         s/runbooks/gone.md nor runbooks/gone.md is a file"
    );
}
