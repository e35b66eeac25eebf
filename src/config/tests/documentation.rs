//! What is shipped and documented is what is read.

use super::*;

#[test]
fn the_shipped_files_are_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schedule = read_schedule(&root.join("schedules/nightly.yaml"), None).unwrap();
    assert!(schedule.include.plans.len() >= 2 && schedule.include.runbooks.len() >= 5);
    for plan in &schedule.include.plans {
        read_plan(plan, None).unwrap();
    }
}

#[test]
fn the_shipped_scenarios_lose_each_thing_that_can_be_lost() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut lost: Vec<_> = files.map(|file| read_scenario(&file).unwrap().loss.as_str()).collect();
    lost.sort_unstable();
    assert_eq!(lost, ["cluster", "key", "namespace", "tool", "vault"]);
}

#[test]
fn the_examples_of_the_documentation_are_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|block| block.starts_with("apiVersion")).collect();
    assert_eq!(whole.len(), 3);
    for block in whole {
        parse(block, &root.join("schedules/example.yaml")).unwrap();
    }
}

#[test]
fn every_key_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    // serde names the keys of a mapping when it meets one that it does not know.
    let keys = |error: String| error.split('`').skip(3).step_by(2).map(String::from).collect::<Vec<_>>();
    let stranger = "qqqqqqqqqqqq";
    let strange = |sound: &str, at: &str| keys(wrong(sound, at, &format!("{at}{stranger}: 1, ")));
    let include = SCHEDULE.replace("  signing:", "  include: {plans: []}\n  signing:");
    let manual = PLAN.replace("apply: {}", "manual: {title: x}");
    let mut known = Vec::new();
    for at in ["window: {", "vault: {", "encryption: {", "signing: {", "kubernetes: {", "namespaces: {"] {
        known.extend(strange(SCHEDULE, at));
    }
    known.extend(strange(&include, "include: {"));
    known.extend(keys(wrong(SCENARIO, "spec:\n", &format!("spec:\n  {stranger}: 1\n"))));
    known.extend(keys(wrong(SCHEDULE, "spec:\n", &format!("spec:\n  {stranger}: 1\n"))));
    known.extend(strange(PLAN, "apply: {"));
    known.extend(strange(PLAN, "gate: {"));
    known.extend(strange(&manual, "manual: {"));
    let files = SCHEDULE.replace(KUBERNETES, "files: {path: x, names: {include: []}}");
    let metrics = SCHEDULE.replace(KUBERNETES, "prometheus: {data: {path: x}, access: {caFile: x}}");
    let logs = SCHEDULE.replace(KUBERNETES, "elasticsearch: {url: \"http://x\", access: {caFile: x}}");
    let archive = SCHEDULE.replace(KUBERNETES, "objects: {url: \"s3://x\"}");
    let dump =
        SCHEDULE.replace(KUBERNETES, "command: {run: [x], pod: {namespace: x, selector: x}, before: {run: [x]}}");
    for (text, at) in [
        (&files, "files: {"),
        (&metrics, "prometheus: {"),
        (&metrics, "data: {"),
        (&metrics, "access: {"),
        (&logs, "elasticsearch: {"),
        (&archive, "objects: {"),
        (&dump, "command: {"),
        (&dump, "pod: {"),
        (&dump, "before: {"),
    ] {
        known.extend(strange(text, at));
    }
    let files = PLAN.replace("apply: {}", "files: {source: x, to: y}");
    let metrics = PLAN.replace("apply: {}", "prometheus: {source: x, to: y, check: {url: z}}");
    let logs = PLAN.replace("apply: {}", "elasticsearch: {source: x, url: \"http://x\", rename: {from: a, to: b}}");
    let archive = PLAN.replace("apply: {}", "objects: {source: x, url: \"s3://x\"}");
    let dump =
        PLAN.replace("apply: {}", "command: {source: x, run: [x], scale: [{kind: Deployment, namespace: x, name: x}]}");
    for (text, at) in [
        (&files, "files: {"),
        (&metrics, "prometheus: {"),
        (&metrics, "check: {"),
        (&logs, "elasticsearch: {"),
        (&logs, "rename: {"),
        (&archive, "objects: {"),
        (&dump, "command: {"),
        (&dump, "scale: [{"),
    ] {
        known.extend(strange(text, at));
    }
    known.extend(keys(wrong(PLAN, "  rto", &format!("  {stranger}: 1\n  rto"))));
    let spans = PLAN
        .replace("  rto", "  targets: {a: {cluster: x}}\n  rto")
        .replace("apply: {}", "apply: {}\n      when: {drill: true}\n      retry: {times: 1}");
    let nested = PLAN.replace("apply: {}", "plan: {file: x}");
    for (text, at) in [(&spans, "{a: {"), (&spans, "when: {"), (&spans, "retry: {"), (&nested, "plan: {")] {
        known.extend(strange(text, at));
    }
    let changed = PLAN.replace(
        "  steps:",
        "  mappings: {domains: {}}\n  patches: [{kinds: [], json: [{op: add, path: /a}]}]\n  steps:",
    );
    for at in ["mappings: {", "patches: [{", "json: [{"] {
        known.extend(strange(&changed, at));
    }
    let gate = |what: &str| PLAN.replace("apply: {}", &format!("gate: {{{what}}}"));
    let answer = gate("http: {url: \"http://x\", access: {caFile: x}}");
    let health = gate("elasticsearch: {url: \"http://x\"}");
    let query = gate("prometheus: {url: \"http://x\", query: up}");
    let run = gate("command: {run: [x], pod: {namespace: x, selector: x}}");
    let request = PLAN.replace("apply: {}", "http: {method: GET, url: \"http://x\"}");
    let scale = PLAN.replace("apply: {}", "scale: {to: zero, workloads: []}");
    for (text, at) in [
        (&answer, "http: {"),
        (&answer, "access: {"),
        (&health, "elasticsearch: {"),
        (&query, "prometheus: {"),
        (&run, "command: {"),
        (&request, "http: {"),
        (&scale, "scale: {"),
    ] {
        known.extend(strange(text, at));
    }
    known.extend(keys(wrong(PLAN, "      expect", &format!("      {stranger}: 1\n      expect"))));
    assert!(known.len() > 40, "{known:?}");
    let missing: Vec<_> = known.iter().filter(|key| !page.contains(&format!("{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
