//! The last part of an index or data stream: its documents, its own settings, and that it is whole.

use reqwest::Method;
use serde_json::{Value, json};

use super::load::{Load, Loaded};
use super::sample::Sampled;
use super::settings::{self, Settings, at_last};
use super::target::{Restorer, Target};
use crate::elastic::Repeat;
use crate::error::{Error, Result};

/// What a data stream has while it is filled, and then as its template says.
const AS_THE_TEMPLATE_HAS_IT: [&str; 4] =
    ["index.refresh_interval", "index.number_of_replicas", "index.final_pipeline", "index.default_pipeline"];

impl Restorer<'_> {
    pub(super) async fn load(&self, target: &Target<'_>) -> Result<Loaded> {
        let mut all = Loaded::default();
        for (from, index) in &target.parts {
            let load = Load {
                work: self.work,
                server: self.server,
                task: self.task,
                from,
                to: &target.to,
                only_create: target.is_stream,
                lanes: self.lanes,
            };
            all.add(load.run(&index.frames).await?);
        }
        Ok(all)
    }

    /// Makes it usable, or says what is wrong with it.
    pub(super) async fn finish(
        &self,
        target: &Target<'_>,
        loaded: Loaded,
        notes: &mut Vec<String>,
    ) -> Result<Result<Sampled, String>> {
        let path = target.path();
        self.server.order(Method::POST, &format!("{path}/_refresh"), &Value::Null, Repeat::Always).await?;
        let count = self.server.get(&format!("{path}/_count")).await?["count"].as_u64().unwrap_or_default();
        // One that is not whole keeps its mark, and the next try goes on with it.
        if let Some(why) = wrong_with(target, &loaded, count) {
            return Ok(Err(why));
        }
        let sampled = self.sample(target).await?;
        if let Some(why) = sampled.wrong() {
            return Ok(Err(why));
        }
        let settings = match target.is_stream {
            true => AS_THE_TEMPLATE_HAS_IT.iter().map(|key| (key.to_string(), Value::Null)).collect(),
            false => at_last(&target.saved_settings()),
        };
        let put = |settings: &Settings| Value::Object(settings.clone());
        let path = format!("{path}/_settings");
        let set = self.without_unknown(target, &path, settings::without_blocks(&settings), put, notes).await?;
        if let Err(refusal) = set {
            return Ok(Err(format!("its documents are there; its settings could not be set: {refusal}")));
        }
        let mappings = self.write_index(target).await?["mappings"].clone();
        self.put_meta(target, &settings::whole(&mappings, &target.mark(self.work))).await?;
        Ok(Ok(sampled))
    }

    /// Takes the mark away from what is whole and has its aliases: a restore that is cut off before goes on from there.
    pub async fn settle(&self, target: &Target<'_>) -> Result<()> {
        let blocks = settings::blocks(&at_last(&target.saved_settings()));
        // One that is closed for writing can still lose its mark; one that is read-only cannot be changed at all.
        let (first, last): (Settings, Settings) = blocks.into_iter().partition(|(key, _)| key == "index.blocks.write");
        self.put_blocks(target, first).await?;
        let mappings = self.write_index(target).await?["mappings"].clone();
        self.put_meta(target, &settings::unmarked(&mappings)).await?;
        self.put_blocks(target, last).await
    }

    async fn put_blocks(&self, target: &Target<'_>, blocks: Settings) -> Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        let path = format!("{}/_settings", target.path());
        self.server.order(Method::PUT, &path, &Value::Object(blocks), Repeat::Always).await.map(drop)
    }

    /// What the server says of the index; of a data stream's, the one that is written to.
    pub(super) async fn write_index(&self, target: &Target<'_>) -> Result<Value> {
        let all = self.server.get(&format!("{}?flat_settings=true", target.path())).await?;
        let newest = all.as_object().and_then(|all| all.values().next_back());
        newest.cloned().ok_or_else(|| Error::failed(format!("{} is gone", target.to)))
    }

    pub(super) async fn put_meta(&self, target: &Target<'_>, meta: &Value) -> Result<()> {
        let path = format!("{}/_mapping", target.path());
        let meta = if meta.is_object() { meta.clone() } else { json!({}) };
        self.server.order(Method::PUT, &path, &json!({ "_meta": meta }), Repeat::Always).await.map(drop)
    }
}

fn wrong_with(target: &Target<'_>, loaded: &Loaded, count: u64) -> Option<String> {
    match (loaded.why(), target.count()) {
        (Some(why), _) => Some(format!("{} documents were not taken: {why}", loaded.refused_in_all())),
        (None, None) => Some(format!("not all of its documents were saved; the {} that were are there", loaded.sent)),
        (None, Some(saved)) if count != saved => Some(format!("it has {count} documents, and {saved} were saved")),
        (None, Some(_)) => None,
    }
}
