//! What is wrong with a schedule or its keys is said before anything is written.

use serde_json::{Value, json};

use super::backup_rig::{Rig, loaded};
use super::harness::{Ckbackup, Finished};

/// Runs a schedule that is changed so that it must be refused as wrong usage.
async fn refuse(rig: &Rig, change: impl FnOnce(&mut Value)) -> Finished {
    let mut schedule = rig.schedule(json!([{"name": "platform", "kubernetes": {}}]));
    change(&mut schedule["spec"]);
    let run = rig.backup_by(&schedule).arg("--kubeconfig").arg(&loaded().kubeconfig).run().await.expect(2);
    assert_eq!(run.json()["kind"], "usage", "{run}");
    assert!(rig.nothing_was_written(), "{run}");
    run
}

#[tokio::test]
async fn one_recipient_only_is_refused_unless_that_is_allowed() {
    let rig = Rig::new();
    let one = json!([rig.recipients[0]]);
    let run = refuse(&rig, |spec| spec["encryption"] = json!({"recipients": one})).await;
    assert!(run.stderr.contains("names one recipient only"), "{run}");
    assert!(run.stderr.contains("allowSingleRecipient: true"), "{run}");

    let scope = json!({"resources": {"include": ["secrets"]}});
    let mut schedule = rig.schedule(json!([{"name": "platform", "kubernetes": scope}]));
    schedule["spec"]["encryption"] = json!({"recipients": one, "allowSingleRecipient": true});
    let run = rig.backup_by(&schedule).arg("--kubeconfig").arg(&loaded().kubeconfig).run().await.expect_success();
    assert_eq!(rig.open(&run).manifest["recipients"], one);
}

#[tokio::test]
async fn the_same_recipient_twice_is_one_recipient() {
    let rig = Rig::new();
    let twice = json!([rig.recipients[0], rig.recipients[0]]);
    let run = refuse(&rig, |spec| spec["encryption"]["recipients"] = twice).await;
    assert!(run.stderr.contains("is the same recipient as `spec.encryption.recipients[0]`"), "{run}");
}

#[tokio::test]
async fn what_is_no_recipient_is_refused_by_name() {
    let rig = Rig::new();
    let mut typo = rig.recipients[1].clone();
    let last = typo.pop().unwrap();
    typo.push(if last == 'q' { 'p' } else { 'q' });
    for wrong in [typo.as_str(), "age1", "somebody@example.test", "ssh-ed25519 AAAA"] {
        let run = refuse(&rig, |spec| spec["encryption"]["recipients"][1] = json!(wrong)).await;
        assert!(run.stderr.contains(wrong), "{run}");
        assert!(run.stderr.contains("use the recipients of"), "{run}");
    }
}

#[tokio::test]
async fn a_private_key_among_the_recipients_is_refused_and_not_repeated() {
    let rig = Rig::new();
    let identity = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_string();
    let run = refuse(&rig, |spec| spec["encryption"]["recipients"][1] = json!(secret)).await;
    assert!(run.stderr.contains("is a private key, and must not stand here"), "{run}");
    assert!(!run.stderr.contains(&secret) && !run.stdout.contains(&secret), "{run}");
}

#[tokio::test]
async fn a_signing_key_that_is_missing_or_none_is_refused() {
    let rig = Rig::new();
    let run = refuse(&rig, |spec| spec["signing"]["keyFile"] = json!("missing_key")).await;
    assert!(run.stderr.contains("missing_key"), "{run}");
    rig.scratch.file("no_key", "not a key\n");
    let run = refuse(&rig, |spec| spec["signing"]["keyFile"] = json!("no_key")).await;
    assert!(run.stderr.contains("no_key"), "{run}");
}

#[tokio::test]
async fn a_wrong_schedule_is_refused_with_file_line_and_column() {
    let rig = Rig::new();
    let schedule = rig.schedule(json!([{"name": "platform", "kubernetes": {}}]));
    let good = serde_json::to_string_pretty(&schedule).unwrap();
    for (find, put, say) in [
        ("\"cluster\"", "\"clutser\"", "unknown key `clutser`"),
        ("\"kubernetes\": {}", "\"kubernetes\": {\"pageSize\": \"many\"}", "must be a whole number"),
        (
            "\"kubernetes\": {}",
            "\"kubernetes\": {\"resources\": {\"include\": [\"events\"]}}",
            "`events` is always left out",
        ),
        ("\"kubernetes\": {}", "\"kubernetes\": {\"labelSelector\": \"a in b\"}", "is no label selector"),
        ("\"kubernetes\": {}", "\"etcd\": {}", "source kind `etcd` is not supported by this version"),
    ] {
        let text = good.replace(find, put);
        let line = text.lines().position(|line| line.contains(put)).unwrap() + 1;
        rig.scratch.file("nightly.yaml", &text);
        let run = Ckbackup::new(&rig.scratch).args(["backup", "--now", "-f", "nightly.yaml"]).run().await.expect(2);
        assert!(run.stderr.contains(say), "{run}");
        assert!(run.stderr.contains(&format!("nightly.yaml:{line}:")), "line {line}: {run}");
        assert!(rig.nothing_was_written());
    }
}

#[tokio::test]
async fn a_schedule_that_is_not_there_is_named() {
    let rig = Rig::new();
    let run = Ckbackup::new(&rig.scratch).args(["backup", "--now", "-f", "nowhere.yaml"]).run().await.expect(2);
    assert!(run.stderr.contains("nowhere.yaml"), "{run}");
}

#[tokio::test]
async fn a_file_that_the_schedule_includes_must_be_there() {
    let rig = Rig::new();
    let run = refuse(&rig, |spec| spec["include"] = json!({"runbooks": ["runbooks/*.md"]})).await;
    assert!(run.stderr.contains("names no file under"), "{run}");
}

#[tokio::test]
async fn without_now_nothing_is_done() {
    let rig = Rig::new();
    let file = rig.scratch.file("nightly.yaml", rig.schedule(json!([])).to_string());
    let run = Ckbackup::new(&rig.scratch).args(["backup", "-f"]).arg(file).run().await.expect(2);
    assert!(run.stderr.contains("<--now|--window>"), "{run}");
    assert!(rig.nothing_was_written());
}
