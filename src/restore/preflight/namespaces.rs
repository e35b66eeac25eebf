//! Namespaces of the target that are being deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::Obstacle;
use crate::cluster::{Cluster, Retry};
use crate::restore::rules::text;
use crate::restore::terminating::{is_terminating, reason};

const TIMEOUT: Duration = Duration::from_secs(15);

/// Those that the plan writes to. Where namespaces may not be listed, the objects themselves will tell.
pub async fn look(cluster: &Cluster, wanted: &BTreeSet<String>) -> Vec<Obstacle> {
    let answer = Retry::brief().run(|| cluster.get("/api/v1/namespaces", None, TIMEOUT)).await;
    let list: Value = answer.map(|body| serde_json::from_slice(&body).unwrap_or_default()).unwrap_or_default();
    let all = list["items"].as_array().into_iter().flatten();
    let going = all.filter(|object| wanted.contains(text(&object["metadata"], "name")) && is_terminating(object));
    going.map(obstacle).collect()
}

fn obstacle(namespace: &Value) -> Obstacle {
    let what = format!("namespace {} is being deleted: {}", text(&namespace["metadata"], "name"), reason(namespace));
    Obstacle::fails(
        what,
        "see that it goes, or map it to another name; it is waited for once, and then its objects fail",
    )
}
