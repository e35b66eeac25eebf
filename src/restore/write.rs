//! Writes one object: creates it, or decides what to do with the one that is there.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::apply::EXISTS;
use super::limit::{LONGEST_PAUSE, Limiter, Place};
use super::met::Met;
use super::rules::{Facts, normalise};
use super::same::differences;
use super::summary::Outcome;
use super::terminating::{self, Terminating};
use crate::cluster::list::Item;
use crate::cluster::{ApiError, Cause, Cluster, Retry};
use crate::config::Conflict;

/// How long a write that may pass is tried again. Webhooks and quotas come up within seconds where they come up.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// How long a server that says that it is too busy is believed.
const PATIENCE_WITH_BUSY: Duration = Duration::from_secs(600);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Paths of one differing object that are named.
const PATHS_NAMED: usize = 3;
/// Where owner references stand, as differences name it.
const OWNERS: &str = ".metadata.ownerReferences";

/// An object that is fit to be written.
pub struct Fitted<'a> {
    /// Path of its collection.
    pub collection: String,
    /// Its name.
    pub name: String,
    /// The object.
    pub object: Value,
    /// The status to write after it, where the plan names its kind.
    pub status: Option<Value>,
    /// For comparing it with the one that is there.
    pub facts: Facts<'a>,
    /// Whether its owner references come later; then they are not compared.
    pub owners_to_come: bool,
}

impl Fitted<'_> {
    fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }
}

/// What came of a write.
pub struct Written {
    /// The outcome.
    pub outcome: Outcome,
    /// The uid in the target, where the object is there.
    pub uid: Option<String>,
    /// Whether it was there, and has a status.
    has_status: bool,
}

impl Written {
    fn failed(why: String) -> Written {
        Written { outcome: Outcome::Failed(why), uid: None, has_status: false }
    }
}

/// Writes objects to one cluster.
pub struct Writer<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// How many at a time.
    pub limiter: &'a Limiter,
    /// What happens to an object that is there already.
    pub conflict: Conflict,
    /// What was waited for in vain.
    pub in_vain: &'a InVain,
    /// Where objects are met that are there already.
    pub met: &'a Met,
    /// Namespaces that are being deleted.
    pub terminating: &'a Terminating,
}

/// Causes that were waited for once, to the end of all patience: a webhook that is dead would otherwise take as long
/// again for every object.
#[derive(Default)]
pub struct InVain(Mutex<HashSet<String>>);

impl InVain {
    fn knows(&self, cause: &str) -> bool {
        self.0.lock().is_ok_and(|causes| causes.contains(cause))
    }

    /// Nobody waits for it any more.
    pub fn learn(&self, cause: String) {
        if let Ok(mut causes) = self.0.lock() {
            causes.insert(cause);
        }
    }
}

/// A write failed in a way that every other write will fail, too.
pub struct Lost(pub String);

impl Writer<'_> {
    /// Writes an object, patiently where patience may help.
    ///
    /// While it waits for its next try, another write may have its place.
    pub async fn write(&self, fitted: &Fitted<'_>, place: &mut Option<Place>) -> Result<Written, Lost> {
        let begin = Instant::now();
        let mut wait = FIRST_WAIT;
        let body = Bytes::from(fitted.object.to_string());
        for tries in 1u32.. {
            let error = match self.try_write(fitted, body.clone()).await {
                Ok(written) => return self.with_status(fitted, written).await,
                Err(e) => e,
            };
            if error.code() == Some(429) {
                self.limiter.busy(retry_after(&error));
            }
            if let Some(namespace) = terminating::of_error(&error) {
                let gone = self.limiter.aside(place, self.terminating.wait(self.cluster, &namespace)).await;
                match gone {
                    Ok(()) if tries <= 1 => continue,
                    Ok(()) => {}
                    Err(why) => return Ok(Written::failed(why)),
                }
            }
            if !self.is_worth_another_try(fitted, &error, tries, begin.elapsed()) {
                self.require_server(&error).await?;
                return Ok(Written::failed(error.message()));
            }
            let pause = tokio::time::sleep(retry_after(&error).unwrap_or(wait));
            self.limiter.aside(place, pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Ok(Written::failed("it was tried too often".into()))
    }

    /// One write that fails says nothing about the server; its silence does.
    async fn require_server(&self, error: &ApiError) -> Result<(), Lost> {
        match self.cluster.is_lost(error).await {
            true => Err(Lost(error.message())),
            false => Ok(()),
        }
    }

    fn is_worth_another_try(&self, fitted: &Fitted<'_>, error: &ApiError, tries: u32, waited: Duration) -> bool {
        if !may_pass(error) {
            return false;
        }
        if error.code() == Some(429) {
            return waited <= PATIENCE_WITH_BUSY;
        }
        let cause = cause_of(fitted, error);
        // A single try can take longer than all patience.
        if waited > PATIENCE && tries > 1 {
            // A connection that breaks may be the fault of one object.
            if !matches!(error.cause, Cause::Transport(_)) {
                self.in_vain.learn(cause);
            }
            return false;
        }
        !self.in_vain.knows(&cause)
    }

    async fn try_write(&self, fitted: &Fitted<'_>, body: Bytes) -> Result<Written, ApiError> {
        if self.met.expects(&fitted.collection) {
            let listed = self.met.listed(self.cluster, &fitted.collection, &fitted.name).await;
            if let Some(written) = listed.and_then(|listed| self.find_unchanged(fitted, &listed)) {
                return Ok(written);
            }
            if let Some(there) = self.look(fitted).await? {
                return self.meet(fitted, body, there).await;
            }
        }
        match self.cluster.create(&fitted.collection, body.clone()).await {
            Ok(answer) => {
                self.limiter.succeeded();
                self.met.missed(&fitted.collection);
                Ok(Written { outcome: Outcome::Created, uid: uid_of(&answer), has_status: false })
            }
            Err(e) if e.reason() == "AlreadyExists" && !e.message().contains("is being deleted") => {
                self.meet_existing(fitted, body).await
            }
            Err(e) if is_refusal(&e) => match self.meet_existing(fitted, body).await {
                Err(there) if there.code() == Some(404) => Err(e),
                met => met,
            },
            Err(e) => Err(e),
        }
    }

    /// Whether the target takes an object in another version than it was saved in, with every field. Nothing is written.
    pub async fn rehearse(&self, fitted: &Fitted<'_>) -> Result<Result<(), String>, Lost> {
        let body = Bytes::from(fitted.object.to_string());
        match Retry::default().run(|| self.cluster.rehearse(&fitted.collection, body.clone())).await {
            Err(e) if matches!(e.code(), Some(400 | 422)) && !e.message().contains("dry run") => Ok(Err(e.message())),
            Err(e) => self.require_server(&e).await.map(Ok),
            Ok(_) => Ok(Ok(())),
        }
    }

    /// What would become of an object. Nothing is written.
    pub async fn foresee(&self, fitted: &Fitted<'_>) -> Result<Outcome, Lost> {
        let path = fitted.path();
        match Retry::default().run(|| self.cluster.get(&path, None, READ_TIMEOUT)).await {
            Ok(there) => Ok(self.judge(fitted, parsed(&there))),
            Err(e) if e.code() == Some(404) => Ok(Outcome::Created),
            Err(e) => {
                self.require_server(&e).await?;
                Ok(Outcome::Failed(e.message()))
            }
        }
    }

    /// An object that a list shows as it should be. One that differs is looked at again: what is done about it goes by how it is now.
    fn find_unchanged(&self, fitted: &Fitted<'_>, listed: &Item) -> Option<Written> {
        let mut existing = parsed(&listed.json);
        let has_status = has_status(&existing);
        if is_being_deleted(&existing) {
            return None;
        }
        for key in ["apiVersion", "kind"] {
            existing[key] = fitted.object[key].clone();
        }
        let outcome = self.judge(fitted, existing);
        let uid = Some(listed.uid.clone());
        (outcome == Outcome::Unchanged).then_some(Written { outcome, uid, has_status })
    }

    /// An object of this name, where there is one that stays.
    async fn look(&self, fitted: &Fitted<'_>) -> Result<Option<Value>, ApiError> {
        match self.cluster.get(&fitted.path(), None, READ_TIMEOUT).await {
            Ok(answer) => Ok(Some(parsed(&answer)).filter(|there| !is_being_deleted(there))),
            Err(e) if e.code() == Some(404) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn meet_existing(&self, fitted: &Fitted<'_>, body: Bytes) -> Result<Written, ApiError> {
        let answer = self.cluster.get(&fitted.path(), None, READ_TIMEOUT).await?;
        self.meet(fitted, body, parsed(&answer)).await
    }

    /// Compares with what is there, and does what the conflict policy says.
    async fn meet(&self, fitted: &Fitted<'_>, body: Bytes, existing: Value) -> Result<Written, ApiError> {
        self.limiter.succeeded();
        self.met.found(&fitted.collection);
        let uid = existing["metadata"]["uid"].as_str().map(String::from);
        let has_status = has_status(&existing);
        let outcome = self.judge(fitted, existing);
        if outcome == Outcome::Updated {
            self.cluster.apply(&fitted.path(), body).await?;
        }
        Ok(Written { outcome, uid, has_status })
    }

    /// What the conflict policy makes of an object that is there.
    fn judge(&self, fitted: &Fitted<'_>, mut existing: Value) -> Outcome {
        let has_owners = existing["metadata"]["ownerReferences"].is_array();
        let mut wanted = fitted.object.clone();
        comparable(&mut existing, fitted);
        comparable(&mut wanted, fitted);
        let different = differences(&wanted, &existing, PATHS_NAMED);
        let why = || format!("it is there, and differs at {}", different.join(", "));
        match self.conflict {
            _ if different.is_empty() => Outcome::Unchanged,
            // A restore that was cut off had written it before its owner.
            _ if !has_owners && different == [OWNERS] => Outcome::Updated,
            Conflict::Skip if is_bare_default_account(&existing, fitted) => Outcome::Updated,
            Conflict::Skip => Outcome::Skipped { rule: EXISTS.into(), why: why() },
            Conflict::Fail => Outcome::Failed(why()),
            Conflict::Overwrite => Outcome::Updated,
        }
    }

    /// Writes the status of an object that is there as it should be.
    async fn with_status(&self, fitted: &Fitted<'_>, written: Written) -> Result<Written, Lost> {
        let wanted = match written.outcome {
            Outcome::Created | Outcome::Updated => true,
            // A restore that was cut off may not have come to it; what lives there keeps its own.
            Outcome::Unchanged => !written.has_status,
            _ => false,
        };
        if !wanted {
            return Ok(written);
        }
        match Retry::default().run(|| self.write_status(fitted)).await {
            Ok(()) => Ok(written),
            Err(e) => {
                self.require_server(&e).await?;
                let why = format!("it is there, but its status could not be written: {}", e.message());
                Ok(Written { outcome: Outcome::Failed(why), ..written })
            }
        }
    }

    async fn write_status(&self, fitted: &Fitted<'_>) -> Result<(), ApiError> {
        let Some(status) = &fitted.status else { return Ok(()) };
        let path = format!("{}/status", fitted.path());
        let patch = Bytes::from(json!({ "status": status }).to_string());
        self.cluster.merge(&path, patch).await.map(drop)
    }
}

/// The controller manager makes a `default` service account in every new namespace, sooner than a restore can. As long
/// as nobody gave it anything, it is filled in: without its pull secrets no pod that uses it would start.
fn is_bare_default_account(existing: &Value, fitted: &Fitted<'_>) -> bool {
    let bare = |object: &Value, keys: &[&str]| {
        let fields = object.as_object();
        fields.is_some_and(|fields| fields.iter().all(|(key, value)| value.is_null() || keys.contains(&key.as_str())))
    };
    fitted.facts.resource == "serviceaccounts"
        && fitted.name == "default"
        && bare(existing, &["apiVersion", "kind", "metadata"])
        && bare(&existing["metadata"], &["name", "namespace"])
}

/// What several objects wait for together: a webhook, or whatever keeps a type from being written.
fn cause_of(fitted: &Fitted<'_>, error: &ApiError) -> String {
    let message = error.message();
    let webhook = message.split_once("failed calling webhook \"").and_then(|(_, rest)| rest.split_once('"'));
    let how = match &error.cause {
        Cause::Status { code, .. } => code.to_string(),
        Cause::TimedOut(_) => "timed out".into(),
        Cause::Transport(_) | Cause::TooLong(_) => "broken off".into(),
    };
    webhook.map_or_else(|| format!("{} {how}", fitted.collection), |(name, _)| name.into())
}

/// Both sides are brought to the same form: what the rules take from one, they take from the other.
fn comparable(object: &mut Value, fitted: &Fitted<'_>) {
    let references = object["metadata"].as_object_mut().and_then(|m| m.remove("ownerReferences"));
    normalise(object, &fitted.facts);
    if let (Some(references), false) = (references, fitted.owners_to_come) {
        object["metadata"]["ownerReferences"] = references;
    }
    // The API server sets it on every namespace and refuses another value.
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.remove("kubernetes.io/metadata.name");
    }
}

fn has_status(object: &Value) -> bool {
    object["status"].as_object().is_some_and(|status| !status.is_empty())
}

fn is_being_deleted(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn parsed(answer: &[u8]) -> Value {
    serde_json::from_slice(answer).unwrap_or_default()
}

fn uid_of(answer: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        uid: String,
    }
    serde_json::from_slice::<Object>(answer).ok().map(|o| o.metadata.uid)
}

fn retry_after(error: &ApiError) -> Option<Duration> {
    match &error.cause {
        Cause::Status { retry_after, .. } => retry_after.map(|wait| wait.min(LONGEST_PAUSE)),
        _ => None,
    }
}

/// Admission comes before storage: a quota, a webhook or a second default may refuse an object that is there already.
fn is_refusal(error: &ApiError) -> bool {
    matches!(error.code(), Some(400 | 403 | 422 | 500))
}

/// Whether the same write may succeed a little later.
fn may_pass(error: &ApiError) -> bool {
    let message = || error.message();
    match error.code() {
        // A namespace that is being deleted refuses until it is gone, which may be never: not ours to wait for here.
        Some(403) => message().contains("status unknown for quota"),
        Some(404) => {
            message().contains("could not find the requested resource") || message().contains("page not found")
        }
        Some(409) => true,
        Some(_) => error.is_transient(),
        None => true,
    }
}
