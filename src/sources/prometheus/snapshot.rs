//! A snapshot that is made through Prometheus' admin API, and removed again.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::task::JoinHandle;

use super::data::Folder;
use crate::endpoint::Endpoint;
use crate::error::{Context, Error, Result};

/// Writing the newest samples into a block takes seconds for a million series.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A snapshot, from the moment that it is asked for.
pub(super) struct Snapshot {
    /// Where snapshots are.
    folder: Folder,
    state: State,
}

enum State {
    Making(JoinHandle<Asked>),
    Made(String),
    /// It was refused, or is removed.
    None,
}

/// What came of asking.
struct Asked {
    answer: Result<String>,
    /// One that was made all the same, when only the answer was lost.
    left: Option<String>,
}

impl Snapshot {
    /// Asks for one. Its making goes on when nobody waits for it any more, so that it can be removed.
    pub fn begin(endpoint: Endpoint, data: &Folder, head: bool) -> Snapshot {
        let folder = data.below("snapshots");
        let place = folder.clone();
        let making = tokio::spawn(async move {
            let before = place.names().await;
            match ask(&endpoint, head).await {
                Ok(answer) => Asked { answer, left: None },
                Err(lost) => {
                    let left = new_one(before, place.names().await);
                    Asked { answer: Err(lost), left }
                }
            }
        });
        Snapshot { folder, state: State::Making(making) }
    }

    /// The folder with its blocks.
    pub async fn folder(&mut self) -> Result<Folder> {
        let name = self.name().await?;
        let folder = self.folder.below(&name);
        if folder.is_there().await? {
            return Ok(folder);
        }
        Err(Error::failed(format!("the snapshot is not in {}", folder.words())).hint(
            "`data` must be the data directory of the very Prometheus that `url` names (its --storage.tsdb.path)",
        ))
    }

    async fn name(&mut self) -> Result<String> {
        let making = match &mut self.state {
            State::Making(making) => making,
            State::Made(name) => return Ok(name.clone()),
            State::None => return Err(Error::failed("no snapshot was made")),
        };
        let Asked { answer, left } = making.await.context(|| "make a snapshot".into())?;
        let there = answer.as_ref().ok().cloned().or(left);
        self.state = there.map_or(State::None, State::Made);
        answer
    }

    /// Removes it from the data directory, where it would keep disk space. One that cannot be removed stays known.
    pub async fn remove(&mut self) -> Result<()> {
        // What went wrong with its making was told where it was asked for.
        let _ = self.name().await;
        let State::Made(name) = &self.state else { return Ok(()) };
        let folder = self.folder.below(name);
        folder.remove().await.map_err(|e| {
            e.within(format!("remove the snapshot {}", folder.words()))
                .hint("remove it by hand: it keeps disk space of blocks that Prometheus has deleted")
        })?;
        self.state = State::None;
        Ok(())
    }
}

/// The one that came since, if it is known to be the only one.
fn new_one(before: Option<Vec<String>>, after: Option<Vec<String>>) -> Option<String> {
    let before = before?;
    let mut new = after?.into_iter().filter(|name| !before.contains(name));
    new.next().filter(|_| new.next().is_none())
}

/// An error means that the answer was lost: what came of it is not known.
async fn ask(endpoint: &Endpoint, head: bool) -> Result<Result<String>> {
    let path = format!("api/v1/admin/tsdb/snapshot?skip_head={}", !head);
    let answer = endpoint.send(Method::POST, &path, &[], TIMEOUT).await?;
    let json = answer.json();
    let said = json["error"].as_str().unwrap_or(answer.body.trim());
    if said.contains("admin APIs disabled") {
        let disabled = format!("{} makes no snapshots: its admin API is disabled", endpoint.shown());
        return Ok(Err(Error::failed(disabled).hint(
            "start Prometheus with --web.enable-admin-api; or leave out `url` and accept with `head: false` that the \
             newest hours are not in the backup",
        )));
    }
    let name = json["data"]["name"].as_str().filter(|name| is_name(name));
    Ok(match name {
        Some(name) if answer.status == StatusCode::OK => Ok(name.to_string()),
        _ => Err(Error::failed(format!("{} made no snapshot: {} {said}", endpoint.shown(), answer.status))
            .hint("check that `url` is a Prometheus, and its log")),
    })
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
