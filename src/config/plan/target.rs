//! The clusters that a plan spans.

use std::collections::BTreeMap;

use crate::config::names::{ClusterName, Name};
use crate::config::problems::{Problems, nearest};
use crate::config::raw;

/// One of the clusters of a plan that spans several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanTarget {
    /// Its name in the plan.
    pub name: Name,
    /// Whose backups it is restored from: the cluster's name in the vault.
    pub cluster: ClusterName,
    /// The context in the kubeconfig, unless the command line gives another.
    pub context: Option<String>,
}

pub(super) fn validate(
    raw: &BTreeMap<String, raw::Target>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Vec<PlanTarget>> {
    let target = |(name, raw): (&String, &raw::Target)| {
        let at = format!("{path}.{name}");
        let parsed = problems.parse(&at, name);
        let cluster = problems.parse(&format!("{at}.cluster"), &raw.cluster);
        Some(PlanTarget { name: parsed?, cluster: cluster?, context: raw.context.clone() })
    };
    raw.iter().map(target).collect::<Vec<_>>().into_iter().collect()
}

/// The position of the target that a step names; the only one where the plan has no more.
pub(super) fn of_step(
    step: &raw::Step,
    targets: &[PlanTarget],
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<usize> {
    let names = || targets.iter().map(|target| target.name.as_str());
    let listed = || names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
    match &step.target {
        None if targets.len() <= 1 => Some(0),
        None => {
            problems.add(path, format!("the plan spans several clusters: give the step `target` {}", listed()));
            None
        }
        Some(_) if targets.is_empty() => {
            let what = "the plan has no `targets`; name them under `spec.targets`, or leave `target` out";
            problems.add(&format!("{path}.target"), what);
            None
        }
        Some(wanted) => {
            let found = names().position(|name| name == wanted);
            if found.is_none() {
                let near = nearest(wanted, names()).map(|near| format!(", did you mean `{near}`?"));
                let what = format!(
                    "there is no target `{wanted}`{}",
                    near.unwrap_or_else(|| format!("; it has {}", listed()))
                );
                problems.add(&format!("{path}.target"), what);
            }
            found
        }
    }
}
