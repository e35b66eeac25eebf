//! Mappings and patches: what a plan changes in objects on their way into another cluster.
//!
//! They come after the [rules](super::rules): mappings first, then patches in the order of the plan. Plans select objects
//! by what they are called in the backup, so what a mapping changes never changes what is selected.

mod classes;
mod collisions;
mod domains;
mod images;
mod namespaces;
mod pull_secrets;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::classes::class_names;
pub use self::collisions::Collisions;
use crate::config::{Change, Mappings, Patch, RestorePlan, Subject};

/// One name that was put in the place of another, or one patch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// `namespace`, `storageClass`, `imageRegistry`, `domain` or `patch`.
    pub what: &'static str,
    /// The old name; of a patch: its name.
    pub from: String,
    /// The new name; of a patch: nothing.
    pub to: String,
}

/// What a mapping or patch changed in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remapped {
    /// `namespace`, `storageClass`, `imageRegistry`, `domain` or `patch`.
    pub what: String,
    /// The old name; of a patch: its name.
    pub from: String,
    /// The new name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// In how many objects.
    pub objects: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

/// How many objects are named as examples.
const EXAMPLES: usize = 3;

/// Counts what was changed.
#[derive(Debug, Default)]
pub struct Counts(BTreeMap<Use, (u64, Vec<String>)>);

impl Counts {
    /// Notes what was changed in an object.
    pub fn add(&mut self, object: &str, uses: Uses) {
        for by in uses {
            let (count, examples) = self.0.entry(by).or_default();
            *count += 1;
            if examples.len() < EXAMPLES {
                examples.push(object.into());
            }
        }
    }

    /// In words and numbers.
    pub fn into_list(self) -> Vec<Remapped> {
        let remapped =
            |(Use { what, from, to }, (objects, examples))| Remapped { what: what.into(), from, to, objects, examples };
        self.0.into_iter().map(remapped).collect()
    }
}

/// What was changed in one object.
pub type Uses = BTreeSet<Use>;

/// The mappings and patches of a plan.
#[derive(Debug, Default)]
pub struct Remap {
    mappings: Mappings,
    patches: Vec<Patch>,
    /// How many objects of the backup each patch selects.
    selected: Vec<AtomicU64>,
}

impl Remap {
    /// Those of this plan.
    pub fn new(plan: &RestorePlan) -> Remap {
        let selected = plan.patches.iter().map(|_| AtomicU64::new(0)).collect();
        Remap { mappings: plan.mappings.clone(), patches: plan.patches.clone(), selected }
    }

    /// Whether nothing is changed at all.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty() && self.patches.is_empty()
    }

    /// The mappings.
    pub fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Changes an object of the backup; the resource is written like `deployments.apps`. An error says why it cannot be changed, and
    /// then it must not be written.
    pub fn apply(&self, object: &mut Value, resource: &str, subject: &Subject<'_>) -> Result<Uses, String> {
        let mut uses = Uses::new();
        if self.is_empty() {
            return Ok(uses);
        }
        namespaces::map(object, resource, &self.mappings.namespaces, &mut uses);
        classes::map(object, resource, &self.mappings.storage_classes, &mut uses);
        images::map(object, resource, &self.mappings.image_registries, &mut uses);
        pull_secrets::map(object, resource, &self.mappings.image_registries, &mut uses);
        domains::map(object, resource, &self.mappings, &mut uses);
        for patch in self.patches.iter().filter(|patch| patch.selects(subject)) {
            change(object, patch)?;
            uses.insert(Use { what: "patch", from: patch.name.clone(), to: String::new() });
        }
        Ok(uses)
    }

    /// Notes an object of the backup that a step takes.
    pub fn sees(&self, subject: &Subject<'_>) {
        for (patch, selected) in self.patches.iter().zip(&self.selected) {
            if patch.selects(subject) {
                selected.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The patches that select nothing of what was seen.
    pub fn idle(&self) -> impl Iterator<Item = &str> {
        let all = self.patches.iter().zip(&self.selected);
        all.filter(|(_, selected)| selected.load(Ordering::Relaxed) == 0).map(|(patch, _)| patch.name.as_str())
    }
}

/// What says which object it is: only mappings may change that.
const IDENTITY: [&str; 4] = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];

fn change(object: &mut Value, patch: &Patch) -> Result<(), String> {
    let before = IDENTITY.map(|pointer| object.pointer(pointer).cloned());
    match &patch.change {
        Change::Merge(merge) => json_patch::merge(object, merge),
        Change::Json(operations) => {
            json_patch::patch(object, operations)
                .map_err(|e| format!("patch {} cannot be applied: {e}", patch.name))?;
        }
    }
    let after = IDENTITY.map(|pointer| object.pointer(pointer).cloned());
    match (0..IDENTITY.len()).find(|at| before[*at] != after[*at]) {
        None => Ok(()),
        Some(at) => Err(format!("patch {} changes {}, which no patch may", patch.name, IDENTITY[at])),
    }
}

/// Puts a new name in the place of an old one, and notes it.
fn replace(value: &mut Value, what: &'static str, names: &BTreeMap<String, String>, uses: &mut Uses) {
    let Some(old) = value.as_str() else { return };
    let Some((from, to)) = names.get_key_value(old) else { return };
    uses.insert(Use { what, from: from.clone(), to: to.clone() });
    *value = Value::String(to.clone());
}

#[cfg(test)]
mod tests;
