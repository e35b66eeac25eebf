//! The vault: the place in object storage that holds backups, and the rules by which they exist.
//!
//! No object is ever overwritten and there are no locks: what has no manifest does not exist.

pub mod attestation;
mod copy;
pub mod layout;
pub mod manifest;
pub mod quarter;
pub mod receipt;
pub mod record;
mod remove;
pub mod signature;
mod upload;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, PutMode, PutOptions, PutPayload, PutResult};
use sha2::{Digest, Sha256};

use self::layout::BackupId;
pub use self::remove::Removable;
pub use self::upload::Upload;
use crate::config::VaultLocation;
use crate::error::{Context, Error, Kind, Result};
pub use crate::storage::Removed;
use crate::storage::{
    Opened, Place, S3, StoreSettings, begins_behind_the_end, is_missing_bucket, is_unanswered, is_unknown_version,
};

/// First line of `README.txt`, by which a vault is recognised.
const MARKER: &str = "This is a ckbackup vault, format version 1.";

/// Objects that are read whole are manifests and signatures: a larger one was put there to fill the memory.
const LARGEST_WHOLE: u64 = 64 << 20;

/// In what pieces a file is read to its end, in bytes, and how many of them at a time.
const FILE_PIECE: u64 = 1 << 20;
const FILE_PIECES_AHEAD: usize = 3;

/// How often a create-if-absent is sent again when its answer was lost.
const CREATES_REPEATED: u32 = 3;

/// Between two of them.
const CREATE_PAUSE: Duration = Duration::from_millis(500);

/// An open vault.
#[derive(Clone)]
pub struct Vault {
    store: Arc<dyn ObjectStore>,
    root: Path,
    place: Place,
    /// Whether the store compares what arrives with the digest that is sent along.
    checks_arrival: bool,
    /// In what pieces large objects are uploaded; bytes.
    part: usize,
    /// The folder of a vault that is one.
    folder: Option<PathBuf>,
    /// What only S3 has.
    s3: Option<Arc<S3>>,
}

/// What the store said about an object that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The object's version, where the bucket is versioned.
    pub version: Option<String>,
    /// The storage never said that it took it; it was found there.
    unanswered: bool,
}

impl Stored {
    fn of(version: Option<String>) -> Stored {
        Stored { version, unanswered: false }
    }
}

/// An object as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Key, relative to the vault.
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// What a put with create-if-absent came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The object is there and is ours.
    Yes(Stored),
    /// Another object stands there already.
    Taken,
}

/// Where to find a vault to read.
const FOR_READING: &str = "name the folder or prefix that holds the vault's README.txt";

/// Where a vault may be written.
const FOR_WRITING: &str = "name an empty folder or prefix, or the one that holds the vault's README.txt";

impl Vault {
    /// Opens a vault for reading; what is not a vault is refused.
    pub async fn open(location: &VaultLocation, settings: &StoreSettings) -> Result<Vault> {
        let vault = Vault::connect(location, settings, false)?;
        match vault.marker().await? {
            Some(true) => Ok(vault),
            // Whoever spoils the README must not take the backups away with it.
            Some(false) | None if vault.holds_backups().await? => {
                tracing::warn!(vault = %vault.place.shown, "README.txt is missing or is not a vault's; reading on");
                Ok(vault)
            }
            Some(false) => Err(vault.not_a_vault(FOR_READING)),
            None if !vault.is_empty().await? => Err(vault.not_a_vault(FOR_READING)),
            None => Err(Error::failed(format!("no such vault: {}", vault.place.shown))
                .hint("check the URL, the endpoint and that the first backup was taken")),
        }
    }

    /// Opens a vault for a backup; an empty place becomes a vault.
    pub async fn open_or_create(location: &VaultLocation, settings: &StoreSettings) -> Result<Vault> {
        let vault = Vault::connect(location, settings, true)?;
        match vault.marker().await? {
            Some(true) => Ok(vault),
            Some(false) if !vault.holds_backups().await? => Err(vault.not_a_vault(FOR_WRITING)),
            // Tonight's backup does not wait for somebody to mend the README.
            Some(false) => {
                tracing::warn!(vault = %vault.place.shown, "README.txt is not a vault's; writing on");
                Ok(vault)
            }
            None if vault.holds_backups().await? || vault.is_empty().await? => {
                let text = format!("{MARKER}\n{}", include_str!("README.vault.txt"));
                // Another run may be creating the same vault: its README is as good as ours.
                vault.create("README.txt", Bytes::from(text)).await?;
                Ok(vault)
            }
            // Another run may have made the vault at this moment.
            None if vault.marker().await? == Some(true) => Ok(vault),
            None => Err(vault.not_a_vault(FOR_WRITING)),
        }
    }

    fn connect(location: &VaultLocation, settings: &StoreSettings, create: bool) -> Result<Vault> {
        let Opened { store, root, s3, place } = crate::storage::connect(location, settings, create, "vault")?;
        let folder = location.folder();
        Ok(Vault {
            store,
            root,
            place,
            checks_arrival: s3.is_some(),
            part: upload::part_bytes(folder.is_some()),
            folder,
            s3: s3.map(Arc::new),
        })
    }

    /// The URL, for people.
    pub fn shown(&self) -> &str {
        &self.place.shown
    }

    /// A storage's error in words: what, where, and what to do.
    fn explain(&self, doing: &str, key: &str, e: object_store::Error) -> Error {
        self.place.explain(doing, key, e)
    }

    fn not_a_vault(&self, hint: &str) -> Error {
        Error::usage(format!("{} is not a ckbackup vault: other things are stored there", self.place.shown)).hint(hint)
    }

    async fn marker(&self) -> Result<Option<bool>> {
        match self.read("README.txt", None).await {
            Ok(text) => Ok(Some(text.starts_with(MARKER.as_bytes()))),
            Err(ReadError::NotFound) => Ok(None),
            Err(ReadError::Other(e)) => Err(e),
        }
    }

    async fn holds_backups(&self) -> Result<bool> {
        for cluster in self.clusters().await? {
            if !self.backup_ids(&cluster).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_empty(&self) -> Result<bool> {
        let first = self.store.list(Some(&self.root)).next().await.transpose();
        Ok(first.map_err(|e| self.explain("list", "", e))?.is_none())
    }

    fn path(&self, key: &str) -> Result<Path> {
        let whole = if self.root.as_ref().is_empty() { key.to_string() } else { format!("{}/{key}", self.root) };
        Path::parse(&whole).context(|| format!("{key:?} cannot be an object key"))
    }

    /// Names of the clusters that have something in the vault.
    pub async fn clusters(&self) -> Result<Vec<String>> {
        self.folders("").await
    }

    /// Backup ids of a cluster, oldest first. Whether each has a manifest, only reading it tells.
    pub async fn backup_ids(&self, cluster: &str) -> Result<Vec<BackupId>> {
        let mut ids: Vec<_> =
            self.folders(cluster).await?.iter().filter_map(|name| name.parse::<BackupId>().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    async fn folders(&self, under: &str) -> Result<Vec<String>> {
        let prefix = if under.is_empty() { self.root.clone() } else { self.path(under)? };
        let listed = self.store.list_with_delimiter(Some(&prefix)).await.map_err(|e| self.explain("list", under, e))?;
        Ok(listed.common_prefixes.iter().filter_map(|p| p.filename().map(String::from)).collect())
    }

    /// Every object below a key, whether a manifest names it or not.
    pub async fn list(&self, under: &str) -> Result<Vec<Listed>> {
        let prefix = self.path(under)?;
        let listed = self.store.list(Some(&prefix));
        let listed = listed.map_ok(|o| Listed { key: self.relative(o.location.as_ref()), bytes: o.size });
        listed.try_collect().await.map_err(|e| self.explain("list", under, e))
    }

    /// The key in the vault of an object in the bucket or folder.
    fn relative(&self, whole: &str) -> String {
        let cut = self.root.as_ref().len() + usize::from(!self.root.as_ref().is_empty());
        whole.get(cut..).unwrap_or_default().to_string()
    }

    /// Writes an object if there is none of that key.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created> {
        let mut put = self.put_if_absent(key, &bytes).await?;
        for _ in 0..CREATES_REPEATED {
            // The client gives up a conditional put that was not answered. Sent again, it finds out what became of it.
            if !put.as_ref().is_err_and(is_unanswered) {
                break;
            }
            tokio::time::sleep(CREATE_PAUSE).await;
            put = self.put_if_absent(key, &bytes).await?;
        }
        match put {
            Ok(done) => Ok(Created::Yes(Stored::of(done.version))),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                self.is_it_ours(key, &bytes).await
            }
            Err(e) => Err(self.explain("write", key, e)),
        }
    }

    async fn put_if_absent(&self, key: &str, bytes: &Bytes) -> Result<object_store::Result<PutResult>> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        Ok(self.store.put_opts(&self.path(key)?, PutPayload::from_bytes(bytes.clone()), options).await)
    }

    /// A put whose answer was lost is sent again, and then finds its own object.
    async fn is_it_ours(&self, key: &str, bytes: &Bytes) -> Result<Created> {
        let meta = self.head(key, None).await?;
        if meta.bytes != bytes.len() as u64 || self.read(key, None).await.map_err(Error::from)? != *bytes {
            return Ok(Created::Taken);
        }
        Ok(Created::Yes(Stored::of(meta.version)))
    }

    /// Begins an upload in parts; nothing is visible until it is finished.
    pub async fn upload(&self, key: &str) -> Result<Upload> {
        Upload::begin(self, key).await
    }

    /// Size and version of an object.
    pub async fn head(&self, key: &str, version: Option<&str>) -> Result<Head> {
        let options = GetOptions { head: true, version: version.map(String::from), ..GetOptions::default() };
        let got = self.store.get_opts(&self.path(key)?, options).await.map_err(|e| self.explain("look at", key, e))?;
        Ok(Head { bytes: got.meta.size, version: got.meta.version })
    }

    /// A whole small object.
    pub async fn read(&self, key: &str, version: Option<&str>) -> Result<Bytes, ReadError> {
        let options = GetOptions { version: version.map(String::from), ..GetOptions::default() };
        Ok(self.get(key, options).await?.0)
    }

    /// Part of an object, with one request.
    pub async fn read_range(&self, key: &str, version: Option<&str>, range: Range<u64>) -> Result<Bytes, ReadError> {
        Ok(self.read_part(key, version, range).await?.0)
    }

    /// Part of an object, and the size of all of it, with one request.
    pub async fn read_part(
        &self,
        key: &str,
        version: Option<&str>,
        range: Range<u64>,
    ) -> Result<(Bytes, u64), ReadError> {
        let options = GetOptions {
            version: version.map(String::from),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        self.get(key, options).await
    }

    async fn get(&self, key: &str, options: GetOptions) -> Result<(Bytes, u64), ReadError> {
        let whole = options.range.is_none();
        let read = match self.get_version(key, options).await {
            Ok(got) if whole && got.meta.size > LARGEST_WHOLE => {
                return Err(
                    Error::integrity(format!("{key} has {} bytes, far more than it can have", got.meta.size)).into()
                );
            }
            Ok(got) => {
                let size = got.meta.size;
                got.bytes().await.map(|bytes| (bytes, size))
            }
            Err(e) => Err(e),
        };
        read.map_err(|e| match e {
            object_store::Error::NotFound { .. } if !is_missing_bucket(&e) => ReadError::NotFound,
            e if begins_behind_the_end(&e) => Error::integrity(format!("{key} is cut short")).into(),
            e => ReadError::Other(self.explain("read", key, e)),
        })
    }

    /// The version that was committed; in a copy of the vault, where versions are others, the one that is there. Either
    /// is checked against its digest.
    async fn get_version(&self, key: &str, options: GetOptions) -> object_store::Result<GetResult> {
        let path = self.path(key).map_err(|e| object_store::Error::Generic { store: "vault", source: e.into() })?;
        let current = GetOptions { version: None, ..options.clone() };
        match self.store.get_opts(&path, options.clone()).await {
            Err(e) if options.version.is_some() && is_unknown_version(&e) => self.store.get_opts(&path, current).await,
            got => got,
        }
    }

    /// An object from its beginning, piece by piece.
    pub async fn stream(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<BoxStream<'static, Result<Bytes>>, ReadError> {
        let options = GetOptions { version: version.map(String::from), ..GetOptions::default() };
        let got = self.get_version(key, options).await.map_err(|e| match e {
            object_store::Error::NotFound { .. } => ReadError::NotFound,
            e => ReadError::Other(self.explain("read", key, e)),
        })?;
        let (vault, key) = (self.clone(), key.to_string());
        if self.folder.is_some() {
            return Ok(vault.stream_file(key, got.meta.size));
        }
        Ok(got.into_stream().map_err(move |e| vault.explain("read", &key, e)).boxed())
    }

    /// A file in large pieces, the next ones of which are read meanwhile: the store's own stream of a file has pieces of 8 KiB.
    fn stream_file(self, key: String, size: u64) -> BoxStream<'static, Result<Bytes>> {
        let ranges = (0..size).step_by(FILE_PIECE as usize).map(move |at| at..(at + FILE_PIECE).min(size));
        let read = move |range| {
            let (vault, key) = (self.clone(), key.clone());
            async move { vault.read_range(&key, None, range).await.map_err(|e| e.expected(&key)) }
        };
        futures::stream::iter(ranges).map(read).buffered(FILE_PIECES_AHEAD).boxed()
    }

    /// Makes sure that the store holds what was sent. S3 compared digests when it arrived; elsewhere it is read back.
    pub async fn confirm(&self, key: &str, stored: &Stored, sha256: &[u8; 32]) -> Result<()> {
        match self.checks_arrival && !stored.unanswered {
            true => Ok(()),
            false => self.read_back(key, stored, sha256).await,
        }
    }

    /// Reads an object back, and compares it with what was sent.
    pub async fn read_back(&self, key: &str, stored: &Stored, sha256: &[u8; 32]) -> Result<()> {
        let mut stream = self.stream(key, stored.version.as_deref()).await?;
        let mut digest = Sha256::new();
        while let Some(piece) = stream.try_next().await? {
            digest.update(&piece);
        }
        if <[u8; 32]>::from(digest.finalize()) == *sha256 {
            return Ok(());
        }
        Err(Error::integrity(format!("{key}: the store does not hold what was sent"))
            .hint("run the backup again; this one was not committed. If it stays so, do not trust this storage"))
    }
}

/// Size and version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Size in bytes.
    pub bytes: u64,
    /// The object's version, where the bucket is versioned.
    pub version: Option<String>,
}

/// Why an object could not be read; that it is not there is often an answer, not an error.
#[derive(Debug)]
pub enum ReadError {
    /// There is no such object, or not in that version.
    NotFound,
    /// Something else went wrong.
    Other(Error),
}

impl From<Error> for ReadError {
    fn from(e: Error) -> Self {
        ReadError::Other(e)
    }
}

impl From<ReadError> for Error {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::NotFound => Error::new(Kind::Failed, "the object is not there"),
            ReadError::Other(e) => e,
        }
    }
}

impl ReadError {
    /// Turns a missing object into an integrity failure that names it: a manifest says that it is there.
    pub fn expected(self, key: &str) -> Error {
        match self {
            ReadError::NotFound => Error::integrity(format!("{key} is missing from the vault"))
                .hint("`ckbackup verify --all` shows which backups are whole"),
            ReadError::Other(e) => e,
        }
    }
}
