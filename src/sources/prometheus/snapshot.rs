//! A snapshot that is made through Prometheus' admin API, and removed again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::task::JoinHandle;

use crate::endpoint::Endpoint;
use crate::error::{Context, Error, Result};

/// Writing the newest samples into a block takes seconds for a million series.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A snapshot, from the moment that it is asked for.
pub(super) struct Snapshot {
    data: PathBuf,
    /// Those that were there before it.
    before: Vec<String>,
    state: State,
}

enum State {
    Making(JoinHandle<Result<String>>),
    Made(String),
    Failed,
}

impl Snapshot {
    /// Asks for one. Its making goes on when nobody waits for it any more, so that it can be removed.
    pub fn begin(endpoint: Endpoint, data: PathBuf, head: bool) -> Snapshot {
        let before = snapshots(&data);
        Snapshot { data, before, state: State::Making(tokio::spawn(async move { ask(&endpoint, head).await })) }
    }

    /// The folder with its blocks.
    pub async fn folder(&mut self) -> Result<PathBuf> {
        let name = self.name().await?;
        let folder = folder(&self.data, &name);
        if folder.is_dir() {
            return Ok(folder);
        }
        Err(Error::failed(format!("the snapshot is not in {}", folder.display())).hint(
            "`data.path` must be the data directory of the very Prometheus that `url` names (its --storage.tsdb.path)",
        ))
    }

    async fn name(&mut self) -> Result<String> {
        let making = match &mut self.state {
            State::Making(making) => making,
            State::Made(name) => return Ok(name.clone()),
            State::Failed => return Err(Error::failed("no snapshot was made")),
        };
        let made = making.await.context(|| "make a snapshot".into()).and_then(|made| made);
        self.state = made.as_ref().map_or(State::Failed, |name| State::Made(name.clone()));
        made
    }

    /// Removes it from the data directory, where it would keep disk space.
    pub async fn remove(mut self) -> Result<()> {
        let name = match self.name().await {
            Ok(name) => name,
            // Its making may have come to its end all the same, when only the answer was lost.
            Err(_) => match self.made_since().as_slice() {
                [] => return Ok(()),
                [name] => name.clone(),
                several => {
                    return Err(Error::failed(format!(
                        "{} snapshots are new, and which is ours is not known",
                        several.len()
                    ))
                    .hint(format!("look into {}, and remove it by hand", folder(&self.data, "").display())));
                }
            },
        };
        let folder = folder(&self.data, &name);
        let removing = folder.clone();
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(removing)).await;
        match removed.context(|| "remove a snapshot".into())? {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::failed(format!("remove the snapshot {}", folder.display()))
                    .because(e)
                    .hint("remove it by hand: it keeps disk space of blocks that Prometheus has deleted"))
            }
            _ => Ok(()),
        }
    }
}

impl Snapshot {
    fn made_since(&self) -> Vec<String> {
        snapshots(&self.data).into_iter().filter(|name| !self.before.contains(name)).collect()
    }
}

/// The snapshots that are there. None where that cannot be told: then nothing is removed, either.
fn snapshots(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder(data, "")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_name(name)).collect()
}

fn folder(data: &Path, name: &str) -> PathBuf {
    data.join("snapshots").join(name)
}

async fn ask(endpoint: &Endpoint, head: bool) -> Result<String> {
    let path = format!("api/v1/admin/tsdb/snapshot?skip_head={}", !head);
    let answer = endpoint.send(Method::POST, &path, &[], TIMEOUT).await?;
    let json = answer.json();
    let said = json["error"].as_str().unwrap_or(answer.body.trim());
    if said.contains("admin APIs disabled") {
        return Err(Error::failed(format!("{} makes no snapshots: its admin API is disabled", endpoint.shown())).hint(
            "start Prometheus with --web.enable-admin-api; or leave out `url` and accept with `head: false` that the \
             newest hours are not in the backup",
        ));
    }
    let name = json["data"]["name"].as_str().filter(|name| is_name(name));
    match name {
        Some(name) if answer.status == StatusCode::OK => Ok(name.to_string()),
        _ => Err(Error::failed(format!("{} made no snapshot: {} {said}", endpoint.shown(), answer.status))
            .hint("check that `url` is a Prometheus, and its log")),
    }
}

/// It becomes part of a path that is removed in the end.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_is_no_path() {
        assert!(is_name("20261121T000003Z-6e2a1f0b7c8d9e00"));
        for bad in ["", "..", "a/b", "/", "a b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
