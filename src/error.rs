//! What went wrong, what kind of failure it is, and what to do next.
//!
//! One type serves the whole library: a failure carries its [`Kind`] (which decides the exit code), one sentence
//! that says what and where, and, where a person can act, a hint. The source chain keeps the details.

use std::fmt;

/// The kinds of failure that a caller tells apart. Each has one exit code and one name in JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The operation could not be done: a server, a network or a disk said no.
    Failed,
    /// Wrong usage or configuration: nothing was attempted.
    Usage,
    /// Finished, but something that was asked for is missing from the result.
    Incomplete,
    /// Restored, but later than the recovery time objective allows.
    PastRto,
    /// A signature, a digest or a decryption did not verify.
    Integrity,
    /// The backup window was missed.
    WindowMissed,
    /// Another run holds the lease.
    LeaseHeld,
    /// No given identity opens this backup.
    NoIdentity,
    /// Stopped by a signal.
    Interrupted,
}

impl Kind {
    /// The exit code of the process, as documented for users.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Incomplete => 3,
            Kind::PastRto => 4,
            Kind::Integrity => 5,
            Kind::WindowMissed => 6,
            Kind::LeaseHeld => 7,
            Kind::NoIdentity => 8,
            Kind::Interrupted => 130,
        }
    }
}

/// The boxed cause of an [`Error`].
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failure: kind, message, hint and cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    cause: Option<Cause>,
}

/// The result of everything in the library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind`; `message` says what, and where, in the present tense ("read vault file:///backups").
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), hint: None, cause: None }))
    }

    /// Short for a [`Kind::Failed`] error.
    pub fn failed(message: impl Into<String>) -> Self {
        Error::new(Kind::Failed, message)
    }

    /// Short for a [`Kind::Usage`] error.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(Kind::Usage, message)
    }

    /// Short for a [`Kind::Integrity`] error.
    pub fn integrity(message: impl Into<String>) -> Self {
        Error::new(Kind::Integrity, message)
    }

    /// Adds what the person who reads this should do next. An inner hint is kept: it knows more.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds the cause.
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Puts this failure into the context of a larger operation; kind and hint stay.
    pub fn within(self, message: impl Into<String>) -> Self {
        let (kind, hint) = (self.kind(), self.0.hint.clone());
        let mut outer = Error::new(kind, message).because(self);
        outer.0.hint = hint;
        outer
    }

    /// The kind, which decides the exit code.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What to do next, if anything is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Message and causes on one line, outermost first; a cause that only repeats what was said is left out.
    pub fn one_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(c) = cause {
            let text = c.to_string().replace('\n', " ");
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = c.source();
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|c| c as &(dyn std::error::Error + 'static))
    }
}

/// Adds context to any error on its way up.
pub trait Context<T> {
    /// Wraps a foreign error as [`Kind::Failed`], or puts an [`Error`] into context, keeping its kind and hint.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Cause>> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| match e.into().downcast::<Error>() {
            Ok(own) => own.within(message()),
            Err(cause) => Error::failed(message()).because(cause),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_kind_and_hint_and_reads_outside_in() {
        let inner: Result<()> = Err(Error::integrity("digest of 0001 differs").hint("verify the other copies"));
        let outer = inner.context(|| "restore prod".into()).unwrap_err();
        assert_eq!(outer.kind(), Kind::Integrity);
        assert_eq!(outer.hint_text(), Some("verify the other copies"));
        assert_eq!(outer.one_line(), "restore prod: digest of 0001 differs");
    }
}
