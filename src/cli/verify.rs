//! `verify`: is a backup what it says it is?

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::choose::choose;
use super::metrics_file::{MetricsFileArgs, look_at_all, trust};
use super::output::Failure;
use super::proof_report::SignatureReport;
use super::shared::{AttestArgs, IdentityArgs, TrustArgs, VaultArgs};
use super::table::Table;
use super::{DONE, Global, Outcome, Output, telemetry, words};
use crate::archive::age::Identities;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::observe::{Check, CheckKind};
use crate::reader::{self, Committed, Counted, Listing, Verified};
use crate::vault::Vault;
use crate::vault::attestation::Level;
use crate::vault::layout::{BackupFolder, MANIFEST, SIGNATURE};
use crate::vault::manifest::digest;
use crate::vault::signature::{Signer, Signers};

const EXAMPLES: &str = "\
Examples:
  ckbackup verify latest -f schedules/nightly.yaml --signers allowed_signers
  ckbackup verify --all --vault /backups --signers allowed_signers --identity oncall.txt
  ckbackup verify latest -f schedules/nightly.yaml --signers allowed_signers --attest keeper/attesting_key

Without --signers nobody knows who made a backup, so it cannot be verified: everything else is checked, and the exit
code is 5. With --identity every single file inside is decrypted and compared as well.";

/// Check signature, chain, sizes and digests of everything that is stored
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// The id of a backup, or `latest`
    #[arg(value_name = "BACKUP", required_unless_present = "all", conflicts_with = "all")]
    backup: Option<String>,
    /// Every backup of the cluster
    #[arg(long)]
    all: bool,
    /// Only look whether every object is there and has its size; nothing is read
    #[arg(long, conflicts_with_all = ["identities"])]
    present: bool,
    #[command(flatten)]
    attest: AttestArgs,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    metrics: MetricsFileArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    vault: String,
    cluster: String,
    verified: bool,
    backups: Vec<BackupReport>,
    uncommitted: Vec<String>,
    #[serde(flatten)]
    failure: Option<Failure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackupReport {
    id: String,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<SignatureReport>,
    /// Stored objects that were read and compared.
    objects: u64,
    bytes: u64,
    /// Members that were compared; none without an identity.
    members: Option<u64>,
    findings: Vec<FindingReport>,
    /// Objects in the folder that the manifest does not name.
    strays: Vec<String>,
    /// What was attested.
    #[serde(skip_serializing_if = "Option::is_none")]
    attested: Option<Level>,
}

#[derive(Debug, Serialize)]
struct FindingReport {
    object: String,
    problem: String,
    #[serde(skip)]
    kind: Kind,
    #[serde(skip)]
    hint: Option<String>,
}

/// With what backups are verified.
struct Verifier<'a> {
    vault: &'a Vault,
    signers: Option<Signers>,
    identities: Option<Arc<Identities>>,
    global: &'a Global,
    /// Whether a backup that no identity opens is one finding among others.
    all: bool,
    /// How much is proved of each.
    level: Level,
    /// Who signs what was proved.
    attester: Option<Signer>,
}

pub(super) async fn run(args: &VerifyArgs, global: &Global) -> Outcome {
    let signers = args.trust.read(global)?;
    let identities = if args.present { None } else { args.identity.read(global).await? };
    let (vault, cluster) = args.vault.open(global).await?;
    let level = match (&identities, args.present) {
        (_, true) => Level::Present,
        (None, _) => Level::Intact,
        (Some(_), _) => Level::Readable,
    };
    let attester = args.attest.read_for(signers.as_ref(), global)?;
    let verifier = Verifier { vault: &vault, signers, identities, global, all: args.all, level, attester };
    let mut damaged = None;
    let outcome = tell(args, &verifier, &cluster, &mut damaged).await;
    if let (Some(signers), true) = (&verifier.signers, args.metrics.file.is_some()) {
        let exit_code = outcome.as_ref().map_or_else(|e| e.kind().exit_code(), |code| *code);
        let (kind, at) = (CheckKind::Verification, global.now());
        let check = Check { kind, cluster: cluster.clone(), at, exit_code, copies: BTreeMap::new(), damaged };
        let schedule = args.vault.schedule.as_deref().map(|file| config::read_schedule(file, None)).transpose()?;
        let subjects = look_at_all(&vault, &cluster, schedule.as_ref(), trust(signers), global).await;
        args.metrics.write(subjects, vec![check], global);
    }
    outcome
}

/// Verifies and tells; counts the backups that something is wrong with.
async fn tell(args: &VerifyArgs, verifier: &Verifier<'_>, cluster: &str, damaged: &mut Option<u64>) -> Outcome {
    let global = verifier.global;
    let mut uncommitted = Vec::new();
    let backups = match &args.backup {
        Some(which) => vec![verifier.one(cluster, which).await?],
        None => verifier.all(cluster, &mut uncommitted).await?,
    };
    *damaged = Some(backups.iter().filter(|backup| !backup.findings.is_empty()).count() as u64);
    let failure = judge(&backups, verifier.signers.is_some());
    let report = Report {
        vault: verifier.vault.shown().into(),
        cluster: cluster.into(),
        verified: failure.is_none(),
        backups,
        uncommitted,
        failure: failure.as_ref().map(Failure::from),
    };
    global.print(&report, |form| human(&report, form))?;
    let Some(failure) = failure else { return Ok(DONE) };
    global.error(failure.one_line(), failure.hint_text());
    Ok(failure.kind().exit_code())
}

impl Verifier<'_> {
    async fn one(&self, cluster: &str, which: &str) -> Result<BackupReport> {
        if which == "latest" {
            let backup = choose(self.vault, cluster, which, self.signers.as_ref(), self.global).await?;
            return self.committed(backup).await;
        }
        let folder = BackupFolder { cluster: cluster.into(), id: which.parse()? };
        telemetry::about_backup(&folder.id);
        match reader::read_committed(self.vault, &folder, self.signers.as_ref()).await {
            Ok(Some(backup)) => self.committed(backup).await,
            Ok(None) => Err(Error::usage(format!("no backup {which} of cluster {cluster} in {}", self.vault.shown()))
                .hint("`ckbackup list --all` shows what is there; what has no manifest is no backup")),
            Err(e) if e.kind() == Kind::Integrity => Ok(broken(&folder, &e)),
            Err(e) => Err(e),
        }
    }

    async fn all(&self, cluster: &str, uncommitted: &mut Vec<String>) -> Result<Vec<BackupReport>> {
        let mut reports = Vec::new();
        for listing in reader::list(self.vault, cluster, self.signers.as_ref()).await? {
            match listing {
                Listing::Committed(backup) => reports.push(self.committed(*backup).await?),
                Listing::Broken(folder, e) => reports.push(broken(&folder, &e)),
                Listing::Uncommitted(folder) => uncommitted.push(folder.id.to_string()),
            }
        }
        if reports.is_empty() {
            return Err(Error::failed(format!("no backup of cluster {cluster} in {}", self.vault.shown()))
                .hint("`ckbackup list --all` shows what is there"));
        }
        Ok(reports)
    }

    async fn committed(&self, backup: Committed) -> Result<BackupReport> {
        let (folder, manifest) = (backup.folder.clone(), digest(&backup.bytes));
        let verified = match self.level {
            Level::Present => reader::missing_objects(self.vault, backup, self.signers.as_ref()).await,
            _ => self.verify(backup, self.identities.clone()).await,
        };
        let mut report = match verified {
            Err(e) if e.kind() == Kind::NoIdentity && self.all => return self.unopened(&folder, &e).await,
            verified => describe(&verified?),
        };
        if let Some(attester) = self.attester.as_ref().filter(|_| report.verified) {
            let BackupReport { objects, bytes, members, .. } = report;
            let counted = Counted { objects, bytes, members };
            reader::attest(self.vault, &folder, manifest, attester, self.level, counted, self.global.now()).await?;
            report.attested = Some(self.level);
        }
        Ok(report)
    }

    async fn verify(&self, backup: Committed, identities: Option<Arc<Identities>>) -> Result<Verified> {
        let progress = self.global.progress();
        reader::verify(self.vault, backup, self.signers.as_ref(), identities, progress.as_ref()).await
    }

    /// What no identity opens is still compared as it is stored.
    async fn unopened(&self, folder: &BackupFolder, e: &Error) -> Result<BackupReport> {
        let Some(backup) = reader::read_committed(self.vault, folder, self.signers.as_ref()).await? else {
            return Ok(broken(folder, &Error::integrity("it was removed while it was verified")));
        };
        let object = backup.object_of(e);
        let mut report = describe(&self.verify(backup, None).await?);
        report.verified = false;
        report.findings.push(finding(object, e));
        Ok(report)
    }
}

fn finding(object: String, e: &Error) -> FindingReport {
    let said = e.one_line();
    let rest = said.strip_prefix(&object).map(|rest| rest.trim_start_matches(':').trim_start());
    let problem = rest.unwrap_or(&said).to_string();
    FindingReport { object, problem, kind: e.kind(), hint: e.hint_text().map(String::from) }
}

fn broken(folder: &BackupFolder, e: &Error) -> BackupReport {
    BackupReport {
        id: folder.id.to_string(),
        verified: false,
        signature: None,
        objects: 0,
        bytes: 0,
        members: None,
        findings: vec![finding(folder.of(MANIFEST), e)],
        strays: Vec::new(),
        attested: None,
    }
}

fn describe(verified: &Verified) -> BackupReport {
    let mut findings = Vec::new();
    if let reader::Standing::Refused(e) = &verified.standing {
        findings.push(finding(verified.folder.of(SIGNATURE), e));
    }
    findings.extend(verified.findings.iter().map(|f| finding(f.object.clone(), &f.error)));
    BackupReport {
        id: verified.folder.id.to_string(),
        verified: findings.is_empty() && matches!(verified.standing, reader::Standing::Trusted(_)),
        signature: Some((&verified.standing).into()),
        objects: verified.objects,
        bytes: verified.bytes,
        members: verified.members,
        findings,
        strays: verified.strays.clone(),
        attested: None,
    }
}

/// What all of it comes to; none when everything is what it says it is.
fn judge(backups: &[BackupReport], signers: bool) -> Option<Error> {
    let findings: Vec<_> = backups.iter().flat_map(|b| &b.findings).collect();
    let Some(first) = findings.first() else {
        let unknown = || {
            Error::integrity("not verified: no trusted signers are given, so nobody knows who made this")
                .hint("give --signers FILE; `ckbackup keygen` makes such a file (allowed_signers)")
        };
        return (!signers).then(unknown);
    };
    let kind = match findings.iter().all(|f| f.kind == Kind::NoIdentity) {
        true => Kind::NoIdentity,
        false => Kind::Integrity,
    };
    let text = format!("not verified: {}: {}", first.object, first.problem);
    let more = match findings.len() {
        1 => String::new(),
        n => format!(" (and {})", words::counted(n as u64 - 1, "more finding")),
    };
    let known = first.hint.as_deref();
    let hint = known.unwrap_or("do not restore from it; keep the vault as it is, and find out who changed it");
    Some(Error::new(kind, text + &more).hint(hint))
}

fn human(report: &Report, form: Output) -> String {
    if form == Output::Name {
        let good = report.backups.iter().filter(|b| b.verified);
        return good.map(|b| format!("{}\n", b.id)).collect();
    }
    let mut table = Table::new(&["ID", "RESULT", "SIGNATURE", "OBJECTS", "SIZE", "FILES INSIDE"]).right(&[3, 4, 5]);
    let mut lines = String::new();
    for b in &report.backups {
        table.row([
            b.id.clone(),
            result(b),
            b.signature.as_ref().map_or("-".into(), |s| s.word().into()),
            words::count(b.objects),
            words::size(b.bytes),
            b.members.map_or("not checked".into(), words::count),
        ]);
        b.findings.iter().for_each(|f| lines += &format!("BAD     {}: {}\n", f.object, f.problem));
        b.strays.iter().for_each(|key| lines += &format!("stray   {key}: not part of the backup\n"));
    }
    let remains = report.uncommitted.iter();
    lines.extend(remains.map(|id| format!("no backup   {id}: a run that did not commit, or is under way\n")));
    format!("{table}{lines}")
}

fn result(backup: &BackupReport) -> String {
    match (backup.verified, backup.findings.len()) {
        (true, _) => "verified".into(),
        (false, 0) => "NOT TRUSTED".into(),
        (false, n) => words::counted(n as u64, "finding").to_uppercase(),
    }
}
