//! An HTTP server that something is read from, with its log-in: Prometheus and the like.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use crate::config::HttpAccess;
use crate::error::{Context, Error, Result};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, and how to log in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    http: reqwest::Client,
    base: Url,
    access: HttpAccess,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Endpoint {
    /// Prepares requests to a server. Nothing is sent yet.
    pub fn new(base: &Url, access: &HttpAccess) -> Result<Endpoint> {
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
        if let Some(file) = &access.ca_file {
            let pem = read(file)?;
            let place = || format!("use the certificate authorities in {}", file.display());
            for certificate in reqwest::Certificate::from_pem_bundle(pem.as_bytes()).context(place)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = builder.build().context(|| format!("prepare requests to {base}"))?;
        Ok(Endpoint { http, base: base.clone(), access: access.clone() })
    }

    /// The URL, for people.
    pub fn shown(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// One request; the answer whatever its status. Secrets are read anew each time: they may be renewed at any time.
    pub async fn send(&self, method: Method, path: &str, form: &[(&str, &str)], timeout: Duration) -> Result<Answer> {
        let url = format!("{}/{path}", self.shown());
        let doing = || format!("ask {url}");
        let mut request = self.http.request(method.clone(), &url).timeout(timeout);
        if !form.is_empty() {
            let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = match method {
                Method::GET => self.http.request(method, format!("{url}?{encoded}")).timeout(timeout),
                _ => request.header("content-type", "application/x-www-form-urlencoded").body(encoded),
            };
        }
        if let Some((user, file)) = &self.access.basic {
            request = request.basic_auth(user, Some(read(file)?.trim_end_matches(['\r', '\n'])));
        }
        if let Some(file) = &self.access.bearer_token_file {
            request = request.bearer_auth(read(file)?.trim());
        }
        let answer = request.send().await.map_err(|e| self.explain(e))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|e| e.without_url()).context(doing)?;
        match status {
            StatusCode::UNAUTHORIZED => Err(Error::failed(format!("{} does not accept the log-in", self.shown()))
                .hint("check the user, and the files that `access` names")),
            _ => Ok(Answer { status, body }),
        }
    }

    fn explain(&self, e: reqwest::Error) -> Error {
        let hint = match e.is_timeout() {
            true => "it did not answer in time; check that it is not overloaded",
            false => "check the URL, that the server is up, and that it can be reached from here",
        };
        Error::failed(format!("reach {}", self.shown())).because(e.without_url()).hint(hint)
    }
}

fn read(file: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| {
        Error::usage(format!("read {}", file.display())).because(e).hint("the schedule's or plan's `access` names it")
    })
}
