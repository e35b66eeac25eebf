//! Kubernetes Events, as objects. What they say is decided elsewhere.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::lease::{LeasePlace, micro_time};
use super::{ApiError, Call, Cluster, Retry};

/// Nobody waits long for an event to be written.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest note that the API server takes; bytes.
const LONGEST_NOTE: usize = 1024;

/// The longest name of a reporter that it takes.
const LONGEST_REPORTER: usize = 128;

/// Whether an event is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It is.
    Normal,
    /// Somebody should look.
    Warning,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        }
    }
}

/// One event about a lease: the object that stands for the runs of a cluster, inside of pods and outside.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// The lease.
    pub about: &'a LeasePlace,
    /// Uid of the lease; empty where there is none yet. `kubectl describe` looks by it.
    pub uid: &'a str,
    /// Whether somebody should look.
    pub kind: EventKind,
    /// What happened, in one word: `BackupCompleted`.
    pub reason: &'a str,
    /// What was being done, in one word: `Backup`.
    pub action: &'a str,
    /// What happened, in a sentence. A longer one than the server takes is cut.
    pub note: &'a str,
    /// Which process says so: a pod or a host.
    pub reporter: &'a str,
    /// Makes the name unique.
    pub unique: &'a str,
}

impl Cluster {
    /// Writes an event.
    pub async fn write_event(&self, event: &Event<'_>, now: Timestamp) -> Result<(), ApiError> {
        let LeasePlace { namespace, name } = event.about;
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let mut regarding = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "namespace": namespace, "name": name,
        });
        if !event.uid.is_empty() {
            regarding["uid"] = event.uid.into();
        }
        let object = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{name}.{}", event.unique)},
            "eventTime": micro_time(now),
            "reportingController": "ckbackup.io/ckbackup",
            "reportingInstance": cut(event.reporter, LONGEST_REPORTER),
            "type": event.kind.as_str(), "reason": event.reason, "action": event.action,
            "note": cut(event.note, LONGEST_NOTE),
            "regarding": regarding,
        });
        let body = Bytes::from(object.to_string());
        let path = format!("{collection}?fieldManager={}", super::objects::FIELD_MANAGER);
        let attempt = || {
            let content = Some(("application/json", body.clone()));
            self.send(Call { method: http::Method::POST, content, ..Call::get(&path, TIMEOUT) })
        };
        match Retry::brief().run(attempt).await {
            // The answer to the first try was lost.
            Err(e) if e.code() == Some(409) => Ok(()),
            written => written.map(drop),
        }
    }
}

/// At most so many bytes of a text, and whole characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        assert_eq!(cut("zwölf", 9), "zwölf");
        assert_eq!(cut("zwölf", 3), "zw");
        assert_eq!(cut("zwölf", 4), "zwö");
    }
}
