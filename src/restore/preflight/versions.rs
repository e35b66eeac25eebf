//! Another version of Kubernetes.

use super::Obstacle;
use crate::cluster::Cluster;
use crate::restore::work::Work;

/// Says where the target's minor version is another one than the backup's. A patch release changes no types.
pub async fn look(work: &Work, cluster: &Cluster) -> Option<Obstacle> {
    let (saved, here) = (work.backup.manifest.server_version.clone()?, cluster.version().await.ok()?);
    let (from, to) = (minor(&saved)?, minor(&here)?);
    let what = format!("the backup is of Kubernetes {saved}, and the target is {here}");
    match from.cmp(&to) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => {
            Some(Obstacle::warning(what, "types and fields that went since are named by themselves; read its notes"))
        }
        std::cmp::Ordering::Greater => {
            Some(Obstacle::warning(what, "an older server drops fields that it does not know, without a word"))
        }
    }
}

/// `v1.34.1` is `(1, 34)`.
fn minor(version: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    let mut parts = version.trim_start_matches('v').split('.');
    Some((digits(parts.next()?)?, digits(parts.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_providers_add_to_a_version_does_not_count() {
        assert_eq!(minor("v1.34.1"), minor("v1.34.9-gke.100"));
        assert_eq!(minor("v1.9+"), Some((1, 9)));
        assert_eq!(minor("unknown"), None);
    }
}
