//! What goes wrong on the way to an object store, and what becomes of the backup.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::control_plane::shared;
use crate::harness::{Action, BucketKind, FaultProxy, S3Server, Seen};
use crate::vault_stage::{CLUSTER, Place, Stage, id_of};

/// Bytes that do not compress, as a Secret's value; the same at every call.
pub fn noise(bytes: usize) -> String {
    let blocks = (0u64..).flat_map(|n| <[u8; 32]>::from(Sha256::digest((bytes as u64 * 1_000_003 + n).to_be_bytes())));
    base64::engine::general_purpose::STANDARD.encode(blocks.take(bytes).collect::<Vec<_>>())
}

async fn s3_with_bucket(stage: &Stage) -> S3Server {
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    s3
}

fn slow_down() -> Action {
    let body = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    Action::Respond(503, vec![("content-type", "application/xml".into())], body.into())
}

fn commits(seen: &Seen) -> bool {
    seen.is("PUT", "/manifest.json") && !seen.path.contains(".sig")
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_gets_everything_in_the_end() {
    let stage = Stage::new().await;
    let s3 = s3_with_bucket(&stage).await;
    // Every third request is answered so, whatever it is.
    let proxy = FaultProxy::plain(s3.endpoint(), |seen| match seen.number % 3 {
        0 => slow_down(),
        _ => Action::Forward,
    });
    let id = stage.back_up(&Place::through(proxy.url(), s3.root(), "vault/prod")).await;
    stage.verify(&Place::bucket(&s3, "vault/prod"), &id).await.expect_success();
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_found_to_be_done() {
    let stage = Stage::new().await;
    let s3 = s3_with_bucket(&stage).await;
    for lost in [
        "/README.txt",
        "/configuration/0001.tar",
        "/configuration/0001.index",
        "/platform/0001.tar",
        "/platform/0001.index",
        "/manifest.json.sig",
        "/manifest.json",
    ] {
        for reaches_the_server in [true, false] {
            let count = AtomicUsize::new(0);
            let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
                let is_it = seen.is("PUT", lost) && (lost.ends_with(".sig") || !seen.path.contains(".sig"));
                match (is_it && count.fetch_add(1, Ordering::SeqCst) == 0, reaches_the_server) {
                    (false, _) => Action::Forward,
                    (true, true) => Action::DropAfter,
                    (true, false) => Action::DropBefore,
                }
            });
            let path = format!("vault/{}-{reaches_the_server}", lost.replace(['/', '.'], ""));
            let id = stage.back_up(&Place::through(proxy.url(), s3.root(), &path)).await;
            let place = Place::bucket(&s3, &path);
            let verified = stage.verify(&place, &id).await.expect_success().json();
            assert_eq!(verified["backups"][0]["strays"], json!([]), "{lost}");
            assert_eq!(stage.list(&place).await.len(), 1, "{lost}");
        }
    }
}

#[tokio::test]
async fn a_write_that_fails_for_good_commits_nothing() {
    let stage = Stage::new().await;
    let s3 = s3_with_bucket(&stage).await;
    for (object, status, said) in [
        ("/platform/0001.tar", 403, "no permission to write"),
        ("/platform/0001.index", 400, "write s3://vault/"),
        ("/manifest.json.sig", 403, "no permission to write"),
        ("/manifest.json", 400, "write s3://vault/"),
    ] {
        let proxy = FaultProxy::plain(s3.endpoint(), move |seen| match seen.is("PUT", object) {
            true if object.ends_with(".sig") || !seen.path.contains(".sig") => Action::status(status),
            _ => Action::Forward,
        });
        let path = format!("vault/{}", object.replace(['/', '.'], ""));
        let failed = stage.backup(&Place::through(proxy.url(), s3.root(), &path)).run().await.expect(1);
        assert!(failed.stderr.contains(said) && failed.stderr.contains(object), "{failed}");
        assert_eq!((&failed.json()["kind"], &failed.json()["exitCode"]), (&json!("failed"), &json!(1)));
        let place = Place::bucket(&s3, &path);
        assert!(stage.list(&place).await.is_empty(), "{object}");
        let verified = stage.verify(&place, "latest").await.expect(1);
        assert!(verified.stderr.contains("no complete backup"), "{verified}");
        assert_eq!(proxy.seen().iter().filter(|seen| commits(seen)).count(), usize::from(object == "/manifest.json"));
    }
}

#[tokio::test]
async fn a_segment_of_several_parts_survives_parts_that_fail() {
    let stage = Stage::empty().await;
    let path = format!("/api/v1/namespaces/{}/secrets", stage.namespace);
    for n in 0..18 {
        let data = json!({"noise": noise(700_000 + n)});
        let name = format!("large-{n}");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data});
        shared().api().create(&path, &secret).await;
    }
    let s3 = s3_with_bucket(&stage).await;
    let (first, second) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
        if seen.is("PUT", "partNumber=1&") && first.fetch_add(1, Ordering::SeqCst) < 2 {
            return slow_down();
        }
        if seen.is("PUT", "partNumber=2&") && second.fetch_add(1, Ordering::SeqCst) < 2 {
            return Action::DropAfter;
        }
        Action::Forward
    });
    let run = stage.backup(&Place::through(proxy.url(), s3.root(), "vault/prod")).run().await.expect_success();
    let id = id_of(&run);
    assert_eq!((proxy.count("PUT", "partNumber=1&"), proxy.count("PUT", "partNumber=2&")), (3, 3));
    let place = Place::bucket(&s3, "vault/prod");
    let verified = stage.verify(&place, &id).await.expect_success().json();
    assert_eq!(verified["backups"][0]["members"], json!(18 + 3));

    // One object out of the largest segment is read without the segment.
    let reading = FaultProxy::plain(s3.endpoint(), |_| Action::Forward);
    let through = Place::through(reading.url(), s3.root(), "vault/prod");
    let object = format!("secrets/{}/large-7", stage.namespace);
    let one = stage.ckbackup(&through).args(["extract", &id, "--object", &object]).run().await.expect_success();
    assert!(one.stdout.contains(&noise(700_007)));
    let reads: Vec<_> = reading.seen().into_iter().filter(|seen| seen.path.contains("/platform/0001.tar")).collect();
    assert!((1..=2).contains(&reads.len()) && reads.iter().all(|seen| seen.headers.contains_key("range")), "{reads:?}");

    // When the answer to the last request is lost, the object is found all the same, and read back before it counts.
    let proxy = FaultProxy::plain(s3.endpoint(), |seen| match seen.is("POST", "uploadId=") {
        true => Action::DropAfter,
        false => Action::Forward,
    });
    let run = stage.backup(&Place::through(proxy.url(), s3.root(), "vault/lost")).run().await.expect_success();
    assert!(proxy.count("GET", "/platform/0001.tar") > 0, "it was read back");
    stage.verify(&Place::bucket(&s3, "vault/lost"), &id_of(&run)).await.expect_success();

    // When a part fails for good, nothing is committed, and nothing half is left under the key.
    let proxy = FaultProxy::plain(s3.endpoint(), |seen| match seen.is("PUT", "partNumber=2&") {
        true => Action::status(403),
        false => Action::Forward,
    });
    stage.backup(&Place::through(proxy.url(), s3.root(), "vault/failed")).run().await.expect(1);
    assert!(stage.list(&Place::bucket(&s3, "vault/failed")).await.is_empty());
    assert_eq!(proxy.count("DELETE", "uploadId="), 1, "what was sent is freed");
    assert!(!s3.file("vault", "failed").join(CLUSTER).join("platform").exists());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_given_up_in_time() {
    let stage = Stage::empty().await;
    let port = ckbackup::drill::sandbox::free_port().unwrap();
    let who = crate::harness::Credentials { access_key: "a".into(), secret_key: "b".into() };
    let place = Place::through(&format!("http://127.0.0.1:{port}"), &who, "vault/prod");
    let begin = Instant::now();
    let (list, backup) = tokio::join!(stage.ckbackup(&place).arg("list").run(), stage.backup(&place).run());
    for failed in [list.expect(1), backup.expect(1)] {
        assert!(failed.stderr.contains("hint: check that the storage is reachable"), "{failed}");
    }
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
}
