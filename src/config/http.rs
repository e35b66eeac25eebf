//! Step `http`: one request to a server.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::duration::parse_duration;
use super::gate::statuses;
use super::problems::{Problems, suggestion};
use super::raw;
use super::source::{HttpAccess, http_access, http_url};

/// How long a request may take, unless the plan says.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// One request, and which answers are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Where it is sent.
    pub url: Url,
    /// Its method.
    pub method: Method,
    /// Its headers, without those that log in.
    pub headers: Vec<(String, String)>,
    /// What is sent along.
    pub body: Option<HttpBody>,
    /// How to log in.
    pub access: HttpAccess,
    /// The statuses that are good; any of success without them.
    pub status: Option<Vec<u16>>,
    /// How long it may take, with all repetitions.
    pub timeout: Duration,
}

/// What is sent along with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpBody {
    /// A text of the plan.
    Text(String),
    /// What stands in a file.
    File(PathBuf),
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something, which it may do again when it is sent twice.
    Post,
    /// Puts something into its place.
    Put,
    /// Removes.
    Delete,
    /// Changes, perhaps further when it is sent twice.
    Patch,
}

impl Method {
    const ALL: [Method; 5] = [Method::Get, Method::Post, Method::Put, Method::Delete, Method::Patch];

    /// The word of the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Patch => "PATCH",
        }
    }

    /// Whether it does the same when it is sent twice.
    pub fn is_idempotent(self) -> bool {
        matches!(self, Method::Get | Method::Put | Method::Delete)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Headers that log in: a plan goes into every backup, and is no place for them.
const SECRET: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// Makes a request of what was typed, or notes all that is wrong with it. Relative paths are taken from `folder`.
pub(super) fn validate(
    raw: &raw::HttpRequest,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<HttpRequest> {
    let key = |name: &str| format!("{path}.{name}");
    let url = http_url(&raw.url, &key("url"), problems);
    let method = Method::ALL.into_iter().find(|method| method.as_str() == raw.method);
    if method.is_none() {
        let near = suggestion(&raw.method, &Method::ALL.map(Method::as_str));
        problems.add(&key("method"), format!("`{}` is no method that can be sent{near}", raw.method));
    }
    let headers = headers(&raw.headers, &key("headers"), problems);
    let body = body(raw, path, folder, problems);
    let access = http_access(&raw.access, &key("access"), folder, problems);
    let status = match &raw.status {
        None => Some(None),
        Some(codes) => statuses(codes, &key("status"), problems).map(Some),
    };
    let timeout = match &raw.timeout {
        None => Some(DEFAULT_TIMEOUT),
        Some(text) => problems.check(&key("timeout"), parse_duration(text)),
    };
    Some(HttpRequest {
        url: url?,
        method: method?,
        headers: headers?,
        body: body?,
        access: access?,
        status: status?,
        timeout: timeout?,
    })
}

fn headers(raw: &BTreeMap<String, String>, path: &str, problems: &mut Problems<'_>) -> Option<Vec<(String, String)>> {
    for (name, value) in raw {
        let wrong = if SECRET.contains(&name.to_ascii_lowercase().as_str()) {
            format!("`{name}` logs in; credentials stand in files, see `access`")
        } else if ::http::HeaderName::try_from(name).is_err() {
            format!("`{name}` is no name of a header")
        } else if ::http::HeaderValue::try_from(value).is_err() {
            format!("the value of `{name}` cannot stand in a header")
        } else {
            continue;
        };
        problems.add(path, wrong);
        return None;
    }
    Some(raw.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn body(raw: &raw::HttpRequest, path: &str, folder: &Path, problems: &mut Problems<'_>) -> Option<Option<HttpBody>> {
    match (&raw.body, &raw.body_file) {
        (None, None) => Some(None),
        (Some(text), None) => Some(Some(HttpBody::Text(text.clone()))),
        (None, Some(file)) => Some(Some(HttpBody::File(folder.join(file)))),
        (Some(_), Some(_)) => {
            problems.add(path, "gives both a `body` and a `bodyFile`; one of them is sent");
            None
        }
    }
}
