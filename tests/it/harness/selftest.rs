//! Tests of the rig itself: a rig that lies makes every other test worthless.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ckbackup::drill::sandbox::{Sandbox, SandboxOptions};
use http::{HeaderMap, Method};
use serde_json::json;

use super::command::{is_running, signal};
use super::control_plane::shared;
use super::*;

fn config_map(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "value"}})
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[tokio::test]
async fn a_killed_api_server_comes_back_with_its_data() {
    let scratch = Scratch::new();
    let mut plane = ControlPlane::start(&scratch, "private").await;
    let api = plane.api();
    api.create("/api/v1/namespaces/default/configmaps", &config_map("kept")).await;
    let (etcd, apiserver) = plane.sandbox.pids();

    plane.sandbox.kill_apiserver().await.unwrap();
    assert!(!is_running(apiserver) && is_running(etcd));
    plane.sandbox.restart_apiserver().await.unwrap();

    let kept = plane.api().get("/api/v1/namespaces/default/configmaps/kept").await;
    assert_eq!(kept["data"]["key"], "value");
    let (etcd, apiserver) = plane.sandbox.pids();
    plane.sandbox.stop().await.unwrap();
    assert!(!is_running(apiserver) && !is_running(etcd));
}

#[tokio::test]
async fn tests_with_namespaces_of_their_own_share_one_control_plane() {
    let (first, second) = (shared().namespace("a").await, shared().namespace("a").await);
    assert_ne!(first, second);
    let path = format!("/api/v1/namespaces/{first}/configmaps");
    let api = shared().api();
    api.create(&path, &config_map("one")).await;
    assert_eq!(api.list(&path).await.len(), 1);
    api.delete(&format!("{path}/one")).await;
    assert!(api.find(&format!("{path}/one")).await.is_none());
}

/// Another process of this very test plays the test run that is killed: it starts a server and waits.
#[tokio::test]
async fn servers_end_with_a_process_that_is_killed() {
    let scratch = Scratch::new();
    if let Some(file) = std::env::var_os("CKBACKUP_SELFTEST_PID") {
        let server = S3Server::start(&scratch).await;
        std::fs::write(file, format!("{}\n", server.pid())).unwrap();
        return std::future::pending().await;
    }
    let file = scratch.path().join("pid");
    let this_test = std::thread::current().name().unwrap().to_owned();
    let running = Ckbackup::program(std::env::current_exe().unwrap(), &scratch)
        .args(["--exact", "--nocapture", &this_test])
        .env("CKBACKUP_SELFTEST_PID", &file)
        .envs(super::assets::variables())
        .start()
        .await;
    let pid = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("the server runs", async || pid().ends_with('\n')).await;
    let pid = pid().trim().parse().unwrap();
    assert!(is_running(pid));

    running.signal("KILL");

    eventually("the server is gone", async || !is_running(pid)).await;
    assert_eq!(running.finish().await.killed_by(), Some(9));
}

#[tokio::test]
async fn the_s3_server_creates_only_if_absent_and_keeps_versions() {
    let scratch = Scratch::new();
    let s3 = S3Server::start(&scratch).await;
    let root = s3.root();
    s3.create_bucket("versions", BucketKind::Versioned).await;
    let absent = || headers(&[("if-none-match", "*")]);

    let first = s3.send(root, Method::PUT, "/versions/a/b", absent(), "first").await;
    assert_eq!(first.status, 200, "{}", first.text());
    let refused = s3.send(root, Method::PUT, "/versions/a/b", absent(), "second").await;
    assert_eq!(refused.status, 412, "{}", refused.text());
    let second = s3.send(root, Method::PUT, "/versions/a/b", HeaderMap::new(), "second").await;
    assert_ne!(first.version().unwrap(), second.version().unwrap());

    let path = format!("/versions/a/b?versionId={}", first.version().unwrap());
    let read = s3.send(root, Method::GET, &path, HeaderMap::new(), "").await;
    assert_eq!(read.text(), "first");
    assert_eq!(std::fs::read(s3.file("versions", "a/b")).unwrap(), b"second");
}

#[tokio::test]
async fn the_s3_server_gives_multipart_uploads_a_version() {
    let scratch = Scratch::new();
    let s3 = S3Server::start(&scratch).await;
    s3.create_bucket("versions", BucketKind::Versioned).await;
    let send = async |method, path: &str, body: Vec<u8>| s3.send(s3.root(), method, path, HeaderMap::new(), body).await;

    let begun = send(Method::POST, "/versions/big?uploads=", vec![]).await.text();
    let upload = begun.split_once("<UploadId>").unwrap().1.split_once('<').unwrap().0.to_owned();
    let mut parts = String::new();
    for (number, body) in [(1, vec![b'x'; 5 << 20]), (2, b"tail".to_vec())] {
        let part = send(Method::PUT, &format!("/versions/big?partNumber={number}&uploadId={upload}"), body).await;
        let etag = part.headers["etag"].to_str().unwrap().to_owned();
        parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let complete = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let done = send(Method::POST, &format!("/versions/big?uploadId={upload}"), complete.into()).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let head = send(Method::HEAD, "/versions/big", vec![]).await;
    assert_eq!(done.version().unwrap(), head.version().unwrap());
}

#[tokio::test]
async fn the_s3_server_does_not_delete_what_is_locked() {
    let scratch = Scratch::new();
    let s3 = S3Server::start(&scratch).await;
    s3.create_bucket("locked", BucketKind::Locked).await;
    let until = headers(&[
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z"),
    ]);
    let put = s3.send(s3.root(), Method::PUT, "/locked/a", until, "kept").await;
    assert_eq!(put.status, 200, "{}", put.text());
    let version = format!("/locked/a?versionId={}", put.version().unwrap());
    let deleted = s3.send(s3.root(), Method::DELETE, &version, HeaderMap::new(), "").await;
    assert_eq!(deleted.status, 403, "{}", deleted.text());
}

#[tokio::test]
async fn the_s3_server_refuses_what_a_user_is_not_allowed() {
    let scratch = Scratch::new();
    let s3 = S3Server::start(&scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let job = s3.create_user(&scratch, "job").await;
    let status = async |method| s3.send(&job, method, "/vault/a", HeaderMap::new(), "x").await.status;

    assert_eq!(status(Method::PUT).await, 403);
    s3.allow("vault", &[(&job, &["s3:PutObject", "s3:GetObject", "s3:ListBucket"])]).await;
    assert_eq!(status(Method::PUT).await, 200);
    assert_eq!(status(Method::GET).await, 200);
    assert_eq!(status(Method::DELETE).await, 403);
}

/// A signed request through the proxy is still accepted, so nothing in it was changed.
#[tokio::test]
async fn the_proxy_forwards_signed_requests_and_fails_those_it_is_told_to() {
    let scratch = Scratch::new();
    let s3 = S3Server::start(&scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let proxy = FaultProxy::plain(s3.endpoint(), |seen| match seen.number {
        2 => Action::too_many_requests(7),
        3 => Action::DropBefore,
        4 => Action::DropAfter,
        5 => Action::CutBody(3),
        _ => Action::Forward,
    });
    let client = S3Client::new(proxy.url());
    let send = async |method, key: &str| {
        client.send(s3.root(), method, &format!("/vault/{key}"), HeaderMap::new(), "content").await
    };
    let put = async |key| send(Method::PUT, key).await;

    assert_eq!(put("forwarded").await.unwrap().status, 200);
    let slow = put("refused").await.unwrap();
    assert_eq!((slow.status, slow.headers["retry-after"].to_str().unwrap()), (429, "7"));
    assert!(put("before").await.is_err());
    assert!(put("after").await.is_err());
    assert!(send(Method::GET, "forwarded").await.is_err());
    let there = ["forwarded", "refused", "before", "after"].map(|key| s3.file("vault", key).exists());
    assert_eq!(there, [true, false, false, true]);
    assert_eq!((proxy.seen().len(), proxy.count("PUT", "/vault/")), (5, 4));
}

#[tokio::test]
async fn the_proxy_stands_before_the_api_server() {
    let namespace = shared().namespace("proxied").await;
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, |seen| match seen.path.as_str() {
        "/gone" => Action::kubernetes_status(410, "Expired", "the continue token is too old"),
        "/hangs" => Action::Hang,
        _ => Action::Forward,
    });
    let api = Api::new(proxy.url(), &shared().token, proxy.ca_pem().unwrap());
    api.create(&format!("/api/v1/namespaces/{namespace}/configmaps"), &config_map("through")).await;
    assert_eq!(api.list(&format!("/api/v1/namespaces/{namespace}/configmaps")).await.len(), 1);
    assert_eq!(api.send(reqwest::Method::GET, "/gone", None).await.0, 410);
    let hanging = api.send(reqwest::Method::GET, "/hangs", None);
    assert!(tokio::time::timeout(Duration::from_millis(300), hanging).await.is_err());
}

#[tokio::test]
async fn an_aggregated_api_can_hang_while_the_others_answer() {
    let scratch = Scratch::new();
    let plane = ControlPlane::start(&scratch, "aggregating").await;
    let api = plane.api();
    let _hanging = serve_aggregated(&api, "hanging.test", |_| Action::Hang).await;

    let widgets = api.send(reqwest::Method::GET, "/apis/hanging.test/v1/widgets", None);
    assert!(tokio::time::timeout(Duration::from_millis(500), widgets).await.is_err());
    assert!(!api.list("/api/v1/namespaces").await.is_empty());
}

#[tokio::test]
async fn a_control_plane_that_does_not_start_says_why() {
    let scratch = Scratch::new();
    let mut options =
        SandboxOptions::new(&super::assets::assets().control_plane, scratch.path().join("broken"), "broken");
    options.extra_apiserver_args = vec!["--no-such-flag".into()];
    let error = Sandbox::start(options.clone()).await.unwrap_err();
    assert!(error.one_line().contains("unknown flag: --no-such-flag"), "{}", error.one_line());
    assert!(error.hint_text().unwrap().contains("kube-apiserver.log"));

    let error = Sandbox::start(options).await.unwrap_err();
    assert!(error.one_line().contains("is not empty"), "{}", error.one_line());
}

#[tokio::test]
async fn a_program_can_be_killed_before_or_after_a_request() {
    let scratch = Scratch::new();
    let s3 = S3Server::start(&scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    for (key, reaches_the_server) in [("before", false), ("after", true)] {
        let pid = Arc::new(AtomicU32::new(0));
        let victim = Arc::clone(&pid);
        let proxy = FaultProxy::plain(s3.endpoint(), move |_| {
            let victim = Arc::clone(&victim);
            let kill: super::fault_proxy::Deed = Box::new(move || signal(victim.load(Ordering::SeqCst), "KILL"));
            if reaches_the_server { Action::After(kill) } else { Action::Before(kill) }
        });
        let path = format!("/vault/{key}");
        let request = S3Client::new(proxy.url()).signed(s3.root(), Method::PUT, &path, HeaderMap::new(), "content");
        let mut curl = Ckbackup::program("curl", &scratch).args(["-sS", "-X", "PUT", "--data-binary", "@-"]);
        for (name, value) in request.headers() {
            curl = curl.arg("-H").arg(format!("{name}: {}", value.to_str().unwrap()));
        }
        let running = curl.arg(request.uri().to_string()).stdin("content").start().await;
        pid.store(running.pid(), Ordering::SeqCst);
        assert_eq!(running.finish().await.killed_by(), Some(9));
        assert_eq!(s3.file("vault", key).exists(), reaches_the_server);
    }
}

#[tokio::test]
async fn a_command_has_an_environment_of_its_own() {
    let scratch = Scratch::new();
    let shown = Ckbackup::program("env", &scratch).env("EXTRA", "1").run().await.expect_success();
    let mut names: Vec<_> = shown.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| *name != "LLVM_PROFILE_FILE");
    names.sort_unstable();
    assert_eq!(names, ["EXTRA", "HOME", "LANG", "NO_COLOR", "PATH", "TMPDIR", "TZ"]);
}

#[tokio::test]
async fn a_command_can_be_interrupted() {
    let scratch = Scratch::new();
    let script = "trap 'echo stopped; exit 130' INT; echo started >ready; while :; do sleep 0.01; done";
    // Tests that were started in the background have inherited that SIGINT is ignored, which a shell cannot change.
    let running = Ckbackup::program("env", &scratch).args(["--default-signal=INT", "sh", "-c", script]).start().await;
    eventually("the command runs", async || scratch.path().join("ready").exists()).await;
    running.signal("INT");
    assert_eq!(running.finish().await.expect(130).stdout, "stopped\n");
}

#[test]
fn the_logs_of_a_failed_test_are_kept() {
    let kept = std::thread::Builder::new()
        .name("harness::a_test_that_fails".into())
        .spawn(|| {
            let scratch = Scratch::new();
            scratch.file("deep/server.log", "what happened");
            panic!("on purpose");
        })
        .unwrap();
    assert!(kept.join().is_err());
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-logs");
    let log = folder.join("harness.a_test_that_fails/deep.server.log");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "what happened");
    std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
}

#[test]
fn the_age_test_vectors_are_all_there() {
    assert_eq!(std::fs::read_dir(&super::assets::assets().age_vectors).unwrap().count(), 143);
}

/// A file that nobody declares is not compiled, and its tests never run.
#[test]
fn every_file_of_tests_is_declared() {
    let it = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for (folder, root) in [(it.clone(), it.join("main.rs")), (it.join("harness"), it.join("harness/mod.rs"))] {
        let declarations = std::fs::read_to_string(&root).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_module =
                path.join("mod.rs").exists() || (path.extension().is_some_and(|e| e == "rs") && path != root);
            let declared = declarations.lines().any(|line| line.trim_start_matches("pub ") == format!("mod {name};"));
            assert!(declared || !is_module, "{} is not declared in {}", path.display(), root.display());
        }
    }
}
