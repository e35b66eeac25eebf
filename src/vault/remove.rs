//! Removing objects for good. Only rotation does; a backup job needs no permission for it.

use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::ObjectStoreExt;

use super::{Listed, Vault};
use crate::error::{Context, Result};
use crate::storage::{Removed, Version};

/// An object with everything that the store keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removable {
    /// Key, relative to the vault.
    pub key: String,
    versions: Vec<Version>,
}

impl Vault {
    /// Every object in a folder that can be removed. In a bucket with versions these are also objects that were deleted,
    /// or overwritten, and still take room.
    pub async fn removable(&self, under: &str) -> Result<Vec<Removable>> {
        match &self.s3 {
            Some(s3) if s3.are_kept().await? => {
                let mut all: Vec<Removable> = Vec::new();
                let mut listed = s3.list_versions(&format!("{}/", self.path(under)?)).await?;
                listed.sort_by(|a, b| a.key.cmp(&b.key));
                for version in listed {
                    let key = self.relative(&version.key);
                    match all.last_mut().filter(|last| last.key == key) {
                        Some(last) => last.versions.push(version),
                        None => all.push(Removable { key, versions: vec![version] }),
                    }
                }
                Ok(all)
            }
            _ => {
                let listed = self.list(under).await?;
                Ok(listed.into_iter().map(|Listed { key, .. }| Removable { key, versions: Vec::new() }).collect())
            }
        }
    }

    /// Whether an object that no list shows was there, and a version of it still is.
    pub async fn had(&self, key: &str) -> Result<bool> {
        match &self.s3 {
            Some(s3) if s3.are_kept().await? => {
                let whole = self.path(key)?;
                let listed = s3.list_versions(whole.as_ref()).await?;
                Ok(listed.iter().any(|version| version.key == whole.as_ref() && !version.is_marker))
            }
            _ => Ok(false),
        }
    }

    /// The storage's own time, where it tells.
    pub async fn time(&self) -> Result<Option<Timestamp>> {
        match &self.s3 {
            Some(s3) => s3.time().await,
            None => Ok(None),
        }
    }

    /// Removes an object, in all its versions. One that is not there any more is removed already.
    pub async fn remove(&self, object: &Removable) -> Result<Removed> {
        let path = self.path(&object.key)?;
        let Some(s3) = &self.s3 else {
            return match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(Removed::Yes),
                Err(e) => Err(self.explain("remove", &object.key, e)),
            };
        };
        if object.versions.is_empty() {
            return s3.delete(&path, None).await;
        }
        let mut removed = Removed::Yes;
        for version in &object.versions {
            if let locked @ Removed::Locked(_) = s3.delete(&path, Some(&version.id)).await? {
                removed = locked;
            }
        }
        Ok(removed)
    }

    /// Ends uploads into a folder that were begun before a time and never finished; how many. Their parts take room, and no list
    /// of objects shows them. Where that may not be asked, a rule of the bucket is to do it.
    pub async fn end_uploads(&self, under: &str, before: Timestamp) -> Result<u64> {
        let Some(s3) = &self.s3 else { return Ok(0) };
        let unfinished = s3.unfinished_uploads(&format!("{}/", self.path(under)?)).await?.unwrap_or_default();
        let mut ended = 0;
        for upload in unfinished.into_iter().filter(|upload| upload.initiated < before) {
            s3.end_upload(&self.path(&self.relative(&upload.key))?, &upload.upload_id).await?;
            ended += 1;
        }
        Ok(ended)
    }

    /// Removes the empty folders that are left of a removed one. Buckets have none.
    pub async fn remove_empty_folders(&self, under: &str) -> Result<()> {
        let Some(root) = &self.folder else { return Ok(()) };
        let folder = root.join(under);
        tokio::task::spawn_blocking(move || remove_empty(&folder)).await.context(|| "remove empty folders".into())
    }

    /// When the store took each object below a key.
    pub async fn times(&self, under: &str) -> Result<Vec<(String, Timestamp)>> {
        let listed = self.store.list(Some(&self.path(under)?));
        let time = |object: object_store::ObjectMeta| {
            let taken = Timestamp::from_millisecond(object.last_modified.timestamp_millis());
            let taken = taken.map_err(|e| object_store::Error::Generic { store: "vault", source: e.into() })?;
            Ok((self.relative(object.location.as_ref()), taken))
        };
        let times = listed.and_then(|object| std::future::ready(time(object))).try_collect().await;
        times.map_err(|e| self.explain("list", under, e))
    }
}

/// What an upload that was killed leaves in a folder, where no list shows it: `0001.tar.zst.age#1`.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Only empty ones can be removed, so an error says that there is still something in it.
fn remove_empty(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        } else if is_staged(&entry.file_name().to_string_lossy()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}
