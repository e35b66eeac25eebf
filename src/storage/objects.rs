//! The objects of a bucket, a prefix in one, or a folder: listed, and read as they were listed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use sha2::{Digest, Sha256};

use super::explain::{is_forbidden, is_missing_bucket};
use super::{ListedKey, Opened, Place, S3, StoreSettings, begins_behind_the_end};
use crate::config::ObjectsPlace;
use crate::error::{Error, Result};

/// Objects somewhere.
#[derive(Clone)]
pub struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) place: Place,
    root: Path,
    s3: Option<Arc<S3>>,
}

/// One object, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name below the place, with `/` between its parts.
    pub path: Box<str>,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was written last, in microseconds since 1970.
    pub modified: i64,
    /// What changes with its content, where the storage has that; without quotes.
    pub etag: Option<Box<str>>,
}

impl Object {
    /// Seconds since 1970 at which it was written.
    pub fn modified_seconds(&self) -> u64 {
        u64::try_from(self.modified / 1_000_000).unwrap_or_default()
    }

    /// What tells that it is the same object with the same content.
    pub fn add_to(&self, digest: &mut Sha256) {
        let etag = self.etag.as_deref().unwrap_or_default();
        for text in [&*self.path, etag] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        digest.update(self.size.to_le_bytes());
        digest.update(self.modified.to_le_bytes());
    }
}

/// What a place holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every object, in the order of their names.
    pub objects: Vec<Object>,
    /// Keys that cannot be read: parts of them are empty, or climb.
    pub unnameable: Vec<String>,
}

/// Why an object could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It is not there any more.
    Gone,
    /// It is another one by now.
    Changed,
    /// This object may not be read, or is broken; others may be well.
    Refused(Error),
    /// The storage does not answer.
    Lost(Error),
}

impl Objects {
    /// Prepares a place; nothing is sent yet. With `create`, a folder is made that is not there.
    pub fn connect(place: &ObjectsPlace, settings: &StoreSettings, create: bool) -> Result<Objects> {
        let scheme = place.location.url.scheme();
        let own = place.credentials_file.as_ref().map(|file| super::credentials::read(file, scheme)).transpose()?;
        let Opened { store, root, s3, place: mut spoken } =
            super::connect(&place.location, own.as_ref().unwrap_or(settings), create, "place")?;
        if let Some(file) = &place.credentials_file {
            spoken.credentials = format!("{} in {}", spoken.credentials, file.display());
        }
        Ok(Objects { store, place: spoken, root, s3: s3.map(Arc::new) })
    }

    /// The URL, for people.
    pub fn shown(&self) -> &str {
        &self.place.shown
    }

    /// Whether the storage compares what arrives with the digest that is sent along.
    pub fn checks_arrival(&self) -> bool {
        self.s3.is_some()
    }

    pub(super) fn whole(&self, path: &str) -> Result<Path> {
        let whole = if self.root.as_ref().is_empty() { path.to_string() } else { format!("{}/{path}", self.root) };
        match Path::parse(&whole) {
            Ok(parsed) if parsed.as_ref() == whole => Ok(parsed),
            _ => Err(Error::failed(format!("{path:?} cannot be the name of an object"))),
        }
    }

    /// Every object that `wanted` takes, by its name.
    pub async fn list(&self, wanted: impl Fn(&str) -> bool) -> Result<Listing> {
        let prefix = if self.root.as_ref().is_empty() { String::new() } else { format!("{}/", self.root) };
        let mut listing = Listing::default();
        if let Some(s3) = &self.s3 {
            s3.list_objects(&prefix, |listed| self.add(listed, &prefix, &wanted, &mut listing)).await?;
        } else {
            let mut listed = self.store.list(Some(&self.root));
            while let Some(meta) = listed.try_next().await.map_err(|e| self.place.explain("list", "", e))? {
                let Some(path) = meta.location.as_ref().strip_prefix(&prefix).filter(|path| wanted(path)) else {
                    continue;
                };
                listing.objects.push(Object {
                    path: path.into(),
                    size: meta.size,
                    modified: meta.last_modified.timestamp_micros(),
                    etag: meta.e_tag.as_deref().map(plain),
                });
            }
        }
        listing.objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        listing.objects.shrink_to_fit();
        Ok(listing)
    }

    fn add(&self, listed: ListedKey, prefix: &str, wanted: impl Fn(&str) -> bool, listing: &mut Listing) {
        let path = listed.key.strip_prefix(prefix).unwrap_or_default();
        // What consoles show as folders are objects without content, whose names end with `/`.
        let is_folder = listed.size == 0 && (path.is_empty() || path.ends_with('/'));
        if is_folder || !wanted(path) {
            return;
        }
        if self.whole(path).is_err() {
            return listing.unnameable.push(listed.key);
        }
        listing.objects.push(Object {
            path: path.into(),
            size: listed.size,
            modified: listed.last_modified.as_microsecond(),
            etag: listed.e_tag.as_deref().map(plain),
        });
    }

    /// Part of an object, in the state in which it was listed. Each answer names the state that it is of, so nothing has to be
    /// asked of storages that do not know conditions.
    pub async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, Unreadable> {
        let path = self.whole(&object.path).map_err(Unreadable::Refused)?;
        let range = Some(range).filter(|range| !range.is_empty()).map(GetRange::Bounded);
        let asked = range.is_some();
        let options = GetOptions { range, head: !asked, ..GetOptions::default() };
        let got = self.store.get_opts(&path, options).await.map_err(|e| self.unreadable(object, e))?;
        let same_state = match (&object.etag, &got.meta.e_tag) {
            (Some(listed), Some(now)) => *listed == plain(now),
            _ => got.meta.last_modified.timestamp() == object.modified.div_euclid(1_000_000),
        };
        if !same_state || got.meta.size != object.size {
            return Err(Unreadable::Changed);
        }
        if !asked {
            return Ok(Bytes::new());
        }
        got.bytes().await.map_err(|e| self.unreadable(object, e))
    }

    fn unreadable(&self, object: &Object, e: object_store::Error) -> Unreadable {
        match e {
            object_store::Error::NotFound { .. } if !is_missing_bucket(&e) => Unreadable::Gone,
            object_store::Error::Precondition { .. } => Unreadable::Changed,
            // It is shorter than it was, or was replaced while it was sent.
            e if begins_behind_the_end(&e) => Unreadable::Changed,
            e if is_forbidden(&e) => Unreadable::Refused(self.place.explain("read", &object.path, e)),
            e => Unreadable::Lost(self.place.explain("read", &object.path, e)),
        }
    }

    /// The object of that name, as it is now.
    pub async fn look_at(&self, path: &str) -> Result<Option<Object>> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&self.whole(path)?, options).await {
            Ok(got) => Ok(Some(Object {
                path: path.into(),
                size: got.meta.size,
                modified: got.meta.last_modified.timestamp_micros(),
                etag: got.meta.e_tag.as_deref().map(plain),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.place.explain("look at", path, e)),
        }
    }
}

/// Lists and answers quote them in different ways.
fn plain(etag: &str) -> Box<str> {
    etag.trim_start_matches("W/").trim_matches('"').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_do_not_make_another_state() {
        for etag in ["\"abc-2\"", "abc-2", "W/\"abc-2\""] {
            assert_eq!(&*plain(etag), "abc-2");
        }
    }

    #[test]
    fn anything_that_changes_makes_another_digest() {
        let object = Object { path: "a".into(), size: 1, modified: 2, etag: Some("b".into()) };
        let digest = |object: &Object| {
            let mut digest = Sha256::new();
            object.add_to(&mut digest);
            digest.finalize()
        };
        let others = [
            Object { path: "ab".into(), etag: Some("".into()), ..object.clone() },
            Object { size: 2, ..object.clone() },
            Object { modified: 3, ..object.clone() },
            Object { etag: None, ..object.clone() },
        ];
        assert!(others.iter().all(|other| digest(other) != digest(&object)));
    }
}
