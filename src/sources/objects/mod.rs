//! Source `objects`: the objects of a bucket, of a prefix in one, or of a folder: archives of logs, blobs of a registry.
//!
//! Objects are grouped by their names; a group in which nothing has changed since the last backup is taken over from it. Others
//! write meanwhile: what is not there any more as it was listed is listed again at the end, under whatever name it has by
//! then.

mod groups;
mod reader;
mod seen;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::reader::{Reader, Reading};
use self::seen::Seen;
use super::limits::{Aged, newest};
use super::{Opened, Source, TIME_IS_UP, Unit};
use crate::config::ObjectsScope;
use crate::error::Result;
use crate::inventory::{Contents, Identity, Inventory, Listed, Omission};
use crate::member::{Batch, check_path};
use crate::progress::Progress;
use crate::storage::{Object, Objects, StoreSettings};

/// How often objects are listed again that were not there as they had been listed.
const LOOKS: usize = 3;

/// The objects of a bucket or folder.
pub struct ObjectStorage {
    name: String,
    scope: ObjectsScope,
    settings: StoreSettings,
}

impl ObjectStorage {
    /// A source called `name` in its schedule. Credentials are those of `settings`, unless it has some of its own.
    pub fn new(name: &str, scope: ObjectsScope, settings: StoreSettings) -> ObjectStorage {
        ObjectStorage { name: name.into(), scope, settings }
    }
}

/// What all units share.
struct Shared {
    name: String,
    scope: ObjectsScope,
    objects: Objects,
    /// From when on ages count.
    now: SystemTime,
    seen: Mutex<Seen>,
    silent: AtomicBool,
}

/// What was listed.
struct Found {
    objects: Vec<Object>,
    inventory: Inventory,
    listed: Listed,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> Reading<'_> {
        Reading { name: &self.name, objects: &self.objects, format: self.scope.format, silent: &self.silent }
    }

    /// Lists what is wanted.
    async fn list(&self) -> Result<Found> {
        let at = Timestamp::now();
        let listing = self.objects.list(|path| self.scope.names.allows(path)).await?;
        let (named, bad): (Vec<_>, Vec<_>) =
            listing.objects.into_iter().partition(|object| check_path(&object.path).is_ok());
        let bad = bad.into_iter().map(|object| object.path.to_string()).chain(listing.unnameable);
        let count = bad.inspect(|key| tracing::warn!(object = key, "its name cannot stand in an archive")).count();
        let (objects, left_out) = newest(named, "objects", self.scope.limits, self.now);
        let mut inventory = Inventory { skipped: left_out, ..Inventory::default() };
        if count > 0 {
            let why = "their names cannot stand in an archive".into();
            inventory.problems.push(Omission { what: "objects".into(), why, count: Some(count as u64) });
        }
        let listed = Listed { count: objects.len() as u64, at };
        Ok(Found { objects, inventory, listed })
    }
}

#[async_trait]
impl Source for ObjectStorage {
    fn kind(&self) -> &'static str {
        "objects"
    }

    fn noun(&self) -> &'static str {
        "objects"
    }

    async fn open(&self) -> Result<Opened> {
        let shared = Shared {
            name: self.name.clone(),
            scope: self.scope.clone(),
            objects: Objects::connect(&self.scope.place, &self.settings, false)?,
            now: SystemTime::now(),
            seen: Mutex::default(),
            silent: AtomicBool::new(false),
        };
        let Found { objects, inventory, listed } = shared.list().await?;
        shared.seen().add(&objects);
        let shared = Arc::new(shared);
        let mut units: Vec<Box<dyn Unit>> = Vec::new();
        for objects in groups::group(objects) {
            units.push(Box::new(GroupUnit { shared: shared.clone(), objects }));
        }
        units.push(Box::new(LateUnit { shared, listed, found: Mutex::default() }));
        Ok(Opened { units, inventory })
    }
}

/// Objects that are saved together, and taken over together.
struct GroupUnit {
    shared: Arc<Shared>,
    objects: Vec<Object>,
}

#[async_trait]
impl Unit for GroupUnit {
    fn identity(&self) -> Option<Identity> {
        let mut digest = Sha256::new();
        digest.update([self.shared.scope.format.is_some().into()]);
        self.objects.iter().for_each(|object| object.add_to(&mut digest));
        Some(Identity(digest.finalize().into()))
    }

    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        self.shared.seen().add(&self.objects);
        let mut reader = Reader::new(self.shared.reading(), out, progress, stop);
        let wanted: Vec<_> = self.objects.iter().map(|object| (object, &*object.path)).collect();
        reader.read_all(&wanted).await?;
        self.shared.seen().note(reader.take_missed());
        reader.finish().await
    }
}

/// What was not there as it had been listed, and what came in its place. Read last.
struct LateUnit {
    shared: Arc<Shared>,
    listed: Listed,
    /// What it has to read by now, with the names in the archive: all of it once more when the storage was lost meanwhile.
    found: Mutex<Vec<(Object, String)>>,
}

impl LateUnit {
    fn found(&self) -> MutexGuard<'_, Vec<(Object, String)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, reader: &mut Reader<'_>, new: &[(Object, String)]) -> Result<()> {
        let wanted: Vec<_> = new.iter().map(|(object, name)| (object, name.as_str())).collect();
        reader.read_all(&wanted).await?;
        self.shared.seen().note(reader.take_missed());
        Ok(())
    }
}

#[async_trait]
impl Unit for LateUnit {
    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let mut reader = Reader::new(self.shared.reading(), out, progress, stop);
        let mut listed = self.listed.clone();
        let before = self.found().clone();
        self.take(&mut reader, &before).await?;
        for _ in 0..LOOKS {
            if self.shared.seen().is_settled() || stop.is_cancelled() {
                break;
            }
            let found = self.shared.list().await?;
            listed = found.listed;
            let new = self.shared.seen().take_new(found.objects);
            self.found().extend(new.iter().cloned());
            self.take(&mut reader, &new).await?;
        }
        let (missing, gone) = self.shared.seen().ends();
        reader.leave_out("deleted before they were read", gone);
        match stop.is_cancelled() {
            true => reader.problem(TIME_IS_UP, missing),
            false => reader.problem("became other ones each time that they were read", missing),
        }
        let mut inventory = reader.finish().await?;
        let contents = Contents { listed: Some(listed), ..Contents::default() };
        inventory.contents.add(&contents);
        Ok(inventory)
    }
}

impl Aged for Object {
    fn path(&self) -> &str {
        &self.path
    }

    fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(self.modified).unwrap_or_default())
    }

    fn size(&self) -> u64 {
        self.size
    }
}
