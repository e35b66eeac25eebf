//! One contract that every storage keeps: what is put into it comes out of it, whatever the storage is.

use base64::Engine;
use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::control_plane::shared;
use crate::harness::{AzureServer, BucketKind, S3Server};
use crate::vault_stage::{CLUSTER, Place, Stage, add_large_secrets, files};

/// What a backup job may do: put, get and list. Nothing that deletes.
const JOB: &[&str] =
    &["s3:PutObject", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:AbortMultipartUpload"];

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    keeps_the_contract(&stage, &place, &place, false).await;
    assert!(files(&place.path()).iter().all(|file| !file.contains('#')), "no staging files stay behind");
}

#[tokio::test]
async fn a_plain_bucket_keeps_the_contract() {
    let stage = Stage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let place = Place::bucket(&s3, "vault");
    keeps_the_contract(&stage, &place, &place, false).await;
}

#[tokio::test]
async fn a_versioned_bucket_keeps_the_contract_for_a_job_that_cannot_delete() {
    let stage = Stage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Versioned).await;
    let job = s3.create_user(&stage.scratch, "job").await;
    let reader = s3.create_user(&stage.scratch, "reader").await;
    let read: &[&str] = &["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"];
    s3.allow("vault", &[(&job, JOB), (&reader, read)]).await;
    let [write, read] = [&job, &reader].map(|who| Place::through(s3.endpoint(), who, "vault/deep/prefix"));

    keeps_the_contract(&stage, &write, &read, true).await;

    // The reader cannot write: the same backup fails, and says why.
    let refused = stage.backup(&read).run().await.expect(1);
    assert!(refused.stderr.contains("no permission to write"), "{refused}");
}

#[tokio::test]
async fn a_locked_bucket_keeps_the_contract_and_its_objects() {
    let stage = Stage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Locked).await;
    let rule = "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days>\
        </DefaultRetention></Rule></ObjectLockConfiguration>";
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(rule));
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-amz-checksum-sha256"), digest.parse().unwrap())]);
    let set = s3.send(s3.root(), Method::PUT, "/vault?object-lock=", headers, rule).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let place = Place::bucket(&s3, "vault/prod");

    let manifest = keeps_the_contract(&stage, &place, &place, true).await;

    let segment = &manifest["sources"][1]["segments"][0]["object"];
    let id = manifest["id"].as_str().unwrap();
    let (key, version) = (segment["key"].as_str().unwrap(), segment["version"].as_str().unwrap());
    let path = format!("/vault/prod/{CLUSTER}/{id}/{key}?versionId={version}");
    let deleted = s3.send(s3.root(), Method::DELETE, &path, HeaderMap::new(), "").await;
    assert_eq!(deleted.status, 403, "the retention holds: {}", deleted.text());
}

#[tokio::test]
async fn an_azure_container_keeps_the_contract() {
    let stage = Stage::new().await;
    let azure = AzureServer::start(&stage.scratch, "vault").await;
    let place = azure.place("vault/prod");
    keeps_the_contract(&stage, &place, &place, false).await;
}

#[tokio::test]
async fn a_segment_of_several_parts_goes_into_an_azure_container() {
    let stage = Stage::empty().await;
    add_large_secrets(&stage.namespace, 7).await;
    let azure = AzureServer::start(&stage.scratch, "vault").await;
    let place = azure.place("vault");
    let id = stage.back_up(&place).await;
    let verified = stage.verify(&place, &id).await.expect_success().json();
    assert_eq!(verified["backups"][0]["members"], json!(7 + 3), "{verified}");
}

/// Backup, list, show, verify, extract, diff. Returns the manifest of the first backup.
async fn keeps_the_contract(stage: &Stage, write: &Place, read: &Place, versioned: bool) -> Value {
    let run = stage.backup(write).run().await.expect_success();
    let summary = run.json();
    assert_eq!((&summary["status"], &summary["cluster"]), (&json!("complete"), &json!(CLUSTER)), "{run}");
    assert_eq!((&summary["sources"][0]["items"], &summary["sources"][0]["name"]), (&json!(36), &json!("platform")));
    let first = summary["id"].as_str().unwrap().to_owned();
    let removed = format!("/api/v1/namespaces/{}/configmaps/config-0", stage.namespace);
    shared().api().delete(&removed).await;
    let second = stage.back_up_by("weekly", write).await;

    let listed = stage.list(read).await;
    let ids: Vec<_> = listed.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&first, &second]);
    assert!(listed.iter().all(|row| row["status"] == "complete" && row["signature"]["status"] == "good"));
    assert_eq!(listed[1]["previous"], json!(first));

    let shown = stage.ckbackup(read).args(["show", &first, "-o", "json"]).run().await.expect_success().json();
    let manifest = shown["manifest"].clone();
    assert_eq!(manifest["id"], json!(first));
    let stored: Vec<_> = manifest["sources"].as_array().unwrap().iter().map(|s| &s["segments"][0]).collect();
    let stored: Vec<_> = stored.into_iter().flat_map(|s| [&s["object"], &s["index"]["object"]]).collect();
    assert!(stored.iter().all(|s| s["version"].is_string() == versioned), "{stored:?}");

    for id in [&first, &second] {
        let verified = stage.verify(read, id).await.expect_success().json();
        let report = &verified["backups"][0];
        assert_eq!((&report["verified"], &report["strays"]), (&json!(true), &json!([])), "{verified}");
        let members = if *id == first { 36 } else { 35 } + 3;
        assert_eq!((&report["objects"], &report["members"]), (&json!(4), &json!(members)));
    }
    let all = stage.ckbackup(read).args(["verify", "--all", "-o", "json"]).run().await.expect_success().json();
    assert_eq!(all["backups"].as_array().unwrap().len(), 2);

    let name = format!("out-{}", first);
    stage.extract(read, &first, &name).await.expect_success();
    let extracted = files(&stage.scratch.path().join(name));
    assert_eq!(extracted.len(), 36 + 3, "{extracted:?}");

    let same = stage.ckbackup(read).args(["diff", "latest", "--context", "shared"]).run().await;
    assert!(same.expect_success().stdout.contains("35 equal, 0 missing, 0 extra, 0 changed"));
    let gone = stage.ckbackup(read).args(["diff", &first, &second, "-o", "json"]).run().await.expect(1).json();
    assert_eq!(gone["missing"].as_array().unwrap().len() + gone["extra"].as_array().unwrap().len(), 1, "{gone}");
    manifest
}
