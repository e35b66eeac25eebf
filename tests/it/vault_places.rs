//! Places that are no vault, or not ours, or full.

use ckbackup::drill::sandbox::free_port;

use crate::harness::assets::assets;
use crate::harness::control_plane::shared;
use crate::harness::{BucketKind, Ckbackup, Credentials, S3Server};
use crate::vault_faults::noise;
use crate::vault_stage::{Place, Stage, files};
use serde_json::json;

#[tokio::test]
async fn a_vault_that_is_not_there_is_named() {
    let stage = Stage::empty().await;
    let s3 = S3Server::start(&stage.scratch).await;
    let nowhere = Place { url: format!("file://{}/no/such/folder", stage.scratch.path().display()), env: Vec::new() };
    for place in [nowhere, Place::bucket(&s3, "no-such-bucket/prod")] {
        let listed = stage.ckbackup(&place).args(["list", "-o", "json"]).run().await.expect(1);
        let backup = stage.backup(&place).run().await.expect(1);
        for failed in [listed, backup] {
            let message = format!("error: no such vault: {}", place.url);
            assert!(failed.stderr.contains(&message) && failed.stderr.contains("\nhint: check"), "{failed}");
            assert_eq!(failed.json()["kind"], json!("failed"));
        }
    }
    assert!(!stage.scratch.path().join("no").exists());
    // An empty place becomes a vault with the first backup, and is none before.
    let empty = Place::folder(&stage.scratch.folder("empty"));
    stage.ckbackup(&empty).arg("list").run().await.expect(1);
    assert!(files(&empty.path()).is_empty());
}

#[tokio::test]
async fn a_place_that_holds_other_things_is_left_alone() {
    let stage = Stage::empty().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("photos", BucketKind::Plain).await;
    let (headers, body) = (http::HeaderMap::new(), "a photo");
    s3.send(s3.root(), http::Method::PUT, "/photos/2019/a.jpg", headers, body).await;
    stage.scratch.file("photos/2019/a.jpg", "a photo");
    stage.scratch.file("readme/README.txt", "holiday photos");
    let folder = |name: &str| Place::folder(&stage.scratch.path().join(name));
    for place in [folder("photos"), folder("readme"), Place::bucket(&s3, "photos")] {
        let backup = stage.backup(&place).run().await.expect(2);
        assert!(backup.stderr.contains("is not a ckbackup vault: other things are stored there"), "{backup}");
        let listed = stage.ckbackup(&place).arg("list").run().await;
        assert_eq!(listed.code(), Some(2), "{listed}");
    }
    assert_eq!(files(&folder("photos").path()), ["2019/a.jpg"]);
    assert_eq!(std::fs::read_to_string(folder("readme").path().join("README.txt")).unwrap(), "holiday photos");
    assert_eq!(files(&folder("readme").path()), ["README.txt"]);
    assert!(!s3.file("photos", "README.txt").exists());
}

/// Without credentials, a cloud's client asks the machine that it runs on, last of all.
#[tokio::test]
async fn credentials_that_are_missing_are_named() {
    let stage = Stage::empty().await;
    let nobody_listens = format!("http://127.0.0.1:{}", free_port().unwrap());
    let place = Place { url: "s3://vault".into(), env: vec![("AWS_METADATA_ENDPOINT", nobody_listens)] };
    let failed = stage.backup(&place).run().await.expect(1);
    assert!(failed.stderr.contains("error: no credentials for s3://vault"), "{failed}");
    assert!(failed.stderr.contains("hint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{failed}");
}

/// What is signed an hour ago is refused like what is not allowed.
#[tokio::test]
async fn a_clock_that_is_wrong_is_told() {
    let stage = Stage::empty().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let mut place = Place::bucket(&s3, "vault/prod");
    place.env.extend([("LD_PRELOAD", assets().faketime.display().to_string()), ("FAKETIME", "-1h".into())]);
    let failed = stage.backup(&place).run().await.expect(1);
    assert!(failed.stderr.contains("this machine's clock and the storage's are too far apart"), "{failed}");
    assert!(failed.stderr.contains("hint: compare `date -u`") && !failed.stderr.contains("permission"), "{failed}");
}

#[tokio::test]
async fn who_may_not_is_told_what() {
    let stage = Stage::empty().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let nobody = s3.create_user(&stage.scratch, "nobody").await;
    let guessed = Credentials { secret_key: "guessed".into(), ..s3.root().clone() };
    let unknown = Credentials { access_key: "unknown".into(), secret_key: "guessed".into() };
    for who in [&nobody, &guessed, &unknown] {
        let place = Place::through(s3.endpoint(), who, "vault/prod");
        let listed = stage.ckbackup(&place).arg("list").run().await.expect(1);
        let backup = stage.backup(&place).run().await.expect(1);
        for failed in [listed, backup] {
            assert!(failed.stderr.contains("error: no permission to read s3://vault/prod"), "{failed}");
            assert!(failed.stderr.contains("hint: check the credentials"), "{failed}");
            assert!(!failed.stderr.contains("guessed"), "the secret is not shown: {failed}");
        }
    }
    // One who may write but not list cannot make sure of anything, and commits nothing.
    s3.allow("vault", &[(&nobody, &["s3:PutObject"])]).await;
    let place = Place::through(s3.endpoint(), &nobody, "vault/prod");
    let backup = stage.backup(&place).run().await.expect(1);
    assert!(backup.stderr.contains("no permission to"), "{backup}");
}

/// On a disk of its own, that nothing outside this program sees: a small tmpfs in a mount namespace.
#[tokio::test]
async fn a_full_disk_commits_nothing() {
    let stage = Stage::new().await;
    let path = format!("/api/v1/namespaces/{}/secrets", stage.namespace);
    let data = json!({"noise": noise(500_000)});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "large"}, "data": data});
    shared().api().create(&path, &secret).await;
    let disk = stage.scratch.folder("disk");
    let place = Place::folder(&disk);
    let schedule = stage.schedule("nightly", &place);
    let [disk, schedule] = [disk, schedule].map(|path| path.display().to_string());
    let script = format!(
        "mount -t tmpfs -o size=200k tmpfs {disk} || {{ echo 'no tmpfs can be mounted here' >&2; exit 99; }}
         code=0; {program} backup --now -o json -f {schedule} || code=$?
         find {disk} -type f > {root}/left
         {program} list --cluster workload-1 -o name > {root}/listed || echo failed > {root}/listed
         exit $code",
        program = env!("CARGO_BIN_EXE_ckbackup"),
        root = stage.scratch.path().display(),
    );
    let run = Ckbackup::program("unshare", &stage.scratch).args(["--mount", "bash", "-uc", &script]);
    let run = run.env("KUBECONFIG", &stage.kubeconfig).env("CKBACKUP_VAULT", &place.url);
    let run = run.env("CKBACKUP_SIGNERS_FILE", stage.key("oncall-allowed_signers")).run().await;
    assert_ne!(run.code(), Some(99), "this test mounts a tmpfs, and must run as root: {run}");
    let failed = run.expect(1);
    assert!(failed.stderr.contains("the disk is full"), "{failed}");
    let read = |name: &str| std::fs::read_to_string(stage.scratch.path().join(name)).unwrap();
    let left = read("left");
    assert!(left.contains("README.txt") && left.contains("configuration/0001"), "the disk was written to: {left}");
    assert!(!left.contains("manifest.json") && !left.contains('#'), "{left}");
    assert_eq!(read("listed"), "");
    assert!(files(&place.path()).is_empty(), "the disk was one of its own");
}
