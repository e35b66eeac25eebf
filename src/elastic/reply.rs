//! What a server says when it refuses.

use std::fmt;

use reqwest::StatusCode;
use serde_json::Value;

use crate::endpoint::Reply;

/// An answer that is not what was asked for.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// The kind of error, `index_not_found_exception`; empty when it says none.
    pub kind: String,
    /// Why, in its words.
    pub reason: String,
}

impl Refusal {
    /// Reads one.
    pub fn of(reply: &Reply) -> Refusal {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let error = &body["error"];
        // The cause that is deepest knows most: "all shards failed" says nothing.
        let root = error["root_cause"].get(0).filter(|root| root["reason"].is_string()).unwrap_or(error);
        let reason = match (root["reason"].as_str(), error.as_str()) {
            (Some(reason), _) | (None, Some(reason)) => reason.to_string(),
            _ => String::from_utf8_lossy(&reply.body).chars().take(300).collect(),
        };
        let kind = root["type"].as_str().unwrap_or_default().to_string();
        Refusal { status: reply.status, kind, reason: with_cause(reason, error) }
    }

    /// Whether the server has no such part at all.
    pub fn is_not_served(&self) -> bool {
        self.reason.starts_with("no handler found") || self.kind == "invalid_index_name_exception"
    }

    /// Whether what was asked for is not there.
    pub fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

fn with_cause(reason: String, error: &Value) -> String {
    match error["caused_by"]["reason"].as_str() {
        Some(cause) if !reason.contains(cause) => format!("{reason}: {cause}"),
        _ => reason,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.reason.trim())
    }
}

/// The error of one item of a bulk request, in words.
pub fn explain(error: &Value) -> String {
    with_cause(error["reason"].as_str().unwrap_or_default().to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Refusal {
        Refusal::of(&Reply { status: StatusCode::BAD_REQUEST, body: body.to_string().into(), is_cut: false })
    }

    #[test]
    fn the_deepest_cause_is_told() {
        let all = r#"{"error":{"root_cause":[{"type":"x_exception","reason":"bad setting"}],"type":"all","reason":"all shards failed",
            "caused_by":{"reason":"it is 7"}}}"#;
        assert_eq!(refusal(all).to_string(), "400 bad setting: it is 7");
        assert_eq!(
            refusal(r#"{"error":"no handler found for uri [/x]"}"#).to_string(),
            "400 no handler found for uri [/x]"
        );
        assert!(refusal(r#"{"error":"no handler found for uri [/x]"}"#).is_not_served());
        assert_eq!(refusal("<html>").to_string(), "400 <html>");
    }
}
