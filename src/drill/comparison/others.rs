//! The other side of a comparison: the objects of one type as they were sent. They are parsed when they are compared.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::TIMEOUT;
use super::form::Form;
use super::reach::Reach;
use crate::archive::frame;
use crate::cluster::discovery::ResourceType;
use crate::cluster::list::ListOptions;
use crate::cluster::{Cluster, Retry};
use crate::config::KubernetesScope;
use crate::error::Result;
use crate::object_path::{object_path, type_folder};
use crate::reader::OpenBackup;

/// Objects by path. Each is taken out once.
#[derive(Default)]
pub(super) struct Others(Mutex<Left>);

#[derive(Default)]
struct Left {
    objects: HashMap<String, Bytes>,
    taken: HashSet<String>,
}

/// What was in the place of an object.
pub(super) enum There {
    /// This.
    Is(Bytes),
    /// Nothing.
    Nothing,
    /// It was compared already: another source holds the same object.
    Done,
}

impl Others {
    /// Those of a cluster, within the scopes.
    pub(super) async fn of_cluster(
        cluster: &Cluster,
        kind: &ResourceType,
        scopes: &[KubernetesScope],
        form: &Form,
    ) -> Result<Others, String> {
        let reach = Reach::new(&form.way);
        let mut objects = HashMap::new();
        for scope in scopes.iter().filter(|_| reach.has(kind)) {
            let options = ListOptions {
                page_size: 500,
                label_selector: scope.label_selector.as_ref().map(|s| s.to_query()),
                timeout: TIMEOUT,
                retry: Retry::default(),
            };
            let mut pages = cluster.pages(kind, reach.listed(kind), options);
            while let Some(page) = pages.next().await {
                let items = page.map_err(|e| e.message())?.items;
                for item in items.into_iter().filter(|item| reach.living(kind, item, scope)) {
                    let path = object_path(&form.resource, &form.version, &item.namespace, &item.name);
                    objects.insert(path, item.json);
                }
            }
        }
        Ok(Others::new(objects))
    }

    /// Those of a source of another backup.
    pub(super) async fn of_backup(backup: &OpenBackup, source: &str, resource: &str, version: &str) -> Result<Others> {
        let folder = type_folder(resource, version);
        let mut objects = HashMap::new();
        for stored in backup.frames_with(source, &folder) {
            let entries = backup.entries(stored).await?;
            let wanted: Vec<_> = entries.into_iter().filter(|entry| entry.path.starts_with(&folder)).collect();
            if wanted.is_empty() {
                continue;
            }
            let decoded = Bytes::from(backup.frame(stored).await?);
            for entry in wanted {
                let json = decoded.slice_ref(frame::member(&decoded, &entry)?);
                objects.insert(entry.path, json);
            }
        }
        Ok(Others::new(objects))
    }

    fn new(objects: HashMap<String, Bytes>) -> Others {
        Others(Mutex::new(Left { objects, taken: HashSet::new() }))
    }

    /// Takes out the object at a path.
    pub(super) fn take(&self, path: &str) -> There {
        let mut left = self.left();
        if !left.taken.insert(path.to_string()) {
            return There::Done;
        }
        left.objects.remove(path).map_or(There::Nothing, There::Is)
    }

    /// Takes out all that is left.
    pub(super) fn rest(&self) -> HashMap<String, Bytes> {
        std::mem::take(&mut self.left().objects)
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
