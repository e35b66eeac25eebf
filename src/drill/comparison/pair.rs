//! Goes through the objects of one type in the backup, and compares each with what is in its place on the other side.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use super::NOT_SELECTED;
use super::difference::{Changed, Difference};
use super::fields::Taken;
use super::form::Form;
use super::others::{Others, There};
use super::reach::{Reach, path_of};
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::config::Subject;
use crate::error::{Context, Error, Result};
use crate::object_path::{ObjectPath, type_folder};
use crate::progress::Progress;
use crate::reader::{OpenBackup, StoredFrame};
use crate::restore::differences;

/// Paths of one changed object that are named.
const PATHS_NAMED: usize = 5;

/// Frames that are fetched and compared at the same time: as many as small machines have cores, and one on its way.
const FRAMES_AT_ONCE: usize = 3;

/// Where the objects of a type stand in a backup.
#[derive(Clone)]
pub(super) struct SavedFolder {
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) version: String,
}

/// One type, on both sides.
pub(super) struct Pair {
    pub(super) form: Arc<Form>,
    pub(super) others: Arc<Others>,
}

impl Pair {
    /// Compares all that the backup has of it; what is left on the other side is extra.
    pub(super) async fn compare(
        &self,
        backup: &OpenBackup,
        folders: &[SavedFolder],
        progress: &dyn Progress,
    ) -> Result<Difference> {
        let mut difference = Difference::default();
        // Of an object that several sources hold, the last one's is compared.
        for folder in folders.iter().rev() {
            let path = type_folder(&self.form.resource, &folder.version);
            let frames: Vec<_> = backup.frames_with(&folder.source, &path).cloned().collect();
            let comparing = frames.into_iter().map(|stored| self.frame(backup, folder, stored, progress));
            let mut comparing = futures::stream::iter(comparing).buffer_unordered(FRAMES_AT_ONCE);
            while let Some(found) = comparing.try_next().await? {
                difference.add(found);
            }
        }
        difference.add(self.rest().await?);
        Ok(difference)
    }

    async fn frame(
        &self,
        backup: &OpenBackup,
        folder: &SavedFolder,
        stored: StoredFrame,
        progress: &dyn Progress,
    ) -> Result<Difference> {
        let of_the_type = type_folder(&self.form.resource, &folder.version);
        let reach = Reach::new(&self.form.way);
        let mut entries = backup.entries(&stored).await?;
        entries.retain(|entry| entry.path.starts_with(&of_the_type) && reach.saved(&entry.path));
        if entries.is_empty() {
            return Ok(Difference::default());
        }
        let (items, bytes) = (entries.len() as u64, entries.iter().map(|entry| entry.size).sum());
        let encoded = backup.encoded_frame(&stored).await?;
        let work = Comparing { form: self.form.clone(), others: self.others.clone(), folder: folder.clone() };
        let comparing =
            tokio::task::spawn_blocking(move || encoded.decode_and(|decoded| work.members(decoded, &entries)));
        let difference = comparing.await.context(|| "compare objects".into())??;
        progress.advance("diff", items, bytes);
        Ok(difference)
    }

    async fn rest(&self) -> Result<Difference> {
        let (form, others) = (self.form.clone(), self.others.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let extra = others.rest().into_iter().filter_map(|(path, json)| extra(&form, &path, &json));
            Difference { extra: extra.collect(), ..Difference::default() }
        });
        looking.await.context(|| "compare objects".into())
    }
}

/// An object that only the other side has, as people name it; none where it would not be restored anyway.
fn extra(form: &Form, path: &str, json: &[u8]) -> Option<String> {
    let path = ObjectPath::parse(path)?;
    let object = form.other(json).ok()?;
    form.is_reached(&object, path.namespace, path.stem).then(|| path.shown())
}

/// What a thread needs that compares the objects of a frame.
struct Comparing {
    form: Arc<Form>,
    others: Arc<Others>,
    folder: SavedFolder,
}

impl Comparing {
    fn members(&self, decoded: &[u8], entries: &[Entry]) -> Result<Difference> {
        let (mut difference, mut taken) = (Difference::default(), Taken::new());
        for entry in entries {
            let content = frame::member(decoded, entry)?;
            let object: Value = serde_json::from_slice(content)
                .map_err(|e| Error::integrity(format!("{} is not JSON", entry.path)).because(e))?;
            self.object(object, entry, &mut taken, &mut difference);
        }
        difference.ignored_fields = taken.into_iter().map(|(rule, fields)| (rule.into(), fields)).collect();
        Ok(difference)
    }

    fn object(&self, object: Value, entry: &Entry, taken: &mut Taken, difference: &mut Difference) {
        let Some(place) = ObjectPath::parse(&entry.path) else { return };
        let (form, folder) = (&self.form, &self.folder);
        let subject = Subject {
            source: &folder.source,
            kind: &folder.kind,
            group: form.group(),
            namespace: place.namespace,
            name: place.stem,
            labels: &entry.traits.labels,
        };
        let reach = Reach::new(&form.way);
        let moved = (!reach.keeps_paths()).then(|| reach.path_there(&form.resource, &folder.version, &object));
        let object = form.saved(object, &subject, taken);
        let path = match (&object, moved) {
            (_, None) => entry.path.clone(),
            // Names of some kinds are mapped, too.
            (Ok(object), Some(_)) => path_of(&form.resource, &folder.version, object),
            (Err(_), Some(moved)) => moved,
        };
        let found = match self.others.take(&path) {
            There::Done => return,
            There::Nothing => None,
            There::Is(json) => Some(json),
        };
        // Counted by what it is called in the backup: that is where components are.
        let key = (place.resource.to_string(), place.namespace.unwrap_or_default().to_string());
        let compared = difference.compared.entry(key).or_default();
        let shown = || ObjectPath::parse(&path).map(|path| path.shown()).unwrap_or_default();
        // A job that ran to its end since then is there, but is not what would be restored.
        let found = object.and_then(|object| found.map(|json| Ok((object, form.other(&json)?))).transpose());
        match found {
            Err(rule) => {
                compared.left += u64::from(rule == NOT_SELECTED);
                *difference.ignored.entry(rule.into()).or_default() += 1;
            }
            Ok(None) => {
                compared.missing += 1;
                difference.missing.push(shown());
            }
            Ok(Some((object, found))) => match differences(&object, &found, PATHS_NAMED) {
                paths if paths.is_empty() => {
                    compared.equal += 1;
                    difference.equal += 1;
                }
                paths => {
                    compared.changed += 1;
                    difference.changed.push(Changed { object: shown(), paths });
                }
            },
        }
    }
}
