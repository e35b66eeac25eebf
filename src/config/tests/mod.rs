//! What a person reads when a file is wrong: the whole message, for each way to get it wrong.

mod components;
mod documentation;
mod files;
mod plan;
mod scenario;
mod schedule;
mod sources;
mod steps;

use std::path::Path;
use std::time::Duration;

use super::*;

const SCHEDULE: &str = "\
apiVersion: ckbackup.io/v1
kind: Schedule
metadata: {name: nightly}
spec:
  cluster: workload-1
  window: {opens: \"00:00\", closes: \"03:00\", timeZone: CET}
  vault: {url: \"s3://ck8s-backups/prod\", endpoint: \"https://objects.example\"}
  encryption: {recipients: [age1oncall, age1escrow]}
  signing: {keyFile: keys/id_ed25519}
  sources:
    - name: platform
      kubernetes: {namespaces: {exclude: [scratch]}, labelSelector: \"!temporary\"}
";

/// The source in it.
const KUBERNETES: &str = "kubernetes: {namespaces: {exclude: [scratch]}, labelSelector: \"!temporary\"}";

const PLAN: &str = "\
apiVersion: ckbackup.io/v1
kind: RestorePlan
metadata: {name: all}
spec:
  rto: 4h
  steps:
    - name: crds
      apply: {kinds: [CustomResourceDefinition]}
      expect: 1m
    - name: served
      after: [crds]
      gate: {kind: CustomResourceDefinition, condition: Established}
    - name: rest
      after: [served]
      apply: {}
";

const SCENARIO: &str = "\
apiVersion: ckbackup.io/v1
kind: Scenario
metadata: {name: gone}
spec:
  loss: namespace
  namespace: shop
";

fn read(text: &str) -> Result<Vec<Document>> {
    parse(text, Path::new("s/x.yaml"))
}

fn why(text: &str) -> String {
    let error = read(text).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Usage);
    error.to_string()
}

/// Puts `to` where the sound file has `from`, and gives what is then said.
#[track_caller]
fn wrong(sound: &str, from: &str, to: &str) -> String {
    assert!(sound.contains(from), "{from}");
    why(&sound.replacen(from, to, 1))
}

fn schedule(text: &str) -> Schedule {
    match read(text).unwrap().remove(0) {
        Document::Schedule(schedule) => *schedule,
        other => panic!("{other:?}"),
    }
}

fn plan(text: &str) -> RestorePlan {
    match read(text).unwrap().remove(0) {
        Document::RestorePlan(plan) => *plan,
        other => panic!("{other:?}"),
    }
}
