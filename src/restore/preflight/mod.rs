//! What stands in the way, found before the first write: a dry run names it, and a restore does what can be done.

mod around;
mod backend;
mod claims;
mod namespaces;
mod needs;
mod reach;
mod rights;
mod types;
mod versions;
mod webhooks;

use std::sync::Arc;

use serde::Serialize;

pub use self::around::bring_back;
pub use self::reach::is_configuration;
pub use self::webhooks::Webhooks;
use super::work::Work;
use crate::error::Result;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Objects will fail, or what they describe will not come up.
    Fails,
    /// Objects will be written, and each takes far longer than it should.
    Slow,
    /// Something may not be as it was.
    Warning,
    /// It has been dealt with.
    Handled,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Severity::Fails => "fails",
            Severity::Slow => "slow",
            Severity::Warning => "warning",
            Severity::Handled => "dealt with",
        })
    }
}

/// Something in the way of a restore.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and why.
    pub what: String,
    /// What a person can do; empty where there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub todo: String,
}

impl Obstacle {
    fn fails(what: String, todo: impl Into<String>) -> Obstacle {
        Obstacle { severity: Severity::Fails, what, todo: todo.into() }
    }

    fn slow(what: String, todo: impl Into<String>) -> Obstacle {
        Obstacle { severity: Severity::Slow, what, todo: todo.into() }
    }

    fn warning(what: String, todo: impl Into<String>) -> Obstacle {
        Obstacle { severity: Severity::Warning, what, todo: todo.into() }
    }
}

/// Looks at the backup and at the target, and goes round webhooks where the plan says so. An error means that nothing may be
/// written.
pub async fn look(work: &Arc<Work>) -> Result<Vec<Obstacle>> {
    let mut found: Vec<_> = work.remap.idle().map(idle_patch).collect();
    let Some(target) = &work.target else { return Ok(found) };
    let kinds = work.compiled.selected_types();
    let Some(types) = types::look(work, target, &kinds).await else {
        // The server does not answer: the first step will say so.
        return Ok(found);
    };
    found.extend(types);
    let cluster = target.cluster();
    if kinds.is_empty() {
        // Nothing is written, but its other steps take rights as well.
        found.extend(rights::look(work, cluster, &kinds).await);
        found.sort();
        return Ok(found);
    }
    let (rights, claims, version, namespaces) = tokio::join!(
        rights::look(work, cluster, &kinds),
        claims::look(work, cluster),
        versions::look(work, cluster),
        namespaces::look(cluster, &work.compiled.namespaces),
    );
    found.extend(rights.into_iter().chain(claims?).chain(version).chain(namespaces));
    found.extend(work.webhooks.look(work, target, &kinds).await?);
    found.sort();
    Ok(found)
}

fn idle_patch(name: &str) -> Obstacle {
    let what = format!("patch {name} selects nothing that the plan restores");
    Obstacle::warning(what, "check its kinds, namespaces, labels and names: they are those of the backup")
}

/// The first few of many, in words.
fn named(all: &[String]) -> String {
    const NAMED: usize = 5;
    match all.len().saturating_sub(NAMED) {
        0 => all.join(", "),
        more => format!("{} and {more} more", all[..NAMED].join(", ")),
    }
}
