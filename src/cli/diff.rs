//! `ckbackup diff`: what differs between a backup and a cluster, or between two backups.

use clap::Args;

use super::choose::choose;
use super::shared::{ClusterArgs, IdentityArgs, TrustArgs, VaultArgs};
use super::words::count;
use super::{DONE, Global, Outcome, Output};
use crate::cluster::Cluster;
use crate::config::{CONFIGURATION_SOURCE, SourceKind, parse_stored_schedule};
use crate::drill::comparison::{Difference, Scopes, Way, with_backup, with_cluster};
use crate::error::{Error, Kind, Result};
use crate::reader::OpenBackup;

const EXAMPLES: &str = "\
Examples:
  What came back:
    ckbackup diff latest --context restored --vault s3://ck8s-backups/prod --identity identity.txt
  What changed from one night to the next:
    ckbackup diff 20261120T000003Z-nightly 20261121T000003Z-nightly --vault …

What servers and controllers set is not compared. Exits with 1 when there are differences.";

/// Show what differs between a backup and a cluster, or between two backups
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// The backup: an id, or `latest`
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// A second backup, to compare with instead of a cluster
    #[arg(value_name = "BACKUP", conflicts_with_all = ["context", "kubeconfig"])]
    pub other: Option<String>,
    /// Where backups are.
    #[command(flatten)]
    pub vault: VaultArgs,
    /// Whose signatures are trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// What opens the backup.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The cluster to compare with.
    #[command(flatten)]
    pub target: ClusterArgs,
}

/// Compares, and prints what differs.
pub async fn run(args: &DiffArgs, global: &Global) -> Outcome {
    let identities = args.identity.require(global).await?;
    let signers = args.trust.read(global)?;
    let (vault, of) = args.vault.open(global).await?;
    let open = async |which: &str| -> Result<OpenBackup> {
        let chosen = choose(&vault, &of, which, signers.as_ref(), global).await?;
        OpenBackup::open(&vault, chosen, identities.clone()).await
    };
    let backup = open(&args.backup).await?;
    let progress = global.progress();
    let difference = match &args.other {
        Some(other) => with_backup(&backup, &open(other).await?, progress.as_ref()).await?,
        None => {
            let cluster = Cluster::connect(global.cluster_access(&args.target)).await?;
            cluster.version().await?;
            let scopes = stored_scopes(&backup).await?;
            with_cluster(&backup, &cluster, &scopes, Way::default(), progress.as_ref()).await?
        }
    };
    global.print(&difference, |form| human(&difference, form))?;
    Ok(if difference.is_empty() { DONE } else { Kind::Failed.exit_code() })
}

/// The scopes that the backup was taken with: what they leave out is not extra.
pub(super) async fn stored_scopes(backup: &OpenBackup) -> Result<Scopes> {
    let Some((record, entry)) = backup.find(CONFIGURATION_SOURCE, "schedule.yaml").await? else {
        return Ok(Scopes::new());
    };
    let content = backup.member(&record, &entry).await?;
    let text = String::from_utf8(content).map_err(|e| Error::integrity("the stored schedule is no text").because(e))?;
    let schedule = parse_stored_schedule(&text).map_err(|e| e.within("read the schedule in the backup"))?;
    let taken = |name: &str| backup.manifest.source(name).is_some();
    let scopes = schedule.sources.into_iter().filter_map(|s| match s.kind {
        SourceKind::Kubernetes(scope) => Some((s.name.to_string(), scope)),
        _ => None,
    });
    Ok(scopes.filter(|(name, _)| taken(name)).collect())
}

fn human(difference: &Difference, form: Output) -> String {
    let mut text = String::new();
    for object in &difference.missing {
        text.push_str(&format!("missing  {object}\n"));
    }
    for object in &difference.extra {
        text.push_str(&format!("extra    {object}\n"));
    }
    for changed in &difference.changed {
        text.push_str(&format!("changed  {}  {}\n", changed.object, changed.paths.join(", ")));
    }
    for problem in &difference.problems {
        text.push_str(&format!("unknown  {problem}\n"));
    }
    if form == Output::Name {
        return text;
    }
    text.push_str(&format!(
        "{} equal, {} missing, {} extra, {} changed",
        count(difference.equal),
        count(difference.missing.len() as u64),
        count(difference.extra.len() as u64),
        count(difference.changed.len() as u64)
    ));
    let ignored: Vec<_> = difference.ignored.iter().map(|(rule, n)| format!("{} {rule}", count(*n))).collect();
    if !ignored.is_empty() {
        text.push_str(&format!("; not compared: {}", ignored.join(", ")));
    }
    text.push('\n');
    text
}
