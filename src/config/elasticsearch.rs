//! Source and restore step `elasticsearch`: which indices of which server, and under which names they come back.

use std::path::Path;

use url::Url;

use super::filter::{Filter, Patterns};
use super::names::Name;
use super::plan::{Conflict, optional_conflict};
use super::problems::Problems;
use super::raw;
use super::source::{HttpAccess, http_access, http_url};

/// How many parts of an index are read, or requests written, at the same time.
pub const DEFAULT_LANES: u32 = 3;

/// More than so many at the same time have made no server faster.
const MOST_LANES: u32 = 32;

/// Which indices are saved, and how the server is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct ElasticsearchScope {
    /// Where its API is.
    pub url: Url,
    /// How to log in.
    pub access: HttpAccess,
    /// Which indices and data streams.
    pub indices: Filter,
    /// Whether the saved objects of Kibana or OpenSearch Dashboards are among them.
    pub kibana: bool,
    /// Parts of an index that are read at the same time.
    pub lanes: u32,
}

/// Which indices of a source come back, where, and under which names.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreElasticsearch {
    /// The source that they are taken from.
    pub source: Name,
    /// Where the server's API is.
    pub url: Url,
    /// How to log in.
    pub access: HttpAccess,
    /// Which indices and data streams, by the names that they were saved with.
    pub indices: Filter,
    /// Other names for some of them.
    pub rename: Option<Rename>,
    /// Whether templates, pipelines and policies come back.
    pub templates: bool,
    /// What happens to what exists already; without it, what the command line says.
    pub conflict: Option<Conflict>,
    /// Requests that write at the same time.
    pub lanes: u32,
}

/// Other names by pattern: what the one `*` stands for in a name is put into the place of the `*` in the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    from: (String, String),
    to: (String, String),
}

impl Rename {
    /// Reads both patterns, or says why they do not go together.
    fn parse(from: &str, to: &str) -> Result<Rename, String> {
        let halves = |text: &str| match text.split_once('*') {
            Some((before, after)) if !after.contains('*') => Ok((before.to_string(), after.to_string())),
            _ => Err(format!("`{text}` needs exactly one `*`")),
        };
        match (halves(from)?, halves(to)?) {
            (from, to) if from == to => Err(format!("`{from:?}` would be renamed to itself")),
            (from, to) => Ok(Rename { from, to }),
        }
    }

    /// The new name of what was called so; none when it keeps its name.
    pub fn apply(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(&*self.from.0)?.strip_suffix(&*self.from.1)?;
        Some(format!("{}{rest}{}", self.to.0, self.to.1))
    }
}

/// Makes a scope of what was typed, or notes all that is wrong with it. Relative paths are taken from `folder`.
pub(super) fn validate(
    raw: &raw::Elasticsearch,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<ElasticsearchScope> {
    let url = http_url(&raw.url, &format!("{path}.url"), problems);
    let access = http_access(&raw.access, &format!("{path}.access"), folder, problems);
    let indices = index_patterns(&raw.indices, &format!("{path}.indices"), problems);
    let lanes = lanes(raw.parallelism, path, problems);
    let kibana = raw.kibana.unwrap_or(true);
    Some(ElasticsearchScope { url: url?, access: access?, indices: indices?, kibana, lanes: lanes? })
}

/// The same for a step of a plan.
pub(super) fn validate_step(
    raw: &raw::RestoreElasticsearch,
    path: &str,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<RestoreElasticsearch> {
    let key = |name: &str| format!("{path}.{name}");
    let source = problems.parse(&key("source"), &raw.source);
    let url = http_url(&raw.url, &key("url"), problems);
    let access = http_access(&raw.access, &key("access"), folder, problems);
    let indices = index_patterns(&raw.indices, &key("indices"), problems);
    let rename = match &raw.rename {
        None => Some(None),
        Some(rename) => match Rename::parse(&rename.from, &rename.to) {
            Ok(rename) => Some(Some(rename)),
            Err(why) => {
                problems.add(&key("rename"), why);
                None
            }
        },
    };
    let conflict = optional_conflict(raw.conflict.as_ref(), &key("conflict"), problems);
    let lanes = lanes(raw.parallelism, path, problems);
    Some(RestoreElasticsearch {
        source: source?,
        url: url?,
        access: access?,
        indices: indices?,
        rename: rename?,
        templates: raw.templates.unwrap_or(true),
        conflict: conflict?,
        lanes: lanes?,
    })
}

fn lanes(given: Option<u32>, path: &str, problems: &mut Problems<'_>) -> Option<u32> {
    match given {
        None => Some(DEFAULT_LANES),
        Some(lanes) if (1..=MOST_LANES).contains(&lanes) => Some(lanes),
        Some(lanes) => {
            problems.add(&format!("{path}.parallelism"), format!("{lanes} is not between 1 and {MOST_LANES}"));
            None
        }
    }
}

/// As Elasticsearch writes them: a pattern that begins with `-` leaves out.
fn index_patterns(texts: &[String], path: &str, problems: &mut Problems<'_>) -> Option<Filter> {
    let (exclude, include): (Vec<String>, Vec<String>) = texts.iter().cloned().partition(|text| text.starts_with('-'));
    let exclude: Vec<_> = exclude.iter().map(|text| text[1..].to_string()).collect();
    let mut compile = |texts: &[String]| match Patterns::compile(texts) {
        Ok(patterns) => Some(patterns),
        Err(wrong) => {
            wrong.into_iter().for_each(|(_, why)| problems.add(path, why));
            None
        }
    };
    let (include, exclude) = (compile(&include), compile(&exclude));
    Some(Filter { include: include?, exclude: exclude? })
}

#[cfg(test)]
mod tests {
    use super::Rename;

    #[test]
    fn what_the_star_stands_for_is_carried_over() {
        let rename = Rename::parse("kubernetes-*", "restored-*-old").unwrap();
        assert_eq!(rename.apply("kubernetes-2026.11.25").as_deref(), Some("restored-2026.11.25-old"));
        assert_eq!(rename.apply("kubernetes-").as_deref(), Some("restored--old"));
        assert_eq!(rename.apply("other-2026.11.25"), None);
        // The two ends of the pattern do not overlap.
        assert_eq!(Rename::parse("a-*-a", "b-*").unwrap().apply("a-a"), None);
        for (from, to) in [("a", "b-*"), ("a-*", "b"), ("a-*-*", "b-*"), ("a-*", "a-*")] {
            assert!(Rename::parse(from, to).is_err(), "{from} {to}");
        }
    }
}
