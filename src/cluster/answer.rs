//! What the API server says when it says no.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::Call;
use crate::error::Error;

/// A request that did not succeed.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The verb in words of RBAC where there is one: `list`, `create`, …
    pub method: Method,
    /// Path without query.
    pub path: String,
    /// Why.
    pub cause: Cause,
}

/// Why a request did not succeed.
#[derive(Debug, Clone)]
pub enum Cause {
    /// The server answered with an error.
    Status {
        /// HTTP status.
        code: u16,
        /// Machine-readable reason, `AlreadyExists`, `Expired`, …; empty where the answer was not a Status.
        reason: String,
        /// Message for people.
        message: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The connection could not be made, or broke.
    Transport(String),
    /// No answer in time.
    TimedOut(Duration),
    /// The answer is longer than this many bytes, which is all that the caller has room for.
    TooLong(usize),
}

impl ApiError {
    pub(super) fn from_status(call: &Call<'_>, status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Status {
            reason: String,
            message: String,
        }
        let Status { reason, mut message } = serde_json::from_slice(body).unwrap_or_default();
        if message.is_empty() {
            message = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_string();
        }
        ApiError::new(call, Cause::Status { code: status.as_u16(), reason, message, retry_after })
    }

    pub(super) fn transport(call: &Call<'_>, message: String) -> Self {
        ApiError::new(call, Cause::Transport(message))
    }

    pub(super) fn too_long(call: &Call<'_>, most: usize) -> Self {
        ApiError::new(call, Cause::TooLong(most))
    }

    pub(super) fn timed_out(call: &Call<'_>) -> Self {
        ApiError::new(call, Cause::TimedOut(call.timeout))
    }

    fn new(call: &Call<'_>, cause: Cause) -> Self {
        let path = call.path.split('?').next().unwrap_or_default().to_string();
        ApiError { method: call.method.clone(), path, cause }
    }

    /// HTTP status, where the server answered.
    pub fn code(&self) -> Option<u16> {
        match &self.cause {
            Cause::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The server's machine-readable reason.
    pub fn reason(&self) -> &str {
        match &self.cause {
            Cause::Status { reason, .. } => reason,
            _ => "",
        }
    }

    /// The server's message.
    pub fn message(&self) -> String {
        match &self.cause {
            Cause::Status { message, code, .. } if message.is_empty() => format!("HTTP {code}"),
            Cause::Status { message, .. } => message.clone(),
            Cause::Transport(message) => message.clone(),
            Cause::TooLong(most) => format!("the answer is longer than {most} bytes"),
            Cause::TimedOut(after) => format!("no answer within {}", crate::config::format_duration(*after)),
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match &self.cause {
            Cause::Status { code, .. } => matches!(code, 401 | 408 | 429 | 500 | 502 | 503 | 504),
            Cause::Transport(_) => true,
            Cause::TimedOut(_) | Cause::TooLong(_) => false,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.method, self.path, self.message())
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Error {
    fn from(e: ApiError) -> Self {
        Error::failed(e.to_string())
    }
}
