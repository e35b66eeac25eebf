//! A folder of a Prometheus' data directory, here or in a pod.

use std::path::PathBuf;

use super::blocks::{self, Block};
use super::pod::PodFolder;
use crate::cluster::Cluster;
use crate::command::Place;
use crate::config::PrometheusData;
use crate::error::{Context, Error, Result};
use crate::inventory::Omission;

/// The file by which a snapshot is known as a backup's.
pub(super) const MARK: &str = ".ckbackup";

/// A folder.
#[derive(Clone)]
pub(super) enum Folder {
    /// Here.
    Here(PathBuf),
    /// In a pod.
    Pod(PodFolder),
}

impl Folder {
    /// The data directory itself; a pod must be there and ready.
    pub async fn find(data: &PrometheusData, cluster: Option<&Cluster>) -> Result<Folder> {
        Ok(match data {
            PrometheusData::Folder(path) => Folder::Here(path.clone()),
            PrometheusData::Pod { place, path } => {
                Folder::Pod(PodFolder { place: Place::find(place, cluster).await?, path: path.clone() })
            }
        })
    }

    /// A folder inside of this one.
    pub fn below(&self, name: &str) -> Folder {
        match self {
            Folder::Here(path) => Folder::Here(path.join(name)),
            Folder::Pod(folder) => Folder::Pod(folder.below(name)),
        }
    }

    /// For people.
    pub fn words(&self) -> String {
        match self {
            Folder::Here(path) => path.display().to_string(),
            Folder::Pod(folder) => folder.words(),
        }
    }

    /// Whether it is there.
    pub async fn is_there(&self) -> Result<bool> {
        match self {
            Folder::Here(path) => Ok(tokio::fs::metadata(path).await.is_ok_and(|there| there.is_dir())),
            Folder::Pod(folder) => folder.is_there().await,
        }
    }

    /// What is in it; nothing for one that is not there, and none where that cannot be told.
    pub async fn names(&self) -> Option<Vec<String>> {
        let path = match self {
            Folder::Pod(folder) => return folder.names().await.ok(),
            Folder::Here(path) => path.clone(),
        };
        let looking = tokio::task::spawn_blocking(move || match std::fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
            Err(e) => (e.kind() == std::io::ErrorKind::NotFound).then(Vec::new),
        });
        looking.await.ok()?
    }

    /// Marks it as made by a backup.
    pub async fn mark(&self) -> Result<()> {
        match self {
            Folder::Pod(folder) => folder.mark().await,
            Folder::Here(path) => {
                let mark = path.join(MARK);
                tokio::fs::write(&mark, b"").await.context(|| format!("write {}", mark.display()))
            }
        }
    }

    /// What in it is marked so.
    pub async fn marked(&self) -> Result<Vec<String>> {
        match self {
            Folder::Pod(folder) => folder.marked().await,
            Folder::Here(path) => {
                let mut names = self.names().await.unwrap_or_default();
                names.retain(|name| path.join(name).join(MARK).exists());
                Ok(names)
            }
        }
    }

    /// Removes it, with all that is in it. One that is not there is fine.
    pub async fn remove(&self) -> Result<()> {
        match self {
            Folder::Pod(folder) => folder.remove().await,
            Folder::Here(path) => match tokio::fs::remove_dir_all(path).await {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::failed(format!("remove {}", path.display())).because(e))
                }
                _ => Ok(()),
            },
        }
    }

    /// The blocks in it, the oldest first, and what is wrong with others.
    pub async fn find_blocks(&self) -> Result<(Vec<Block>, Vec<Omission>)> {
        match self {
            Folder::Pod(folder) => folder.find_blocks().await,
            Folder::Here(path) => {
                let path = path.clone();
                let finding = tokio::task::spawn_blocking(move || blocks::find_blocks(&path));
                finding.await.context(|| "look for blocks".into())?
            }
        }
    }
}
