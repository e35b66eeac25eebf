//! Every component of the platform has a way back by the shipped plans.

use std::collections::{BTreeMap, BTreeSet};

use super::super::components::{Component, ObjectKind, SavedBy, components, parse};
use super::*;

/// What the platform is made of.
const PLATFORM: [&str; 17] = [
    "Kubernetes API",
    "RBAC, quotas, network policies, namespaces",
    "CoreDNS, ingress-nginx",
    "OPA Gatekeeper",
    "cert-manager",
    "Prometheus",
    "Alertmanager",
    "Grafana",
    "Fluentd",
    "Falco",
    "ck8sdash",
    "Velero",
    "Elasticsearch and Kibana, or OpenSearch",
    "Harbor",
    "Dex",
    "InfluxDB",
    "Thanos",
];

type Plans = BTreeMap<Name, RestorePlan>;

fn shipped_plans() -> Plans {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("restore-plans");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let plans = files.filter(|file| file.extension().is_some_and(|e| e == "yaml"));
    plans.map(|file| read_plan(&file, None).unwrap()).map(|plan| (plan.name.clone(), plan)).collect()
}

/// Whether a step brings back something that was saved, and is not only there to wait or to ask.
fn brings_something_back(action: &Action) -> bool {
    SavedBy::ALL.into_iter().any(|saved| saved.comes_back_by(action))
}

/// What is wrong with a row: each line names what is missing.
fn faults(row: &Component, plans: &Plans) -> Vec<String> {
    let mut faults = Vec::new();
    let mut found = Vec::new();
    for (plan_name, names) in &row.comes_back_by {
        let Some(plan) = plans.get(plan_name) else {
            faults.push(format!("{}: there is no plan {plan_name}", row.name));
            continue;
        };
        for name in names {
            match plan.steps.iter().find(|step| step.name == *name.as_str()) {
                Some(step) => found.push((plan_name, step)),
                None => faults.push(format!("{}: plan {plan_name} has no step {name}", row.name)),
            }
        }
        faults.extend(astray(row, plan, names));
    }
    for (plan, step) in &found {
        let fits = row.saved_by.iter().any(|saved| saved.comes_back_by(&step.action));
        if brings_something_back(&step.action) && !fits {
            faults.push(format!("{}: {plan}/{} is a step {}", row.name, step.name, step.action.as_str()));
        }
    }
    for saved in &row.saved_by {
        if !found.iter().any(|(_, step)| saved.comes_back_by(&step.action)) {
            faults.push(format!("{}: nothing brings back what {saved:?} saved", row.name));
        }
    }
    faults
}

/// Objects of the row that this plan brings back by other steps than the row says.
fn astray(row: &Component, plan: &RestorePlan, names: &[Name]) -> Vec<String> {
    let steps = plan.steps.iter();
    if !steps.clone().any(|step| matches!(step.action, Action::Apply(_))) {
        return Vec::new();
    }
    let own = if row.namespaces.is_empty() { vec!["shop"] } else { row.namespaces.iter().map(Name::as_str).collect() };
    let labels = BTreeMap::new();
    let mut faults = Vec::new();
    for (namespace, ObjectKind { kind, group }) in own.iter().flat_map(|n| row.kinds.iter().map(move |k| (n, k))) {
        let object =
            Subject { source: "platform", kind, group, namespace: Some(namespace), name: "x", labels: &labels };
        match plan.step_for(0, &object).map(|position| &plan.steps[position].name) {
            Some(step) if names.iter().any(|name| *step == *name.as_str()) => {}
            step => faults.push(format!("{}: {kind} in {namespace} comes back by {}/{step:?}", row.name, plan.name)),
        }
    }
    for step in steps.filter(|step| names.iter().any(|name| step.name == *name.as_str())) {
        if let Action::Apply(Apply { kinds: Some(patterns), .. }) = &step.action
            && !row.kinds.iter().any(|k| patterns.iter().any(|pattern| pattern.matches(&k.kind, &k.group)))
        {
            faults.push(format!("{}: {}/{} takes none of its kinds", row.name, plan.name, step.name));
        }
    }
    faults
}

#[test]
fn every_component_comes_back_by_the_steps_that_its_row_names() {
    let plans = shipped_plans();
    let rows = components().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, PLATFORM);
    let faults: Vec<_> = rows.iter().flat_map(|row| faults(row, &plans)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let words = rows.iter().flat_map(|row| [&row.state, &row.watch_for]);
    assert!(words.into_iter().all(|text| text.ends_with('.')));
}

#[test]
fn no_step_brings_back_data_of_a_component_that_the_table_does_not_have() {
    let plans = shipped_plans();
    let rows = components().unwrap();
    let known = |plan: &Name, step: &StepName| {
        let names = rows.iter().filter_map(|row| row.comes_back_by.get(plan)).flatten();
        names.into_iter().any(|name| *step == *name.as_str())
    };
    let mentioned: BTreeSet<_> = rows.iter().flat_map(|row| row.comes_back_by.keys()).collect();
    assert!(mentioned.len() >= 4, "{mentioned:?}");
    for plan in mentioned.into_iter().map(|name| &plans[name]) {
        for step in plan.steps.iter().filter(|step| !matches!(step.action, Action::Apply(_))) {
            let fine = !brings_something_back(&step.action) || known(&plan.name, &step.name);
            assert!(fine, "{}/{} is in no row", plan.name, step.name);
        }
    }
}

#[test]
fn a_row_without_a_way_back_is_seen() {
    let plans = shipped_plans();
    let row = "- name: Dex\n  namespaces: [dex]\n  state: x\n  savedBy: [kubernetes]\n  kinds: [Secret]\n  \
               comesBackBy: {management-cluster: [secrets]}\n  watchFor: x\n";
    let said = |from: &str, to: &str| {
        assert!(row.contains(from), "{from}");
        faults(&parse(&row.replace(from, to)).unwrap()[0], &plans).join("\n")
    };
    assert_eq!(said("[secrets]", "[secrets]"), "");
    assert!(said("management-cluster", "gone").contains("there is no plan gone"));
    assert!(said("[secrets]", "[secrets, gone]").contains("has no step gone"));
    assert!(said("[secrets]", "[secrets, harbor-db]").contains("management-cluster/harbor-db is a step command"));
    assert!(said("[kubernetes]", "[kubernetes, command]").contains("nothing brings back what Command saved"));
    assert!(said("[Secret]", "[Secret, Deployment]").contains("Deployment in dex comes back by management-cluster/"));
    assert!(said("[secrets]", "[secrets, rbac]").contains("management-cluster/rbac takes none of its kinds"));
}

#[test]
fn a_table_with_a_key_or_a_kind_that_is_not_known_is_refused() {
    let row = "- {name: a, namespaces: [], state: x, savedBy: [files], kinds: [Pod], comesBackBy: {}, watchFor: x}";
    assert_eq!(parse(row).unwrap().len(), 1);
    for (from, to, why) in [
        ("watchFor", "watch", "watch"),
        ("[files]", "[floppy]", "floppy"),
        ("[Pod]", "[Pdo]", "Pdo"),
        ("[Pod]", "[\"*.velero.io\"]", "must be one kind"),
        ("namespaces: []", "namespaces: [A B]", "A B"),
    ] {
        let said = parse(&row.replace(from, to)).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}
