//! The runbooks: their commands do, on real servers, what they say.

mod desk;
mod form;

use self::desk::{Desk, this_quarter};

#[tokio::test]
async fn a_lost_workload_cluster_comes_back_by_its_runbook() {
    let desk = Desk::new().await;
    let ran = desk.run("lost-workload-cluster", &[0, 1, 2, 3, 4, 5], &[]).await.expect_success();
    assert!(ran.stdout.contains("verified") && ran.stdout.contains(" 0 missing, 0 extra, 0 changed"), "{ran}");
    assert!(desk.new_cluster().find("/apis/apps/v1/namespaces/shop/deployments/web").await.is_some());
    for file in ["audit/2026.log", "archive/2026.log", "grafana.sql"] {
        assert!(desk.scratch.path().join("restored").join(file).exists(), "{file}: {ran}");
    }
    desk.run("dns", &[0, 1, 2], &[]).await.expect_success();
}

#[tokio::test]
async fn a_lost_management_cluster_comes_back_by_its_runbook() {
    let desk = Desk::new().await;
    let ran = desk.run("lost-management-cluster", &[0, 1, 2, 3, 4], &[]).await.expect_success();
    assert!(ran.stdout.contains(" 0 missing, 0 extra, 0 changed"), "{ran}");
    assert!(desk.new_cluster().find("/api/v1/namespaces/harbor/secrets/a").await.is_some());
    assert!(desk.scratch.path().join("restored/grafana.sql").exists(), "{ran}");
    let [report] = &desk.reports()[..] else { panic!("{ran}") };
    let verified: Vec<_> = report["verifications"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert!(verified.len() > 2 && !verified.contains(&&"failed".into()), "{report:#}");
    assert_eq!(verified.iter().filter(|outcome| **outcome == "passed").count(), verified.len(), "{report:#}");
}

#[tokio::test]
async fn a_deleted_namespace_comes_back_by_its_runbook_and_nothing_else_does() {
    let desk = Desk::new().await;
    desk.lose_production();
    let ran = desk.run("deleted-namespace", &[0, 1, 2, 3, 4], &[]).await.expect_success();
    assert!(ran.stdout.contains("\"name\":\"shop\""), "{ran}");
    let api = desk.new_cluster();
    assert!(api.find("/api/v1/namespaces/shop/secrets/a").await.is_some(), "{ran}");
    assert!(api.find("/apis/apps/v1/namespaces/shop/deployments/web").await.is_some(), "{ran}");
    assert!(api.find("/api/v1/namespaces/harbor").await.is_none(), "{ran}");
    // Everything of it, field by field.
    let [report] = &desk.reports()[..] else { panic!("{ran}") };
    let objects = &report["verifications"][0];
    assert_eq!((&objects["outcome"], &objects["missing"]), (&"passed".into(), &0.into()), "{objects:#}");
    assert!(objects["equal"].as_u64() >= Some(6), "{objects:#}");
}

/// What the runbooks tell people to do with the schedule.
const NEW_RECIPIENT: &str =
    "sed -i \"s/$(cat on-call/recipient.txt)/$(cat new/recipient.txt)/\" schedules/nightly.yaml";
const NEW_SIGNING_KEY: &str = "cp new-signing/signing_key on-call/signing_key";

#[tokio::test]
async fn a_lost_key_is_replaced_by_its_runbook() {
    let desk = Desk::new().await;
    let people = [("cat new/recipient.txt", NEW_RECIPIENT), ("--only signing", NEW_SIGNING_KEY)];
    let ran = desk.run("lost-key", &[0, 2, 3, 4], &people).await.expect_success();
    assert!(ran.stdout.contains("Opened by"), "{ran}");
    // By the new signing key, beside backups of the old one.
    let after = "ckbackup backup -q -f schedules/nightly.yaml --now --context PROD && ckbackup verify --all --cluster workload-1 \
                 --identity new/identity.txt --identity escrow.txt";
    desk.shell(after).await.expect_success();
}

#[tokio::test]
async fn a_leaked_key_opens_and_signs_nothing_more_after_its_runbook() {
    let desk = Desk::new().await;
    desk.run("leaked-key", &[4], &[]).await.expect_success();
    let shown = desk.run("leaked-key", &[0, 2], &[("cat new/recipient.txt", NEW_RECIPIENT)]).await.expect_success();
    assert!(shown.stdout.contains("secrets/v1/shop/a.json"), "{shown}");
    desk.shell("ckbackup verify latest --cluster workload-1").await.expect(8);

    desk.shell("cp new/identity.txt $HOME/keys/identity.txt").await.expect_success();
    desk.run("leaked-key", &[3], &[("--only signing", NEW_SIGNING_KEY)]).await.expect_success();
    // Older backups are not believed any more.
    desk.shell("ckbackup verify --all --cluster workload-1 --identity escrow.txt").await.expect(5);
}

#[tokio::test]
async fn after_a_takeover_a_backup_is_chosen_and_restored_by_the_runbook() {
    let desk = Desk::new().await;
    let ran = desk.run("ransomware", &[0, 1, 2, 3, 4, 5], &[]).await.expect_success();
    assert!(ran.stdout.contains(" 0 missing, 0 extra, 0 changed"), "{ran}");
}

#[tokio::test]
async fn a_failed_night_is_made_up_for_by_its_runbook() {
    let desk = Desk::new().await;
    let ran = desk.run("failed-night", &[0, 1, 3, 4], &[]).await.expect_success();
    assert!(ran.stdout.contains("verified"), "{ran}");
    let made = std::fs::read_to_string(desk.scratch.path().join("by-hand.yaml")).unwrap();
    assert!(made.contains("[backup, --now, -f,"), "{made}");
}

#[tokio::test]
async fn the_runbook_for_a_full_vault_removes_nothing_that_is_needed() {
    let desk = Desk::new().await;
    let ran = desk.run("vault-full", &[0, 1, 3, 4], &[]).await.expect_success();
    assert!(ran.stderr.contains("3 are to be kept"), "{ran}");
    let left = desk.shell("ckbackup list -q --cluster workload-1 -o name").await.expect_success();
    assert_eq!(left.stdout.lines().count(), 3, "{left}");
}

#[tokio::test]
async fn the_first_installation_ends_in_a_restore() {
    let desk = Desk::without_backups().await;
    desk.run("first-installation", &[0, 1], &[]).await.expect_success();
    desk.write_schedules("on-call/recipient.txt", "escrow/recipient.txt");
    let ran = desk.run("first-installation", &[3, 4, 5], &[]).await.expect_success();
    assert!(ran.stdout.contains("is valid") && ran.stdout.contains("verified"), "{ran}");
    assert!(ran.stdout.contains(" 0 missing, 0 extra, 0 changed"), "{ran}");
}

#[tokio::test]
async fn the_quarterly_drill_ends_in_a_signed_report() {
    let desk = Desk::new().await;
    let keeper = "ckbackup keygen --dir keeper --only attesting; cp keeper/attesting_key $HOME/keys/
        cat keeper/allowed_attesters >> $HOME/keys/allowed_signers";
    desk.shell(keeper).await.expect_success();
    let label = serde_json::json!({"metadata": {"labels": {"ckbackup.io/scratch": "true"}}});
    desk.new.api().patch("/api/v1/namespaces/kube-system", &label).await;
    let ran = desk.run("quarterly-drill", &[0, 1, 2, 3], &[]).await.expect_success();
    // The vault is younger than the quarter: what is missing of it is told by the exit code, too.
    let quarter = desk.run("quarterly-drill", &[4], &[]).await.expect(3);
    assert!(quarter.stdout.contains("missing    "), "{quarter}");
    desk.shell(&format!("ckbackup report verify reports/{}", this_quarter())).await.expect_success();
    assert!(ran.stdout.contains(" 0 missing, 0 extra, 0 changed"), "{ran}");
    for report in ["reports/sandbox/report.html", "reports/scratch/report.html", "reports/2026Q4/report.html"] {
        let report = report.replace("2026Q4", &this_quarter());
        assert!(desk.scratch.path().join(&report).exists(), "{report}: {ran}");
    }
}
