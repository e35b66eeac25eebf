//! What rotation needs of S3 and `object_store` does not have: versions are listed, and deleted one by one. A delete by key
//! frees nothing in a bucket that keeps them, and `object_store` sends it as a bulk request, which not every server knows.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::error::{Context, Error, Result};

/// How long a signed request is good for.
const SIGNED_FOR: Duration = Duration::from_secs(300);

/// How often a request that fails for a reason that may pass is sent in all.
const TRIES: u32 = 5;

/// Between the first two; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The API for versions in one bucket.
pub(super) struct Versions {
    store: AmazonS3,
    http: reqwest::Client,
    shown: String,
    kept: OnceCell<bool>,
}

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// The object's whole key in the bucket.
    pub key: String,
    /// The version's id.
    pub id: String,
    /// Whether it only says that the object was deleted.
    pub is_marker: bool,
}

/// What a delete came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, or was not there.
    Yes,
    /// The bucket's retention, or a legal hold (then without an end), forbids it.
    Locked(Option<Timestamp>),
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

#[derive(Deserialize)]
struct VersioningConfiguration {
    #[serde(rename = "Status")]
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListVersionsResult {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_version_id_marker: Option<String>,
    #[serde(rename = "Version", default)]
    versions: Vec<RawVersion>,
    #[serde(rename = "DeleteMarker", default)]
    markers: Vec<RawVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawVersion {
    key: String,
    version_id: String,
}

impl Versions {
    pub fn new(store: AmazonS3, shown: &str) -> Result<Versions> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).timeout(Duration::from_secs(60));
        let http = http.build().context(|| "prepare requests to the storage".into())?;
        Ok(Versions { store, http, shown: shown.into(), kept: OnceCell::new() })
    }

    /// Whether the bucket keeps versions, or kept them once.
    pub async fn are_kept(&self) -> Result<bool> {
        let ask = || async {
            let doing = || format!("ask whether {} keeps versions", self.shown);
            let answer = self.send(Method::GET, &Path::default(), &[("versioning", "")]).await?;
            if answer.status == StatusCode::NOT_IMPLEMENTED {
                return Ok(false);
            }
            let answer = answer.require_success(doing, "s3:GetBucketVersioning")?;
            let configuration: VersioningConfiguration = parse(&answer.body, doing)?;
            Ok(configuration.status.is_some())
        };
        self.kept.get_or_try_init(ask).await.copied()
    }

    /// The storage's own time, as it says with each answer.
    pub async fn time(&self) -> Result<Option<Timestamp>> {
        let answer = self.send(Method::GET, &Path::default(), &[("versioning", "")]).await?;
        let date = answer.headers.get(http::header::DATE).and_then(|value| value.to_str().ok());
        let parsed = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        Ok(parsed.map(|time| time.timestamp()))
    }

    /// Every version of keys that begin so, delete markers too.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Version>> {
        let doing = || format!("list the versions of objects in {}", self.shown);
        let (mut all, mut after) = (Vec::new(), None::<(String, String)>);
        loop {
            let mut query = vec![("versions", ""), ("prefix", prefix)];
            if let Some((key, version)) = &after {
                query.extend([("key-marker", key.as_str()), ("version-id-marker", version.as_str())]);
            }
            let answer = self.send(Method::GET, &Path::default(), &query).await?;
            let answer = answer.require_success(doing, "s3:ListBucketVersions")?;
            let page: ListVersionsResult = parse(&answer.body, doing)?;
            let version = |raw: RawVersion, is_marker| Version { key: raw.key, id: raw.version_id, is_marker };
            all.extend(page.versions.into_iter().map(|raw| version(raw, false)));
            all.extend(page.markers.into_iter().map(|raw| version(raw, true)));
            if !page.is_truncated {
                return Ok(all);
            }
            let next = page.next_key_marker.map(|key| (key, page.next_version_id_marker.unwrap_or_default()));
            if next.is_none() || next == after {
                return Err(Error::failed(doing()).because(Error::failed("the list is cut short and does not go on")));
            }
            after = next;
        }
    }

    /// Deletes an object where there are no versions, or one version of it for good.
    pub async fn delete(&self, path: &Path, version: Option<&str>) -> Result<Removed> {
        let query: Vec<_> = version.map(|id| ("versionId", id)).into_iter().collect();
        let answer = self.send(Method::DELETE, path, &query).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(Removed::Yes);
        }
        if !answer.status.is_success()
            && let Some(until) = self.lock(path, &query).await?
        {
            return Ok(Removed::Locked(until));
        }
        let permission = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
        answer.require_success(|| format!("delete {path} in {}", self.shown), permission)?;
        Ok(Removed::Yes)
    }

    /// Until when the version is locked, if it is.
    async fn lock(&self, path: &Path, query: &[(&str, &str)]) -> Result<Option<Option<Timestamp>>> {
        let answer = self.send(Method::HEAD, path, query).await?;
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        if header("x-amz-object-lock-legal-hold") == Some("ON") {
            return Ok(Some(None));
        }
        let until = header("x-amz-object-lock-retain-until-date").and_then(|text| text.parse::<Timestamp>().ok());
        Ok(until.filter(|until| *until > Timestamp::now()).map(Some))
    }

    async fn send(&self, method: Method, path: &Path, query: &[(&str, &str)]) -> Result<Answer> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            let answer = self.send_once(method.clone(), path, query).await;
            let passes =
                |answer: &Answer| answer.status.is_server_error() && answer.status != StatusCode::NOT_IMPLEMENTED;
            if answer.as_ref().is_ok_and(|answer| !passes(answer)) {
                return answer;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.send_once(method, path, query).await
    }

    async fn send_once(&self, method: Method, path: &Path, query: &[(&str, &str)]) -> Result<Answer> {
        let doing = || format!("reach {}", self.shown);
        let mut options = SignedUrlOptions::new();
        options.extra_query = query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let url = self.store.signed_url_opts(method.clone(), path, SIGNED_FOR, &options).await.context(doing)?;
        let answer = self.http.request(method, url).send().await.map_err(|e| e.without_url()).context(doing)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.text().await.map_err(|e| e.without_url()).context(doing)?;
        Ok(Answer { status, headers, body })
    }
}

impl Answer {
    fn require_success(self, doing: impl Fn() -> String, permission: &str) -> Result<Answer> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said = format!("{} {}", self.status, super::code_and_message(&self.body));
        if self.status == StatusCode::FORBIDDEN {
            return Err(Error::failed(format!("no permission to {}", doing()))
                .because(Error::failed(said))
                .hint(format!("allow {permission} on the bucket and its objects")));
        }
        Err(Error::failed(doing()).because(Error::failed(said)).hint("run it again; it goes on where it was stopped"))
    }
}

fn parse<T: for<'a> Deserialize<'a>>(body: &str, doing: impl Fn() -> String) -> Result<T> {
    quick_xml::de::from_str(body)
        .map_err(|e| Error::failed(format!("{}: the answer cannot be read", doing())).because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_delete_markers_are_read_in_any_order() {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
            <IsTruncated>true</IsTruncated><NextKeyMarker>a&amp;b</NextKeyMarker>\
            <Version><Key>a</Key><VersionId>1</VersionId><IsLatest>false</IsLatest></Version>\
            <DeleteMarker><Key>a</Key><VersionId>2</VersionId></DeleteMarker>\
            <Version><Key>a&amp;b</Key><VersionId>3</VersionId></Version></ListVersionsResult>";
        let page: ListVersionsResult = parse(body, || "read".into()).unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next_key_marker.as_deref(), Some("a&b"));
        let ids: Vec<_> = page.versions.iter().map(|v| v.version_id.as_str()).collect();
        assert_eq!((ids, page.versions[1].key.as_str(), page.markers.len()), (vec!["1", "3"], "a&b", 1));
        let none: ListVersionsResult = parse("<ListVersionsResult/>", || "read".into()).unwrap();
        assert!(!none.is_truncated && none.versions.is_empty());
        let off: VersioningConfiguration = parse("<VersioningConfiguration/>", || "read".into()).unwrap();
        assert!(off.status.is_none());
    }
}
