//! `kill -9` at any moment leaves a whole backup or none, and the next backup is taken as if nothing had been.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::json;

use crate::harness::command::signal;
use crate::harness::fault_proxy::Deed;
use crate::harness::{Action, BucketKind, FaultProxy, PATIENCE, S3Server};
use crate::vault_stage::{CLUSTER, Place, Stage, add_large_secrets, files};

/// How many runs are under way at the same time.
const AT_ONCE: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_call_of_the_storage_leaves_a_whole_backup_or_none() {
    let stage = small_stage().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Plain).await;
    let counting = FaultProxy::plain(s3.endpoint(), |_| Action::Forward);
    stage.back_up(&Place::through(counting.url(), s3.root(), "vault/whole")).await;
    let calls = counting.seen().len();
    assert!(calls >= 8, "README, configuration, segment, index, signature, manifest, and reads between them: {calls}");
    let seen = counting.seen();
    let commit = seen.iter().rposition(|call| call.is("PUT", "/manifest.json")).unwrap() + 1;
    let after = &seen[commit..];
    let of_record = after.iter().all(|call| call.is("PUT", "/records/"));
    assert!(
        after.len() == 2 && of_record,
        "after the commit comes only its record, and the signature of that: {after:?}"
    );
    // The segment goes in parts: each begin, part and end of an upload is one of the calls.
    for (method, query) in [("POST", "uploads"), ("PUT", "partNumber=2"), ("POST", "uploadId=")] {
        assert!(counting.count(method, query) > 0, "{method} {query}");
    }

    let cases = (1..=calls).flat_map(|call| [(call, false), (call, true)]);
    let committed: Vec<_> =
        stream::iter(cases).map(|case| kill_at(&stage, &s3, case)).buffered(AT_ONCE).collect().await;

    // Only from the moment on at which the manifest was written, there is a backup.
    let expected: Vec<_> = (1..=calls).flat_map(|call| [call > commit, call >= commit]).collect();
    assert_eq!(committed, expected);
}

/// Kills a run before or after its n-th request is handled; says whether it was committed.
async fn kill_at(stage: &Stage, s3: &S3Server, (call, handled): (usize, bool)) -> bool {
    let path = format!("vault/killed-{call}-{handled}");
    let pid = Arc::new(AtomicU32::new(0));
    let victim = Arc::clone(&pid);
    let proxy = FaultProxy::plain(s3.endpoint(), move |seen| {
        let victim = Arc::clone(&victim);
        let kill: Deed = Box::new(move || signal(known(&victim), "KILL"));
        match (seen.number == call, handled) {
            (false, _) => Action::Forward,
            (true, false) => Action::Before(kill),
            (true, true) => Action::After(kill),
        }
    });
    let running = stage.backup_by("killed", &Place::through(proxy.url(), s3.root(), &path)).start().await;
    pid.store(running.pid(), Ordering::SeqCst);
    let killed = running.finish().await;
    assert_eq!(killed.killed_by(), Some(9), "{path}: {killed}");
    whole_or_none(stage, &Place::bucket(s3, &path)).await
}

/// The program may ask before its id is known here.
fn known(pid: &AtomicU32) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match pid.load(Ordering::SeqCst) {
            0 => assert!(Instant::now() < deadline, "the program was started"),
            pid => return pid,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_leaves_a_whole_backup_in_a_folder_or_none() {
    let stage = small_stage().await;
    let begin = Instant::now();
    stage.back_up(&Place::folder(&stage.scratch.folder("measured"))).await;
    let whole = begin.elapsed();

    // Spread over the time that a run takes, and a little more.
    let moments = (1..=16).map(|n| When::After(whole.mul_f64(f64::from(n) / 14.0)));
    // Where the storage is busy: each time that something else is there.
    let changes = (1..=16).map(When::Change);
    let results: Vec<_> = stream::iter(moments.chain(changes).enumerate())
        .map(|(number, when)| kill_when(&stage, number, when))
        .buffered(AT_ONCE)
        .collect()
        .await;

    let killed: Vec<_> = results.iter().filter(|(killed, _)| *killed).collect();
    // Half of them by what stood in the folder; the others depend on how busy the machine is.
    assert!(killed.len() >= 6, "too few runs were killed: {results:?}");
    assert!(killed.iter().any(|(_, committed)| !committed), "{results:?}");
}

#[derive(Debug, Clone, Copy)]
enum When {
    After(Duration),
    Change(usize),
}

/// Whether the run was killed, and whether it was committed.
async fn kill_when(stage: &Stage, number: usize, when: When) -> (bool, bool) {
    let folder = stage.scratch.folder(&format!("killed-{number}"));
    let place = Place::folder(&folder);
    let running = stage.backup_by("killed", &place).start().await;
    let pid = running.pid();
    match when {
        When::After(time) => tokio::time::sleep(time).await,
        When::Change(count) => {
            tokio::task::spawn_blocking(move || wait_for_changes(&folder, pid, count)).await.unwrap()
        }
    }
    running.signal("KILL");
    let ended = running.finish().await;
    let killed = ended.killed_by() == Some(9);
    assert!(killed || ended.code() == Some(0), "{ended}");
    (killed, whole_or_none(stage, &place).await)
}

fn wait_for_changes(folder: &std::path::Path, pid: u32, count: usize) {
    let mut states = HashSet::new();
    while states.len() <= count && crate::harness::command::is_running(pid) {
        states.insert(files(folder));
    }
}

/// Every backup in the vault verifies, and the next one is taken. Says whether the killed one is a backup.
async fn whole_or_none(stage: &Stage, place: &Place) -> bool {
    let next = stage.back_up_by("next", place).await;
    let all = stage.ckbackup(place).args(["verify", "--all", "--cluster", CLUSTER, "-o", "json"]).run().await;
    let report = all.expect_success().json();
    let verified: Vec<_> = report["backups"].as_array().unwrap().iter().map(|b| b["id"].clone()).collect();
    let listed: Vec<_> = stage.list(place).await.iter().map(|row| row["id"].clone()).collect();
    assert_eq!(verified, listed);
    assert!(verified.contains(&json!(next)));
    assert!(
        report["backups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|b| b["members"] == OBJECTS + CONFIGURATION && b["strays"] == json!([]))
    );
    match verified.len() {
        1 => false,
        2 => true,
        _ => panic!("{report}"),
    }
}

/// The schedule, the restore plans, the runbooks.
const CONFIGURATION: usize = 3;

/// Secrets of a small stage.
const OBJECTS: usize = 7;

/// Few objects, so that a run is short, and large, so that their segment is sent in more than one part.
async fn small_stage() -> Stage {
    let stage = Stage::empty().await;
    add_large_secrets(&stage.namespace, OBJECTS).await;
    stage
}
