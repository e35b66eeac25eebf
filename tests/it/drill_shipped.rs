//! Each shipped plan, from the loss of everything to what was compared: a drill by it, of the demo's platform.

use std::time::Duration;

use serde_json::Value;

use crate::harness::assets::assets;
use crate::harness::{Ckbackup, Scratch};
use crate::restore_fixture::summary;

/// Plans that write objects into an empty cluster, and what has to be put in the place of names that users change.
const PLANS: [(&str, &[(&str, &str)]); 5] = [
    ("default", &[]),
    ("workload-cluster", &[]),
    ("management-cluster", &[]),
    ("another-provider", &[]),
    // The demo has one cluster; it stands for both.
    ("full-platform", &[("{cluster: management}", "{cluster: workload-1}")]),
];

#[tokio::test]
async fn every_shipped_plan_brings_back_what_it_selects() {
    let scratch = Scratch::new();
    let demo = Ckbackup::new(&scratch).args(["demo", "--dir", "demo", "--assets"]).arg(&assets().control_plane);
    let demo = demo.timeout(Duration::from_secs(240)).run().await.expect_success();
    assert!(demo.stderr.contains("drill/report.html"), "{demo}");
    let page = std::fs::read_to_string(scratch.path().join("demo/drill/report.html")).unwrap();
    assert!(page.contains("workload-cluster") && page.contains("passed, with gaps"), "{}", page.len());

    let plans = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("restore-plans");
    for file in std::fs::read_dir(&plans).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&file, scratch.folder("demo/restore-plans").join(file.file_name().unwrap())).unwrap();
    }
    for (name, changes) in PLANS {
        let file = scratch.path().join(format!("demo/restore-plans/{name}.yaml"));
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{name}: {from}");
            text = text.replace(from, to);
        }
        std::fs::write(&file, text).unwrap();
        let words = "drill run --vault demo/vault --identity demo/keys/on-call/identity.txt \
                     --signers demo/keys/on-call/allowed_signers -q -o json -f";
        let drill = Ckbackup::new(&scratch).args(words.split_whitespace()).arg(&file);
        let drill = drill.env("KUBEBUILDER_ASSETS", &assets().control_plane).timeout(Duration::from_secs(150));
        let told = summary(&drill.run().await.expect_success());
        let report = &told["report"];
        let restored: u64 = items(report, "created") + items(report, "unchanged");
        assert!(restored > 10, "{name}: {report:#}");
        assert_eq!(items(report, "failed"), 0, "{name}: {report:#}");
        for row in report["coverage"].as_array().unwrap() {
            assert!(row["evidence"].as_str().is_some_and(|evidence| !evidence.is_empty()), "{name}: {row}");
        }
    }
}

fn items(report: &Value, outcome: &str) -> u64 {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().map(|step| step["items"][outcome].as_u64().unwrap()).sum()
}
