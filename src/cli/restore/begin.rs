//! A restore begins: the plan, the backups and the clusters are found, and the journal is opened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::sites::{self, Opened};
use super::stored_plan::{Unpacked, stored_plan};
use super::{RestoreArgs, parse_start, person, report};
use crate::cli::Global;
use crate::cli::choose::choose;
use crate::cluster::Cluster;
use crate::config::{self, Action, Conflict, PlanFile, RestorePlan, WebhookPolicy};
use crate::drill::experience::experience;
use crate::error::{Error, Result};
use crate::restore::{
    Begin, BeginTarget, Earlier, Entry, Experience, JOURNAL_VERSION, Journal, RestoreId, Site, VaultPlace,
};
use crate::vault::signature::Signers;

/// A prediction is not worth more than this, when the cluster is down.
const LEARNING: Duration = Duration::from_secs(10);

/// A restore that is ready to run.
pub(super) struct Begun {
    pub plan: Arc<RestorePlan>,
    /// The backups, in the order of the plan's targets.
    pub opened: Vec<Opened>,
    /// The clusters, in the same order.
    pub clusters: Vec<Option<Cluster>>,
    pub conflict: Conflict,
    pub webhooks: Option<WebhookPolicy>,
    pub left_out: BTreeMap<String, String>,
    pub incident_start: Timestamp,
    pub journal: Arc<Journal>,
    pub earlier: Earlier,
    /// What steps took before.
    pub experience: Experience,
    /// What was unpacked for it goes with this value.
    pub _unpacked: Option<Unpacked>,
}

impl Begun {
    /// What is restored from, and where to.
    pub fn sites(&self) -> Vec<Site> {
        let pairs = self.opened.iter().zip(&self.clusters);
        pairs.map(|(opened, cluster)| Site { backup: opened.backup.clone(), cluster: cluster.clone() }).collect()
    }
}

/// Finds everything, and writes down that it begins; a dry run writes nothing down.
pub(super) async fn begin(args: &RestoreArgs, global: &Global) -> Result<Begun> {
    let now = global.now();
    let incident_start = args.incident_start.as_deref().map_or(Ok(now), |text| parse_start(text, now))?;
    let file_plan = args.file.as_ref().map(|file| config::read_plan(file, args.plan.as_deref())).transpose()?;
    let identities = args.opening.identity.require(global).await?;
    let signers = args.opening.trust.read(global)?;
    let early = match &file_plan {
        Some(plan) => Some(sites::connect(plan, &args.targets, &args.target, global).await?),
        None => None,
    };
    let (vault, cluster) = args.opening.open(file_plan.as_ref(), global).await?;
    let (plan, unpacked, chosen) = match file_plan {
        Some(plan) => {
            let chosen = sites::choose_all(&plan, &vault, &cluster, &args.backup, signers.as_ref(), global).await?;
            (plan, None, chosen)
        }
        None => {
            let which = args.backup.last().map_or("latest", String::as_str);
            let first = choose(&vault, &cluster, which, signers.as_ref(), global).await?;
            let first = sites::open(&vault, first, identities.clone()).await?;
            let (plan, unpacked) = stored_plan(&first.backup, args.plan.as_deref().unwrap_or_default()).await?;
            let chosen = sites::choose_all(&plan, &vault, &cluster, &args.backup, signers.as_ref(), global).await?;
            (plan, unpacked, chosen)
        }
    };
    refuse_questions(&plan, args)?;
    report::check(args, global)?;
    let clusters = match early {
        Some(clusters) => clusters,
        None => sites::connect(&plan, &args.targets, &args.target, global).await?,
    };
    for cluster in clusters.iter().flatten() {
        cluster.version().await?;
    }
    let left_out = left_out(&plan, args)?;
    let (mut all, mut targets) = (Vec::new(), Vec::new());
    for (at, (chosen, cluster)) in chosen.into_iter().zip(&clusters).enumerate() {
        let opened = sites::open(&vault, chosen, identities.clone()).await?;
        targets.push(begin_target(&plan, at, &opened, cluster.as_ref()).await);
        all.push(opened);
    }
    let experience = learn(&plan, &all, signers.as_ref(), global).await;
    let journal = match args.dry_run {
        true => Arc::new(Journal::none(global.progress())),
        false => {
            let id = free_id(&plan, now, global)?;
            let begin = describe(&plan, &id, now, incident_start, targets, &left_out, args, global);
            open_journal(&id, &all, begin, global)?
        }
    };
    Ok(Begun {
        plan: Arc::new(plan),
        opened: all,
        clusters,
        conflict: args.conflict,
        webhooks: args.webhooks,
        left_out,
        incident_start,
        journal,
        earlier: Earlier::default(),
        experience,
        _unpacked: unpacked,
    })
}

/// An id that no restore of this machine has: those of one second get the seconds after it.
fn free_id(plan: &RestorePlan, now: Timestamp, global: &Global) -> Result<RestoreId> {
    const SECONDS: i64 = 60;
    let state = global.state_folder();
    let ids = (0..SECONDS).map(|second| RestoreId::new(now + SignedDuration::from_secs(second), &plan.name));
    let free = ids.into_iter().find(|id| !state.of(id).exists());
    free.ok_or_else(|| Error::usage(format!("plan {} was begun {SECONDS} times within a minute", plan.name)))
}

/// What steps took in the last restore or drill by this plan. That nobody knows changes only the prediction.
pub(in crate::cli) async fn learn(
    plan: &RestorePlan,
    opened: &[Opened],
    signers: Option<&Signers>,
    global: &Global,
) -> Experience {
    let Some(first) = opened.first() else { return Experience::default() };
    let (vault, cluster) = (first.backup.vault(), &first.backup.manifest.cluster);
    let known = experience(vault, cluster, signers, plan.name.as_str(), global.now());
    match tokio::time::timeout(LEARNING, known).await {
        Ok(Ok(known)) => known,
        Ok(Err(e)) => {
            tracing::warn!(error = %e.one_line(), "earlier restores are not known: the prediction goes by the plan");
            Experience::default()
        }
        Err(_) => Experience::default(),
    }
}

fn open_journal(id: &RestoreId, opened: &[Opened], begin: Begin, global: &Global) -> Result<Arc<Journal>> {
    let state = global.state_folder();
    let place = VaultPlace::beside(&opened[0].backup)?;
    let local = Journal::hold(&state, id, global.progress().as_ref())?;
    let journal = Journal::open((&state, id), local, place, None, global.progress())?;
    journal.note(&Entry::Begin(Box::new(begin)));
    Ok(journal)
}

#[allow(clippy::too_many_arguments, reason = "each stands in the journal's first line")]
fn describe(
    plan: &RestorePlan,
    id: &RestoreId,
    at: Timestamp,
    incident_start: Timestamp,
    targets: Vec<BeginTarget>,
    left_out: &BTreeMap<String, String>,
    args: &RestoreArgs,
    global: &Global,
) -> Begin {
    let name = plan.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = PlanFile { name, text: plan.source_text.clone() };
    Begin {
        format_version: JOURNAL_VERSION,
        id: id.to_string(),
        at,
        host: host(global),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        incident_start,
        plan: plan.name.to_string(),
        folder: plan
            .path
            .parent()
            .and_then(|folder| std::path::absolute(folder).ok())
            .unwrap_or_default()
            .display()
            .to_string(),
        files: std::iter::once(own).chain(plan.nested.iter().cloned()).collect(),
        runbooks: runbooks(plan),
        targets,
        conflict: args.conflict.as_str().into(),
        webhooks: args.webhooks.map(|policy| policy.as_str().into()),
        left_out: left_out.clone(),
    }
}

/// The machine that this runs on, and who.
pub(super) fn host(global: &Global) -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = global.variable("USER").map(|user| format!("{user}@")).unwrap_or_default();
    format!("{user}{}", name.trim())
}

/// The runbooks of a plan: another machine need not have them.
fn runbooks(plan: &RestorePlan) -> Vec<PlanFile> {
    let manual = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Manual(manual) => manual.runbook.as_ref(),
        _ => None,
    });
    let read = manual.filter_map(|runbook| {
        let text = std::fs::read_to_string(&runbook.path).ok()?;
        Some(PlanFile { name: runbook.name.clone(), text })
    });
    let mut all: Vec<_> = read.collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup();
    all
}

async fn begin_target(plan: &RestorePlan, at: usize, opened: &Opened, cluster: Option<&Cluster>) -> BeginTarget {
    let uid = match cluster {
        Some(cluster) => cluster.uid().await,
        None => None,
    };
    BeginTarget {
        name: plan.targets.get(at).map(|target| target.name.to_string()).unwrap_or_default(),
        cluster: opened.backup.folder().cluster.clone(),
        backup: opened.backup.manifest.id.to_string(),
        manifest_sha256: hex::encode(opened.digest),
        server: cluster.map(|cluster| cluster.server().to_string()),
        uid,
    }
}

/// The steps that the command line leaves out, and why.
pub(super) fn left_out(plan: &RestorePlan, args: &RestoreArgs) -> Result<BTreeMap<String, String>> {
    let position = |name: &String| {
        let found = plan.steps.iter().position(|step| step.name == *name.as_str());
        found.ok_or_else(|| {
            let known: Vec<_> = plan.steps.iter().map(|step| step.name.as_str()).collect();
            Error::usage(format!("plan {} has no step {name}", plan.name)).hint(format!("it has: {}", known.join(", ")))
        })
    };
    let mut wanted = vec![true; plan.steps.len()];
    let mut why = String::new();
    if let Some(from) = &args.from {
        wanted = after(plan, position(from)?);
        why = format!("the restore begins with {from} (--from)");
    } else if !args.only.is_empty() {
        wanted = vec![false; plan.steps.len()];
        for name in &args.only {
            wanted[position(name)?] = true;
        }
        why = format!("only {} is run (--only)", args.only.join(", "));
    }
    let mut left_out: BTreeMap<String, String> = BTreeMap::new();
    for (step, _) in plan.steps.iter().zip(&wanted).filter(|(_, wanted)| !**wanted) {
        left_out.insert(step.name.to_string(), why.clone());
    }
    for name in &args.skip {
        position(name)?;
        left_out.insert(name.clone(), args.reason.clone().unwrap_or_default());
    }
    Ok(left_out)
}

/// A step, and all that comes after it.
fn after(plan: &RestorePlan, first: usize) -> Vec<bool> {
    let mut wanted = vec![false; plan.steps.len()];
    wanted[first] = true;
    for step in plan.order().iter().flatten() {
        wanted[*step] |= plan.steps[*step].after.iter().any(|before| wanted[*before]);
    }
    wanted
}

/// Without a terminal nobody can answer, and a restore must not stop half-way to find that out.
pub(super) fn refuse_questions(plan: &RestorePlan, args: &RestoreArgs) -> Result<()> {
    refuse_unanswered(plan, args.yes || args.dry_run || args.await_ack)
}

/// The same for a drill, whose steps nobody can confirm from elsewhere.
pub(in crate::cli) fn refuse_unanswered(plan: &RestorePlan, is_answered: bool) -> Result<()> {
    let manual = plan.steps.iter().find(|s| matches!(s.action, Action::Manual(_)));
    match manual {
        Some(step) if !is_answered && !person::is_there() => Err(Error::usage(format!(
            "step {} of plan {} needs a person, and there is no terminal",
            step.name, plan.name
        ))
        .hint(
            "run it in a terminal; or pass --await-ack, and confirm by `ckbackup ack`; or pass --yes and do the manual steps \
             afterwards",
        )),
        _ => Ok(()),
    }
}
