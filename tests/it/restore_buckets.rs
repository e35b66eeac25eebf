//! Restore step `objects`: what comes back into a bucket or folder, beside what is there.

use serde_json::{Value, json};

use crate::bucket_stage::{BucketStage, items};
use crate::data_stage::{noise, write};
use crate::harness::{Action, FaultProxy};

const MIB: usize = 1 << 20;

const NAMES: [&str; 6] = ["equal", "differs", "longer", "missing", "sub/x y+z", "ünï"];

/// A backup of small objects and a large one; its id.
async fn saved(stage: &BucketStage) -> String {
    let data = stage.stage.data();
    for name in NAMES {
        write(&data, name, name.as_bytes(), 5);
    }
    write(&data, "large", &noise(8, 21 * MIB + 5), 5);
    write(&data, "empty", b"", 5);
    stage.stage.save_files(&stage.place).await["id"].as_str().unwrap().to_owned()
}

/// What is there before the restore.
async fn reset(stage: &BucketStage) {
    for (name, content) in [("equal", "equal"), ("differs", "DIFFERS"), ("longer", "longer than that"), ("extra", "x")]
    {
        stage.put(&format!("other/back/{name}"), content).await;
    }
    stage.put("other/back/large", noise(8, 21 * MIB + 5)).await;
}

fn conflict(policy: &str) -> Value {
    json!({ "conflict": policy })
}

#[tokio::test]
async fn objects_that_are_there_are_treated_as_the_plan_says() {
    let stage = BucketStage::new().await;
    let id = saved(&stage).await;
    let to = stage.at(stage.s3.endpoint(), "other/back");
    reset(&stage).await;
    let run = async |policy: &str, args: &[&str], code: i32| {
        items(&stage.restore(&id, &to, &conflict(policy), args).await.expect(code))
    };
    assert_eq!(run("skip", &["--dry-run"], 0).await, [4, 0, 3, 1, 0], "sizes alone are compared");
    assert_eq!(stage.get("other/back/missing").await, None, "a dry run writes nothing");
    assert_eq!(run("skip", &[], 0).await, [4, 0, 2, 2, 0]);
    assert_eq!(stage.get("other/back/differs").await.unwrap(), b"DIFFERS");
    assert_eq!(stage.get("other/back/sub/x%20y%2Bz").await.unwrap(), b"sub/x y+z");
    assert_eq!(run("fail", &[], 3).await, [0, 0, 6, 0, 2]);
    // One byte in the last part.
    let mut other = noise(8, 21 * MIB + 5);
    *other.last_mut().unwrap() ^= 1;
    stage.put("other/back/large", other).await;
    assert_eq!(run("overwrite", &[], 0).await, [0, 3, 5, 0, 0]);
    for name in ["equal", "differs", "longer", "missing"] {
        assert_eq!(stage.get(&format!("other/back/{name}")).await.unwrap(), name.as_bytes());
    }
    assert!(stage.get("other/back/large").await.unwrap() == noise(8, 21 * MIB + 5));
    assert_eq!(stage.get("other/back/extra").await.unwrap(), b"x", "nothing is ever deleted");
    assert_eq!(run("fail", &[], 0).await, [0, 0, 8, 0, 0]);
}

#[tokio::test]
async fn a_folder_is_written_like_a_bucket_and_only_what_is_asked_for() {
    let stage = BucketStage::new().await;
    let id = saved(&stage).await;
    let folder = stage.stage.scratch.path().join("back");
    let to = json!({"url": format!("file://{}", folder.display())});
    let only = json!({"names": {"exclude": ["sub/**", "ünï"]}});
    let planned = stage.restore(&id, &to, &only, &["--dry-run"]).await.expect_success();
    assert!(items(&planned) == [6, 0, 0, 0, 0] && !folder.exists(), "{planned}");
    assert_eq!(items(&stage.restore(&id, &to, &only, &[]).await.expect_success()), [6, 0, 0, 0, 0]);
    assert_eq!(crate::vault_stage::files(&folder), ["differs", "empty", "equal", "large", "longer", "missing"]);
    assert!(std::fs::read(folder.join("large")).unwrap() == noise(8, 21 * MIB + 5));
    assert_eq!(items(&stage.restore(&id, &to, &only, &[]).await.expect_success()), [0, 0, 6, 0, 0]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_that_looks_whole() {
    let stage = BucketStage::new().await;
    let id = saved(&stage).await;
    let refuses = FaultProxy::plain(stage.s3.endpoint(), |request| match request.is("PUT", "partNumber=2") {
        true => Action::status(403),
        false => Action::Forward,
    });
    let failed = stage.restore(&id, &stage.at(refuses.url(), "other/back"), &json!({}), &[]).await.expect(3);
    assert_eq!(items(&failed), [7, 0, 0, 0, 1], "{failed}");
    assert_eq!(failed.json()["failures"][0]["object"], "large");
    assert_eq!(stage.get("other/back/large").await, None);
    assert!(refuses.count("DELETE", "uploadId=") == 1, "what was sent is freed");

    // The same command goes on, though answers are lost on the way.
    let loses = FaultProxy::plain(stage.s3.endpoint(), |request| {
        let first_of = |what: &str| request.is("PUT", what) && request.number % 3 == 0;
        if first_of("/other/") { Action::DropAfter } else { Action::Forward }
    });
    let done = stage.restore(&id, &stage.at(loses.url(), "other/back"), &json!({}), &[]).await.expect_success();
    assert_eq!(items(&done), [1, 0, 7, 0, 0]);
    let again = stage.restore(&id, &stage.at(loses.url(), "other/again"), &json!({}), &[]).await.expect_success();
    assert_eq!(items(&again), [8, 0, 0, 0, 0]);
    assert!(stage.get("other/again/large").await.unwrap() == noise(8, 21 * MIB + 5));
}

#[tokio::test]
async fn a_step_that_cannot_be_done_says_why() {
    let stage = BucketStage::new().await;
    let id = saved(&stage).await;
    let failed = stage.restore(&id, &stage.at(stage.s3.endpoint(), "nowhere"), &json!({}), &[]).await.expect(3);
    let reason = failed.json()["failures"][0]["why"].as_str().unwrap().to_owned();
    assert!(reason.contains("no such place: s3://nowhere (the bucket does not exist)"), "{reason}");
    let reader = stage.s3.create_user(&stage.stage.scratch, "reader").await;
    stage.s3.allow("other", &[(&reader, &["s3:ListBucket", "s3:GetObject"])]).await;
    let file = "AWS_ACCESS_KEY_ID=reader\nAWS_SECRET_ACCESS_KEY=reader-secret\n";
    let file = json!({"credentialsFile": stage.stage.scratch.file("reader.env", file)});
    let failed = stage.restore(&id, &stage.at(stage.s3.endpoint(), "other"), &file, &[]).await.expect(3);
    assert!(failed.stderr.contains("no permission to write") || failed.stdout.contains("no permission to write"));
}
