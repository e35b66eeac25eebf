//! A platform that was saved, and is in no cluster any more.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use crate::bench::Bench;
use crate::ckbackup::{self, Place};
use crate::platform::Platform;
use crate::servers;

/// A backup in a folder.
pub struct Saved {
    pub place: Place,
    pub vault: PathBuf,
    /// What `backup` says of it.
    pub summary: Value,
}

impl Saved {
    /// Fills a cluster, saves it, and throws the cluster away.
    pub async fn make(bench: &Bench, platform: &Platform) -> Result<Saved> {
        let cluster = servers::filled_cluster(bench, platform).await?;
        let vault = bench.new_folder("vault");
        let place = Place::Folder(vault.clone());
        let summary = ckbackup::back_up(bench, &cluster, &place)?.summary;
        servers::discard(bench, cluster).await?;
        Ok(Saved { place, vault, summary })
    }

    pub fn discard(self, bench: &Bench) -> Result<()> {
        bench.remove(&self.vault)
    }
}
