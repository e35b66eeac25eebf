//! What several verbs report in the same way.

use serde::Serialize;

use crate::reader::Standing;
use crate::vault::manifest::Manifest;

/// Whether a backup's signature holds, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignatureReport {
    /// `good`, `unchecked` or `bad`.
    pub status: &'static str,
    /// Who signed, by the allowed-signers file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Key that signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How long a run took, in seconds.
pub(super) fn seconds(manifest: &Manifest) -> u64 {
    u64::try_from(manifest.finished.as_second() - manifest.started.as_second()).unwrap_or(0)
}

impl From<&Standing> for SignatureReport {
    fn from(standing: &Standing) -> Self {
        let plain = |status| SignatureReport { status, principal: None, fingerprint: None, problem: None };
        match standing {
            Standing::Unchecked => plain("unchecked"),
            Standing::Refused(e) => SignatureReport { problem: Some(e.one_line()), ..plain("bad") },
            Standing::Trusted(by) => SignatureReport {
                principal: Some(by.principal.clone()),
                fingerprint: Some(by.fingerprint.clone()),
                ..plain("good")
            },
        }
    }
}

impl SignatureReport {
    /// For tables: what is bad stands out.
    pub(super) fn word(&self) -> &'static str {
        if self.status == "bad" { "BAD" } else { self.status }
    }

    /// A sentence.
    pub(super) fn sentence(&self) -> String {
        match (self.principal.as_deref(), self.fingerprint.as_deref(), self.problem.as_deref()) {
            (Some(principal), Some(fingerprint), _) => format!("good, by {principal} ({fingerprint})"),
            (_, _, Some(problem)) => format!("BAD: {problem}"),
            _ => "unchecked: no trusted signers are given".into(),
        }
    }
}
