//! A backup that is stopped in the middle.

use serde_json::json;

use super::backup_rig::{Rig, loaded};
use super::harness::{Action, FaultProxy, Finished, Running, eventually};

/// A proxy behind which the list of secrets never ends.
fn hanging() -> FaultProxy {
    FaultProxy::tls(&loaded().server, &loaded().ca_pem, |seen| match seen.path.contains("/secrets?") {
        true => Action::Hang,
        false => Action::Forward,
    })
}

async fn in_the_middle(rig: &Rig, proxy: &FaultProxy) -> Running {
    let running = rig.backup(&rig.through(proxy, &loaded().token), json!({})).start().await;
    eventually("the list hangs", async || proxy.count("GET", "/secrets?") > 0).await;
    running
}

fn assert_interrupted(rig: &Rig, run: Finished) {
    let run = run.expect(130);
    assert!(run.stderr.contains("interrupted; nothing was committed"), "{run}");
    assert!(run.stderr.contains("run it again"), "{run}");
    assert_eq!((&run.json()["kind"], &run.json()["exitCode"]), (&json!("interrupted"), &json!(130)));
    assert!(rig.committed().is_empty());
}

#[tokio::test]
async fn ctrl_c_in_the_middle_commits_nothing_and_says_so() {
    let (rig, proxy) = (Rig::new(), hanging());
    let running = in_the_middle(&rig, &proxy).await;
    running.signal("INT");
    assert_interrupted(&rig, running.finish().await);

    // What is left behind is in nobody's way.
    let next = rig.backup(&loaded().kubeconfig, json!({"resources": {"include": ["secrets"]}}));
    let saved = rig.open(&next.run().await.expect_success());
    assert_eq!(saved.names("secrets").len(), 4);
    assert!(saved.manifest["previous"].is_null());
}

#[tokio::test]
async fn sigterm_in_the_middle_commits_nothing_and_says_so() {
    let (rig, proxy) = (Rig::new(), hanging());
    let running = in_the_middle(&rig, &proxy).await;
    running.signal("TERM");
    assert_interrupted(&rig, running.finish().await);
}

#[tokio::test]
async fn ctrl_c_before_the_first_write_leaves_the_vault_empty() {
    let rig = Rig::new();
    let proxy = FaultProxy::tls(&loaded().server, &loaded().ca_pem, |_| Action::Hang);
    let running = rig.backup(&rig.through(&proxy, &loaded().token), json!({})).start().await;
    eventually("the API server is asked", async || !proxy.seen().is_empty()).await;
    running.signal("INT");
    let run = running.finish().await.expect(130);
    assert!(run.stderr.contains("interrupted; nothing was written"), "{run}");
    assert!(rig.nothing_was_written());
}

#[tokio::test]
async fn a_killed_run_leaves_no_backup() {
    let (rig, proxy) = (Rig::new(), hanging());
    let running = in_the_middle(&rig, &proxy).await;
    running.signal("KILL");
    assert_eq!(running.finish().await.killed_by(), Some(9));
    assert!(rig.committed().is_empty());
}
