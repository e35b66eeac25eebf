//! The form that objects are compared in.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::{Taken, fit, fit_and_count};
use super::known::Known;
use super::{NOT_SELECTED, Way};
use crate::cluster::discovery::ResourceType;
use crate::config::Subject;
use crate::restore::{Facts, Owners};

/// Brings the objects of one type, on both sides, to the form that is compared; or names the rule by which one is not.
pub(super) struct Form {
    pub(super) way: Way,
    pub(super) resource: String,
    pub(super) known: Arc<Known>,
    /// Whom objects of the other side may name as their owners.
    pub(super) owners_there: Owners,
    pub(super) status_subresource: bool,
    /// `apiVersion` and `kind`, which lists leave out.
    pub(super) typed: Option<(String, String)>,
}

impl Form {
    /// For a type that is compared with what a cluster has of it; none where the cluster does not serve it.
    pub(super) fn of_cluster(way: &Way, resource: &str, known: &Arc<Known>, kind: Option<&ResourceType>) -> Form {
        Form {
            way: way.clone(),
            resource: resource.into(),
            known: known.clone(),
            // What a controller made for an owner there is the cluster's own, whatever uids its owner had before.
            owners_there: Owners::living(),
            status_subresource: kind.is_none_or(|kind| kind.subresources.iter().any(|s| s == "status")),
            typed: kind.map(|kind| (kind.api_version(), kind.kind.clone())),
        }
    }

    /// For a type of another backup.
    pub(super) fn of_backup(resource: &str) -> Form {
        Form {
            way: Way::default(),
            resource: resource.into(),
            known: Arc::default(),
            owners_there: Owners::default(),
            status_subresource: true,
            typed: None,
        }
    }

    /// An object of the backup, as the restore writes it.
    pub(super) fn saved(
        &self,
        mut object: Value,
        subject: &Subject<'_>,
        taken: &mut Taken,
    ) -> Result<Value, &'static str> {
        if self.way.plan.as_ref().is_some_and(|(plan, target)| plan.step_for(*target, subject).is_none()) {
            return Err(NOT_SELECTED);
        }
        let references = owner_names(&object, &self.known.left);
        fit_and_count(&mut object, &self.facts(&self.known.owners), taken)?;
        self.spare(&object)?;
        // One that cannot be patched was not written, and is missed in the target as it is.
        let _ = self.way.remap.apply(&mut object, &self.resource, subject);
        Ok(comparable(object, references))
    }

    /// An object of the other side.
    pub(super) fn other(&self, json: &[u8]) -> Result<Value, &'static str> {
        // What was parsed when it was listed, and when it was saved, is JSON.
        let mut object: Value = serde_json::from_slice(json).unwrap_or_default();
        if let Some((api_version, kind)) = &self.typed {
            object["apiVersion"] = Value::String(api_version.clone());
            object["kind"] = Value::String(kind.clone());
        }
        let references = owner_names(&object, &self.known.left);
        fit(&mut object, &self.facts(&self.owners_there))?;
        self.spare(&object)?;
        Ok(comparable(object, references))
    }

    fn facts<'f>(&'f self, owners: &'f Owners) -> Facts<'f> {
        Facts {
            resource: &self.resource,
            owners,
            volumes: &self.known.volumes,
            preserve_node_ports: false,
            status_subresource: self.status_subresource,
        }
    }

    /// What the drill did not restore on purpose.
    fn spare(&self, object: &Value) -> Result<(), &'static str> {
        let spared = self.way.stage.and_then(|stage| stage.spares(&self.resource, object));
        spared.map_or(Ok(()), |spared| Err(spared.rule))
    }
}

fn comparable(mut object: Value, references: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
    }
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.remove("kubernetes.io/metadata.name");
    }
    object["metadata"]["ownerReferences"] = references;
    object
}

/// Owners have other uids in another cluster; kind and name say who is meant. Those that the way does not take are not there.
fn owner_names(object: &Value, left: &HashSet<String>) -> Value {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let references = references.filter(|r| !r["uid"].as_str().is_some_and(|uid| left.contains(uid)));
    let name = |r: &Value| json!({"apiVersion": r["apiVersion"], "kind": r["kind"], "name": r["name"]});
    Value::Array(references.map(name).collect())
}
