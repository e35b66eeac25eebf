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
        plan.step_for(0, &Subject { source: "platform", kind, group, namespace: None, name: "x", labels: &labels })
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
        plan.step_for(0, &Subject { source: "platform", kind, group: "", namespace, name, labels: &labels })
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
         `files`, `prometheus`, `elasticsearch`, `objects`, `command`, `plan`"
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

#[test]
fn a_step_says_when_it_runs_and_what_its_failure_means() {
    let text = PLAN.replace(
        "apply: {}",
        "apply: {}\n      when: {source: platform, drill: false}\n      onFailure: ask\n      retry: {times: 2, wait: 5s}\n      timeout: 1h",
    );
    let flow = &plan(&text).steps[2].flow;
    assert_eq!((flow.on_failure, flow.tries.most, flow.timeout), (OnFailure::Ask, 3, Some(Duration::from_secs(3600))));
    assert_eq!((flow.when[0].drill, flow.when[0].source.as_ref().unwrap().as_str()), (Some(false), "platform"));
    let said = |to: &str| wrong(PLAN, "apply: {}", &format!("apply: {{}}\n      {to}"));
    assert!(said("when: {}").contains("says nothing; give it `source`, `kinds`, `serves` or `drill`"));
    assert!(said("onFailure: stopp").contains("did you mean `stop`?"));
    assert!(said("retry: {times: 0}").contains("write 1 to 19"));
    assert!(said("target: x").contains("the plan has no `targets`"));
}

#[test]
fn the_gate_that_makes_the_platform_usable_is_one_of_the_plan() {
    let usable = |name: &str| PLAN.replace("  rto: 4h\n", &format!("  rto: 4h\n  usable: {name}\n"));
    assert_eq!(plan(&usable("served")).usable, Some(1));
    assert!(why(&usable("rest")).contains("step `rest` is no gate"));
    assert!(why(&usable("serve")).contains("there is no step `serve`, did you mean `served`?"));
}

/// A plan for two clusters, one of which has a whole plan as its step.
const BOTH: &str = "\
apiVersion: ckbackup.io/v1
kind: RestorePlan
metadata: {name: both}
spec:
  rto: 4h
  targets: {management: {cluster: mgmt-1}, workload: {cluster: workload-1, context: new}}
  steps:
    - name: management
      target: management
      when: {drill: false}
      plan: {file: all.yaml}
    - name: objects
      target: workload
      after: [management]
      apply: {}
";

fn beside_each_other(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
    folder
}

#[test]
fn a_plan_in_a_plan_takes_its_steps_place() {
    let folder = beside_each_other(&[("all.yaml", PLAN), ("both.yaml", BOTH)]);
    let plan = read_plan(&folder.path().join("both.yaml"), None).unwrap();
    let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["management/crds", "management/served", "management/rest", "objects"]);
    let after: Vec<&[usize]> = plan.steps.iter().map(|step| step.after.as_slice()).collect();
    assert_eq!(after, [&[][..], &[0], &[1], &[2]]);
    let targets: Vec<usize> = plan.steps.iter().map(|step| step.target).collect();
    assert_eq!((targets.as_slice(), plan.targets[1].context.as_deref()), (&[0, 0, 0, 1][..], Some("new")));
    assert!(plan.steps[1].flow.when[0].drill == Some(false) && plan.steps[3].flow.when.is_empty());
    assert_eq!((plan.nested.len(), plan.nested[0].name.as_str()), (1, "all.yaml"));
    let labels = Default::default();
    let subject = Subject { source: "x", kind: "Secret", group: "", namespace: Some("a"), name: "x", labels: &labels };
    assert_eq!((plan.step_for(0, &subject), plan.step_for(1, &subject)), (Some(2), Some(3)));
}

#[test]
fn plans_in_one_another_are_told_what_is_wrong() {
    let said = |from: &str, to: &str| {
        let folder = beside_each_other(&[("all.yaml", PLAN), ("both.yaml", &BOTH.replace(from, to))]);
        read_plan(&folder.path().join("both.yaml"), None).unwrap_err().to_string()
    };
    assert!(said("all.yaml", "gone.yaml").contains("cannot read"), "a file that is not there");
    assert!(said("all.yaml", "both.yaml").contains("the plans stand in one another"));
    assert!(said("      target: workload\n", "").contains("give the step `target` `management` or `workload`"));
    assert!(
        said("target: workload", "target: workloat")
            .contains("there is no target `workloat`, did you mean `workload`?")
    );
    assert!(said("when: {drill: false}", "retry: {times: 1}").contains("is for single steps"));
    assert!(said("cluster: mgmt-1", "cluster: Mgmt_1").contains("no valid cluster name"));
}

/// What it maps would not be mapped, and nobody would know why.
#[test]
fn a_plan_with_mappings_of_its_own_is_not_put_into_another() {
    for own in ["mappings: {namespaces: {a: b}}", "patches: [{kinds: [Secret], merge: {data: null}}]", "webhooks: stop"]
    {
        let folder = beside_each_other(&[("all.yaml", &with(&format!("  {own}"))), ("both.yaml", BOTH)]);
        let said = read_plan(&folder.path().join("both.yaml"), None).unwrap_err().to_string();
        assert!(said.contains("count for a whole plan only; write them into this one"), "{own}: {said}");
    }
}

#[test]
fn two_plans_are_the_same_when_all_their_files_are() {
    let folder = beside_each_other(&[("all.yaml", PLAN), ("both.yaml", BOTH)]);
    let version = || read_plan(&folder.path().join("both.yaml"), None).unwrap().version();
    let before = version();
    assert_eq!(before, version());
    std::fs::write(folder.path().join("all.yaml"), PLAN.replace("4h", "3h")).unwrap();
    assert_ne!(before, version());
}

/// The plan with more keys under `spec`.
fn with(more: &str) -> String {
    PLAN.replace("  steps:", &format!("{more}\n  steps:"))
}

#[test]
fn mappings_patches_and_webhooks_are_read() {
    let plan = plan(&with(
        "  webhooks: goAround\n  mappings: {namespaces: {a: b}, imageRegistries: {docker.io: m.example/hub}, domains: {a.example: b.example}, \
         domainsIn: [Secret]}\n  patches: [{kinds: [Secret], json: [{op: add, path: /data, value: null}]}]",
    ));
    assert_eq!(plan.webhooks, WebhookPolicy::GoAround);
    assert_eq!((plan.mappings.namespace("a"), plan.mappings.namespace("c")), ("b", "c"));
    assert_eq!(plan.mappings.domains_in, [TextKind::Secret]);
    assert_eq!(plan.patches[0].name, "patches[0]");
    let null = serde_json::json!([{"op": "add", "path": "/data", "value": null}]);
    assert_eq!(plan.patches[0].change, Change::Json(serde_json::from_value(null).unwrap()));
}

#[test]
fn wrong_mappings_and_patches_say_why() {
    let says = |more: &str, what: &str| {
        let why = why(&with(more));
        assert!(why.contains(what), "{more}: {why}");
    };
    says("  webhooks: goaround", "`goaround` is no way to treat webhooks, did you mean `goAround`?");
    says("  mappings: {namespaces: {a: B}}", "`B` is no valid name");
    says("  mappings: {imageRegistries: {nginx: m.example}}", "`nginx` is no registry");
    says("  mappings: {domains: {\"*.a.example\": b.example}}", "`*.a.example` is no domain");
    says("  mappings: {domainsIn: [ConfigMap]}", "there are no `domains` that could be replaced there");
    says("  mappings: {domains: {a.b: c.d}, domainsIn: [Configmap]}", "did you mean `ConfigMap`?");
    says("  patches: [{kinds: [Secret]}]", "a patch has exactly one of `merge` and `json`");
    says("  patches: [{kinds: [], merge: {}}]", "names no kind");
    says("  patches: [{kinds: [Secret], merge: [1]}]", "a merge patch of an object is a mapping");
    says("  patches: [{kinds: [Secret], json: [{op: add, path: /a}]}]", "`add` needs `value`");
    says("  patches: [{kinds: [Secret], json: [{op: remove, path: /a, value: 1}]}]", "`remove` takes no `value`");
    says("  patches: [{kinds: [Secret], json: [{op: set, path: /a, value: 1}]}]", "`set` is no operation");
    says("  patches: [{kinds: [Secret], json: [{op: add, path: a, value: 1}]}]", "paths begin with `/`");
}
