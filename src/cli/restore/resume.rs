//! A restore goes on: what it began with comes out of its journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::begin::{Begun, host, learn, left_out, refuse_questions};
use super::sites::{self, Opened};
use super::stored_plan::journalled_plan;
use super::{RestoreArgs, report};
use crate::archive::age::Identities;
use crate::cli::Global;
use crate::cli::choose::choose;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::restore::{
    Begin, BeginTarget, Entry, Journal, Reading, RestoreId, RestoreStatus, StateFolder, VaultPlace, all_in_vault,
    peek_begin, read_journal,
};
use crate::vault::Vault;
use crate::vault::signature::Signers;

/// How far the clocks of two machines may differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

/// Finds the journal, and everything that it names.
pub(super) async fn resume(which: &str, args: &RestoreArgs, global: &Global) -> Result<Begun> {
    let state = global.state_folder();
    let identities = args.opening.identity.require(global).await?;
    let signers = args.opening.trust.read(global)?;
    let vault = args.opening.open_vault(global).await?;
    let (id, begin) = find(which, &state, &vault, &identities, signers.is_some(), global.now()).await?;
    let mut opened = Vec::new();
    for target in &begin.targets {
        opened.push(open(&vault, target, &identities, signers.as_ref(), global).await?);
    }
    let first =
        opened.first().ok_or_else(|| Error::integrity(format!("the journal of restore {id} names no backup")))?;
    let place = VaultPlace::beside(&first.backup)?;
    // Held first: whoever else goes on with it on this machine must be done before it is read.
    let local = Journal::hold(&state, &id, global.progress().as_ref())?;
    // Read again, now that it can be seen who wrote it.
    let reading = read_journal(&state, &id, place.as_ref()).await?.ok_or_else(|| gone(&id))?;
    for refused in &reading.refused {
        global.warn(format!("passed over: {refused}"));
    }
    let Reading { begin, earlier, .. } = reading.clone();
    if earlier.ended == Some(RestoreStatus::Complete) {
        return Err(Error::usage(format!("restore {id} is complete: there is nothing to go on with"))
            .hint("to restore once more, begin anew: ckbackup restore -f PLAN"));
    }
    let (plan, unpacked) = journalled_plan(&begin)?;
    report::check(args, global)?;
    refuse_questions(&plan, args)?;
    let clusters = sites::connect(&plan, &args.targets, &args.target, global).await?;
    for (target, cluster) in begin.targets.iter().zip(&clusters) {
        require_same_cluster(&id, target, cluster.as_ref()).await?;
    }
    let mut all_left_out: BTreeMap<String, String> = begin.left_out.clone();
    all_left_out.extend(earlier.left_out.clone());
    let chosen = left_out(&plan, args)?;
    all_left_out.extend(chosen.clone());
    let journal = Journal::open((&state, &id), local, place, Some(&reading), global.progress())?;
    journal.note(&Entry::Resumed { at: global.now(), host: host(global), left_out: chosen });
    let experience = learn(&plan, &opened, signers.as_ref(), global).await;
    let done = earlier.steps.keys().filter(|step| earlier.is_over(step)).count();
    global.note(format!("goes on with restore {id}, begun {} on {}; {done} steps were done", begin.at, begin.host));
    Ok(Begun {
        plan: Arc::new(plan),
        opened,
        clusters,
        conflict: begin.conflict.parse()?,
        webhooks: match (args.webhooks, &begin.webhooks) {
            (None, Some(before)) => Some(before.parse()?),
            (given, _) => given,
        },
        left_out: all_left_out,
        incident_start: begin.incident_start,
        journal,
        earlier,
        experience,
        _unpacked: unpacked,
    })
}

fn gone(id: &RestoreId) -> Error {
    Error::usage(format!("restore {id} has no journal, neither on this machine nor in the vault"))
        .hint("a restore prints its id when it begins; `--resume` alone takes the newest one")
}

/// The restore that is meant, and what it says that it began with. That may come from the vault, and is not yet known to be true.
pub(in crate::cli) async fn find(
    which: &str,
    state: &StateFolder,
    vault: &Vault,
    identities: &Identities,
    is_trusted: bool,
    now: Timestamp,
) -> Result<(RestoreId, Begin)> {
    let mut known: Vec<(RestoreId, Option<String>)> = state.all().into_iter().map(|id| (id, None)).collect();
    // Whoever can write to the vault could put one there that is always the newest.
    let latest = RestoreId::stamp(now + CLOCKS_DIFFER);
    for cluster in vault.clusters().await? {
        let ids = all_in_vault(vault, &cluster).await?.into_iter().filter(|id| id.as_str() < latest.as_str());
        known.extend(ids.map(|id| (id, Some(cluster.clone()))));
    }
    let wanted = match which {
        "latest" => known.iter().map(|(id, _)| id).max().cloned().ok_or_else(|| {
            Error::usage("no restore is known, neither on this machine nor in the vault")
                .hint("begin one: ckbackup restore -f PLAN")
        })?,
        text => text.parse()?,
    };
    // One that has only the end of it does not say how it began; the vault does.
    if let Ok(Some(reading)) = read_journal(state, &wanted, None).await {
        return Ok((wanted, reading.begin));
    }
    if !is_trusted {
        return Err(Error::usage(format!(
            "the journal of restore {wanted} is in the vault only, and no trusted signers are given"
        ))
        .hint("a journal says what is run: give --signers FILE, or resume on the machine that it began on"));
    }
    let cluster = known.into_iter().find_map(|(id, cluster)| cluster.filter(|_| id == wanted));
    let cluster = cluster.ok_or_else(|| gone(&wanted))?;
    let begin = peek_begin(vault, &cluster, &wanted, identities).await?;
    Ok((wanted, begin))
}

pub(in crate::cli) async fn open(
    vault: &Vault,
    target: &BeginTarget,
    identities: &Arc<Identities>,
    signers: Option<&Signers>,
    global: &Global,
) -> Result<Opened> {
    let chosen = choose(vault, &target.cluster, &target.backup, signers, global).await?;
    let opened = sites::open(vault, chosen, identities.clone()).await?;
    match hex::encode(opened.digest) == target.manifest_sha256 {
        true => Ok(opened),
        false => Err(Error::integrity(format!("backup {} is not what it was when the restore began", target.backup))
            .hint("somebody replaced its manifest: `ckbackup verify` says more")),
    }
}

async fn require_same_cluster(id: &RestoreId, target: &BeginTarget, cluster: Option<&Cluster>) -> Result<()> {
    let Some(cluster) = cluster else { return Ok(()) };
    cluster.version().await?;
    match (&target.uid, cluster.uid().await) {
        (Some(before), Some(now)) if *before != now => {
            let was = target.server.as_deref().unwrap_or_default();
            Err(Error::usage(format!(
                "{} is not the cluster that restore {id} began in, which was {was}",
                cluster.server()
            ))
            .hint("give the context of that one; for another cluster begin anew: ckbackup restore -f PLAN"))
        }
        _ => Ok(()),
    }
}
