//! What is needed of S3 and `object_store` does not have. Versions are listed, and deleted one by one: a delete by key frees
//! nothing in a bucket that keeps them, and `object_store` sends it as a bulk request, which not every server knows. And an
//! object is copied in exactly the version that was committed, with the storage's word on what the copy holds.

use std::time::Duration;

use base64::Engine;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::explain::Place;
use crate::error::{Context, Error, Result};

/// How long a signed request is good for.
const SIGNED_FOR: Duration = Duration::from_secs(300);

/// How often a request that fails for a reason that may pass is sent in all.
const TRIES: u32 = 5;

/// Between the first two; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long the storage may take to copy an object.
const COPY_TIMEOUT: Duration = Duration::from_secs(600);

/// The API for one bucket.
pub struct S3 {
    store: AmazonS3,
    bucket: String,
    http: reqwest::Client,
    place: Place,
    kept: OnceCell<bool>,
}

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
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

/// What the storage says of a copy that it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its version, where the bucket keeps them.
    pub version: Option<String>,
    /// SHA-256 of what it holds, where the storage computed that.
    pub sha256: Option<[u8; 32]>,
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
struct CopyObjectResult {
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListObjectsResult {
    #[serde(default)]
    is_truncated: bool,
    next_continuation_token: Option<String>,
    #[serde(default)]
    contents: Vec<ListedKey>,
}

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedKey {
    /// Its whole key in the bucket.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub last_modified: Timestamp,
    /// What changes with its content.
    #[serde(rename = "ETag")]
    pub e_tag: Option<String>,
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListUploadsResult {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(rename = "Upload", default)]
    uploads: Vec<UnfinishedUpload>,
}

/// An upload in parts that is no object yet, and may never become one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnfinishedUpload {
    /// The whole key that the object would have.
    pub key: String,
    /// Its id.
    pub upload_id: String,
    /// When it was begun.
    pub initiated: Timestamp,
}

impl S3 {
    /// The API for a bucket that `store` speaks to.
    pub fn new(store: AmazonS3, bucket: &str, place: Place) -> Result<S3> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(10));
        let http = http.build().context(|| "prepare requests to the storage".into())?;
        Ok(S3 { store, bucket: bucket.into(), http, place, kept: OnceCell::new() })
    }

    /// Whether the bucket keeps versions, or kept them once.
    pub async fn are_kept(&self) -> Result<bool> {
        let ask = || async {
            let doing = || format!("ask whether {} keeps versions", self.place.shown);
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

    /// Every object whose key begins so is given to `each`, by its key as it is: also keys that `object_store` takes for none,
    /// which would fail the whole list there.
    pub async fn list_objects(&self, prefix: &str, mut each: impl FnMut(ListedKey)) -> Result<()> {
        let doing = || format!("list the objects in {}", self.place.shown);
        let mut after = None::<String>;
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            if let Some(token) = &after {
                query.push(("continuation-token", token.as_str()));
            }
            let answer = self.send(Method::GET, &Path::default(), &query).await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Err(self.place.no_bucket(super::explain::code_and_message(&answer.body)));
            }
            let answer = answer.require_success(doing, "s3:ListBucket")?;
            let page: ListObjectsResult = parse(&answer.body, doing)?;
            page.contents.into_iter().for_each(&mut each);
            if !page.is_truncated {
                return Ok(());
            }
            after = going_on(after, page.next_continuation_token, doing)?;
        }
    }

    /// Every version of keys that begin so, delete markers too.
    pub async fn list_versions(&self, prefix: &str) -> Result<Vec<Version>> {
        let doing = || format!("list the versions of objects in {}", self.place.shown);
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
            after = going_on(after, next, doing)?;
        }
    }

    /// Every upload of keys that begin so that was not finished; none where that may not be asked.
    pub async fn unfinished_uploads(&self, prefix: &str) -> Result<Option<Vec<UnfinishedUpload>>> {
        let doing = || format!("list unfinished uploads in {}", self.place.shown);
        let (mut all, mut after) = (Vec::new(), None::<(String, String)>);
        loop {
            let mut query = vec![("uploads", ""), ("prefix", prefix)];
            if let Some((key, upload)) = &after {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", upload.as_str())]);
            }
            let answer = self.send(Method::GET, &Path::default(), &query).await?;
            if [StatusCode::FORBIDDEN, StatusCode::NOT_IMPLEMENTED].contains(&answer.status) {
                return Ok(None);
            }
            let answer = answer.require_success(doing, "s3:ListBucketMultipartUploads")?;
            let page: ListUploadsResult = parse(&answer.body, doing)?;
            all.extend(page.uploads);
            if !page.is_truncated {
                return Ok(Some(all));
            }
            let next = page.next_key_marker.map(|key| (key, page.next_upload_id_marker.unwrap_or_default()));
            after = going_on(after, next, doing)?;
        }
    }

    /// Ends an upload, and frees its parts. One that is finished or ended by now is fine.
    pub async fn end_upload(&self, path: &Path, upload_id: &str) -> Result<()> {
        let answer = self.send(Method::DELETE, path, &[("uploadId", upload_id)]).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        let doing = || format!("end an unfinished upload of {path} in {}", self.place.shown);
        answer.require_success(doing, "s3:AbortMultipartUpload").map(drop)
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
        answer.require_success(|| format!("delete {path} in {}", self.place.shown), permission)?;
        Ok(Removed::Yes)
    }

    /// Copies an object, in that version where it has one. The storage does it, and computes a digest of the copy if it can.
    pub async fn copy(&self, from: &Path, version: Option<&str>, to: &Path) -> Result<Copied> {
        let version = version.map(|id| format!("?versionId={}", encode(id))).unwrap_or_default();
        let source = format!("{}/{}{version}", self.bucket, encode(from.as_ref()));
        let headers = [("x-amz-copy-source", source.as_str()), ("x-amz-checksum-algorithm", "SHA256")];
        let request = Request { method: Method::PUT, path: to, query: &[], headers: &headers, timeout: COPY_TIMEOUT };
        let answer = self.try_sending(&request).await?;
        let doing = || format!("copy {from} in {}", self.place.shown);
        let version = answer.headers.get("x-amz-version-id").and_then(|id| id.to_str().ok()).map(String::from);
        let answer = answer.require_success(doing, "s3:GetObject, s3:GetObjectVersion and s3:PutObject")?;
        // A copy that fails after it was begun is told with 200.
        if answer.body.contains("<Error>") {
            let said = Error::failed(super::explain::code_and_message(&answer.body));
            return Err(Error::failed(doing()).because(said));
        }
        let result: CopyObjectResult = parse(&answer.body, doing)?;
        Ok(Copied { version: version.filter(|id| id != "null"), sha256: result.sha256.as_deref().and_then(digest) })
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
        self.try_sending(&Request { method, path, query, headers: &[], timeout: TIMEOUT }).await
    }

    async fn try_sending(&self, request: &Request<'_>) -> Result<Answer> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            let answer = self.send_once(request).await;
            let passes =
                |answer: &Answer| answer.status.is_server_error() && answer.status != StatusCode::NOT_IMPLEMENTED;
            if answer.as_ref().is_ok_and(|answer| !passes(answer)) {
                return answer;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.send_once(request).await
    }

    async fn send_once(&self, request: &Request<'_>) -> Result<Answer> {
        let doing = || format!("reach {}", self.place.shown);
        let (method, mut options) = (request.method.clone(), SignedUrlOptions::new());
        options.extra_query = request.query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        for (name, value) in request.headers {
            options.signed_headers.insert(*name, HeaderValue::from_str(value).context(doing)?);
        }
        let signed = self.store.signed_url_opts(method.clone(), request.path, SIGNED_FOR, &options).await;
        let url = signed.map_err(|e| self.place.explain("reach", "", e))?;
        let sent = self.http.request(method, url).headers(options.signed_headers).timeout(request.timeout).send();
        let answer = sent.await.map_err(|e| e.without_url()).context(doing)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.text().await.map_err(|e| e.without_url()).context(doing)?;
        Ok(Answer { status, headers, body })
    }
}

/// Where a list that is not at its end goes on: somewhere, and not where it was.
fn going_on<T: PartialEq>(before: Option<T>, next: Option<T>, doing: impl Fn() -> String) -> Result<Option<T>> {
    match next.is_none() || next == before {
        true => Err(Error::failed(doing()).because(Error::failed("the list is cut short and does not go on"))),
        false => Ok(next),
    }
}

/// One request to the bucket.
struct Request<'a> {
    method: Method,
    path: &'a Path,
    query: &'a [(&'a str, &'a str)],
    /// Signed along.
    headers: &'a [(&'static str, &'a str)],
    timeout: Duration,
}

/// A digest of the whole object. That of an object in parts is one of their digests, and ends with their number.
fn digest(base64: &str) -> Option<[u8; 32]> {
    base64::engine::general_purpose::STANDARD.decode(base64).ok()?.try_into().ok()
}

/// As it stands in a URL's path.
fn encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    let encoded = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encoded).collect()
}

impl Answer {
    fn require_success(self, doing: impl Fn() -> String, permission: &str) -> Result<Answer> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said = format!("{} {}", self.status, super::explain::code_and_message(&self.body));
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
    fn only_digests_of_whole_objects_are_taken() {
        let whole = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(hex::encode(digest(whole).unwrap())[..8], *"e3b0c442");
        assert_eq!(digest(&format!("{whole}-3")), None);
        let none: CopyObjectResult =
            parse("<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", || "".into()).unwrap();
        assert_eq!(none.sha256, None);
        assert_eq!(encode("a b/ü+?"), "a%20b/%C3%BC%2B%3F");
    }

    #[test]
    fn listed_keys_are_taken_as_they_are() {
        let body = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>true</IsTruncated>\
            <Contents><Key>a//b&amp;c</Key><LastModified>2026-11-20T01:02:03.000Z</LastModified><ETag>&quot;x&quot;</ETag>\
            <Size>7</Size></Contents><Contents><Key>folder/</Key><LastModified>2026-11-20T01:02:03Z</LastModified>\
            <Size>0</Size></Contents><NextContinuationToken>n</NextContinuationToken></ListBucketResult>";
        let page: ListObjectsResult = parse(body, || "read".into()).unwrap();
        assert!(page.is_truncated && page.next_continuation_token.as_deref() == Some("n"));
        let keys: Vec<_> = page.contents.iter().map(|listed| (listed.key.as_str(), listed.size)).collect();
        assert_eq!(keys, [("a//b&c", 7), ("folder/", 0)]);
        assert_eq!(page.contents[0].e_tag.as_deref(), Some("\"x\""));
    }

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
