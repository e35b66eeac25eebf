//! Namespaces of the target that are being deleted: each is waited for once, and then everybody knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::rules::text;
use crate::cluster::{ApiError, Cluster, Retry};

/// How long a namespace may take to be gone. Where its controllers work it takes seconds; where they do not, for ever.
const GONE_WITHIN: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(15);

/// What came of waiting for one; an error says what keeps it.
type Waited = OnceCell<Result<(), String>>;

/// What came of waiting for each.
#[derive(Debug, Default)]
pub struct Terminating(Mutex<HashMap<String, Arc<Waited>>>);

impl Terminating {
    /// Waits until the namespace is gone, or is told why it does not go. Whoever comes later gets the same answer at once.
    pub async fn wait(&self, cluster: &Cluster, namespace: &str) -> Result<(), String> {
        let cell = self.0.lock().await.entry(namespace.into()).or_default().clone();
        cell.get_or_init(|| until_gone(cluster, namespace)).await.clone()
    }
}

async fn until_gone(cluster: &Cluster, namespace: &str) -> Result<(), String> {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let path = format!("/api/v1/namespaces/{namespace}");
        let object: Value = match Retry::brief().run(|| cluster.get(&path, None, TIMEOUT)).await {
            Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
            Err(e) if e.code() == Some(404) => return Ok(()),
            Err(e) => {
                return Err(format!(
                    "namespace {namespace} is being deleted, and cannot be looked at: {}",
                    e.message()
                ));
            }
        };
        if !is_terminating(&object) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let waited = GONE_WITHIN.as_secs();
            return Err(format!(
                "namespace {namespace} is being deleted, and not gone after {waited} s: {}",
                reason(&object)
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a namespace is being deleted.
pub fn is_terminating(namespace: &Value) -> bool {
    !namespace["metadata"]["deletionTimestamp"].is_null()
}

/// What keeps a namespace: what its conditions say, else the finalizers that are left.
pub fn reason(namespace: &Value) -> String {
    let conditions = namespace["status"]["conditions"].as_array();
    let holding = conditions.into_iter().flatten().filter(|c| text(c, "status") == "True");
    let words: Vec<_> = holding.map(|c| format!("{}: {}", text(c, "type"), text(c, "message"))).collect();
    if !words.is_empty() {
        return words.join("; ");
    }
    let of = |list: &Value| list.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect();
    let mut finalizers: Vec<String> = of(&namespace["metadata"]["finalizers"]);
    finalizers.extend::<Vec<String>>(of(&namespace["spec"]["finalizers"]));
    match finalizers.is_empty() {
        true => "it does not say why".into(),
        false => format!("it waits for {}", finalizers.join(", ")),
    }
}

/// The namespace that a write failed for because it is being deleted.
pub fn of_error(error: &ApiError) -> Option<String> {
    let message = error.message();
    let after = |mark: &str| message.split_once(mark).map(|(_, rest)| rest);
    match error.code() {
        // `unable to create new content in namespace shop because it is being terminated`
        Some(403) if message.contains("because it is being terminated") => {
            after("in namespace ")?.split(' ').next().map(String::from)
        }
        // `object is being deleted: namespaces "shop" already exists`
        Some(409) if message.contains("is being deleted") => {
            after("namespaces \"")?.split('"').next().map(String::from)
        }
        _ => None,
    }
}
