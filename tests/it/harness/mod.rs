//! What the tests run against: the built binary, real servers as child processes, and a proxy that makes them fail.
//!
//! Every server belongs to the test that started it, listens on a free port, keeps its data in that test's [`Scratch`]
//! folder and ends with the test process, even when that is killed. The logs of a failed test are kept.

// Tests unwrap: a panic is how they fail. And not every helper has a user in every state of the tests.
#![allow(clippy::unwrap_used, dead_code, unused_imports)]

pub mod aggregated;
pub mod alertmanager;
pub mod api;
pub mod assets;
pub mod azure;
pub mod browser;
pub mod command;
pub mod control_plane;
pub mod exec;
pub mod fast_clock;
pub mod fault_proxy;
pub mod node;
pub mod prometheus;
mod proxy_front;
mod proxy_upstream;
pub mod s3;
pub mod s3_client;
pub mod scratch;
pub mod search;
mod selftest;
pub mod web;

pub use aggregated::{register_group, serve_aggregated};
pub use api::Api;
pub use azure::AzureServer;
pub use browser::Page;
pub use command::{Ckbackup, Finished, Running};
pub use control_plane::ControlPlane;
pub use fault_proxy::{Action, FaultProxy, Seen};
pub use node::{Node, shared_node};
pub use prometheus::Prometheus;
pub use s3::{BucketKind, S3Server};
pub use s3_client::{Credentials, S3Client};
pub use scratch::Scratch;
pub use search::{Search, SearchServer, search};

/// How long a test waits for anything before it fails: long enough for a busy machine, short enough to notice.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(150);

/// Polls until `condition` holds, and fails the test with `what` when it does not in time.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not in {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
