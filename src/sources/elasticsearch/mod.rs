//! Source `elasticsearch`: the documents of an Elasticsearch or OpenSearch, with all that is needed to have them again:
//! settings, mappings, aliases, data streams, templates, pipelines and policies.
//!
//! Documents are stored as lines of bulk requests, so that what is restored is sent as it was stored. An index is a unit of its
//! own: one that has not changed is taken over from the last backup.

mod catalog;
mod documents;
mod hits;
mod pages;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::catalog::Catalog;
pub use self::catalog::identity_of;
use self::documents::DocumentsUnit;
use super::{Opened, Source, Unit, in_time};
use crate::config::ElasticsearchScope;
use crate::elastic::{Elastic, KEPT, Saved};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::{Batch, Member, Traits};
use crate::progress::Progress;

/// The indices of one server.
pub struct Elasticsearch {
    name: String,
    scope: ElasticsearchScope,
}

impl Elasticsearch {
    /// A source called `name` in its schedule.
    pub fn new(name: &str, scope: ElasticsearchScope) -> Elasticsearch {
        Elasticsearch { name: name.into(), scope }
    }
}

#[async_trait]
impl Source for Elasticsearch {
    fn kind(&self) -> &'static str {
        "elasticsearch"
    }

    async fn open(&self) -> Result<Opened> {
        let server = Arc::new(Elastic::connect(&self.scope.url, &self.scope.access).await?);
        let Catalog { indices, streams, inventory } = catalog::read(&server, &self.scope).await?;
        let described = indices.iter().map(|index| (Saved::index(&index.name), index.description.clone()));
        let streams = streams.into_iter().map(|(name, stream)| (Saved::data_stream(&name), stream));
        let described = described.chain(streams).collect();
        let around = DescriptionUnit { name: self.name.clone(), server: server.clone(), described };
        let mut units: Vec<Box<dyn Unit>> = vec![Box::new(around)];
        for index in indices.into_iter().filter(|index| index.is_readable) {
            let (name, server, lanes) = (self.name.clone(), server.clone(), self.scope.lanes);
            units.push(Box::new(DocumentsUnit { name, server, index, lanes }));
        }
        Ok(Opened { units, inventory })
    }
}

/// Everything but documents: little, and read anew each time.
struct DescriptionUnit {
    name: String,
    server: Arc<Elastic>,
    described: Vec<(String, Value)>,
}

#[async_trait]
impl Unit for DescriptionUnit {
    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let mut inventory = Inventory::default();
        let about = json!({ "product": format!("{:?}", self.server.product), "version": self.server.version });
        let mut all = vec![(Saved::SERVER.to_string(), about)];
        all.extend(self.described.iter().cloned());
        for kept in &KEPT {
            match in_time(stop, self.server.get_if_served(kept.path)).await {
                Ok(answer) => {
                    let found = kept.read(&answer.unwrap_or_default());
                    all.extend(found.into_iter().map(|(name, body)| (Saved::kept(kept, &name), body)));
                }
                Err(e) => {
                    inventory.problems.push(Omission { what: kept.folder.into(), why: e.one_line(), count: None })
                }
            }
        }
        let member = |(path, value): (String, Value)| {
            Member::whole(path, vec![Bytes::from(value.to_string())], Traits::default())
        };
        let members: Vec<_> = all.into_iter().map(member).collect();
        inventory.items = members.len() as u64;
        inventory.bytes = members.iter().map(Member::size).sum();
        progress.advance(&self.name, inventory.items, inventory.bytes);
        out.send(Batch { members }).await.map_err(|_| Error::failed("the archive is gone"))?;
        Ok(inventory)
    }
}
