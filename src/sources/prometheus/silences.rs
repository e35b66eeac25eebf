//! The silences of an Alertmanager: saved, and read again.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::HttpServer;
use crate::endpoint::{Content, Endpoint};
use crate::error::{Context, Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::{Batch, Member, Traits};
use crate::progress::Progress;
use crate::sources::{Unit, in_time};

/// Where they stand in an archive.
pub const SILENCES: &str = "silences.json";

const PATH: &str = "api/v2/silences";

const TIMEOUT: Duration = Duration::from_secs(60);

/// More than all silences are, in bytes.
const MOST: usize = 64 << 20;

/// One silence, as the API gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence(Map<String, Value>);

/// What makes two silences the same: matchers, begin, end, creator and comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    matchers: Vec<(String, String, bool, bool)>,
    begin: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    creator: String,
    comment: String,
}

impl Silence {
    /// Reads a list of them.
    pub fn read_all(text: &[u8]) -> Result<Vec<Silence>> {
        let all: Vec<Map<String, Value>> = serde_json::from_slice(text).context(|| "read silences".into())?;
        Ok(all.into_iter().map(Silence).collect())
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The id that its Alertmanager gave it.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    fn is_expired(&self) -> bool {
        self.0.get("status").is_some_and(|status| status["state"] == "expired")
    }

    /// What it means at a time: one that has begun by then begins there, as an Alertmanager takes it.
    pub fn meaning(&self, now: Timestamp) -> Result<Meaning> {
        let time = |key: &str| -> Result<Timestamp> {
            self.text(key).parse().context(|| format!("read {key} of silence {}", self.id()))
        };
        let listed = self.0.get("matchers").and_then(Value::as_array);
        let mut matchers: Vec<_> = listed.into_iter().flatten().map(matcher).collect();
        matchers.sort();
        let (creator, comment) = (self.text("createdBy").into(), self.text("comment").into());
        Ok(Meaning { matchers, begin: time("startsAt")?.max(now), end: time("endsAt")?, creator, comment })
    }

    /// As a new one is given to an Alertmanager.
    fn as_new(&self) -> Value {
        let known = |key: &str| !["id", "status", "updatedAt"].contains(&key);
        Value::Object(self.0.iter().filter(|(key, _)| known(key)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

/// Name, value, whether the value is a pattern, and whether it must match.
fn matcher(matcher: &Value) -> (String, String, bool, bool) {
    let text = |key: &str| matcher[key].as_str().unwrap_or_default().to_string();
    (text("name"), text("value"), matcher["isRegex"] == true, matcher["isEqual"] != false)
}

/// An Alertmanager.
pub struct Alertmanager {
    endpoint: Endpoint,
}

impl Alertmanager {
    /// Prepares requests to it.
    pub fn new(server: &HttpServer) -> Result<Alertmanager> {
        Ok(Alertmanager { endpoint: Endpoint::new(&server.url, &server.access)? })
    }

    /// For people.
    pub fn shown(&self) -> &str {
        self.endpoint.shown()
    }

    /// All that are active or pending, and how many are expired.
    pub async fn silences(&self) -> Result<(Vec<Silence>, u64)> {
        let answer = self.endpoint.send(Method::GET, PATH, &[], TIMEOUT).await?;
        if answer.status != StatusCode::OK {
            let said = format!("{} {}", answer.status, answer.body.trim());
            return Err(Error::failed(format!("{} gave no silences: {said}", self.shown()))
                .hint("check that `url` is an Alertmanager (0.16 or newer)"));
        }
        let all = Silence::read_all(answer.body.as_bytes())?;
        let (expired, mut living): (Vec<_>, Vec<_>) = all.into_iter().partition(Silence::is_expired);
        living.sort_by(|a, b| a.id().cmp(b.id()));
        Ok((living, expired.len() as u64))
    }

    /// Makes a silence.
    pub async fn add(&self, silence: &Silence) -> Result<()> {
        let content = Content { media_type: "application/json", bytes: silence.as_new().to_string().into() };
        let reply = self.endpoint.exchange(Method::POST, PATH, Some(content), TIMEOUT, MOST).await?;
        match reply.status {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => Err(self.endpoint.refused_log_in()),
            status => Err(Error::failed(format!("{status} {}", String::from_utf8_lossy(&reply.body).trim()))),
        }
    }
}

/// All silences of one Alertmanager.
pub(super) struct SilencesUnit {
    pub name: String,
    pub alertmanager: Alertmanager,
}

#[async_trait]
impl Unit for SilencesUnit {
    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let mut inventory = Inventory::default();
        let (silences, expired) = match in_time(stop, self.alertmanager.silences()).await {
            Ok(read) => read,
            Err(e) => {
                let why = e.one_line();
                inventory.lost = Some(why.clone());
                inventory.problems.push(Omission { what: "silences".into(), why, count: None });
                return Ok(inventory);
            }
        };
        if expired > 0 {
            inventory.skipped.push(Omission { what: "silences".into(), why: "expired".into(), count: Some(expired) });
        }
        let all: Vec<_> = silences.into_iter().map(|silence| json!(silence.0)).collect();
        let text = serde_json::to_vec_pretty(&all).context(|| "write silences".into())?;
        (inventory.items, inventory.bytes) = (1, text.len() as u64);
        progress.advance(&self.name, 1, inventory.bytes);
        let member = Member::whole(SILENCES, vec![text.into()], Traits::default());
        let sent = out.send(Batch { members: vec![member] }).await;
        sent.map(|()| inventory).map_err(|_| Error::failed("the archive is gone"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(start: &str, matchers: Value) -> Silence {
        let all = json!([{"id": "1", "status": {"state": "active"}, "updatedAt": start, "startsAt": start,
            "endsAt": "2026-11-27T00:00:00.000Z", "createdBy": "me", "comment": "work", "matchers": matchers}]);
        Silence::read_all(all.to_string().as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn what_has_begun_is_the_same_whenever_it_began() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let two = json!([{"name": "a", "value": "1", "isRegex": false}, {"name": "b", "value": ".*", "isRegex": true}]);
        let turned = json!([{"name": "b", "value": ".*", "isRegex": true, "isEqual": true},
            {"name": "a", "value": "1", "isRegex": false, "isEqual": true}]);
        let one = silence("2026-11-26T10:00:00Z", two.clone());
        let meaning = |silence: &Silence| silence.meaning(now).unwrap();
        assert_eq!(meaning(&one), meaning(&silence("2026-11-26T11:59:59.999Z", turned)));
        assert_ne!(meaning(&one), meaning(&silence("2026-11-26T13:00:00Z", two)));
        assert_ne!(meaning(&one), meaning(&silence("2026-11-26T10:00:00Z", json!([]))));
        assert!(one.as_new().get("id").is_none() && one.as_new()["comment"] == "work");
    }
}
