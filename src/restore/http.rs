//! Runs an `http` step: one request, sent when its turn comes.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::work::{Tally, Work};
use crate::config::{HttpBody, HttpRequest};
use crate::endpoint::{self, Endpoint, NoAnswer, Reply, Request};
use crate::error::{Error, Kind, Result};

/// The first wait between two tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest wait between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How much of the answer is read, in bytes: enough for a line that says what is wrong.
const MOST: usize = 64 << 10;

/// Sends what the step wants; an answer that is not wanted is an error.
pub async fn send_request(work: &Work, step: usize, wanted: &HttpRequest) -> Result<Tally> {
    let body = read_body(wanted)?;
    let (what, mut tally) = (shown(wanted), Tally::default());
    if work.dry_run {
        let along = body.map(|body| format!(" with {} bytes", body.len())).unwrap_or_default();
        tally.notes.push(format!("would send {what}{along}"));
        return Ok(tally);
    }
    let name = &work.plan.steps[step].name;
    work.progress.begin(name.as_str(), None);
    let sent = send(wanted, body).await.and_then(|reply| judge(wanted, &reply));
    let note = match &sent {
        Ok(note) => note.clone(),
        Err(e) => e.one_line(),
    };
    work.progress.end(name.as_str(), &note);
    tally.notes.push(sent?);
    Ok(tally)
}

/// `POST http://harbor/api/v2.0/projects`.
fn shown(wanted: &HttpRequest) -> String {
    format!("{} {}", wanted.method, endpoint::shown(&wanted.url))
}

fn read_body(wanted: &HttpRequest) -> Result<Option<Bytes>> {
    match &wanted.body {
        None => Ok(None),
        Some(HttpBody::Text(text)) => Ok(Some(text.clone().into())),
        Some(HttpBody::File(file)) => match std::fs::read(file) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) => {
                Err(Error::usage(format!("read {}", file.display())).because(e).hint("the step's `bodyFile` names it"))
            }
        },
    }
}

fn judge(wanted: &HttpRequest, reply: &Reply) -> Result<String> {
    let is_good = match &wanted.status {
        Some(codes) => codes.contains(&reply.status.as_u16()),
        None => reply.status.is_success(),
    };
    match is_good {
        true => Ok(format!("{} answered {}", shown(wanted), reply.status)),
        false => Err(Error::failed(format!("{} answered {}", shown(wanted), reply.words()))),
    }
}

/// Sends it until there is an answer, whatever it is. What may have been done is sent again only where that does no more.
async fn send(wanted: &HttpRequest, body: Option<Bytes>) -> Result<Reply> {
    let endpoint = Endpoint::exact(&wanted.url, &wanted.access)?;
    let method = reqwest::Method::from_bytes(wanted.method.as_str().as_bytes())
        .map_err(|e| Error::usage("method").because(e))?;
    let headers = headers(wanted, body.as_ref());
    let deadline = Instant::now() + wanted.timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let request = Request { method: method.clone(), headers: &headers, body: body.clone(), timeout, most: MOST };
        let NoAnswer { error, may_be_done } = match endpoint.request(request).await {
            Ok(reply) => return Ok(reply),
            Err(no_answer) => no_answer,
        };
        if may_be_done && !wanted.method.is_idempotent() {
            let what = format!("{} was sent, and whether it was done is not known", shown(wanted));
            return Err(error.within(what).hint("look at the server before the restore is run again"));
        }
        if error.kind() == Kind::Usage || Instant::now() + pause >= deadline {
            return Err(error.within(format!("{} got no answer", shown(wanted))));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Those of the plan, and what the body is, where they do not say.
fn headers(wanted: &HttpRequest, body: Option<&Bytes>) -> Vec<(String, String)> {
    let mut headers = wanted.headers.clone();
    let is_told = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if let (Some(body), false) = (body, is_told) {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let media_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        headers.push(("content-type".into(), media_type.into()));
    }
    headers
}
