//! What the rules have to know of the whole backup.

use std::collections::{HashMap, HashSet};

use super::{Way, kubernetes_types};
use crate::config::Subject;
use crate::error::Result;
use crate::object_path::ObjectPath;
use crate::reader::OpenBackup;
use crate::restore::Owners;

/// Uids and names that the rules ask for.
#[derive(Default)]
pub(super) struct Known {
    /// Whom the backup's objects name as their owners.
    pub(super) owners: Owners,
    /// Names of its persistent volumes.
    pub(super) volumes: HashSet<String>,
    /// Uids of objects that the way does not take.
    pub(super) left: HashSet<String>,
    /// Its sources of objects, by name.
    pub(super) sources: Vec<String>,
}

impl Known {
    /// Reads the backup's index.
    pub(super) async fn read(backup: &OpenBackup, way: &Way) -> Result<Known> {
        backup.load_index().await?;
        let kinds: HashMap<_, _> =
            kubernetes_types(backup).into_iter().map(|(s, resource, r)| ((s, resource), r.kind)).collect();
        let (mut uids, mut volumes, mut left) = (Vec::new(), HashSet::new(), HashSet::new());
        for stored in backup.directory() {
            for entry in backup.entries(stored).await? {
                let Some(path) = ObjectPath::parse(&entry.path) else { continue };
                if path.resource == "persistentvolumes" {
                    volumes.insert(path.stem.to_string());
                }
                if let (Some((plan, target)), Some(kind)) =
                    (&way.plan, kinds.get(&(stored.source.to_string(), path.resource.to_string())))
                {
                    let group = path.resource.split_once('.').map_or("", |(_, group)| group);
                    let labels = &entry.traits.labels;
                    let (namespace, name) = (path.namespace, path.stem);
                    let subject = Subject { source: &stored.source, kind, group, namespace, name, labels };
                    if plan.step_for(*target, &subject).is_none() {
                        left.insert(entry.traits.uid.clone());
                    }
                }
                uids.push(entry.traits.uid);
            }
        }
        let kubernetes = backup.manifest.sources.iter().filter(|source| source.kind == "kubernetes");
        let sources = kubernetes.map(|source| source.name.clone()).collect();
        Ok(Known { owners: Owners::same(uids), volumes, left, sources })
    }
}
