//! The form that objects are compared in.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::{Taken, fit, fit_and_count};
use super::known::Known;
use super::reach::Reach;
use super::{NOT_SELECTED, Way};
use crate::cluster::discovery::ResourceType;
use crate::config::Subject;
use crate::drill::scratch::SCRATCH_LABEL;
use crate::restore::{Facts, Moved, Owners};

/// Brings the objects of one type, on both sides, to the form that is compared; or names the rule by which one is not.
pub(super) struct Form {
    pub(super) way: Way,
    /// What the backup calls the type.
    pub(super) resource: String,
    /// The version in which the backup has it.
    pub(super) version: String,
    pub(super) known: Arc<Known>,
    /// Whom objects of the other side may name as their owners.
    pub(super) owners_there: Owners,
    pub(super) status_subresource: bool,
    /// What the other side serves of it, in that version or another one; none where it does not, and for another backup.
    pub(super) served: Option<Served>,
}

/// A type as a cluster serves it.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) kind: ResourceType,
    /// What a restore changes in objects of the version that is gone.
    pub(super) moved: Option<&'static Moved>,
}

impl Form {
    /// For a type that is compared with what a cluster has of it; none where the cluster does not serve it.
    pub(super) fn of_cluster(
        way: &Way,
        known: &Arc<Known>,
        resource: &str,
        version: &str,
        served: Option<Served>,
    ) -> Form {
        let has_status = |served: &Served| served.kind.subresources.iter().any(|s| s == "status");
        Form {
            way: way.clone(),
            resource: resource.into(),
            version: version.into(),
            known: known.clone(),
            // What a controller made for an owner there is the cluster's own, whatever uids its owner had before.
            owners_there: Owners::living(),
            status_subresource: served.as_ref().is_none_or(has_status),
            served,
        }
    }

    /// For a type of another backup.
    pub(super) fn of_backup(resource: &str, version: &str) -> Form {
        Form {
            way: Way::default(),
            resource: resource.into(),
            version: version.into(),
            known: Arc::default(),
            owners_there: Owners::default(),
            status_subresource: true,
            served: None,
        }
    }

    /// The API group; empty for the core group.
    pub(super) fn group(&self) -> &str {
        self.resource.split_once('.').map_or("", |(_, group)| group)
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
        // One that cannot be patched, or put into another version, was not written, and is missed in the target as it is.
        let _ = self.way.remap.apply(&mut object, &self.resource, subject);
        if let Some(served) = &self.served {
            let _ = served.moved.map(|moved| moved.change(&mut object));
            served.name(&mut object);
        }
        Ok(comparable(object, references))
    }

    /// An object of the other side.
    pub(super) fn other(&self, json: &[u8]) -> Result<Value, &'static str> {
        // What was parsed when it was listed, and when it was saved, is JSON.
        let mut object: Value = serde_json::from_slice(json).unwrap_or_default();
        if let Some(served) = &self.served {
            served.name(&mut object);
        }
        let references = owner_names(&object, &self.known.left);
        fit(&mut object, &self.facts(&self.owners_there))?;
        self.spare(&object)?;
        Ok(comparable(object, references))
    }

    /// Whether a step of the plan would restore an object of the other side, were it in the backup. Without a plan, all are.
    pub(super) fn is_reached(&self, object: &Value, namespace: Option<&str>, name: &str) -> bool {
        let Some((plan, target)) = &self.way.plan else { return true };
        let Some(kind) = object["kind"].as_str() else { return true };
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string()))).collect();
        let reach = Reach::new(&self.way);
        let namespace = namespace.map(|namespace| reach.before(namespace));
        let mut sources = self.known.sources.iter();
        sources.any(|source| {
            let subject = Subject { source, kind, group: self.group(), namespace, name, labels: &labels };
            plan.step_for(*target, &subject).is_some()
        })
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

impl Served {
    /// Gives an object the names of the type, which lists leave out.
    fn name(&self, object: &mut Value) {
        object["apiVersion"] = Value::String(self.kind.api_version());
        object["kind"] = Value::String(self.kind.kind.clone());
    }
}

fn comparable(mut object: Value, references: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
    }
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.remove("kubernetes.io/metadata.name");
        // It says what the cluster is for, and is nothing of the platform's.
        labels.remove(SCRATCH_LABEL);
    }
    object["metadata"]["ownerReferences"] = references;
    object
}

/// Owners have other uids in another cluster, and may be served in another version; group, kind and name say who is meant. Those
/// that the way does not take are not there.
fn owner_names(object: &Value, left: &HashSet<String>) -> Value {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let references = references.filter(|r| !r["uid"].as_str().is_some_and(|uid| left.contains(uid)));
    let group =
        |r: &Value| r["apiVersion"].as_str().and_then(|v| v.split_once('/')).map(|(group, _)| group.to_string());
    let name = |r: &Value| json!({"group": group(r), "kind": r["kind"], "name": r["name"]});
    Value::Array(references.map(name).collect())
}
