//! Types that the target does not serve, or serves otherwise.

use futures::StreamExt;

use super::Obstacle;
use crate::restore::compile::SavedType;
use crate::restore::target::{Target, Unserved};
use crate::restore::work::Work;

/// Types that are asked for at a time: one that hangs holds up none of the others.
const AT_ONCE: usize = 16;

/// Asks for each type of the plan; none when the server does not answer.
pub async fn look(work: &Work, target: &Target, kinds: &[&SavedType]) -> Option<Vec<Obstacle>> {
    let asking = kinds.iter().map(|kind| async move { (kind, target.look(kind).await) });
    let mut answers = futures::stream::iter(asking).buffer_unordered(AT_ONCE);
    let mut found = Vec::new();
    while let Some((kind, answer)) = answers.next().await {
        match answer {
            Ok(served) if served.is_other_version() => {
                let (resource, version) = (served.resource(), served.version());
                let what = format!(
                    "the target does not serve {} in version {}; they are written as {resource} {version}",
                    kind.resource, kind.version
                );
                found.push(Obstacle::warning(what, "an object that does not fit into that version fails by name"));
            }
            Ok(_) => {}
            Err(Unserved::Lost(_)) => return None,
            Err(_) if work.compiled.is_to_come(kind) => {}
            Err(Unserved::Missing(why)) => found.push(Obstacle::fails(why, what_to_do(kind))),
            Err(Unserved::NotReady(why)) => {
                found.push(Obstacle::fails(why, "see `kubectl get apiservices`; only its own objects wait for it"));
            }
        }
    }
    Some(found)
}

fn what_to_do(kind: &SavedType) -> &'static str {
    match kind.is_custom() {
        true => "restore its definition first, or install what brings it; until then its objects fail",
        false => "no version is known that says the same; write its objects anew in a version that is served",
    }
}
