//! The default order: what has to be there before what.

/// Kinds that have their place in the default order.
#[derive(Debug)]
pub struct Rank {
    /// Lower ones are written first; those of one rank side by side.
    pub rank: u16,
    /// Their group; empty for the core group.
    pub group: &'static str,
    /// The kinds; `*` stands for all others of the group.
    pub kinds: &'static [&'static str],
    /// Why they come there, in a line.
    pub why: &'static str,
}

const fn at(rank: u16, group: &'static str, kinds: &'static [&'static str], why: &'static str) -> Rank {
    Rank { rank, group, kinds, why }
}

/// The whole order. What is not here comes with [`BUILT_IN`] or [`CUSTOM`].
pub const RANKS: &[Rank] = &[
    at(10, "apiextensions.k8s.io", &["CustomResourceDefinition"], "a definition makes the type of its objects"),
    at(20, "", &["Namespace"], "nothing can be written into a namespace that is not there"),
    at(25, "hnc.x-k8s.io", &["*"], "anchors of hierarchical namespaces come before what is in their namespaces"),
    at(30, "scheduling.k8s.io", &["PriorityClass"], "a pod that names a class is refused without it"),
    at(30, "storage.k8s.io", &["StorageClass", "CSIDriver", "VolumeAttributesClass"], "claims name classes"),
    at(30, "node.k8s.io", &["RuntimeClass"], "a pod that names a class is refused without it"),
    at(30, "networking.k8s.io", &["IngressClass", "ServiceCIDR"], "ingresses and services name them"),
    at(40, "", &["PersistentVolume"], "a claim finds the volume that it had, instead of a new one being made for it"),
    at(50, "", &["PersistentVolumeClaim"], "a stateful set takes claims that are there, and makes others itself"),
    at(60, "", &["ServiceAccount"], "a pod is refused without its account"),
    at(70, "", &["Secret"], "certificates whose Secret is there are not issued anew, and pods find what they mount"),
    at(80, "", &["ConfigMap"], "pods find what they mount"),
    at(90, "rbac.authorization.k8s.io", &["Role", "ClusterRole"], "a binding to a role that is not there is refused"),
    at(
        91,
        "rbac.authorization.k8s.io",
        &["RoleBinding", "ClusterRoleBinding"],
        "operators may work from their first second",
    ),
    at(100, "", &["ResourceQuota", "LimitRange"], "limits hold before there is anything to be limited"),
    at(100, "networking.k8s.io", &["NetworkPolicy"], "no pod runs unprotected"),
    at(110, "", &["Service", "Endpoints"], "pods learn of services when they start"),
    at(110, "discovery.k8s.io", &["EndpointSlice"], "hand-made ones belong to their service"),
    at(120, "", &["PodTemplate", "ReplicationController", "Pod"], "workloads come after all that they use"),
    at(120, "apps", &["*"], "workloads come after all that they use; operators among them"),
    at(120, "batch", &["*"], "workloads come after all that they use"),
    at(130, "autoscaling", &["*"], "an autoscaler without its workload complains, and would scale it to its least"),
    at(130, "policy", &["*"], "a budget counts pods that are there"),
    at(140, "networking.k8s.io", &["Ingress"], "traffic comes when there is somebody to take it"),
    at(150, "flowcontrol.apiserver.k8s.io", &["*"], "a limit of the API server must not slow the restore"),
    at(
        210,
        "cert-manager.io",
        &["ClusterIssuer", "Issuer"],
        "a certificate without its issuer fails once, and waits for an hour",
    ),
    at(210, "templates.gatekeeper.sh", &["*"], "a template makes the definition of its constraints"),
    at(210, "velero.io", &["BackupStorageLocation", "VolumeSnapshotLocation"], "backups name their location"),
    at(
        230,
        "constraints.gatekeeper.sh",
        &["*"],
        "a constraint can refuse what is being restored, so all else is there first",
    ),
    at(240, "velero.io", &["Schedule"], "a schedule must not start to back up a cluster that is half restored"),
    at(300, "apiregistration.k8s.io", &["APIService"], "an aggregated API whose server is not up yet stalls discovery"),
    at(310, "admissionregistration.k8s.io", &["*"], "a webhook whose backend is not up yet refuses every write"),
];

/// Every other custom resource: its operator, its issuer and its template are there.
pub const CUSTOM: u16 = 220;
/// Every other type that Kubernetes itself serves.
pub const BUILT_IN: u16 = 150;

/// When objects of a kind are written, relative to other kinds.
pub fn rank(kind: &str, group: &str) -> u16 {
    let named = RANKS.iter().find(|known| known.group == group && known.kinds.contains(&kind));
    let whole_group = || RANKS.iter().find(|known| known.group == group && known.kinds.contains(&"*"));
    match named.or_else(whole_group) {
        Some(known) => known.rank,
        None if is_built_in(group) => BUILT_IN,
        None => CUSTOM,
    }
}

/// Groups of Kubernetes itself have no dot, or end in `.k8s.io` and are not of a project beside it.
pub fn is_built_in(group: &str) -> bool {
    !group.contains('.') || (group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io") && !group.contains("metrics"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_in_the_order_is_documented_with_its_reason() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("docs/restore.md")).unwrap();
        let row = |known: &Rank| {
            let group = if known.group.is_empty() { "core" } else { known.group };
            format!(
                "| {} | {} | {group} | {} |",
                known.rank,
                known.kinds.join(", ").replace('*', "all others"),
                known.why
            )
        };
        let missing: Vec<_> = RANKS.iter().map(row).filter(|row| !page.contains(row)).collect();
        assert!(missing.is_empty(), "docs/restore.md lacks:\n{}", missing.join("\n"));
        assert!(RANKS.is_sorted_by_key(|known| known.rank));
    }

    #[test]
    fn the_documented_order_holds() {
        let order = [
            ("CustomResourceDefinition", "apiextensions.k8s.io"),
            ("Namespace", ""),
            ("StorageClass", "storage.k8s.io"),
            ("PersistentVolume", ""),
            ("PersistentVolumeClaim", ""),
            ("ServiceAccount", ""),
            ("Secret", ""),
            ("ConfigMap", ""),
            ("ClusterRole", "rbac.authorization.k8s.io"),
            ("ClusterRoleBinding", "rbac.authorization.k8s.io"),
            ("NetworkPolicy", "networking.k8s.io"),
            ("Service", ""),
            ("Deployment", "apps"),
            ("HorizontalPodAutoscaler", "autoscaling"),
            ("Ingress", "networking.k8s.io"),
            ("Issuer", "cert-manager.io"),
            ("Certificate", "cert-manager.io"),
            ("Schedule", "velero.io"),
            ("APIService", "apiregistration.k8s.io"),
            ("ValidatingWebhookConfiguration", "admissionregistration.k8s.io"),
        ];
        for pair in order.windows(2) {
            let (a, b) = (rank(pair[0].0, pair[0].1), rank(pair[1].0, pair[1].1));
            assert!(a < b, "{pair:?}: {a} {b}");
        }
        assert!(
            rank("ConstraintTemplate", "templates.gatekeeper.sh") < rank("K8sRequired", "constraints.gatekeeper.sh")
        );
    }
}
