//! Nothing in a vault is ever overwritten, whoever runs at the same time or was there before.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ckbackup::config::VaultLocation;
use ckbackup::storage::StoreSettings;
use ckbackup::vault::layout::MANIFEST;
use ckbackup::vault::{Created, Vault};
use http::{HeaderMap, Method};
use serde_json::json;

use crate::harness::{Action, AzureServer, BucketKind, Credentials, FaultProxy, S3Client, S3Server};
use crate::vault_stage::{CLUSTER, Place, Stage, id_of, wait_for_a_new_second};

#[tokio::test]
async fn two_runs_of_the_same_second_do_not_mix_in_a_folder() {
    let stage = Stage::new().await;
    two_runs_do_not_mix(&stage, &Place::folder(&stage.scratch.folder("vault"))).await;
}

#[tokio::test]
async fn two_runs_of_the_same_second_do_not_mix_in_a_bucket() {
    let stage = Stage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Versioned).await;
    two_runs_do_not_mix(&stage, &Place::bucket(&s3, "vault/prod")).await;
}

#[tokio::test]
async fn two_runs_of_the_same_second_do_not_mix_in_a_container_of_azure() {
    let stage = Stage::new().await;
    let azure = AzureServer::start(&stage.scratch, "vault").await;
    two_runs_do_not_mix(&stage, &azure.place("vault/prod")).await;
}

async fn two_runs_do_not_mix(stage: &Stage, place: &Place) {
    wait_for_a_new_second().await;
    let (one, two) = (stage.backup(place).start().await, stage.backup(place).start().await);
    let (one, two) = tokio::join!(one.finish(), two.finish());
    let ids = [id_of(&one.expect_success()), id_of(&two.expect_success())];
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        let verified = stage.verify(place, id).await.expect_success().json();
        let report = &verified["backups"][0];
        assert_eq!((&report["members"], &report["strays"]), (&json!(39), &json!([])), "{verified}");
    }
    assert_eq!(stage.list(place).await.len(), 2);
}

/// An older run, or somebody who wants to be found instead of tonight's backup.
#[tokio::test]
async fn an_object_that_stands_at_an_id_is_never_overwritten() {
    let stage = Stage::new().await;
    let cases = ["configuration/0001.tar.zst.age", "platform/0001.tar.zst.age", MANIFEST, "unknown"];
    let run = async |there: &str| {
        let place = Place::folder(&stage.scratch.folder(&format!("vault-{}", there.replace('/', "-"))));
        stage.back_up_by("first", &place).await;
        // More seconds than a run needs to start, fewer than it tries.
        let taken: Vec<_> = (0..8).map(|second| place.file(&format!("{}-nightly", stamp(second)), there)).collect();
        for file in &taken {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "it was here before").unwrap();
        }
        let id = stage.back_up(&place).await;
        for file in &taken {
            assert_eq!(std::fs::read(file).unwrap(), b"it was here before", "{}", file.display());
        }
        let free = !taken.iter().any(|file| file.starts_with(place.file(&id, "")));
        assert!(free, "{there}: {id} belongs to somebody else");
        stage.verify(&place, &id).await.expect_success();
    };
    futures::future::join_all(cases.map(run)).await;
}

/// The start of an id, so many seconds from now.
fn stamp(seconds: u64) -> String {
    let then = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(seconds)).unwrap();
    then.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Somebody writes a manifest while the run is under way.
#[tokio::test]
async fn a_manifest_that_is_there_is_never_overwritten() {
    let stage = Stage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let (endpoint, who) = (s3.endpoint().to_owned(), s3.root().clone());
    let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
        if seen.is("PUT", "/manifest.json") && !seen.path.contains(".sig") {
            put_now(&endpoint, &who, &seen.path, "another manifest");
        }
        Action::Forward
    });
    let through = Place::through(proxy.url(), s3.root(), "vault/prod");
    let refused = stage.backup(&through).run().await.expect(5);
    assert!(refused.stderr.contains("was written by somebody else"), "{refused}");
    let put = proxy.seen().into_iter().find(|seen| seen.is("PUT", "/manifest.json") && !seen.path.contains(".sig"));
    let key = put.unwrap().path.strip_prefix("/vault/").unwrap().to_owned();
    assert_eq!(std::fs::read(s3.file("vault", &key)).unwrap(), b"another manifest");
    let listed = stage.list(&Place::bucket(&s3, "vault/prod")).await;
    assert_eq!(listed[0]["status"], json!("broken"), "{listed:?}");
}

/// From within the proxy, which waits for it.
fn put_now(endpoint: &str, who: &Credentials, path: &str, body: &'static str) {
    let (client, who, path) = (S3Client::new(endpoint), who.clone(), path.to_owned());
    let put = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.send(&who, Method::PUT, &path, HeaderMap::new(), body)).unwrap().status
    });
    assert_eq!(put.join().unwrap(), 200);
}

#[tokio::test]
async fn create_if_absent_takes_its_own_object_for_its_own_and_no_other() {
    // As the program does; another test may have done it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stage = Stage::empty().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Versioned).await;
    let azure = AzureServer::start(&stage.scratch, "vault").await;
    let places =
        [Place::folder(&stage.scratch.folder("vault")), Place::bucket(&s3, "vault/prod"), azure.place("vault/prod")];
    for place in places {
        let environment = place.env.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let location = VaultLocation { allow_http: true, ..VaultLocation::parse(&place.url).unwrap() };
        let vault = Vault::open_or_create(&location, &StoreSettings { environment }).await.unwrap();
        let key = format!("{CLUSTER}/20261121T000003Z-nightly/{MANIFEST}");
        let put = async |text: &'static str| vault.create(&key, Bytes::from_static(text.as_bytes())).await.unwrap();
        let Created::Yes(first) = put("mine").await else { panic!("nothing was there") };
        assert_eq!(put("mine").await, Created::Yes(first), "its own put, whose answer it did not get");
        assert_eq!(put("else").await, Created::Taken);
        assert_eq!(put("longer").await, Created::Taken);
        assert_eq!(vault.read(&key, None).await.unwrap(), "mine");
    }
}
