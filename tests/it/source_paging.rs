//! Lists in pages, through a proxy that makes them fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::backup_cluster::MANY;
use super::backup_rig::{Rig, Saved, loaded, raw_items};
use super::harness::{Action, FaultProxy, Seen};

/// Lists of config maps and of nothing else.
const LIST: &str = "/api/v1/configmaps?";

fn proxy(decide: impl Fn(&Seen) -> Action + Send + Sync + 'static) -> FaultProxy {
    FaultProxy::tls(&loaded().server, &loaded().ca_pem, decide)
}

fn is_first_page(seen: &Seen) -> bool {
    seen.is("GET", LIST) && !seen.path.contains("continue=")
}

fn is_later_page(seen: &Seen) -> bool {
    seen.is("GET", LIST) && seen.path.contains("continue=")
}

/// So many lists of other types come before a busy server has time for the one.
const OTHERS: usize = 20;

/// Counts what a closure of a proxy sees.
#[derive(Default)]
struct Counter(Mutex<HashMap<String, usize>>);

impl Counter {
    /// How often this was counted, now included.
    fn count(&self, what: &str) -> usize {
        let mut counts = self.0.lock().unwrap();
        let count = counts.entry(what.into()).or_default();
        *count += 1;
        *count
    }
}

async fn take(proxy: &FaultProxy, scope: Value, code: i32) -> Saved {
    let rig = Rig::new();
    let run = rig.backup(&rig.through(proxy, &loaded().token), scope).run().await;
    rig.open(&run.expect(code))
}

/// All config maps, as often as the server has them. The opt-out label is on one of `many` and one of `billing`.
async fn assert_all_config_maps(saved: &Saved) {
    let mut expected = raw_items(&loaded().api(), "/api/v1/configmaps").await;
    assert!(expected.remove("many/map-000").is_some() && expected.remove("billing/kept-out").is_some());
    let saved_names = saved.names("configmaps");
    // The two longest names are shortened in their paths.
    let short: Vec<_> = saved_names.iter().filter(|name| !name.contains('~')).cloned().collect();
    expected.retain(|name, _| name.len() < 250);
    assert_eq!(short, expected.into_keys().collect::<Vec<_>>());
    assert_eq!(saved_names.len(), short.len() + 2);
    assert_eq!(saved.of_type("configmaps")["count"].as_u64().unwrap(), saved_names.len() as u64);
    let left_out = saved.skipped("configmaps");
    assert_eq!(left_out.iter().map(|(_, count)| count.unwrap()).collect::<Vec<_>>(), [2], "{left_out:?}");
}

fn config_maps(page_size: u32) -> Value {
    json!({"pageSize": page_size, "resources": {"include": ["configmaps"]}})
}

#[tokio::test]
async fn a_list_is_read_in_pages_of_the_size_that_the_schedule_says() {
    let proxy = proxy(|_| Action::Forward);
    let saved = take(&proxy, config_maps(30), 0).await;
    assert_all_config_maps(&saved).await;
    let pages = proxy.count("GET", LIST);
    assert!(pages >= MANY.div_ceil(30));
    assert_eq!(saved.of_type("configmaps")["pages"], pages);
    assert_eq!(proxy.count("GET", "limit=30"), pages);
}

#[tokio::test]
async fn an_expired_continue_token_leads_to_neither_doubles_nor_gaps() {
    let counter = Counter::default();
    let proxy = proxy(move |seen| {
        if is_later_page(seen) && counter.count("later") == 2 {
            return Action::kubernetes_status(410, "Expired", "The provided continue parameter is too old");
        }
        Action::Forward
    });
    let saved = take(&proxy, config_maps(50), 0).await;
    assert_all_config_maps(&saved).await;
    assert_eq!(saved.manifest["status"], "complete");
    assert_eq!(saved.of_type("configmaps")["restarts"], 1);
    assert_eq!(proxy.seen().iter().filter(|seen| is_first_page(seen)).count(), 2);
}

#[tokio::test]
async fn a_list_whose_token_expires_for_ever_is_partial_and_says_so() {
    let proxy = proxy(|seen| match is_later_page(seen) {
        true => Action::kubernetes_status(410, "Expired", "The provided continue parameter is too old"),
        false => Action::Forward,
    });
    let saved = take(&proxy, config_maps(100), 3).await;
    assert_eq!(saved.problem("configmaps").unwrap(), "The provided continue parameter is too old");
    assert_eq!(saved.of_type("configmaps")["restarts"], 5);
    // What was read is there, each object once.
    assert_eq!(saved.names("configmaps").len() as u64, saved.of_type("configmaps")["count"].as_u64().unwrap());
    assert!(!saved.names("configmaps").is_empty());
}

/// The others go on meanwhile: with room for two types at a time, one that waits holds up nobody.
#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says_and_other_types_go_on() {
    let times: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    let noted = Arc::clone(&times);
    let proxy = proxy(move |seen| {
        let mut noted = noted.lock().unwrap();
        noted.push((Instant::now(), seen.path.clone()));
        let others = noted.iter().filter(|(_, path)| path.contains("?limit=") && !path.starts_with(LIST)).count();
        match is_first_page(seen) && others <= OTHERS {
            true => Action::too_many_requests(2),
            false => Action::Forward,
        }
    });
    let saved = take(&proxy, json!({"parallelism": 2}), 0).await;
    assert_all_config_maps(&saved).await;

    let times = times.lock().unwrap();
    let asked: Vec<_> = (0..times.len()).filter(|i| times[*i].1.starts_with(LIST)).collect();
    let waited = times[asked[1]].0 - times[asked[0]].0;
    assert!(waited >= Duration::from_secs(2), "asked again after {waited:?}");
    let first = &times[asked[0]].1;
    assert!(asked.iter().filter(|i| times[**i].1 == *first).count() > 1, "it was asked again: {times:?}");
}

#[tokio::test]
async fn pages_can_be_as_small_as_one_likes() {
    let proxy = proxy(|_| Action::Forward);
    let only = json!({"include": ["secrets", "deployments.apps"]});
    for size in [1, 2, 4] {
        let saved = take(&proxy, json!({"pageSize": size, "resources": only}), 0).await;
        assert_eq!((saved.names("secrets").len(), saved.names("deployments.apps").len()), (4, 4), "{size}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_until_everything_is_there() {
    let counter = Arc::new(Counter::default());
    let counted = Arc::clone(&counter);
    let proxy = proxy(move |seen| {
        let path = seen.path.split('?').next().unwrap();
        match (path.rsplit('/').next().unwrap(), counted.count(path)) {
            ("version", 1) => Action::status(503),
            ("kube-system", 1) => Action::too_many_requests(0),
            ("apis", 1) => Action::kubernetes_status(503, "ServiceUnavailable", "apiserver is shutting down"),
            ("secrets", 1) => Action::kubernetes_status(500, "InternalError", "etcdserver: leader changed"),
            ("deployments", 1 | 2) => Action::kubernetes_status(503, "ServiceUnavailable", "not now"),
            ("services", 1) => Action::status(502),
            ("namespaces", 1) => Action::DropBefore,
            ("clusterroles", 1) => Action::DropAfter,
            ("configmaps", 1) => Action::CutBody(1000),
            // Behind the continue token, by which the next page was asked for already.
            ("configmaps", 3 | 5) => Action::CutBody(6000),
            _ => Action::Forward,
        }
    });
    let saved = take(&proxy, json!({"pageSize": 50}), 0).await;
    assert_eq!(saved.manifest["status"], "complete");
    assert!(saved.manifest["clusterUid"].is_string());
    assert_all_config_maps(&saved).await;
    assert_eq!(saved.names("namespaces").len(), raw_items(&loaded().api(), "/api/v1/namespaces").await.len());
    let roles = raw_items(&loaded().api(), "/apis/rbac.authorization.k8s.io/v1/clusterroles").await;
    assert_eq!(saved.names("clusterroles.rbac.authorization.k8s.io"), roles.into_keys().collect::<Vec<_>>());
    assert_eq!((saved.names("secrets").len(), saved.names("deployments.apps").len()), (4, 4));
    assert_eq!(counter.count("/apis/apps/v1/deployments") - 1, 3);
}

#[tokio::test]
async fn what_does_not_pass_makes_the_backup_partial_with_the_servers_words() {
    let proxy = proxy(|seen| match seen.path.contains("/deployments?") {
        true => Action::kubernetes_status(500, "InternalError", "unable to transform key: no such key id"),
        false => Action::Forward,
    });
    let rig = Rig::new();
    let kubeconfig = rig.through(&proxy, &loaded().token);
    let run = rig.backup(&kubeconfig, json!({})).run().await.expect(3);
    let saved = rig.open(&run);
    assert_eq!(saved.manifest["status"], "partial");
    assert_eq!(saved.problem("deployments.apps").unwrap(), "unable to transform key: no such key id");
    assert_eq!(saved.problems(), 1);
    assert!(run.stderr.contains("deployments.apps: unable to transform key"), "{}", run.stderr);
    assert!(saved.of_type("deployments.apps").is_null());
    assert_all_config_maps(&saved).await;
}
