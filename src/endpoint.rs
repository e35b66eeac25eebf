//! An HTTP server with its log-in, from which something is read, or of which something is asked: Prometheus and the like.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::CONTENT_TYPE;
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

/// What is sent along with a request.
#[derive(Debug, Clone)]
pub struct Content {
    /// Its media type.
    pub media_type: &'static str,
    /// The bytes.
    pub bytes: Bytes,
}

/// What a server answered, as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, as far as it was read.
    pub body: Bytes,
    /// Whether the body is longer than what was read.
    pub is_cut: bool,
}

/// One request to the very URL of an endpoint.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Headers, beside those that log in.
    pub headers: &'a [(String, String)],
    /// What is sent along.
    pub body: Option<Bytes>,
    /// How long it may take.
    pub timeout: Duration,
    /// Bytes of the answer that are read at most.
    pub most: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct NoAnswer {
    /// Why.
    pub error: Error,
    /// Whether the server may have got the request all the same.
    pub may_be_done: bool,
}

/// A URL for people: what stands in its query may be secret.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// How much of a line of an answer is told, in characters.
const TOLD: usize = 200;

impl Reply {
    /// Its status and the begin of what it says, for people: `503 Service Unavailable: no healthy upstream`.
    pub fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        match line.chars().take(TOLD).collect::<String>() {
            line if line.is_empty() => self.status.to_string(),
            line => format!("{}: {line}", self.status),
        }
    }
}

/// No server that is asked for text answers with more, in bytes.
const MOST_TEXT: usize = 256 << 20;

impl Endpoint {
    /// Prepares requests to a server. Nothing is sent yet.
    pub fn new(base: &Url, access: &HttpAccess) -> Result<Endpoint> {
        Endpoint::build(base, access, reqwest::redirect::Policy::default())
    }

    /// The same for one URL as it stands. A redirection is an answer like any other: what it leads to was not asked for.
    pub fn exact(url: &Url, access: &HttpAccess) -> Result<Endpoint> {
        Endpoint::build(url, access, reqwest::redirect::Policy::none())
    }

    fn build(base: &Url, access: &HttpAccess, redirects: reqwest::redirect::Policy) -> Result<Endpoint> {
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(redirects);
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

    /// One request with a form; the answer whatever its status, but for a log-in that is refused.
    pub async fn send(&self, method: Method, path: &str, form: &[(&str, &str)], timeout: Duration) -> Result<Answer> {
        let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let (path, content) = match method {
            _ if form.is_empty() => (path.to_string(), None),
            Method::GET => (format!("{path}?{encoded}"), None),
            _ => {
                let media_type = "application/x-www-form-urlencoded";
                (path.to_string(), Some(Content { media_type, bytes: encoded.into() }))
            }
        };
        let reply = self.exchange(method, &path, content, timeout, MOST_TEXT).await?;
        match reply.status {
            StatusCode::UNAUTHORIZED => Err(self.refused_log_in()),
            _ if reply.is_cut => {
                Err(Error::failed(format!("{} answered with more than {MOST_TEXT} bytes", self.shown())))
            }
            status => Ok(Answer { status, body: String::from_utf8_lossy(&reply.body).into_owned() }),
        }
    }

    /// What to say when the server does not know who asks.
    pub fn refused_log_in(&self) -> Error {
        Error::failed(format!("{} does not accept the log-in", self.shown()))
            .hint("check the user, and the files that `access` names")
    }

    /// One request; the answer whatever its status, up to `most` bytes. Secrets are read anew each time: they may be renewed
    /// at any time.
    pub async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: Option<Content>,
        timeout: Duration,
        most: usize,
    ) -> Result<Reply> {
        let mut request = self.http.request(method, format!("{}/{path}", self.shown())).timeout(timeout);
        if let Some(Content { media_type, bytes }) = content {
            request = request.header(CONTENT_TYPE, media_type).body(bytes);
        }
        let answer = self.log_in(request)?.send().await.map_err(|e| self.explain(e))?;
        let status = answer.status();
        let (body, is_cut) = self.read_body(answer, most).await?;
        Ok(Reply { status, body, is_cut })
    }

    /// One request to the URL itself, once; the answer whatever its status.
    pub async fn request(&self, wanted: Request<'_>) -> Result<Reply, NoAnswer> {
        let not_sent = |error| NoAnswer { error, may_be_done: false };
        let mut request = self.http.request(wanted.method, self.base.clone()).timeout(wanted.timeout);
        for (name, value) in wanted.headers {
            request = request.header(name, value);
        }
        if let Some(body) = wanted.body {
            request = request.body(body);
        }
        let sent = self.log_in(request).map_err(not_sent)?.send().await;
        let answer =
            sent.map_err(|e| NoAnswer { may_be_done: !(e.is_connect() || e.is_builder()), error: self.explain(e) })?;
        let status = answer.status();
        let read = self.read_body(answer, wanted.most).await;
        let (body, is_cut) = read.map_err(|error| NoAnswer { error, may_be_done: true })?;
        Ok(Reply { status, body, is_cut })
    }

    fn log_in(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder> {
        let HttpAccess { basic, bearer_token_file, api_key_file, .. } = &self.access;
        Ok(match (basic, bearer_token_file, api_key_file) {
            (Some((user, file)), ..) => request.basic_auth(user, Some(read(file)?.trim_end_matches(['\r', '\n']))),
            (_, Some(file), _) => request.bearer_auth(read(file)?.trim()),
            (.., Some(file)) => request.header("authorization", format!("ApiKey {}", read(file)?.trim())),
            _ => request,
        })
    }

    async fn read_body(&self, mut answer: reqwest::Response, most: usize) -> Result<(Bytes, bool)> {
        let announced = answer.content_length().unwrap_or_default();
        let mut body = BytesMut::with_capacity(announced.min(most as u64) as usize);
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.explain(e))? {
            if body.len() + chunk.len() > most {
                return Ok((body.freeze(), true));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body.freeze(), false))
    }

    fn explain(&self, e: reqwest::Error) -> Error {
        let hint = match e.is_timeout() {
            true => "it did not answer in time; check that it is not overloaded",
            false => "check the URL, that the server is up, and that it can be reached from here",
        };
        Error::failed(format!("reach {}", shown(&self.base).trim_end_matches('/'))).because(e.without_url()).hint(hint)
    }
}

fn read(file: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| {
        Error::usage(format!("read {}", file.display())).because(e).hint("the schedule's or plan's `access` names it")
    })
}
