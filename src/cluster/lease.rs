//! Leases, as objects: read, made and replaced. What they mean is decided elsewhere.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ApiError, Cause, Cluster};

/// A lease is renewed often, so that a request is soon of no use.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a lease is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasePlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for LeasePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Who holds a lease, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Who holds it; empty when nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder_identity: Option<String>,
    /// After so many seconds without renewal it is free.
    pub lease_duration_seconds: Option<u32>,
    /// When its holder took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquire_time: Option<String>,
    /// When its holder renewed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<String>,
    /// How often it went to another holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_transitions: Option<u32>,
}

impl LeaseSpec {
    /// Who holds it, if anybody.
    pub fn holder(&self) -> Option<&str> {
        self.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }
}

/// A lease as it was read. It can only be replaced as long as nobody else does.
#[derive(Debug, Clone)]
pub struct LeaseObject {
    /// What it says.
    pub spec: LeaseSpec,
    /// Its uid.
    pub uid: String,
    resource_version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    metadata: RawMeta,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    name: String,
    namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    resource_version: String,
}

/// A time in the form that leases have, to the microsecond.
pub fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

impl Cluster {
    /// Reads a lease; none when there is none.
    pub async fn lease(&self, place: &LeasePlace) -> Result<Option<LeaseObject>, ApiError> {
        let path = format!("{}/{}", collection(place), place.name);
        match self.get(&path, None, TIMEOUT).await {
            Ok(body) => parse(&path, &body).map(Some),
            Err(e) if e.code() == Some(404) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a lease, or replaces the one that was read. Fails with 409 when somebody else was faster.
    pub async fn write_lease(
        &self,
        place: &LeasePlace,
        read: Option<&LeaseObject>,
        spec: LeaseSpec,
    ) -> Result<LeaseObject, ApiError> {
        let (uid, resource_version) =
            read.map(|lease| (lease.uid.clone(), lease.resource_version.clone())).unwrap_or_default();
        let metadata = RawMeta { name: place.name.clone(), namespace: place.namespace.clone(), uid, resource_version };
        let raw = Raw { api_version: "coordination.k8s.io/v1".into(), kind: "Lease".into(), metadata, spec };
        let path = format!("{}/{}", collection(place), place.name);
        let unreadable = |e: serde_json::Error| ApiError {
            method: http::Method::PUT,
            path: path.clone(),
            cause: Cause::Transport(e.to_string()),
        };
        let object = Bytes::from(serde_json::to_vec(&raw).map_err(unreadable)?);
        let written = match read {
            None => self.create(&collection(place), object).await?,
            Some(_) => self.replace(&path, object).await?,
        };
        parse(&path, &written)
    }
}

fn collection(place: &LeasePlace) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", place.namespace)
}

fn parse(path: &str, body: &[u8]) -> Result<LeaseObject, ApiError> {
    let raw: Raw = serde_json::from_slice(body).map_err(|e| ApiError {
        method: http::Method::GET,
        path: path.into(),
        cause: Cause::Transport(format!("the lease cannot be read: {e}")),
    })?;
    Ok(LeaseObject { spec: raw.spec, uid: raw.metadata.uid, resource_version: raw.metadata.resource_version })
}
