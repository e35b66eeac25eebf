//! What a drill or a restore used: backups and keys.

use jiff::Timestamp;

use crate::cli::restore::sites::Opened;
use crate::reader::Standing;
use crate::report::model::{BackupCompleteness, BackupUsed, KeyUse, KeyUsed, SignatureFound, SignatureStatus};
use crate::vault::manifest::Status;
use crate::vault::signature::Signer;

/// A backup that was restored from.
pub(in crate::cli) fn backup_used(opened: &Opened, incident_start: Timestamp) -> BackupUsed {
    let manifest = &opened.backup.manifest;
    let problems = manifest.sources.iter().flat_map(|source| {
        source.problems.iter().map(|problem| format!("{}: {}: {}", source.name, problem.what, problem.why))
    });
    let left_out = manifest.left_out_sources.iter().map(|name| format!("{name}: it was left out"));
    BackupUsed {
        cluster: manifest.cluster.clone(),
        id: manifest.id.to_string(),
        started: manifest.started,
        age_seconds: incident_start.duration_since(manifest.started).as_secs_f64().max(0.0),
        manifest_sha256: hex::encode(opened.digest),
        signature: signature(&opened.standing),
        completeness: match manifest.status {
            Status::Complete => BackupCompleteness::Complete,
            Status::Partial => BackupCompleteness::Partial,
        },
        problems: problems.chain(left_out).collect(),
    }
}

fn signature(standing: &Standing) -> SignatureFound {
    let none = SignatureFound { status: SignatureStatus::Unchecked, principal: None, fingerprint: None, problem: None };
    match standing {
        Standing::Unchecked => none,
        Standing::Refused(e) => SignatureFound { status: SignatureStatus::Bad, problem: Some(e.one_line()), ..none },
        Standing::Trusted(by) => SignatureFound {
            status: SignatureStatus::Good,
            principal: Some(by.principal.clone()),
            fingerprint: Some(by.fingerprint.clone()),
            ..none
        },
    }
}

/// The keys: those that had signed the backups, those that opened them, and the one that signs the report.
pub(in crate::cli) fn keys(opened: &[&Opened], recipients: &[String], signer: Option<&Signer>) -> Vec<KeyUsed> {
    let key = |r#use, fingerprint: &str, holder: Option<&str>| KeyUsed {
        r#use,
        fingerprint: fingerprint.into(),
        holder: holder.map(Into::into),
    };
    let mut keys: Vec<KeyUsed> = recipients.iter().map(|recipient| key(KeyUse::Decrypt, recipient, None)).collect();
    for opened in opened {
        if let Standing::Trusted(by) = &opened.standing {
            keys.push(key(KeyUse::SignedBackup, &by.fingerprint, Some(&by.principal)));
        }
    }
    keys.extend(signer.map(|signer| key(KeyUse::SignReport, &signer.fingerprint(), None)));
    keys.sort();
    keys.dedup();
    keys
}
