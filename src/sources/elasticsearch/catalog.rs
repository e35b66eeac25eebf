//! Which indices there are, which of them are saved, and what decides their documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::{ElasticsearchScope, Filter, Patterns};
use crate::elastic::{Elastic, Product};
use crate::error::{Error, Result};
use crate::inventory::{Identity, Inventory, Omission};

/// Where users and roles stand: rebuilt from configuration, and never given away with the logs.
const SECURITY: [&str; 3] = [".security", ".opendistro_security", ".opensearch_security"];

/// Where Kibana and OpenSearch Dashboards keep their saved objects …
const KIBANA: [&str; 2] = [".kibana", ".opensearch_dashboards"];

/// … and what of it is about sessions and tasks of the running one.
const KIBANA_RUNNING: [&str; 3] = [".kibana_task_manager", ".kibana_security_session", ".kibana-event-log"];

/// The most documents in one answer, where an index does not say.
const PAGE_LIMIT: u64 = 10_000;

/// An index that is saved.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub name: String,
    /// Settings, mappings and aliases, and the data stream that it is part of.
    pub description: Value,
    /// Primary shards.
    pub shards: u32,
    /// The most documents in one answer.
    pub page_limit: u64,
    /// What decides its documents; none while it is written to.
    pub identity: Option<Identity>,
    /// Whether its documents can be read.
    pub is_readable: bool,
}

/// What a server has that is saved.
pub(super) struct Catalog {
    pub indices: Vec<Index>,
    /// Data streams by name.
    pub streams: Vec<(String, Value)>,
    pub inventory: Inventory,
}

/// Looks at everything, and chooses.
pub(super) async fn read(server: &Elastic, scope: &ElasticsearchScope) -> Result<Catalog> {
    let all = server.get("*?expand_wildcards=all&flat_settings=true").await?;
    let states =
        server.get("_cluster/state/metadata?filter_path=metadata.indices.*.state&expand_wildcards=all").await?;
    let stats =
        server.get(&format!("_stats?level=shards&expand_wildcards=open,hidden&filter_path={STATISTICS}")).await?;
    let hidden = if server.product == Product::Elasticsearch { "?expand_wildcards=all" } else { "" };
    let streams = server.get_if_served(&format!("_data_stream{hidden}")).await?.unwrap_or_default();
    let all = all.as_object().ok_or_else(|| Error::failed(format!("{} lists no indices", server.shown())))?;
    let chooser = Chooser::new(scope);
    let (mut indices, mut inventory) = (Vec::new(), Inventory::default());
    for (name, about) in all {
        if is_of(name, &SECURITY) {
            let why = "users and roles are rebuilt from configuration";
            inventory.skipped.push(Omission { what: format!("index {name}"), why: why.into(), count: None });
        } else if chooser.chooses(name, about["data_stream"].as_str()) {
            let is_open = states["metadata"]["indices"][name]["state"] != "close";
            let index = describe(name, about, &stats["indices"][name], is_open);
            inventory.problems.extend(index.as_ref().err().cloned());
            indices.push(index.unwrap_or_else(|_| unreadable(name, about)));
        }
    }
    chooser.judge(all.iter().map(|(name, about)| (name.as_str(), about["data_stream"].as_str())), &mut inventory);
    let used: BTreeSet<_> = indices.iter().filter_map(|i| i.description["dataStream"].as_str()).collect();
    let streams = streams["data_streams"].as_array().into_iter().flatten();
    let streams = streams.filter_map(|stream| Some((stream["name"].as_str()?.to_string(), stream.clone())));
    let streams = streams.filter(|(name, _)| used.contains(name.as_str())).collect();
    Ok(Catalog { indices, streams, inventory })
}

/// What is asked of the statistics.
const STATISTICS: &str = "indices.*.uuid,indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no,\
                          indices.*.shards.*.commit.user_data.history_uuid";

fn is_of(name: &str, families: &[&str]) -> bool {
    families.iter().any(|family| name.starts_with(family))
}

/// Which indices are wanted.
struct Chooser<'a> {
    filter: &'a Filter,
    /// The patterns that begin with a dot: only these choose what begins with one.
    dotted: Patterns,
    kibana: bool,
}

impl<'a> Chooser<'a> {
    fn new(scope: &'a ElasticsearchScope) -> Self {
        let dotted: Vec<_> =
            scope.indices.include.texts().iter().filter(|text| text.starts_with('.')).cloned().collect();
        // They were compiled before, with the others.
        let dotted = Patterns::compile(&dotted).unwrap_or_default();
        Chooser { filter: &scope.indices, dotted, kibana: scope.kibana }
    }

    /// An index of a data stream goes by the stream's name.
    fn chooses(&self, index: &str, stream: Option<&str>) -> bool {
        let name = stream.unwrap_or(index);
        let is_kibanas = self.kibana && is_of(name, &KIBANA) && !is_of(name, &KIBANA_RUNNING);
        let excluded = [name, index].into_iter().any(|name| self.filter.exclude.matches(name));
        let included = match name.starts_with('.') {
            true => is_kibanas || self.dotted.matches(name),
            false => self.filter.allows(name),
        };
        !excluded && (included || self.dotted.matches(index))
    }

    /// A name that is not there is missing; a pattern may have nothing to match.
    fn judge<'n>(&self, names: impl Iterator<Item = (&'n str, Option<&'n str>)>, inventory: &mut Inventory) {
        let names: BTreeSet<&str> = names.flat_map(|(index, stream)| [Some(index), stream]).flatten().collect();
        let exact: BTreeSet<&str> = self.filter.include.exact().collect();
        for text in self.filter.include.texts() {
            let is_there = match exact.contains(text.as_str()) {
                true => names.contains(text.as_str()),
                false => {
                    Patterns::compile(std::slice::from_ref(text)).is_ok_and(|one| names.iter().any(|n| one.matches(n)))
                }
            };
            let omission = |why: &str| Omission { what: format!("index {text}"), why: why.into(), count: None };
            match (is_there, exact.contains(text.as_str())) {
                (true, _) => {}
                (false, true) => inventory.problems.push(omission("it is not there")),
                (false, false) => inventory.notices.push(omission("no index has such a name")),
            }
        }
    }
}

fn describe(name: &str, about: &Value, stats: &Value, is_open: bool) -> Result<Index, Omission> {
    let settings = &about["settings"];
    let number = |key: &str| settings[key].as_str().and_then(|text| text.parse::<u64>().ok());
    let problem = |why: &str| Omission { what: format!("index {name}"), why: why.into(), count: None };
    if !is_open {
        return Err(problem("it is closed, so its documents cannot be read; open it, or leave it out of `indices`"));
    }
    if about["mappings"]["_source"]["enabled"] == false {
        return Err(problem("it does not keep its documents (`_source` is off); leave it out of `indices`"));
    }
    let shards = number("index.number_of_shards").unwrap_or(1) as u32;
    Ok(Index {
        name: name.into(),
        description: description(about),
        shards,
        page_limit: number("index.max_result_window").unwrap_or(PAGE_LIMIT).clamp(1, PAGE_LIMIT),
        identity: identity(stats, shards),
        is_readable: true,
    })
}

/// Its description is saved all the same.
fn unreadable(name: &str, about: &Value) -> Index {
    Index {
        name: name.into(),
        description: description(about),
        shards: 0,
        page_limit: PAGE_LIMIT,
        identity: None,
        is_readable: false,
    }
}

fn description(about: &Value) -> Value {
    let mut all = json!({ "settings": about["settings"], "mappings": about["mappings"], "aliases": about["aliases"] });
    if let Some(stream) = about["data_stream"].as_str() {
        all["dataStream"] = stream.into();
    }
    all
}

/// The sequence numbers of all primary shards: every document that comes, changes or goes takes the next one. None while an
/// operation is under way, or a shard is missing.
fn identity(stats: &Value, shards: u32) -> Option<Identity> {
    let mut primaries = BTreeMap::new();
    for (number, copies) in stats["shards"].as_object()? {
        let primary = copies.as_array()?.iter().find(|copy| copy["routing"]["primary"] == true)?;
        let number_of = |key: &str| primary["seq_no"][key].as_i64();
        let (last, settled) = (number_of("max_seq_no")?, number_of("local_checkpoint")?);
        let history = primary["commit"]["user_data"]["history_uuid"].as_str()?;
        // What not all copies have may be undone, and its number given again.
        if last != settled || number_of("global_checkpoint") != Some(last) {
            return None;
        }
        primaries.insert(number.parse::<u32>().ok()?, (last, history));
    }
    if primaries.len() != shards as usize {
        return None;
    }
    let mut digest = Sha256::new();
    digest.update(stats["uuid"].as_str()?);
    for (number, (last, history)) in primaries {
        digest.update(format!("/{number}/{last}/{history}"));
    }
    Some(Identity(digest.finalize().into()))
}

/// The identity of an index that a server has.
pub async fn identity_of(server: &Elastic, name: &str, shards: u32) -> Result<Option<Identity>> {
    let path = format!("{}/_stats?level=shards&filter_path={STATISTICS}", crate::elastic::in_path(name));
    let stats = server.get(&path).await?;
    Ok(identity(&stats["indices"][name], shards))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(indices: &[&str], exclude: &[&str], kibana: bool) -> ElasticsearchScope {
        let compile =
            |texts: &[&str]| Patterns::compile(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        ElasticsearchScope {
            url: "http://localhost:9200".parse().unwrap(),
            access: Default::default(),
            indices: Filter { include: compile(indices), exclude: compile(exclude) },
            kibana,
            lanes: 1,
        }
    }

    #[test]
    fn what_begins_with_a_dot_is_chosen_by_its_dot_only() {
        let chosen = |scope: &ElasticsearchScope, name: &str, stream| Chooser::new(scope).chooses(name, stream);
        let all = scope(&[], &[], true);
        for (name, wanted) in
            [("kubernetes-1", true), (".kibana_8.19.0_001", true), (".kibana_task_manager_1", false), (".tasks", false)]
        {
            assert_eq!(chosen(&all, name, None), wanted, "{name}");
        }
        assert!(chosen(&all, ".ds-logs-x-000001", Some("logs-x")));
        let some = scope(&["kubernetes-*", ".tasks"], &["kubernetes-test*"], false);
        for (name, wanted) in [
            ("kubernetes-1", true),
            ("kubernetes-test-1", false),
            ("other-1", false),
            (".tasks", true),
            (".kibana_1", false),
        ] {
            assert_eq!(chosen(&some, name, None), wanted, "{name}");
        }
        assert!(!chosen(&some, ".ds-logs-x-000001", Some("logs-x")));
    }

    #[test]
    fn a_name_that_is_missing_is_a_problem_and_a_pattern_a_notice() {
        let scope = scope(&["customers", "kubernetes-*", "other-*"], &[], true);
        let mut inventory = Inventory::default();
        Chooser::new(&scope).judge([("other-1", None)].into_iter(), &mut inventory);
        assert_eq!(inventory.problems[0].what, "index customers");
        assert_eq!((inventory.problems.len(), inventory.notices[0].what.as_str()), (1, "index kubernetes-*"));
    }

    #[test]
    fn an_index_is_the_same_as_long_as_nothing_took_a_number() {
        let shard = |last: i64, settled: i64| {
            json!([{ "routing": { "primary": true }, "commit": { "user_data": { "history_uuid": "h" } },
                "seq_no": { "max_seq_no": last, "local_checkpoint": settled, "global_checkpoint": settled } }])
        };
        let stats = |a, b| json!({ "uuid": "u", "shards": { "0": a, "1": b } });
        let before = identity(&stats(shard(7, 7), shard(3, 3)), 2);
        assert!(before.is_some() && before == identity(&stats(shard(7, 7), shard(3, 3)), 2));
        assert_ne!(before, identity(&stats(shard(7, 7), shard(4, 4)), 2));
        assert_eq!(identity(&stats(shard(7, 6), shard(3, 3)), 2), None, "one is under way");
        assert_eq!(identity(&stats(shard(7, 7), shard(3, 3)), 3), None, "a shard is missing");
    }
}
