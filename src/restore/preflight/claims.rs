//! Storage classes that are nowhere: claims that name one wait for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::{Obstacle, named};
use crate::archive::frame;
use crate::cluster::{Cluster, Retry};
use crate::error::Result;
use crate::object_path::ObjectPath;
use crate::restore::remap::class_names;
use crate::restore::rules::text;
use crate::restore::work::Work;

const CLASSES: &str = "storageclasses.storage.k8s.io";
/// Types that ask for volumes.
const ASKING: [&str; 2] = ["persistentvolumeclaims", "statefulsets.apps"];
const TIMEOUT: Duration = Duration::from_secs(15);

/// Names classes that neither the plan nor the target has, with who asks for them.
pub async fn look(work: &Work, cluster: &Cluster) -> Result<Vec<Obstacle>> {
    let asked = asked_for(work).await?;
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let Some(there) = in_target(cluster).await else { return Ok(Vec::new()) };
    let there: BTreeSet<String> = there.into_iter().chain(in_plan(work).await?).collect();
    let missing = asked.into_iter().filter(|(class, _)| !there.contains(class));
    Ok(missing.map(|(class, objects)| obstacle(&class, &objects)).collect())
}

fn obstacle(class: &str, objects: &[String]) -> Obstacle {
    let what =
        format!("storage class {class} is neither in the plan nor in the target; it is named by {}", named(objects));
    Obstacle::fails(what, "make the class, or map it in mappings.storageClasses: until then the claims wait")
}

/// None where they cannot be listed.
async fn in_target(cluster: &Cluster) -> Option<Vec<String>> {
    let path = "/apis/storage.k8s.io/v1/storageclasses";
    let body = Retry::brief().run(|| cluster.get(path, None, TIMEOUT)).await.ok()?;
    let list: Value = serde_json::from_slice(&body).ok()?;
    Some(list["items"].as_array()?.iter().map(|class| text(&class["metadata"], "name").to_string()).collect())
}

async fn in_plan(work: &Work) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    each_object(work, CLASSES, &mut |path, _| names.extend([path.stem.to_string()])).await?;
    Ok(names)
}

/// Classes as the target calls them, with the objects that name them.
async fn asked_for(work: &Work) -> Result<BTreeMap<String, Vec<String>>> {
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in ASKING {
        each_object(work, resource, &mut |path, object| {
            // A claim of a volume that comes back with it asks nobody.
            if object["spec"]["volumeName"].as_str().is_some_and(|volume| work.compiled.volumes.contains(volume)) {
                return;
            }
            for class in class_names(object, resource) {
                let class = work.remap.mappings().storage_classes.get(&class).cloned().unwrap_or(class);
                asked.entry(class).or_default().push(path.shown());
            }
        })
        .await?;
    }
    Ok(asked)
}

/// Calls with every object of a type that a step takes.
async fn each_object(work: &Work, resource: &str, call: &mut dyn FnMut(&ObjectPath<'_>, &mut Value)) -> Result<()> {
    let prefix = format!("resources/{resource}/");
    for source in work.compiled.types.keys() {
        for stored in work.backup.frames_with(source, &prefix) {
            let mut decoded = None;
            for entry in work.backup.entries(stored).await? {
                let Some(path) = ObjectPath::parse(&entry.path).filter(|path| path.resource == resource) else {
                    continue;
                };
                if work.compiled.step_of(&work.plan, source, &path, &entry).is_none() {
                    continue;
                }
                if decoded.is_none() {
                    decoded = Some(work.backup.frame(stored).await?);
                }
                let content = frame::member(decoded.as_deref().unwrap_or_default(), &entry)?;
                call(&path, &mut serde_json::from_slice(content).unwrap_or_default());
            }
        }
    }
    Ok(())
}
