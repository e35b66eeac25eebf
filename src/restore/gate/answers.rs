//! Looks at what HTTP servers answer: any server, an Elasticsearch, a Prometheus.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::{Look, Waiting};
use crate::config::{AwaitedAnswer, AwaitedHealth, AwaitedQuery, Health, HttpServer};
use crate::endpoint::{Endpoint, Reply, Request, shown};
use crate::error::{Error, Kind};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is read, in bytes.
const MOST: usize = 1 << 20;

/// A server that is asked.
pub(super) enum Asked<'a> {
    /// Any server.
    Answer(&'a AwaitedAnswer),
    /// An Elasticsearch or OpenSearch.
    Health(&'a AwaitedHealth),
    /// A Prometheus.
    Query(&'a AwaitedQuery),
}

impl Asked<'_> {
    /// Asks once.
    pub(super) async fn look(&self) -> Look {
        match self {
            Asked::Answer(wanted) => answer(wanted).await,
            Asked::Health(wanted) => health(wanted).await,
            Asked::Query(wanted) => query(wanted).await,
        }
    }
}

/// A file with a secret that cannot be read stays so; a server that does not answer may yet come.
fn unanswered(head: String, error: &Error) -> Look {
    let waiting = Waiting::because(head, error.one_line());
    if error.kind() == Kind::Usage { Look::Never(waiting) } else { Look::NotYet(waiting) }
}

async fn answer(wanted: &AwaitedAnswer) -> Look {
    let url = shown(&wanted.url);
    let head = format!("{url} does not answer as wanted");
    let request = Request { method: Method::GET, headers: &[], body: None, timeout: TIMEOUT, most: MOST };
    let asked = match Endpoint::exact(&wanted.url, &wanted.access) {
        Ok(endpoint) => endpoint.request(request).await.map_err(|no| no.error),
        Err(e) => Err(e),
    };
    match asked {
        Ok(reply) => match objection(wanted, &reply) {
            None => Look::Open(format!("{url} answers {}", reply.status)),
            Some(why) => Look::NotYet(Waiting::because(head, why)),
        },
        Err(e) => unanswered(head, &e),
    }
}

/// What is not as wanted in an answer.
fn objection(wanted: &AwaitedAnswer, reply: &Reply) -> Option<String> {
    if !wanted.status.contains(&reply.status.as_u16()) {
        return Some(reply.words());
    }
    let text = wanted.contains.as_ref()?;
    let is_there = memchr::memmem::find(&reply.body, text.as_bytes()).is_some();
    (!is_there).then(|| format!("`{text}` is not in its answer, {}", reply.words()))
}

/// JSON of a server that answered well.
async fn json(server: &HttpServer, method: Method, path: &str, form: &[(&str, &str)]) -> Result<Value, Error> {
    let answer = Endpoint::new(&server.url, &server.access)?.send(method, path, form, TIMEOUT).await?;
    let json = answer.json();
    // A Prometheus says in JSON why it does not take a query.
    if answer.status.is_success() || json["status"] == "error" {
        return Ok(json);
    }
    let reply = Reply { status: answer.status, body: answer.body.into(), is_cut: false };
    Err(Error::failed(reply.words()))
}

async fn health(wanted: &AwaitedHealth) -> Look {
    let head = format!("{} is not {}", shown(&wanted.server.url), wanted.health.as_str());
    let json = match json(&wanted.server, Method::GET, "_cluster/health", &[]).await {
        Ok(json) => json,
        Err(e) => return unanswered(head, &e),
    };
    let found = json["status"].as_str().unwrap_or("unknown");
    let is_good =
        [Health::Yellow, Health::Green].into_iter().any(|health| health.as_str() == found && health >= wanted.health);
    match is_good {
        true => Look::Open(format!("{} is {found}", shown(&wanted.server.url))),
        false => {
            let count = |key: &str| json[key].as_u64().unwrap_or_default();
            let (away, coming) = (count("unassigned_shards"), count("initializing_shards"));
            let why = format!("its health is {found}, {away} shards are unassigned, {coming} are being started");
            Look::NotYet(Waiting::because(head, why))
        }
    }
}

async fn query(wanted: &AwaitedQuery) -> Look {
    let head = format!("the query to {} is not true", shown(&wanted.server.url));
    let json = match json(&wanted.server, Method::POST, "api/v1/query", &[("query", &wanted.query)]).await {
        Ok(json) => json,
        Err(e) => return unanswered(head, &e),
    };
    if json["status"] != "success" {
        let waiting = Waiting::because(head, json["error"].as_str().unwrap_or("it does not say why").into());
        // A query that cannot be read will not be read later.
        return if json["errorType"] == "bad_data" { Look::Never(waiting) } else { Look::NotYet(waiting) };
    }
    match untrue(&json["data"]) {
        None => Look::Open("the query is true".into()),
        Some(why) => Look::NotYet(Waiting::because(head, why)),
    }
}

/// Why a result is not true; none when there are values, and none of them is zero.
fn untrue(data: &Value) -> Option<String> {
    let results = match data["resultType"].as_str() {
        Some("scalar") => vec![(&Value::Null, &data["result"][1])],
        Some("vector") => {
            let all = data["result"].as_array().into_iter().flatten();
            all.map(|result| (&result["metric"], &result["value"][1])).collect()
        }
        other => return Some(format!("it gives a {}, and no value", other.unwrap_or("strange answer"))),
    };
    let is_true = |value: &Value| {
        value.as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(|n| n != 0.0 && !n.is_nan())
    };
    if results.is_empty() {
        return Some("it has no result".into());
    }
    let (metric, value) = results.into_iter().find(|(_, value)| !is_true(value))?;
    let value = value.as_str().unwrap_or("no number");
    Some(match metric.as_object().is_some_and(|labels| !labels.is_empty()) {
        true => format!("it is {value} for {metric}"),
        false => format!("it is {value}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_query_is_true_when_it_has_values_and_none_is_zero() {
        let vector = |values: &[&str]| {
            let results: Vec<_> =
                values.iter().map(|value| json!({"metric": {"job": "a"}, "value": [0, value]})).collect();
            json!({"resultType": "vector", "result": results})
        };
        assert_eq!(untrue(&vector(&["1", "0.5"])), None);
        assert_eq!(untrue(&vector(&[])).unwrap(), "it has no result");
        assert_eq!(untrue(&vector(&["1", "0"])).unwrap(), r#"it is 0 for {"job":"a"}"#);
        assert_eq!(untrue(&vector(&["NaN"])).unwrap(), r#"it is NaN for {"job":"a"}"#);
        assert_eq!(untrue(&json!({"resultType": "scalar", "result": [0, "1"]})), None);
        assert_eq!(untrue(&json!({"resultType": "scalar", "result": [0, "0"]})).unwrap(), "it is 0");
        assert_eq!(untrue(&json!({"resultType": "matrix", "result": []})).unwrap(), "it gives a matrix, and no value");
    }
}
