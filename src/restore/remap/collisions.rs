//! Namespaces that become one: no object may take the place of another.

use std::collections::HashMap;

use crate::config::Mappings;
use crate::error::{Error, Result};
use crate::object_path::ObjectPath;

/// How many collisions are named.
const NAMED: usize = 3;

/// Objects that every namespace has by itself: it is no loss when they are one.
const OF_EVERY_NAMESPACE: [(&str, &str); 2] = [("configmaps", "kube-root-ca.crt"), ("serviceaccounts", "default")];

/// Finds objects of different namespaces that would get the same name in the same namespace.
#[derive(Debug, Default)]
pub struct Collisions {
    /// The namespace in the backup, by what the object is in the target. Only of namespaces that others are mapped to.
    taken: HashMap<String, String>,
    found: Vec<String>,
}

impl Collisions {
    /// Notes an object that a step takes.
    pub fn add(&mut self, mappings: &Mappings, path: &ObjectPath<'_>) {
        let Some(old) = path.namespace else { return };
        let new = mappings.namespace(old);
        let is_target = mappings.namespaces.values().any(|target| target == new);
        if !is_target || OF_EVERY_NAMESPACE.contains(&(path.resource, path.stem)) {
            return;
        }
        let key = format!("{}/{new}/{}", path.resource, path.stem);
        match self.taken.get(&key) {
            Some(other) if other != old => self.found.push(format!("{key} of {other} and of {old}")),
            Some(_) => {}
            None => drop(self.taken.insert(key, old.into())),
        }
    }

    /// An error where there are any.
    pub fn refuse(self) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let named = self.found[..self.found.len().min(NAMED)].join("; ");
        let more = match self.found.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Err(Error::usage(format!("mappings.namespaces puts objects in each other's place: {named}{more}"))
            .hint("map these namespaces to different ones, or leave the objects of one of them out of the plan"))
    }
}
