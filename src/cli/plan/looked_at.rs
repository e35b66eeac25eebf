//! A plan, and what a backup makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LookArgs;
use crate::cli::Global;
use crate::cli::restore::begin::learn;
use crate::cli::restore::sites::{self, Opened};
use crate::config::{self, Action, RestorePlan};
use crate::error::Result;
use crate::restore::{Estimate, Experience, Forecast, Outlook, Progressed, count_objects, estimate};

/// What the backups hold that a plan is looked at with.
pub(super) struct Held {
    /// Sources, by backup: name and kind, in the order of the plan's targets.
    pub sources: Vec<(String, Vec<(String, String)>)>,
    /// Objects that no step takes, by type.
    pub not_selected: BTreeMap<String, u64>,
}

/// A plan, with estimates.
pub(super) struct LookedAt {
    pub plan: RestorePlan,
    /// Objects of each step; zero where no backup is looked at.
    pub objects: Vec<u64>,
    pub estimates: Vec<Estimate>,
    pub spans: Vec<(Duration, Duration)>,
    pub forecast: Forecast,
    /// None where no vault is named.
    pub held: Option<Held>,
}

/// Reads the plan, and where a vault is named, compiles it against the backup.
pub(super) async fn look(args: &LookArgs, global: &Global) -> Result<LookedAt> {
    let plan = config::read_plan(&args.file, args.plan.as_deref())?;
    let mut objects = vec![0; plan.steps.len()];
    let (mut held, mut known) = (None, Experience::default());
    if args.opening.is_given(global) {
        let mut found = Held { sources: Vec::new(), not_selected: BTreeMap::new() };
        let opened = open(&plan, args, global).await?;
        known = learn(&plan, &opened, args.opening.trust.read_quietly(global)?.as_ref(), global).await;
        for (target, backup) in opened.iter().map(|opened| &opened.backup).enumerate() {
            let (counted, not_selected) = count_objects(&plan, target, backup).await?;
            objects.iter_mut().zip(counted).for_each(|(all, more)| *all += more);
            for (kind, count) in not_selected {
                *found.not_selected.entry(kind).or_default() += count;
            }
            let sources = backup.manifest.sources.iter().map(|s| (s.name.clone(), s.kind.clone())).collect();
            found.sources.push((backup.manifest.id.to_string(), sources));
        }
        held = Some(found);
    }
    let estimates: Vec<_> =
        plan.steps.iter().zip(&objects).map(|(step, objects)| estimate(step, *objects, &known, None)).collect();
    let progressed = vec![Progressed::Waiting; plan.steps.len()];
    let outlook = Outlook {
        plan: &plan,
        progressed: &progressed,
        objects: &objects,
        estimates: &estimates,
        elapsed: Duration::ZERO,
        opened: None,
    };
    let (spans, forecast) = (outlook.spans(), outlook.forecast());
    Ok(LookedAt { objects, estimates, spans, forecast, held, plan })
}

async fn open(plan: &RestorePlan, args: &LookArgs, global: &Global) -> Result<Vec<Opened>> {
    let identities = args.opening.identity.require(global).await?;
    let signers = args.opening.trust.read(global)?;
    let (vault, cluster) = args.opening.open(Some(plan), global).await?;
    let chosen = sites::choose_all(plan, &vault, &cluster, &args.backup, signers.as_ref(), global).await?;
    let mut opened = Vec::new();
    for chosen in chosen {
        opened.push(sites::open(&vault, chosen, identities.clone()).await?);
    }
    Ok(opened)
}

impl LookedAt {
    /// Whether a step decides when all is done.
    pub fn is_critical(&self, step: usize) -> bool {
        self.forecast.critical_path.iter().any(|name| self.plan.steps[step].name == *name.as_str())
    }

    /// The sources that a step of the plan puts back: all of a kind for `apply` without a source.
    pub fn takes(&self, target: usize, source: &str, kind: &str) -> bool {
        self.plan.steps.iter().filter(|step| step.target == target).any(|step| match &step.action {
            Action::Apply(apply) => kind == "kubernetes" && apply.source.as_ref().is_none_or(|name| name == source),
            Action::Files(wanted) => wanted.source == *source,
            Action::Prometheus(wanted) => wanted.source == *source,
            Action::Elasticsearch(wanted) => wanted.source == *source,
            Action::Objects(wanted) => wanted.source == *source,
            Action::Command(wanted) => wanted.source == *source,
            _ => false,
        })
    }
}
