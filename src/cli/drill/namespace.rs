//! `--target namespace`: a namespace of the backup, beside itself in a living cluster.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::run::RunArgs;
use crate::cluster::{Cluster, Retry};
use crate::config::{self, Document, Name, RestorePlan};
use crate::error::{Error, Result};

const PREFIX: &str = "ckbackup-drill-";
const TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(500);

/// How long the namespace may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(300);

/// Workloads that stand there without running.
const AT_REST: &str = "
- {name: no-replicas, kinds: [Deployment, StatefulSet], merge: {spec: {replicas: 0}}}
- {name: suspended, kinds: [CronJob], merge: {spec: {suspend: true}}}";

/// Which namespace, and what it is called for the drill.
#[derive(Debug, Clone)]
pub(super) struct DrillNamespace {
    pub of: Name,
    pub there: Name,
}

impl DrillNamespace {
    /// The one that is asked for.
    pub fn wanted(args: &RunArgs) -> Result<DrillNamespace> {
        let of = args.namespace.clone().ok_or_else(|| {
            Error::usage("--target namespace: which one?").hint("give --namespace NAME, a namespace of the backup")
        })?;
        let there = format!("{PREFIX}{of}")
            .parse()
            .map_err(|e: Error| Error::usage(format!("{PREFIX}{of} is too long for a namespace")).because(e))?;
        Ok(DrillNamespace { of, there })
    }

    /// What is restored: all of the namespace under its other name, at rest. The plan gives the time, the mappings and the patches;
    /// ours come last.
    pub fn plan(&self, plan: &RestorePlan) -> Result<RestorePlan> {
        if !plan.targets.is_empty() {
            return Err(Error::usage(format!("plan {} spans several clusters", plan.name)).hint(
                "a drill in a namespace takes a plan of one cluster, such as restore-plans/workload-cluster.yaml",
            ));
        }
        let text = format!(
            "apiVersion: {}\nkind: RestorePlan\nmetadata: {{name: {}}}\nspec:\n  rto: {}\n  steps:\n    - name: namespace\n      \
             apply: {{namespaces: {{include: [{}]}}, conflict: overwrite}}\n  patches: {}\n",
            config::API_VERSION,
            plan.name,
            plan.rto,
            self.of,
            AT_REST.replace('\n', "\n  "),
        );
        let read = config::parse(&text, &plan.path)?.into_iter().find_map(|document| match document {
            Document::RestorePlan(plan) => Some(*plan),
            _ => None,
        });
        let mut derived = read.ok_or_else(|| Error::failed("make the plan of the drill"))?;
        derived.mappings = plan.mappings.clone();
        derived.mappings.namespaces.clear();
        derived.mappings.namespaces.insert(self.of.to_string(), self.there.to_string());
        derived.patches.splice(0..0, plan.patches.iter().cloned());
        Ok(derived)
    }

    /// Refuses a namespace that is there: what is in it would be taken for what was restored, and removed after.
    pub async fn require_absent(&self, cluster: &Cluster) -> Result<()> {
        match self.look(cluster).await? {
            None => Ok(()),
            Some(_) => Err(Error::usage(format!("namespace {} is in {} already", self.there, cluster.server()))
                .hint(format!("if it is of an earlier drill: kubectl delete namespace {}", self.there))),
        }
    }

    async fn look(&self, cluster: &Cluster) -> Result<Option<Value>> {
        let path = self.path();
        match Retry::brief().run(|| cluster.get(&path, None, TIMEOUT)).await {
            Ok(body) => Ok(Some(serde_json::from_slice(&body).unwrap_or_default())),
            Err(e) if e.code() == Some(404) => Ok(None),
            Err(e) => Err(Error::failed(format!("look for namespace {}", self.there)).because(e)),
        }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}", self.there)
    }

    /// Removes it with everything in it, and waits until it is gone. Nobody can stop that: it must not stay.
    pub async fn remove(&self, cluster: &Cluster) -> Result<()> {
        let path = self.path();
        let by_hand = || format!("remove it by hand: kubectl delete namespace {}", self.there);
        match Retry::default().run(|| cluster.delete(&path)).await {
            Err(e) if e.code() == Some(404) => return Ok(()),
            Err(e) => {
                return Err(Error::failed(format!("remove namespace {}", self.there)).because(e).hint(by_hand()));
            }
            Ok(_) => {}
        }
        let deadline = Instant::now() + GONE_WITHIN;
        while let Some(object) = self.look(cluster).await? {
            if Instant::now() >= deadline {
                let waits = object["status"]["conditions"].as_array().into_iter().flatten();
                let waits = waits.filter(|c| c["status"] == "True").filter_map(|c| c["message"].as_str());
                let why = waits.collect::<Vec<_>>().join("; ");
                return Err(Error::failed(format!("namespace {} is being deleted, and not gone: {why}", self.there))
                    .hint(by_hand()));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Action, Conflict};

    #[test]
    fn the_plan_of_a_namespace_takes_only_that_one_and_keeps_what_maps_the_rest() {
        let text = "apiVersion: ckbackup.io/v1\nkind: RestorePlan\nmetadata: {name: all}\nspec:\n  rto: 2h\n  \
                    mappings: {namespaces: {a: b}, storageClasses: {fast: slow}}\n  \
                    patches: [{name: own, kinds: [ConfigMap], merge: {data: {k: v}}}]\n  steps: [{name: all, apply: {}}]\n";
        let Document::RestorePlan(plan) = config::parse(text, Path::new("p.yaml")).unwrap().remove(0) else { panic!() };
        let only = DrillNamespace { of: "shop".parse().unwrap(), there: "ckbackup-drill-shop".parse().unwrap() };
        let derived = only.plan(&plan).unwrap();
        assert_eq!((derived.name.as_str(), derived.rto), ("all", plan.rto));
        assert_eq!(
            derived.mappings.namespaces.into_iter().collect::<Vec<_>>(),
            [("shop".into(), "ckbackup-drill-shop".into())]
        );
        assert_eq!(derived.mappings.storage_classes["fast"], "slow");
        let names: Vec<_> = derived.patches.iter().map(|patch| patch.name.as_str()).collect();
        assert_eq!(names, ["own", "no-replicas", "suspended"], "ours come last, so that nothing undoes them");
        let [step] = &derived.steps[..] else { panic!("{:?}", derived.steps) };
        let Action::Apply(apply) = &step.action else { panic!("{step:?}") };
        assert!(apply.namespaces.allows("shop") && !apply.namespaces.allows("other"));
        assert_eq!(apply.conflict, Some(Conflict::Overwrite), "controllers make some of it first");
    }
}
