//! What a storage says when it says no, in words: what, where, and what to do.

use object_store::client::{HttpError, HttpErrorKind};

use crate::error::Error;

/// How a place in a storage is spoken of.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its URL.
    pub shown: String,
    /// What it is to whoever uses it: a `vault`, a `place`.
    pub noun: &'static str,
    /// Where its credentials are given, as somebody is told who has to.
    pub credentials: String,
}

impl Place {
    /// A storage's error in words: what, where, and what to do.
    pub fn explain(&self, doing: &str, key: &str, e: object_store::Error) -> Error {
        let place =
            if key.is_empty() { self.shown.clone() } else { format!("{}/{key}", self.shown.trim_end_matches('/')) };
        let error = match &e {
            object_store::Error::NotFound { .. } if is_missing_bucket(&e) => {
                return self.no_bucket(what_the_store_said(&e));
            }
            object_store::Error::NotFound { .. } => Error::failed(format!("{place} is not there")),
            _ if says(&e, "RequestTimeTooSkewed") => {
                Error::failed(format!("{doing} {place}: this machine's clock and the storage's are too far apart"))
                    .hint("compare `date -u` with a clock that is right, set what is wrong, and run it again")
            }
            _ if is_forbidden(&e) => Error::failed(format!("no permission to {doing} {place}"))
                .hint(format!("check the credentials in the environment and what they allow on this {}", self.noun)),
            _ if METADATA_SERVICES.iter().any(|path| says(&e, path)) => Error::failed(format!(
                "no credentials for {}: none in the environment, and none by this machine's role",
                self.shown
            ))
            .hint(format!("set {}, or mend the machine's role, and run it again", self.credentials)),
            _ if e.to_string().contains("No space left") => Error::failed(format!("{doing} {place}: the disk is full"))
                .hint("make room and run it again; nothing was committed"),
            _ => Error::failed(format!("{doing} {place}"))
                .hint("check that the storage is reachable, then run it again; nothing that was committed is lost"),
        };
        error.because(what_the_store_said(&e))
    }

    /// There is no such bucket.
    pub fn no_bucket(&self, said: String) -> Error {
        Error::failed(format!("no such {}: {} (the bucket does not exist)", self.noun, self.shown))
            .because(said)
            .hint("check the bucket's name and the endpoint; ckbackup does not make buckets")
    }
}

/// What virtual machines ask their provider for credentials: the last resort, when none are given.
const METADATA_SERVICES: [&str; 4] =
    ["/latest/api/token", "/latest/meta-data/iam", "/metadata/identity/oauth2", "/computeMetadata/"];

/// The error in one line: of a server's XML only code and message.
fn what_the_store_said(e: &object_store::Error) -> String {
    let text = e.to_string();
    let Some((begin, body)) = text.find("<?xml").or(text.find("<Error")).map(|at| text.split_at(at)) else {
        return text;
    };
    format!("{begin}{}", code_and_message(body))
}

/// What counts in a server's error in XML.
pub(super) fn code_and_message(body: &str) -> String {
    let tag = |name: &str| body.split_once(&format!("<{name}>"))?.1.split('<').next();
    format!("{}: {}", tag("Code").unwrap_or("no code"), tag("Message").unwrap_or("no message"))
}

/// A version that the store does not know: 404, or 400 where it does not look like one of its own.
pub fn is_unknown_version(e: &object_store::Error) -> bool {
    matches!(e, object_store::Error::NotFound { .. }) || says(e, "InvalidArgument") || says(e, "NoSuchVersion")
}

/// A range that no byte of the object is in: S3's code, and what a folder's store says.
pub fn begins_behind_the_end(e: &object_store::Error) -> bool {
    says(e, "InvalidRange") || says(e, "but object was only")
}

/// Whether the server may have done what it was asked for, and nobody knows.
pub fn is_unanswered(e: &object_store::Error) -> bool {
    causes(e).filter_map(|cause| cause.downcast_ref::<HttpError>()).any(|e| e.kind() != HttpErrorKind::Connect)
}

/// Lists that are refused come as errors of no kind.
pub(super) fn is_forbidden(e: &object_store::Error) -> bool {
    matches!(e, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
        || says(e, "403 Forbidden")
        || says(e, "AccessDenied")
}

/// There is no such bucket: nothing can be in it.
pub fn is_missing_bucket(e: &object_store::Error) -> bool {
    says(e, "NoSuchBucket")
}

fn says(e: &object_store::Error, word: &str) -> bool {
    causes(e).any(|cause| cause.to_string().contains(word))
}

/// The error and its causes, outermost first.
fn causes(e: &object_store::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(e as &(dyn std::error::Error + 'static)), |e| e.source())
}
