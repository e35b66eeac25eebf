//! How far the way back of each component was proved.

use std::collections::BTreeMap;

use crate::config::{Component, RestorePlan, SavedBy, components};
use crate::drill::comparison::{Compared, Difference};
use crate::error::Result;
use crate::report::model::{CoverageRow, Proved};
use crate::restore::{RestoreSummary, StepStatus, StepSummary};
use crate::vault::manifest::Manifest;

/// Why nothing is known of what is elsewhere in the backup.
const ONE_NAMESPACE: &str = "this drill restored one namespace only";

/// Every row of the component table, gaps first. With `one_namespace`, nothing else was restored.
pub fn coverage(
    manifests: &[&Manifest],
    plan: &RestorePlan,
    summary: &RestoreSummary,
    comparisons: &[(String, Result<Difference, String>)],
    one_namespace: bool,
) -> Result<Vec<CoverageRow>> {
    let seen = Seen { manifests, plan, summary, comparisons, one_namespace };
    let mut rows: Vec<CoverageRow> = components()?.iter().map(|component| seen.row(component)).collect();
    let rank = |proved: Proved| Proved::ALL.iter().position(|known| *known == proved);
    rows.sort_by_key(|row| rank(row.proved));
    Ok(rows)
}

struct Seen<'a> {
    manifests: &'a [&'a Manifest],
    plan: &'a RestorePlan,
    summary: &'a RestoreSummary,
    comparisons: &'a [(String, Result<Difference, String>)],
    one_namespace: bool,
}

/// How a step stands, without its note: that may name what is in the backup.
fn state(step: &StepSummary) -> String {
    let why = match step.status {
        StepStatus::Failed | StepStatus::Incomplete => "failed",
        StepStatus::NotExercised => "was not exercised",
        StepStatus::LeftOut => "was left out",
        _ => "did not come to its end",
    };
    format!("step {} {why}", step.name)
}

impl Seen<'_> {
    fn row(&self, component: &Component) -> CoverageRow {
        let mut proofs: Vec<(Proved, String)> =
            component.saved_by.iter().map(|by| self.proof(component, *by)).collect();
        let rank = |proved: Proved| Proved::ALL.iter().position(|known| *known == proved);
        proofs.sort_by_key(|(proved, _)| rank(*proved));
        // What is saved in several ways is proved as far as the worst of them.
        let proved = proofs.first().map_or(Proved::NotCovered, |(proved, _)| *proved);
        CoverageRow {
            component: component.name.clone(),
            namespaces: component.namespaces.iter().map(ToString::to_string).collect(),
            state: component.state.clone(),
            saved_by: component.saved_by.iter().map(|by| by.as_str().to_string()).collect(),
            proved,
            evidence: proofs.into_iter().map(|(_, evidence)| evidence).collect::<Vec<_>>().join("; "),
        }
    }

    fn proof(&self, component: &Component, by: SavedBy) -> (Proved, String) {
        match by {
            SavedBy::Kubernetes => self.objects(component),
            _ => self.data(component, by),
        }
    }

    /// Objects in the component's namespaces, or of its kinds where it has none of its own.
    fn objects(&self, component: &Component) -> (Proved, String) {
        let mut all = Compared::default();
        let mut why = None;
        for (_, found) in self.comparisons {
            match found {
                Ok(difference) => all.add(&difference.of(|resource, namespace| {
                    let in_namespace = component.namespaces.iter().any(|own| own.as_str() == namespace);
                    in_namespace || self.is_of_its_kinds(component, resource)
                })),
                Err(reason) => why = Some(reason.clone()),
            }
        }
        match all {
            _ if self.manifests.iter().all(|manifest| manifest.sources.iter().all(|s| s.kind != "kubernetes")) => {
                (Proved::NotCovered, "objects: the backup has no source of kind kubernetes".into())
            }
            Compared { equal: 0, missing: 0, changed: 0, left } => match why {
                _ if self.one_namespace => (Proved::NotExercised, format!("objects: {ONE_NAMESPACE}")),
                Some(why) => (Proved::NotExercised, format!("objects: {why}")),
                None if left > 0 => {
                    let what = "the backup has them; the plan has no step that takes them";
                    (Proved::Readable, format!("objects: {what}"))
                }
                None => (Proved::NotCovered, "objects: none of them is in the backup".into()),
            },
            Compared { equal, missing: 0, changed: 0, .. } => {
                (Proved::Restored, format!("objects: {equal} restored, and equal field by field"))
            }
            Compared { equal, missing, changed, .. } => (
                Proved::Readable,
                format!("objects: {missing} missing and {changed} changed after the restore, {equal} equal"),
            ),
        }
    }

    /// Whether a type is one of the component's own kinds.
    fn is_of_its_kinds(&self, component: &Component, resource: &str) -> bool {
        let group = resource.split_once('.').map_or("", |(_, group)| group);
        let mut types = self.manifests.iter().flat_map(|m| &m.sources).filter_map(|source| source.types.get(resource));
        let saved = types.next().map(|saved| saved.kind.as_str());
        component.kinds.iter().any(|kind| Some(kind.kind.as_str()) == saved && kind.group == group)
    }

    /// Sources of a kind whose steps belong to the component.
    fn data(&self, component: &Component, by: SavedBy) -> (Proved, String) {
        let kind = by.as_str();
        let is_saved = self.manifests.iter().flat_map(|m| &m.sources).any(|source| source.kind == kind);
        if !is_saved {
            return (Proved::NotCovered, format!("{kind}: the backup has no such source"));
        }
        let steps = self.steps_of(component, by);
        let done = steps.iter().filter(|step| step.status == StepStatus::Done).count();
        match steps.first() {
            None if self.one_namespace => (Proved::NotExercised, format!("{kind}: {ONE_NAMESPACE}")),
            None => {
                (Proved::NotExercised, format!("{kind}: the plan has no step of the component's that brings it back"))
            }
            Some(_) if done == steps.len() => {
                let items: u64 = steps.iter().map(|step| step.items.total()).sum();
                (Proved::Restored, format!("{kind}: {items} items restored and compared by the step itself"))
            }
            Some(_) => {
                let open: Vec<_> =
                    steps.iter().filter(|step| step.status != StepStatus::Done).map(|s| state(s)).collect();
                (Proved::NotExercised, format!("{kind}: {}", open.join(", ")))
            }
        }
    }

    /// The steps of the plan that bring back data of a kind, for this component: those that the table names, by the last part of their names.
    fn steps_of(&self, component: &Component, by: SavedBy) -> Vec<&StepSummary> {
        let named: BTreeMap<&str, ()> =
            component.comes_back_by.values().flatten().map(|step| (step.as_str(), ())).collect();
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_string();
        let of_kind = self.plan.steps.iter().filter(|step| by.comes_back_by(&step.action));
        let names: Vec<&str> = of_kind.map(|step| step.name.as_str()).collect();
        let steps = self.summary.steps.iter().filter(|step| names.contains(&step.name.as_str()));
        steps.filter(|step| named.contains_key(last(&step.name).as_str())).collect()
    }
}
