//! A snapshot that is made through Prometheus' admin API, and removed again.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use tokio::task::JoinHandle;

use super::data::Folder;
use crate::endpoint::Endpoint;
use crate::error::{Context, Error, Result};

/// Writing the newest samples into a block takes seconds for a million series.
const TIMEOUT: Duration = Duration::from_secs(600);

/// No run takes so long.
const LONGEST_RUN: SignedDuration = SignedDuration::from_hours(12);

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

/// What came of asking: its name, or none where the admin API is disabled.
struct Asked {
    answer: Result<Option<String>>,
    /// One that was made all the same, when only the answer was lost.
    left: Option<String>,
}

impl Asked {
    /// The one that is there.
    fn made(&self) -> Option<String> {
        self.answer.as_ref().ok().cloned().flatten().or(self.left.clone())
    }
}

impl Snapshot {
    /// Asks for one. Its making goes on when nobody waits for it any more, so that it can be removed.
    pub fn begin(endpoint: Endpoint, data: &Folder, head: bool) -> Snapshot {
        let folder = data.below("snapshots");
        let place = folder.clone();
        let making = tokio::spawn(async move {
            let before = place.names().await;
            let asked = match ask(&endpoint, head).await {
                Ok(answer) => Asked { answer, left: None },
                Err(lost) => {
                    let left = new_one(before, place.names().await);
                    Asked { answer: Err(lost), left }
                }
            };
            if let Some(name) = asked.made() {
                // Should this run be killed, a later one knows by this what to remove.
                let marked = place.below(&name).mark().await;
                marked.unwrap_or_else(|e| tracing::debug!(error = %e.one_line(), "mark a snapshot"));
            }
            asked
        });
        Snapshot { folder, state: State::Making(making) }
    }

    /// The folder with its blocks; none where the admin API is disabled, so that there are no snapshots.
    pub async fn folder(&mut self) -> Result<Option<Folder>> {
        let Some(name) = self.name().await? else { return Ok(None) };
        let folder = self.folder.below(&name);
        if folder.is_there().await? {
            return Ok(Some(folder));
        }
        Err(Error::failed(format!("the snapshot is not in {}", folder.words())).hint(
            "`data` must be the data directory of the very Prometheus that `url` names (its --storage.tsdb.path)",
        ))
    }

    async fn name(&mut self) -> Result<Option<String>> {
        let making = match &mut self.state {
            State::Making(making) => making,
            State::Made(name) => return Ok(Some(name.clone())),
            State::None => return Err(Error::failed("no snapshot was made")),
        };
        let made = making.await;
        // At once: it must not be waited for a second time.
        self.state = made.as_ref().ok().and_then(Asked::made).map_or(State::None, State::Made);
        made.context(|| "make a snapshot".into())?.answer
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

/// Removes what runs have left that were killed. What is younger than a run takes may be of one that is under way.
pub(super) async fn remove_left(data: &Folder, now: Timestamp) {
    let snapshots = data.below("snapshots");
    for name in snapshots.marked().await.unwrap_or_default() {
        if made_at(&name).is_some_and(|at| now.duration_since(at) > LONGEST_RUN) {
            match snapshots.below(&name).remove().await {
                Ok(()) => tracing::info!(snapshot = name, "a run that was killed had left it: it is removed"),
                Err(e) => tracing::warn!(snapshot = name, error = %e.one_line(), "remove what a run has left"),
            }
        }
    }
}

/// Its name begins with the time at which it was made.
fn made_at(name: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", name.split('-').next()?).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp())
}

/// The one that came since, if it is known to be the only one.
fn new_one(before: Option<Vec<String>>, after: Option<Vec<String>>) -> Option<String> {
    let before = before?;
    let mut new = after?.into_iter().filter(|name| !before.contains(name));
    new.next().filter(|_| new.next().is_none())
}

/// An error means that the answer was lost: what came of it is not known.
async fn ask(endpoint: &Endpoint, head: bool) -> Result<Result<Option<String>>> {
    let path = format!("api/v1/admin/tsdb/snapshot?skip_head={}", !head);
    let answer = endpoint.send(Method::POST, &path, &[], TIMEOUT).await?;
    let json = answer.json();
    let said = json["error"].as_str().unwrap_or(answer.body.trim());
    if said.contains("admin APIs disabled") {
        return Ok(Ok(None));
    }
    let name = json["data"]["name"].as_str().filter(|name| is_name(name));
    Ok(match name {
        Some(name) if answer.status == StatusCode::OK => Ok(Some(name.to_string())),
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
    use super::*;

    #[test]
    fn a_name_tells_when_it_was_made() {
        assert_eq!(made_at("20261121T000003Z-6e2a1f0b7c8d9e00"), "2026-11-21T00:00:03Z".parse().ok());
        assert_eq!(made_at("by-hand"), None);
    }

    #[test]
    fn a_name_is_no_path() {
        assert!(is_name("20261121T000003Z-6e2a1f0b7c8d9e00"));
        for bad in ["", "..", "a/b", "/", "a b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
