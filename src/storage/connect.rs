//! Opens a storage: a folder, or a bucket of any of the three protocols.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::explain::Place;
use super::s3::S3;
use crate::config::VaultLocation;
use crate::error::{Context, Error, Result};

/// What a store needs besides its location: settings of the environment, as `(NAME, value)`.
#[derive(Debug, Clone, Default)]
pub struct StoreSettings {
    /// Environment variables that the storage services define, `AWS_ACCESS_KEY_ID` and the like.
    pub environment: Vec<(String, String)>,
}

/// A part of 5 MiB has to pass in this time, over a slow line too.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// A storage, and a place in it.
pub struct Opened {
    /// What speaks to it.
    pub store: Arc<dyn ObjectStore>,
    /// The path of the place.
    pub root: Path,
    /// What `object_store` does not have, where it is S3.
    pub s3: Option<S3>,
    /// How it is spoken of.
    pub place: Place,
}

/// Prepares the storage that a location names; nothing is sent yet. With `create`, a folder is made that is not there. `noun`
/// is what it is called in messages.
pub fn connect(location: &VaultLocation, settings: &StoreSettings, create: bool, noun: &'static str) -> Result<Opened> {
    let doing = || format!("open {noun} {location}");
    let credentials = match location.url.scheme() {
        "gs" => "GOOGLE_APPLICATION_CREDENTIALS, the path of a service account's key",
        "az" => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        _ => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    };
    let place = Place { shown: location.to_string(), noun, credentials: credentials.into() };
    if let Some(folder) = location.folder() {
        let store = Arc::new(open_folder(location, &folder, create, noun)?);
        return Ok(Opened { store, root: Path::default(), s3: None, place });
    }
    let root = Path::from_url_path(location.url.path()).context(doing)?;
    let store: Arc<dyn ObjectStore> = match location.url.scheme() {
        "s3" => {
            let s3 = open_s3(location, settings).context(doing)?;
            let bucket = location.url.host_str().unwrap_or_default();
            let api = S3::new(s3.clone(), bucket, place.clone())?;
            return Ok(Opened { store: Arc::new(s3), root, s3: Some(api), place });
        }
        "gs" => Arc::new(open_gs(location, settings).context(doing)?),
        _ => Arc::new(open_az(location, settings).context(doing)?),
    };
    Ok(Opened { store, root, s3: None, place })
}

fn open_folder(
    location: &VaultLocation,
    folder: &std::path::Path,
    create: bool,
    noun: &str,
) -> Result<LocalFileSystem> {
    if create {
        make_folder(folder).map_err(|e| {
            Error::failed(format!("no such {noun}: {location}: its folder cannot be created"))
                .because(e)
                .hint("check the path, and that its disk is mounted")
        })?;
    }
    if !folder.is_dir() {
        return Err(Error::failed(format!("no such {noun}: {location}: {} is not a folder", folder.display()))
            .hint("check the path, and that its disk is mounted"));
    }
    let store = LocalFileSystem::new_with_prefix(folder).context(|| format!("open {noun} {location}"))?;
    Ok(store.with_fsync(true))
}

/// Makes the folder unless it is there, or another run makes it at this moment. Only its last part: a missing parent is
/// more likely a disk that is not mounted than a wish.
fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn client_options(location: &VaultLocation) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(Duration::from_secs(10))
        .with_allow_http(location.allow_http)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 2.,
        },
        max_retries: 7,
        retry_timeout: Duration::from_secs(180),
    }
}

fn open_s3(location: &VaultLocation, settings: &StoreSettings) -> object_store::Result<AmazonS3> {
    let mut builder = AmazonS3Builder::new()
        .with_url(location.url.as_str())
        .with_client_options(client_options(location))
        .with_retry(retry())
        // The store checks what arrives against the digest that was sent with it.
        .with_checksum_algorithm(Checksum::SHA256);
    for (key, value) in parsed::<AmazonS3ConfigKey>(settings, "AWS_") {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    if let Some(region) = &location.region {
        builder = builder.with_region(region);
    }
    builder.build()
}

fn open_gs(location: &VaultLocation, settings: &StoreSettings) -> object_store::Result<impl ObjectStore> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_url(location.url.as_str())
        .with_client_options(client_options(location))
        .with_retry(retry());
    for (key, value) in parsed::<GoogleConfigKey>(settings, "GOOGLE_") {
        builder = builder.with_config(key, value);
    }
    builder.build()
}

fn open_az(location: &VaultLocation, settings: &StoreSettings) -> object_store::Result<impl ObjectStore> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_url(location.url.as_str())
        .with_client_options(client_options(location))
        .with_retry(retry());
    for (key, value) in parsed::<AzureConfigKey>(settings, "AZURE_") {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint.to_string());
    }
    builder.build()
}

/// The settings of one service that its builder knows.
fn parsed<K: std::str::FromStr>(settings: &StoreSettings, prefix: &str) -> Vec<(K, String)> {
    let of_service = settings.environment.iter().filter(|(name, _)| name.starts_with(prefix));
    of_service.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::make_folder;

    #[test]
    fn runs_that_make_the_same_folder_at_once_all_have_it() {
        let scratch = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let (folder, barrier) = (scratch.path().join(round.to_string()), Barrier::new(4));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        barrier.wait();
                        make_folder(&folder).unwrap();
                    });
                }
            });
        }
    }

    #[test]
    fn a_folder_whose_parent_is_missing_is_not_made() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(make_folder(&scratch.path().join("disk/vault")).is_err());
    }
}
