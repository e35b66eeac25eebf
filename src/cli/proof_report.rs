//! What several verbs report in the same way.

use jiff::Timestamp;
use serde::Serialize;

use super::words;
use crate::reader::{Proof, Standing};
use crate::vault::attestation::Level;
use crate::vault::manifest::Manifest;
use crate::vault::signature::SignedBy;

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

/// What somebody proved of a backup, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProofReport {
    pub level: Level,
    pub at: Timestamp,
    pub objects: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
    pub signature: SignatureReport,
}

impl From<&Proof> for ProofReport {
    fn from(proof: &Proof) -> Self {
        let attestation = &proof.attestation;
        ProofReport {
            level: attestation.level,
            at: attestation.at,
            objects: attestation.objects,
            bytes: attestation.bytes,
            members: attestation.members,
            signature: proof.by.as_ref().into(),
        }
    }
}

impl ProofReport {
    /// For tables: the level, and how long ago it was proved.
    pub(super) fn word(&self, now: Timestamp) -> String {
        let doubt = if self.signature.status == "good" { "" } else { "?" };
        format!("{}{doubt} {}", self.level.as_str(), words::age(self.at, now))
    }
}

/// How long a run took, in seconds.
pub(super) fn seconds(manifest: &Manifest) -> u64 {
    u64::try_from(manifest.finished.as_second() - manifest.started.as_second()).unwrap_or(0)
}

impl From<&Standing> for SignatureReport {
    fn from(standing: &Standing) -> Self {
        match standing {
            Standing::Unchecked => None.into(),
            Standing::Refused(e) => SignatureReport { problem: Some(e.one_line()), ..SignatureReport::of("bad") },
            Standing::Trusted(by) => Some(by).into(),
        }
    }
}

impl From<Option<&SignedBy>> for SignatureReport {
    fn from(by: Option<&SignedBy>) -> Self {
        let Some(by) = by else { return SignatureReport::of("unchecked") };
        SignatureReport {
            principal: Some(by.principal.clone()),
            fingerprint: Some(by.fingerprint.clone()),
            ..SignatureReport::of("good")
        }
    }
}

impl SignatureReport {
    fn of(status: &'static str) -> Self {
        SignatureReport { status, principal: None, fingerprint: None, problem: None }
    }

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
