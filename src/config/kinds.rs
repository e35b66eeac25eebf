//! Kinds of objects as plans name them: `Deployment`, `Certificate.cert-manager.io`, `*.velero.io`.

use std::fmt;

use globset::{Glob, GlobMatcher};

use super::problems::{Problems, nearest};
use crate::error::{Error, Result};

/// The kinds that Kubernetes itself stores, which a plan may name without a group.
const BUILT_IN: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "ConfigMap",
    "ControllerRevision",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "DeviceClass",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "FlowSchema",
    "HorizontalPodAutoscaler",
    "IPAddress",
    "Ingress",
    "IngressClass",
    "Job",
    "Lease",
    "LimitRange",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "NetworkPolicy",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PodTemplate",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ReplicaSet",
    "ReplicationController",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "Secret",
    "Service",
    "ServiceAccount",
    "ServiceCIDR",
    "StatefulSet",
    "StorageClass",
    "StorageVersionMigration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// One kind, or several by wildcards. Without a group it means Kubernetes' own kind of that name, never a custom
/// resource that happens to be called the same.
#[derive(Clone)]
pub struct KindPattern {
    text: String,
    kind: GlobMatcher,
    group: Option<GlobMatcher>,
}

impl KindPattern {
    /// Reads `Kind` or `Kind.group`; both parts may hold wildcards, a kind without a group may not.
    pub fn parse(text: &str) -> Result<Self> {
        let (kind, group) = match text.split_once('.') {
            Some((kind, group)) => (kind, Some(group)),
            None => (text, None),
        };
        if group.is_none() {
            check_built_in(kind)?;
        }
        let group = group.map(|group| part(text, group)).transpose()?;
        Ok(KindPattern { text: text.to_string(), kind: part(text, kind)?, group })
    }

    /// Whether the kind is meant; `group` is empty for the core group.
    pub fn matches(&self, kind: &str, group: &str) -> bool {
        let in_group = match &self.group {
            Some(pattern) => pattern.is_match(group),
            None => is_built_in_group(group),
        };
        in_group && self.kind.is_match(kind)
    }

    /// Whether it stands for one kind only.
    pub fn is_exact(&self) -> bool {
        !self.text.contains(['*', '?', '[', '{'])
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for KindPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for KindPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for KindPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for KindPattern {}

/// Groups that Kubernetes keeps for itself: the core group, those without a dot, and those under `k8s.io`.
fn is_built_in_group(group: &str) -> bool {
    !group.contains('.') || (group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io"))
}

fn check_built_in(kind: &str) -> Result<()> {
    if BUILT_IN.contains(&kind) {
        return Ok(());
    }
    if kind == "*" {
        let error = Error::usage("`*` would take every kind");
        return Err(error.hint("leave `kinds` out to take everything that no other step takes"));
    }
    let near = nearest(kind, BUILT_IN.iter().copied()).map(|near| format!(", did you mean `{near}`?"));
    let advice = near.unwrap_or_else(|| format!("; a custom resource is written with its group, `{kind}.example.com`"));
    Err(Error::usage(format!("`{kind}` is no kind of Kubernetes itself{advice}")))
}

fn part(whole: &str, text: &str) -> Result<GlobMatcher> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.*?[]{},".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        let error = Error::usage(format!("`{whole}` is no kind"));
        return Err(error.hint("write it like `Deployment` or `Certificate.cert-manager.io`"));
    }
    let glob = Glob::new(text).map_err(|why| Error::usage(format!("`{whole}` is no kind: {}", why.kind())))?;
    Ok(glob.compile_matcher())
}

/// Reads a list of kinds, and notes each that is wrong.
pub(super) fn validate(texts: &[String], path: &str, problems: &mut Problems<'_>) -> Option<Vec<KindPattern>> {
    let parsed = texts.iter().enumerate();
    let parsed = parsed.map(|(index, text)| problems.check(&format!("{path}[{index}]"), KindPattern::parse(text)));
    let parsed: Vec<Option<KindPattern>> = parsed.collect();
    parsed.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, kind: &str, group: &str) -> bool {
        KindPattern::parse(pattern).unwrap().matches(kind, group)
    }

    #[test]
    fn a_bare_kind_is_kubernetes_own() {
        assert!(matches("Service", "Service", "") && matches("Deployment", "Deployment", "apps"));
        assert!(matches("Ingress", "Ingress", "networking.k8s.io"));
        assert!(!matches("Service", "Service", "serving.knative.dev"));
        assert!(!matches("Service", "ServiceAccount", ""));
    }

    #[test]
    fn a_group_is_exact_unless_it_has_wildcards() {
        assert!(matches("Certificate.cert-manager.io", "Certificate", "cert-manager.io"));
        assert!(!matches("Certificate.cert-manager.io", "Certificate", "acme.cert-manager.io"));
        assert!(matches("*.constraints.gatekeeper.sh", "K8sRequiredLabels", "constraints.gatekeeper.sh"));
        assert!(matches("*Issuer.cert-manager.io", "ClusterIssuer", "cert-manager.io"));
    }

    #[test]
    fn a_slip_is_refused_with_the_kind_that_was_meant() {
        let why = |text: &str| KindPattern::parse(text).unwrap_err().to_string();
        assert_eq!(why("Deploymnet"), "`Deploymnet` is no kind of Kubernetes itself, did you mean `Deployment`?");
        assert_eq!(why("deployment"), "`deployment` is no kind of Kubernetes itself, did you mean `Deployment`?");
        assert_eq!(
            why("Certificate"),
            "`Certificate` is no kind of Kubernetes itself; a custom resource is written with its group, \
             `Certificate.example.com`"
        );
        assert_eq!(why(".apps"), "`.apps` is no kind");
        assert_eq!(why("*"), "`*` would take every kind");
    }
}
