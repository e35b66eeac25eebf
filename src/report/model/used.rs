//! What was used: backups and keys.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a backup holds everything that it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BackupCompleteness {
    /// Everything.
    Complete,
    /// Something is missing from it; its manifest says what.
    Partial,
}

impl BackupCompleteness {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            BackupCompleteness::Complete => "complete",
            BackupCompleteness::Partial => "partial",
        }
    }
}

/// Whether a signature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SignatureStatus {
    /// A trusted signer signed it.
    Good,
    /// No trusted signers were given, so nobody knows.
    Unchecked,
    /// It is missing, wrong, or not by a trusted signer.
    Bad,
}

impl SignatureStatus {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            SignatureStatus::Good => "good",
            SignatureStatus::Unchecked => "unchecked",
            SignatureStatus::Bad => "bad",
        }
    }
}

/// A signature that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignatureFound {
    /// Whether it holds.
    pub status: SignatureStatus,
    /// Who signed, by the list of trusted signers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The key that signed, `SHA256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A backup that something was restored from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupUsed {
    /// The cluster that it is of.
    pub cluster: String,
    /// Its id.
    pub id: String,
    /// When its run began.
    pub started: Timestamp,
    /// How old it was when the incident began: the achieved recovery point. Seconds.
    pub age_seconds: f64,
    /// SHA-256 of its manifest, which names the digest of everything in it.
    pub manifest_sha256: String,
    /// The manifest's signature.
    pub signature: SignatureFound,
    /// Whether it holds everything that it was asked for.
    pub completeness: BackupCompleteness,
    /// What it lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What a key was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyUse {
    /// It decrypted a backup.
    Decrypt,
    /// It had signed a backup.
    SignedBackup,
    /// It signed what the exercise proved.
    SignReport,
}

impl KeyUse {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            KeyUse::Decrypt => "decrypts the backup",
            KeyUse::SignedBackup => "signed the backup",
            KeyUse::SignReport => "signs this report",
        }
    }
}

/// A key that was used. Only what is public of it stands here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyUsed {
    /// What for.
    pub r#use: KeyUse,
    /// `SHA256:…` of a signing key, or the public recipient of an identity, `age1…`.
    pub fingerprint: String,
    /// Whose it is, where that is known: `on-call`, `escrow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}
