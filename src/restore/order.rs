//! The default order: what has to be there before what.

/// Ranks of kinds; lower ones are written first. A kind of any group unless the group is named.
const RANKS: &[(u16, &str, &[&str])] = &[
    (10, "apiextensions.k8s.io", &["CustomResourceDefinition"]),
    (20, "", &["Namespace"]),
    // Anchors make the namespaces that are in them.
    (25, "hnc.x-k8s.io", &["*"]),
    (30, "scheduling.k8s.io", &["PriorityClass"]),
    (30, "storage.k8s.io", &["StorageClass", "CSIDriver", "VolumeAttributesClass"]),
    (30, "node.k8s.io", &["RuntimeClass"]),
    (30, "networking.k8s.io", &["IngressClass", "ServiceCIDR"]),
    (40, "", &["PersistentVolume"]),
    (50, "", &["PersistentVolumeClaim"]),
    (60, "", &["ServiceAccount"]),
    (70, "", &["Secret"]),
    (80, "", &["ConfigMap"]),
    (90, "rbac.authorization.k8s.io", &["Role", "ClusterRole"]),
    (91, "rbac.authorization.k8s.io", &["RoleBinding", "ClusterRoleBinding"]),
    (100, "", &["ResourceQuota", "LimitRange"]),
    (100, "networking.k8s.io", &["NetworkPolicy"]),
    (110, "", &["Service", "Endpoints"]),
    (110, "discovery.k8s.io", &["EndpointSlice"]),
    (120, "", &["PodTemplate", "ReplicationController", "Pod"]),
    (120, "apps", &["*"]),
    (120, "batch", &["*"]),
    (130, "autoscaling", &["*"]),
    (130, "policy", &["*"]),
    (140, "networking.k8s.io", &["Ingress"]),
    (150, "flowcontrol.apiserver.k8s.io", &["*"]),
    // Issuers before certificates, or certificates fail once and wait.
    (210, "cert-manager.io", &["ClusterIssuer", "Issuer"]),
    // A template makes the definition of its constraints.
    (210, "templates.gatekeeper.sh", &["*"]),
    (210, "velero.io", &["BackupStorageLocation", "VolumeSnapshotLocation"]),
    (230, "constraints.gatekeeper.sh", &["*"]),
    // A schedule must not start to back up a cluster that is half restored.
    (240, "velero.io", &["Schedule"]),
    (300, "apiregistration.k8s.io", &["APIService"]),
    (310, "admissionregistration.k8s.io", &["*"]),
];

/// Every other custom resource.
const CUSTOM: u16 = 220;
/// Every other type that Kubernetes itself serves.
const BUILT_IN: u16 = 150;

/// When objects of a kind are written, relative to other kinds.
pub fn rank(kind: &str, group: &str) -> u16 {
    let named = RANKS.iter().find(|(_, g, kinds)| *g == group && kinds.contains(&kind));
    let whole_group = || RANKS.iter().find(|(_, g, kinds)| *g == group && kinds.contains(&"*"));
    match named.or_else(whole_group) {
        Some((rank, ..)) => *rank,
        None if is_built_in(group) => BUILT_IN,
        None => CUSTOM,
    }
}

/// Groups of Kubernetes itself have no dot, or end in `.k8s.io` and are not of a project beside it.
fn is_built_in(group: &str) -> bool {
    !group.contains('.') || (group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io") && !group.contains("metrics"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
