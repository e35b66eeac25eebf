//! The clusters of a restore: from which backup, and where to.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::archive::age::Identities;
use crate::cli::Global;
use crate::cli::choose::choose;
use crate::cli::shared::ClusterArgs;
use crate::cluster::Cluster;
use crate::config::{PlanTarget, RestorePlan};
use crate::error::{Error, Result};
use crate::reader::{Committed, Listing, OpenBackup, Standing, list_newest};
use crate::vault::Vault;
use crate::vault::layout::BackupId;
use crate::vault::manifest::digest;
use crate::vault::signature::Signers;

/// Backups that began within this time of one another are of the same night.
const ONE_NIGHT: SignedDuration = SignedDuration::from_hours(12);

/// An opened backup, and what is known of its manifest.
pub(in crate::cli) struct Opened {
    pub backup: Arc<OpenBackup>,
    /// SHA-256 of its manifest.
    pub digest: [u8; 32],
    /// Whether the manifest's signature holds.
    pub standing: Standing,
}

/// Opens a backup that was chosen.
pub(in crate::cli) async fn open(vault: &Vault, mut chosen: Committed, identities: Arc<Identities>) -> Result<Opened> {
    let digest = digest(&chosen.bytes);
    let standing = std::mem::replace(&mut chosen.standing, Standing::Unchecked);
    Ok(Opened { backup: Arc::new(OpenBackup::open(vault, chosen, identities).await?), digest, standing })
}

/// What is asked for by `NAME=VALUE`, by name.
pub(super) fn by_name(given: &[String], flag: &str, plan: &RestorePlan) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for text in given {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Error::usage(format!("--{flag} {text}: the plan spans several clusters"))
                .hint(format!("write --{flag} NAME=…, NAME being one of: {}", names(plan)))
        })?;
        if !plan.targets.iter().any(|target| target.name == *name) {
            return Err(Error::usage(format!("--{flag} {text}: plan {} has no target {name}", plan.name))
                .hint(format!("it has: {}", names(plan))));
        }
        found.insert(name.to_string(), value.to_string());
    }
    Ok(found)
}

fn names(plan: &RestorePlan) -> String {
    let names: Vec<_> = plan.targets.iter().map(|target| target.name.as_str()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Connects to every cluster that the plan needs, in the order of its targets. What is wrong with a context is told before
/// anything is asked.
pub(in crate::cli) async fn connect(
    plan: &RestorePlan,
    contexts: &[String],
    args: &ClusterArgs,
    global: &Global,
) -> Result<Vec<Option<Cluster>>> {
    if plan.targets.is_empty() {
        if let Some(given) = contexts.first() {
            return Err(Error::usage(format!("--target {given}: plan {} has no targets", plan.name))
                .hint("give --context NAME"));
        }
        return Ok(vec![connect_to(plan, 0, args, global).await?]);
    }
    let contexts = by_name(contexts, "target", plan)?;
    let mut clusters = Vec::new();
    for (at, target) in plan.targets.iter().enumerate() {
        let context = contexts.get(target.name.as_str()).or(target.context.as_ref());
        let context = context.or(args.context.as_ref().filter(|_| plan.targets.len() == 1));
        let Some(context) = context else {
            return Err(Error::usage(format!("which cluster is target {} of plan {}?", target.name, plan.name))
                .hint(format!("give --target {}=CONTEXT, or name its `context` in the plan", target.name)));
        };
        let named = ClusterArgs { context: Some(context.clone()), kubeconfig: args.kubeconfig.clone() };
        clusters.push(connect_to(plan, at, &named, global).await?);
    }
    refuse_the_same(&plan.targets, &clusters)?;
    Ok(clusters)
}

async fn connect_to(plan: &RestorePlan, at: usize, args: &ClusterArgs, global: &Global) -> Result<Option<Cluster>> {
    match plan.needs_cluster(at) {
        true => Cluster::connect(global.cluster_access(args)).await.map(Some),
        false => Ok(None),
    }
}

/// Two targets in one cluster would write over one another.
fn refuse_the_same(targets: &[PlanTarget], clusters: &[Option<Cluster>]) -> Result<()> {
    for (at, cluster) in clusters.iter().enumerate() {
        let same = |other: &Option<Cluster>| {
            cluster.is_some() && cluster.as_ref().map(Cluster::server) == other.as_ref().map(Cluster::server)
        };
        if let Some(before) = clusters[..at].iter().position(same) {
            let (one, two) = (&targets[before].name, &targets[at].name);
            let server = cluster.as_ref().map(Cluster::server).unwrap_or_default();
            return Err(Error::usage(format!("targets {one} and {two} are the same cluster, {server}"))
                .hint("give each a context of its own"));
        }
    }
    Ok(())
}

/// The backup of a plan without targets, or one of the same night for each target.
pub(in crate::cli) async fn choose_all(
    plan: &RestorePlan,
    vault: &Vault,
    cluster: &str,
    wanted: &[String],
    signers: Option<&Signers>,
    global: &Global,
) -> Result<Vec<Committed>> {
    if plan.targets.is_empty() {
        let which = wanted.last().map_or("latest", String::as_str);
        return Ok(vec![choose(vault, cluster, which, signers, global).await?]);
    }
    let given: Vec<String> = wanted.iter().filter(|text| *text != "latest").cloned().collect();
    let given = by_name(&given, "backup", plan)?;
    let mut chosen = Vec::new();
    for target in &plan.targets {
        let which = given.get(target.name.as_str()).map_or("latest", String::as_str);
        chosen.push(choose(vault, target.cluster.as_str(), which, signers, global).await?);
    }
    let night = chosen.iter().filter_map(|backup| backup.manifest.id.started()).min();
    for (target, backup) in plan.targets.iter().zip(&mut chosen) {
        let is_free = !given.contains_key(target.name.as_str());
        if let (true, Some(night)) = (is_free, night)
            && !is_same_night(&backup.manifest.id, night)
            && let Some(id) = of_that_night(vault, target, night, signers, global.now()).await?
        {
            global.note(format!("{id} of {} is taken, as it is of the same night as the others", target.cluster));
            *backup = choose(vault, target.cluster.as_str(), &id.to_string(), signers, global).await?;
        }
    }
    Ok(chosen)
}

fn is_same_night(id: &BackupId, night: Timestamp) -> bool {
    id.started().is_some_and(|began| began.duration_since(night).abs() <= ONE_NIGHT)
}

/// The newest one of that night that `latest` could mean: a run that was cut off, or a partial one, does not stand for it.
async fn of_that_night(
    vault: &Vault,
    target: &PlanTarget,
    night: Timestamp,
    signers: Option<&Signers>,
    now: Timestamp,
) -> Result<Option<BackupId>> {
    let cluster = target.cluster.as_str();
    let all = list_newest(vault, cluster, signers, usize::MAX, |id| is_same_night(id, night)).await?;
    Ok(all.into_iter().rev().find_map(|listing| match listing {
        Listing::Committed(backup) if backup.passed_over_because(now).is_none() => Some(backup.manifest.id),
        _ => None,
    }))
}

/// How far apart the backups of several clusters are.
pub(super) fn skew(sites: &[Opened]) -> Option<String> {
    let times: Vec<Timestamp> = sites.iter().filter_map(|opened| opened.backup.manifest.id.started()).collect();
    let (first, last) = (times.iter().min()?, times.iter().max()?);
    let apart = last.duration_since(*first);
    let words = crate::cli::words::whole_span(apart.as_secs().unsigned_abs());
    match (sites.len(), apart > ONE_NIGHT) {
        (0 | 1, _) => None,
        (_, true) => Some(format!("warning: the backups are {words} apart: they are NOT of the same night")),
        (_, false) => Some(format!("the backups are of the same night, {words} apart")),
    }
}
