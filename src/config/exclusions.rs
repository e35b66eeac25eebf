//! What a backup of a cluster leaves out unless told otherwise, because it must never come back.

/// The label with which an object is left out of every backup, when its value is `true`.
pub const OPT_OUT_LABEL: &str = "ckbackup.io/exclude";

/// How far an [`Exclusion`] reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No object of the type is read.
    WholeType,
    /// The type is read, and the objects in it that a controller made are left out; a person's own are kept.
    ControllerMade,
}

/// One row of the table of types that are left out by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exclusion {
    /// `plural` for the core group, `plural.group` otherwise; a leading `*` stands for anything.
    pub resource: &'static str,
    /// Whether all objects of the type are meant.
    pub reach: Reach,
    /// Why it must not come back, as it stands in the manifest.
    pub reason: &'static str,
}

const fn all(resource: &'static str, reason: &'static str) -> Exclusion {
    Exclusion { resource, reach: Reach::WholeType, reason }
}

const fn made(resource: &'static str, reason: &'static str) -> Exclusion {
    Exclusion { resource, reach: Reach::ControllerMade, reason }
}

const EVENT: &str = "events tell what happened to the old cluster";
const LEASE: &str = "a lease names a holder that is gone, and would keep its successor waiting";
const ENDPOINT: &str = "the endpoint controllers make it from the service's pods";
const REVIEW: &str = "a question to the API server, never stored";
const ACME: &str = "cert-manager makes it anew for each issuance; an old one would be answered twice";
const METRIC: &str = "measured at the moment of the question, never stored";
const NODE: &str = "belongs to a node of the old cluster, and is made anew by its kubelet and drivers";

/// The one table of what is left out by default (`defaults: false` in a schedule switches it off).
pub const EXCLUSIONS: &[Exclusion] = &[
    all("events", EVENT),
    all("events.events.k8s.io", EVENT),
    all("leases.coordination.k8s.io", LEASE),
    all("leasecandidates.coordination.k8s.io", LEASE),
    made("endpoints", ENDPOINT),
    made("endpointslices.discovery.k8s.io", ENDPOINT),
    all("bindings", "an order to the API server, never stored"),
    all("componentstatuses", "measured at the moment of the question, never stored"),
    all("tokenreviews.authentication.k8s.io", REVIEW),
    all("selfsubjectreviews.authentication.k8s.io", REVIEW),
    all("subjectaccessreviews.authorization.k8s.io", REVIEW),
    all("localsubjectaccessreviews.authorization.k8s.io", REVIEW),
    all("selfsubjectaccessreviews.authorization.k8s.io", REVIEW),
    all("selfsubjectrulesreviews.authorization.k8s.io", REVIEW),
    all(
        "certificatesigningrequests.certificates.k8s.io",
        "a request that was answered; an old one could be granted again",
    ),
    all("certificaterequests.cert-manager.io", ACME),
    all("orders.acme.cert-manager.io", ACME),
    all("challenges.acme.cert-manager.io", ACME),
    all("*.metrics.k8s.io", METRIC),
    all("csinodes.storage.k8s.io", NODE),
    all("csistoragecapacities.storage.k8s.io", NODE),
    all("volumeattachments.storage.k8s.io", NODE),
    all("resourceslices.resource.k8s.io", NODE),
    all("ipaddresses.networking.k8s.io", "the API server makes one for each cluster IP that it hands out"),
    all("storageversions.internal.apiserver.k8s.io", "the API servers' own book-keeping"),
];

/// The row that speaks of the type, if any. `group` is empty for the core group.
pub fn find_exclusion(plural: &str, group: &str) -> Option<&'static Exclusion> {
    let name = resource_name(plural, group);
    EXCLUSIONS.iter().find(|exclusion| match exclusion.resource.strip_prefix('*') {
        Some(suffix) => name.ends_with(suffix),
        None => name == exclusion.resource,
    })
}

/// `plural` for the core group, `plural.group` otherwise: how types are written in schedules, manifests and output.
pub fn resource_name(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_string() } else { format!("{plural}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_never_come_back_is_found_with_its_reason() {
        let found = find_exclusion("challenges", "acme.cert-manager.io").unwrap();
        assert_eq!((found.reach, found.reason), (Reach::WholeType, ACME));
        assert_eq!(find_exclusion("pods", "metrics.k8s.io").unwrap().reason, METRIC);
        assert_eq!(find_exclusion("x", "custom.metrics.k8s.io").unwrap().reason, METRIC);
        assert_eq!(find_exclusion("endpoints", "").unwrap().reach, Reach::ControllerMade);
    }

    #[test]
    fn namesakes_in_other_groups_are_kept() {
        for (plural, group) in [("events", "example.com"), ("orders", "shop.example.com"), ("pods", ""), ("leases", "")]
        {
            assert_eq!(find_exclusion(plural, group), None, "{plural}.{group}");
        }
    }

    #[test]
    fn no_type_stands_in_the_table_twice() {
        let names: std::collections::BTreeSet<_> = EXCLUSIONS.iter().map(|exclusion| exclusion.resource).collect();
        assert_eq!(names.len(), EXCLUSIONS.len());
    }
}
