//! An API server that is not there, or goes away in the middle.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::backup_rig::{Rig, Saved, loaded};
use super::harness::command::signal;
use super::harness::control_plane::write_kubeconfig;
use super::harness::{Action, ControlPlane, FaultProxy, Finished, Seen};

/// Lists that are answered before the server is lost.
const ANSWERED: usize = 6;

/// At a time; these are under way when the server is lost, and the others must not be begun.
const PARALLELISM: usize = 4;

fn is_list(seen: &Seen) -> bool {
    seen.path.contains("?limit=")
}

/// Answers discovery and some lists, and does with all that comes later as told.
fn losing(server: &str, ca_pem: &str, then: impl Fn() -> Action + Send + Sync + 'static) -> FaultProxy {
    let lists = std::sync::Mutex::new(0);
    FaultProxy::tls(server, ca_pem, move |seen| {
        let mut lists = lists.lock().unwrap();
        *lists += usize::from(is_list(seen));
        if *lists > ANSWERED { then() } else { Action::Forward }
    })
}

/// The types that were asked for.
fn asked(proxy: &FaultProxy) -> usize {
    let lists = proxy.seen().into_iter().filter(is_list);
    lists.map(|seen| seen.path.split('?').next().unwrap().to_string()).collect::<BTreeSet<_>>().len()
}

/// Partial, with a reason for each type, and without asking for each until its tries are used up.
fn assert_partial(rig: &Rig, run: Finished, proxy: &FaultProxy) -> Saved {
    let saved = rig.open(&run.expect(3));
    assert_eq!(saved.manifest["status"], "partial");
    assert!(asked(proxy) <= ANSWERED + PARALLELISM, "{}", asked(proxy));
    let types = saved.record()["types"].as_object().unwrap().len();
    assert!((1..=ANSWERED).contains(&types), "{}", saved.record()["types"]);
    assert!(saved.problems() > 30);
    let problems = saved.record()["problems"].as_array().unwrap();
    let not_asked = problems.iter().filter(|p| p["why"].as_str().unwrap().starts_with("not asked for: https://"));
    assert!(not_asked.count() >= saved.problems() - PARALLELISM, "{problems:?}");
    saved
}

#[tokio::test]
async fn a_server_that_is_down_fails_at_once_in_clear_words() {
    let rig = Rig::new();
    let port = ckbackup::drill::sandbox::free_port().unwrap();
    let server = format!("https://127.0.0.1:{port}");
    let kubeconfig = write_kubeconfig(&rig.scratch, "down", &server, Some(&loaded().ca_pem), "x");
    let begin = Instant::now();
    let run = rig.backup(&kubeconfig, json!({})).run().await.expect(1);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(run.stderr.contains(&format!("reach the Kubernetes API at {server}")), "{}", run.stderr);
    assert!(run.stderr.contains("Connection refused"), "{}", run.stderr);
    assert!(run.stderr.contains("check that the API server is up"), "{}", run.stderr);
    let error = run.json();
    assert_eq!((error["kind"].as_str(), error["exitCode"].as_u64()), (Some("failed"), Some(1)));
    assert!(rig.nothing_was_written());
}

#[tokio::test]
async fn what_is_no_api_server_is_told() {
    let rig = Rig::new();
    let page = || Action::Respond(200, vec![("content-type", "text/html".into())], "<html>hello</html>".into());
    let proxy = FaultProxy::alone(move |_| page());
    let run = rig.backup(&rig.through(&proxy, "x"), json!({})).run().await.expect(1);
    assert!(run.stderr.contains("is not a Kubernetes API server"), "{}", run.stderr);
    assert!(rig.nothing_was_written());
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_leaves_a_partial_backup() {
    let rig = Rig::new();
    let plane = ControlPlane::start(&rig.scratch, "killed").await;
    let (_, apiserver) = plane.sandbox.pids();
    let kill = move || Action::Before(Box::new(move || signal(apiserver, "KILL")));
    let proxy = losing(plane.sandbox.server(), &plane.ca_pem(), kill);
    let kubeconfig = plane.kubeconfig_through(&proxy, &rig.scratch, "killed");
    let begin = Instant::now();
    let backup = rig.backup(&kubeconfig, json!({"parallelism": PARALLELISM, "defaults": false}));
    let run = backup.timeout(Duration::from_secs(150)).run().await;
    let took = begin.elapsed();
    assert_partial(&rig, run, &proxy);
    // As long as a server that restarts is waited for, and a little.
    assert!((30..95).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_server_that_falls_silent_in_the_middle_is_given_up_after_one_time_out() {
    let rig = Rig::new();
    let proxy = losing(&loaded().server, &loaded().ca_pem, || Action::Hang);
    let scope = json!({"parallelism": PARALLELISM, "defaults": false, "requestTimeout": "2s"});
    let begin = Instant::now();
    let run = rig.backup(&rig.through(&proxy, &loaded().token), scope).run().await;
    let took = begin.elapsed();
    let saved = assert_partial(&rig, run, &proxy);
    // Some 60 types, each of which would cost a time-out.
    assert!(took < Duration::from_secs(45), "{took:?}");
    let problems = saved.record()["problems"].as_array().unwrap();
    assert!(problems.iter().any(|p| p["why"] == "no answer within 2s"), "{problems:?}");
}

/// One type that fails is not the server: the others are asked for.
#[tokio::test]
async fn a_list_that_always_breaks_off_does_not_end_the_others() {
    let rig = Rig::new();
    let proxy = FaultProxy::tls(&loaded().server, &loaded().ca_pem, |seen| match seen.path.contains("/secrets?") {
        true => Action::CutBody(10),
        false => Action::Forward,
    });
    let run = rig.backup(&rig.through(&proxy, &loaded().token), json!({"parallelism": 2})).run().await.expect(3);
    let saved = rig.open(&run);
    assert!(saved.problem("secrets").is_some());
    assert_eq!(saved.problems(), 1);
}

#[tokio::test]
async fn a_server_that_is_lost_before_anything_was_read_leaves_no_backup() {
    let rig = Rig::new();
    let proxy = FaultProxy::tls(&loaded().server, &loaded().ca_pem, |seen| match seen.number > 4 {
        true => Action::DropBefore,
        false => Action::Forward,
    });
    let run = rig.backup(&rig.through(&proxy, &loaded().token), json!({"parallelism": 2})).run().await.expect(1);
    assert!(run.stderr.contains("nothing could be read"), "{}", run.stderr);
    assert!(run.stderr.contains("nothing was committed"), "{}", run.stderr);
    assert!(rig.committed().is_empty());
}
