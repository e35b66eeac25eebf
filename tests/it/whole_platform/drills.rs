//! The quarter's drills: the shipped plans for data, into the new cluster, from loss to what was compared.

use serde_json::{Value, json};

use super::servers::{INDICES, Servers, TABLES};
use super::{Story, Vault, bucket};

/// Runs them, each with a signed report.
pub async fn rehearse(story: &Story, vault: &Vault, empty: &Servers) {
    let label = json!({"metadata": {"labels": {"ckbackup.io/scratch": "true"}}});
    empty.node.api().patch("/api/v1/namespaces/kube-system", &label).await;
    story.title("The quarter's drill: logs and metrics, by the shipped plan, into the new servers");
    let report = drill(story, vault, empty, "logs-and-metrics", |plan| logs_and_metrics(plan, story, empty)).await;
    require(&report, "metrics (metrics)", "metrics");
    require(&report, "metrics (silences)", "metrics");
    require(&report, "archive (archive)", "files");
    let logs = require(&report, "logs (logs)", "documents");
    for (index, documents) in INDICES {
        assert_eq!(counted(logs, &format!("documents in {index}")), u64::from(documents));
        assert!(counted(logs, &format!("documents in {index}, sampled, by digest")) >= 64, "{logs}");
    }

    story.title("The quarter's drill: databases of services, by the shipped plan");
    let report = drill(story, vault, empty, "cluster-services", cluster_services).await;
    let rows = require(&report, "harbor-db (harbor-db)", "rows");
    for table in TABLES {
        assert!(counted(rows, &format!("rows in registry: public.{table}")) > 0, "{rows}");
    }
    require(&report, "influxdb (influxdb)", "rows");
}

/// A drill by a shipped plan, whose names and addresses are changed as its users do.
async fn drill(story: &Story, vault: &Vault, empty: &Servers, name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("restore-plans/{name}.yaml"));
    let mut plan: Value = serde_yaml::from_str(&std::fs::read_to_string(shipped).unwrap()).unwrap();
    change(&mut plan);
    let file = story.scratch.file(&format!("{name}.yaml"), plan.to_string());
    let words = format!("drill run --target context --yes --report-dir {name} -f");
    let drill = vault.ckbackup(story, &words).arg(file).arg("--attest").arg(story.key("keeper-attesting_key"));
    story.verb(drill.arg("--kubeconfig").arg(empty.node.kubeconfig())).await;
    let report = std::fs::read(story.scratch.path().join(format!("{name}/report.json"))).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["verdict"], "passedWithGaps", "{report:#}");
    report
}

fn logs_and_metrics(plan: &mut Value, story: &Story, empty: &Servers) {
    let mut check = empty.prometheus();
    check["timeout"] = json!("2m");
    let metrics = step(plan, "metrics");
    metrics["prometheus"]["pod"]["claim"] = json!("metrics");
    metrics["prometheus"]["check"] = check;
    // Outside of the cluster, a drill writes only to what the plan says is there for drills, and believes nobody else.
    for name in ["metrics", "silences", "archive", "logs"] {
        step(plan, name)["when"]["drill"] = json!(true);
    }
    step(plan, "silences")["prometheus"]["alertmanager"]["url"] = json!(empty.alertmanager.url());
    let mut archive = bucket(empty, story);
    archive["source"] = json!("archive");
    step(plan, "archive")["objects"] = archive;
    step(plan, "logs")["elasticsearch"] = json!({"source": "logs", "url": empty.search.url()});
}

fn cluster_services(plan: &mut Value) {
    let core = json!([{"kind": "Deployment", "namespace": "harbor", "name": "core"}]);
    step(plan, "harbor-db")["command"]["scale"] = core;
}

fn step<'p>(plan: &'p mut Value, name: &str) -> &'p mut Value {
    let steps = plan["spec"]["steps"].as_array_mut().unwrap();
    steps.iter_mut().find(|step| step["name"] == name).unwrap()
}

/// What was verified of a source, which must be all right.
fn require<'r>(report: &'r Value, subject: &str, kind: &str) -> &'r Value {
    let all = report["verifications"].as_array().unwrap();
    let one = all.iter().find(|one| one["subject"] == subject).unwrap_or_else(|| panic!("{subject}: {report:#}"));
    assert_eq!((&one["kind"], &one["outcome"]), (&json!(kind), &json!("passed")), "{one:#}");
    one
}

/// A number that was the same on both sides.
fn counted(verification: &Value, name: &str) -> u64 {
    let counts = verification["counts"].as_array().unwrap();
    let one = counts.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {verification:#}"));
    assert_eq!(one["expected"], one["found"], "{one}");
    one["found"].as_u64().unwrap()
}
