//! What the tests of objects in buckets begin with: an archive that others write to, and a file with its credentials.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of, record};
use crate::harness::s3_client::REGION;
use crate::harness::{BucketKind, Finished, S3Server};
use crate::vault_stage::Place;

/// Keys, a vault in a folder, and an S3 server with the buckets `archive` and `other`.
pub struct BucketStage {
    pub stage: DataStage,
    pub s3: S3Server,
    pub place: Place,
}

impl BucketStage {
    pub async fn new() -> BucketStage {
        let stage = DataStage::new().await;
        let s3 = S3Server::start(&stage.scratch).await;
        for bucket in ["archive", "other"] {
            s3.create_bucket(bucket, BucketKind::Plain).await;
        }
        let place = Place::folder(&stage.scratch.folder("vault"));
        BucketStage { stage, s3, place }
    }

    /// The file with the credentials of the server's owner.
    pub fn credentials(&self) -> PathBuf {
        let who = self.s3.root();
        let text = format!("AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n", who.access_key, who.secret_key);
        self.stage.scratch.file("archive.env", text)
    }

    /// A place in a bucket, as it stands in schedules and plans, by an endpoint: the server's, or a proxy's.
    pub fn at(&self, endpoint: &str, path: &str) -> Value {
        json!({
            "url": format!("s3://{path}"), "endpoint": endpoint, "region": REGION, "allowHttp": true,
            "credentialsFile": self.credentials(),
        })
    }

    /// Writes an object, by bucket and key.
    pub async fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        let put = self.s3.send(self.s3.root(), Method::PUT, &format!("/{path}"), HeaderMap::new(), content).await;
        assert_eq!(put.status, 200, "{path}: {}", put.text());
    }

    /// Reads an object; none when it is not there.
    pub async fn get(&self, path: &str) -> Option<Vec<u8>> {
        let got = self.s3.send(self.s3.root(), Method::GET, &format!("/{path}"), HeaderMap::new(), "").await;
        (got.status == 200).then_some(got.body)
    }

    /// A backup of `scope`, as the source `data`.
    pub async fn save(&self, scope: &Value) -> Finished {
        self.stage.backup(&self.place, "objects", scope.clone()).run().await
    }

    /// The same, complete; what its manifest says.
    pub async fn saved(&self, scope: &Value) -> Value {
        let saved = self.save(scope).await.expect_success();
        self.manifest(&saved).await
    }

    pub async fn manifest(&self, saved: &Finished) -> Value {
        self.stage.manifest(&self.place, &id_of(saved)).await
    }

    /// What a `files` step makes of a backup: contents by path.
    pub async fn files_of(&self, manifest: &Value, to: &str) -> BTreeMap<String, Vec<u8>> {
        let to = self.stage.restore_files(&self.place, manifest["id"].as_str().unwrap(), to).await;
        crate::data_stage::tree(&to).into_iter().map(|(path, (content, _))| (path, content)).collect()
    }

    /// `restore` of the source `data` by a step of kind `objects`.
    pub async fn restore(&self, id: &str, to: &Value, more: &Value, args: &[&str]) -> Finished {
        let mut step = to.clone();
        step["source"] = json!("data");
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let steps = json!([{"name": "archive", "objects": step}]);
        self.stage.restore(&self.place, id, steps).args(args).run().await
    }
}

/// From which backup each unit was copied.
pub fn copied_from(manifest: &Value) -> Vec<Option<String>> {
    let units = record(manifest)["units"].as_array().unwrap();
    units.iter().map(|unit| unit["copiedFrom"].as_str().map(String::from)).collect()
}

/// With `more` keys.
pub fn with(mut scope: Value, more: Value) -> Value {
    scope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    scope
}

/// What became of the items of the first step: created, updated, unchanged, skipped, failed.
pub fn items(finished: &Finished) -> [u64; 5] {
    let items = finished.json()["steps"][0]["items"].clone();
    ["created", "updated", "unchanged", "skipped", "failed"].map(|key| items[key].as_u64().unwrap())
}
