//! Recipients and identities of an age plugin, a program of its own that age and ckbackup call by its name.

use serde_json::json;

use crate::harness::assets::assets;
use crate::harness::{Ckbackup, Finished};
use crate::vault_stage::{CLUSTER, Place, Stage};

/// A key whose recipient only the plugin can seal for, and whose identity only it can open with.
struct Key {
    recipient: String,
    identity: String,
}

impl Key {
    async fn make(stage: &Stage, name: &str) -> Key {
        let identity = format!("{name}-plugin.txt");
        let script = format!(
            "age-keygen -pq -o {name}.txt; age-plugin-pq -identity -o {identity} {name}.txt; age-keygen -y {name}.txt"
        );
        let made = with_plugin(Ckbackup::program("bash", &stage.scratch)).args(["-euc", &script]).run().await;
        let recipient = made.expect_success().stdout.trim().to_owned();
        assert!(recipient.starts_with("age1pq1"), "{recipient}");
        Key { recipient, identity }
    }
}

fn with_plugin(command: Ckbackup) -> Ckbackup {
    let path = format!("{}:{}", assets().age_plugin.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path)
}

async fn verify(stage: &Stage, place: &Place, identity: &str, plugin: bool) -> Finished {
    let command = stage.ckbackup(place).args(["verify", "latest", "--cluster", CLUSTER, "-o", "json"]);
    let command = command.args(["--identity", identity]);
    if plugin { with_plugin(command).run().await } else { command.run().await }
}

#[tokio::test]
async fn a_backup_for_recipients_of_a_plugin_opens_with_its_identity_and_with_stock_age() {
    let stage = Stage::new().await;
    let (key, escrow) = (Key::make(&stage, "key").await, Key::make(&stage, "escrow").await);
    let place = Place::folder(&stage.scratch.folder("vault"));
    let schedule = stage.schedule_for("nightly", &place, &[key.recipient, escrow.recipient]);
    let backup = || stage.ckbackup(&place).args(["backup", "--now", "-o", "json", "-f"]).arg(&schedule);

    let missing = backup().run().await.expect(2);
    assert!(missing.stderr.contains("age-plugin-pq"), "{missing}");
    assert!(missing.stderr.contains("hint: install the plugin's program where PATH finds it"), "{missing}");

    with_plugin(backup()).run().await.expect_success();
    let opened = verify(&stage, &place, &key.identity, true).await.expect_success().json();
    assert_eq!(opened["backups"][0]["members"], json!(36 + 3), "{opened}");
    let without = verify(&stage, &place, &key.identity, false).await;
    assert_eq!(without.code(), Some(2), "{without}");
    assert!(without.stderr.contains("age-plugin-pq"), "{without}");

    let script = format!("age -d -i {} vault/*/*/platform/0001.tar.zst.age | zstd -dc | tar -t | wc -l", key.identity);
    let stock = with_plugin(Ckbackup::program("bash", &stage.scratch)).args(["-euo", "pipefail", "-c", &script]);
    assert_eq!(stock.run().await.expect_success().stdout.trim(), "36");
}

/// age does not let them stand together: the backup would only be as safe against quantum computers as the weaker one.
#[tokio::test]
async fn recipients_that_must_not_stand_together_are_refused_in_words() {
    let stage = Stage::new().await;
    let key = Key::make(&stage, "key").await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let schedule = stage.schedule_for("nightly", &place, &[key.recipient, stage.recipient("escrow")]);
    let backup = stage.ckbackup(&place).args(["backup", "--now", "-f"]).arg(&schedule);
    let refused = with_plugin(backup).run().await.expect(2);
    assert!(refused.stderr.contains("these recipients cannot open the same file"), "{refused}");
    assert!(stage.ckbackup(&place).args(["list", "--cluster", CLUSTER]).run().await.code() != Some(0));
}
