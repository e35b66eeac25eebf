//! The demo platform: a workload cluster of Compliant Kubernetes as objects, in the order in which a bare API server
//! takes them.
//!
//! What exists once is written out in YAML; what repeats (nodes, cluster services, customers' applications) is a YAML
//! template, whose `{{name}}` places are filled in from the tables below. There is no aggregated `APIService`:
//! without its backend the API server calls that group stale, and every backup would rightly be partial.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Context, Error, Result};

struct Template {
    file: &'static str,
    text: &'static str,
}

macro_rules! template {
    ($file:literal) => {
        Template { file: $file, text: include_str!($file) }
    };
}

const CLUSTER: Template = template!("cluster.yaml");
const NAMESPACE: Template = template!("namespace.yaml");
const CUSTOMER: Template = template!("customer.yaml");
const CRD: Template = template!("crd.yaml");
const DEFINITIONS: Template = template!("definitions.yaml");
const NODE: Template = template!("node.yaml");
const STATIC_POD: Template = template!("static-pod.yaml");
const COMPONENT: Template = template!("component.yaml");
const DAEMON: Template = template!("daemon.yaml");
const DAEMON_POD: Template = template!("daemon-pod.yaml");
const WEB: Template = template!("app-web.yaml");
const WEB_POD: Template = template!("app-web-pod.yaml");
const STATEFUL: Template = template!("app-stateful.yaml");
const STATEFUL_REPLICA: Template = template!("app-stateful-replica.yaml");
const CRON: Template = template!("app-cron.yaml");
const NUMBERS: Template = template!("numbers.json");

/// Written out once, after the cluster services, in this order.
const SINGLE: [Template; 6] = [
    template!("rights.yaml"),
    template!("network.yaml"),
    template!("monitoring.yaml"),
    template!("security.yaml"),
    template!("services.yaml"),
    template!("customers.yaml"),
];
const GUARDS: Template = template!("guards.yaml");

/// Made by the API server itself; the platform only puts objects into them.
const BUILT_IN_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Name, zone, pool; the position gives the addresses.
const NODES: [(&str, &str, &str); 6] = [
    ("cp-1", "sto1", "control-plane"),
    ("cp-2", "sto2", "control-plane"),
    ("cp-3", "sto3", "control-plane"),
    ("worker-0", "sto1", "customer"),
    ("worker-1", "sto2", "customer"),
    ("worker-2", "sto3", "services"),
];

const STATIC_PODS: [(&str, &str); 4] = [
    ("etcd", "registry.k8s.io/etcd:3.6.5-0"),
    ("kube-apiserver", "registry.k8s.io/kube-apiserver:v1.34.4"),
    ("kube-controller-manager", "registry.k8s.io/kube-controller-manager:v1.34.4"),
    ("kube-scheduler", "registry.k8s.io/kube-scheduler:v1.34.4"),
];

/// Group, plural, kind, version, scope, and whether the type has a status subresource (Velero's have none).
const CRDS: [(&str, &str, &str, &str, &str, bool); 19] = [
    ("templates.gatekeeper.sh", "constrainttemplates", "ConstraintTemplate", "v1", "Cluster", true),
    ("config.gatekeeper.sh", "configs", "Config", "v1alpha1", "Namespaced", true),
    ("cert-manager.io", "clusterissuers", "ClusterIssuer", "v1", "Cluster", true),
    ("cert-manager.io", "issuers", "Issuer", "v1", "Namespaced", true),
    ("cert-manager.io", "certificates", "Certificate", "v1", "Namespaced", true),
    ("cert-manager.io", "certificaterequests", "CertificateRequest", "v1", "Namespaced", true),
    ("acme.cert-manager.io", "orders", "Order", "v1", "Namespaced", true),
    ("acme.cert-manager.io", "challenges", "Challenge", "v1", "Namespaced", true),
    ("monitoring.coreos.com", "prometheuses", "Prometheus", "v1", "Namespaced", true),
    ("monitoring.coreos.com", "alertmanagers", "Alertmanager", "v1", "Namespaced", true),
    ("monitoring.coreos.com", "servicemonitors", "ServiceMonitor", "v1", "Namespaced", false),
    ("monitoring.coreos.com", "podmonitors", "PodMonitor", "v1", "Namespaced", false),
    ("monitoring.coreos.com", "prometheusrules", "PrometheusRule", "v1", "Namespaced", false),
    ("velero.io", "backupstoragelocations", "BackupStorageLocation", "v1", "Namespaced", false),
    ("velero.io", "schedules", "Schedule", "v1", "Namespaced", false),
    ("velero.io", "backups", "Backup", "v1", "Namespaced", false),
    ("velero.io", "restores", "Restore", "v1", "Namespaced", false),
    ("hnc.x-k8s.io", "subnamespaceanchors", "SubnamespaceAnchor", "v1alpha2", "Namespaced", true),
    ("hnc.x-k8s.io", "hierarchyconfigurations", "HierarchyConfiguration", "v1alpha2", "Namespaced", true),
];

/// Cluster services that are Deployments: name, namespace, image, port.
const COMPONENTS: [(&str, &str, &str, &str); 13] = [
    ("coredns", "kube-system", "registry.k8s.io/coredns/coredns:v1.12.1", "9153"),
    ("metrics-server", "kube-system", "registry.k8s.io/metrics-server/metrics-server:v0.8.0", "10250"),
    ("gatekeeper-controller-manager", "gatekeeper-system", "openpolicyagent/gatekeeper:v3.20.1", "8443"),
    ("gatekeeper-audit", "gatekeeper-system", "openpolicyagent/gatekeeper:v3.20.1", "8888"),
    ("cert-manager", "cert-manager", "quay.io/jetstack/cert-manager-controller:v1.18.2", "9402"),
    ("cert-manager-webhook", "cert-manager", "quay.io/jetstack/cert-manager-webhook:v1.18.2", "10250"),
    ("cert-manager-cainjector", "cert-manager", "quay.io/jetstack/cert-manager-cainjector:v1.18.2", "9402"),
    ("prometheus-operator", "monitoring", "quay.io/prometheus-operator/prometheus-operator:v0.85.0", "8080"),
    ("kube-state-metrics", "monitoring", "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.17.0", "8080"),
    ("grafana", "monitoring", "grafana/grafana:12.1.1", "3000"),
    ("ck8sdash", "ck8sdash", "harbor.ck8s.example/platform/ck8sdash:1.9.0", "8080"),
    ("velero", "velero", "velero/velero:v1.18.3", "8085"),
    ("hnc-controller-manager", "hnc-system", "registry.k8s.io/multitenancy/hnc-manager:v1.1.0", "9443"),
];

/// Cluster services that are DaemonSets: name, namespace, image, host path.
const DAEMONS: [(&str, &str, &str, &str); 5] = [
    ("kube-proxy", "kube-system", "registry.k8s.io/kube-proxy:v1.34.4", "/lib/modules"),
    ("ingress-nginx-controller", "ingress-nginx", "registry.k8s.io/ingress-nginx/controller:v1.13.2", "/etc/localtime"),
    ("node-exporter", "monitoring", "quay.io/prometheus/node-exporter:v1.9.1", "/"),
    ("fluentd", "fluentd", "fluent/fluentd-kubernetes-daemonset:v1.18-debian", "/var/log"),
    ("falco", "falco", "falcosecurity/falco:0.41.3", "/proc"),
];

/// Customers' applications: name and namespace.
type App = (&'static str, &'static str);
const WEB_APPS: [App; 8] = [
    ("storefront", "aurora-shop"),
    ("checkout", "aurora-shop"),
    ("search", "aurora-shop"),
    ("storefront", "aurora-staging"),
    ("accounts", "borealis-bank"),
    ("risk-api", "borealis-bank"),
    ("video-portal", "citron-media"),
    ("comments", "citron-media"),
];
const STATEFUL_APPS: [App; 4] = [
    ("orders-db", "aurora-shop"),
    ("orders-db", "aurora-staging"),
    ("accounts-db", "borealis-bank"),
    ("catalogue-db", "citron-media"),
];
const CRON_APPS: [App; 4] = [
    ("sitemap", "aurora-shop"),
    ("end-of-day", "borealis-bank"),
    ("interest", "borealis-bank"),
    ("transcode", "citron-media"),
];

/// The objects of the demo platform, in an order in which they can be created.
///
/// Owner references name their owner (apiVersion, kind, name) without uid, and volumes their claim: the loader fills in
/// the uid that the server gave, which it has by then, because owners and claims come first. A namespaced object
/// always says its namespace. Where there is a `status`, the loader writes it after the object.
pub fn objects() -> Result<Vec<Value>> {
    let mut objects = CLUSTER.expand(&[])?;
    let customers = names_of_namespaces(&objects, |labels| labels["owner"] == "customer");
    let namespaces = names_of_namespaces(&objects, |_| true);
    for namespace in BUILT_IN_NAMESPACES.into_iter().chain(namespaces.iter().map(String::as_str)) {
        objects.extend(NAMESPACE.expand(&[("namespace", namespace)])?);
    }
    add_definitions(&mut objects)?;
    add_nodes(&mut objects)?;
    add_cluster_services(&mut objects)?;
    for single in &SINGLE {
        objects.extend(single.documents()?);
    }
    for namespace in &customers {
        objects.extend(CUSTOMER.expand(&[("namespace", namespace)])?);
    }
    add_applications(&mut objects)?;
    objects.extend(numbers()?);
    objects.extend(GUARDS.documents()?);
    Ok(objects)
}

fn names_of_namespaces(objects: &[Value], wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let namespaces = objects.iter().filter(|o| o["kind"] == "Namespace" && wanted(&o["metadata"]["labels"]));
    namespaces.filter_map(|o| o["metadata"]["name"].as_str()).map(str::to_owned).collect()
}

fn add_definitions(objects: &mut Vec<Value>) -> Result<()> {
    for (group, plural, kind, version, scope, status) in CRDS {
        let singular = kind.to_lowercase();
        let status = if status { "{status: {}}" } else { "{}" };
        objects.extend(CRD.expand(&[
            ("group", group),
            ("plural", plural),
            ("kind", kind),
            ("singular", &singular),
            ("version", version),
            ("scope", scope),
            ("status", status),
            ("app", group),
        ])?);
    }
    objects.extend(DEFINITIONS.documents()?);
    Ok(())
}

fn add_nodes(objects: &mut Vec<Value>) -> Result<()> {
    for (i, (node, zone, pool)) in NODES.into_iter().enumerate() {
        let (subnet, address) = (i.to_string(), node_address(i));
        let place = [("node", node), ("zone", zone), ("pool", pool), ("i", &subnet), ("n", &address)];
        objects.extend(NODE.expand(&place)?);
        let here = if pool == "control-plane" { &STATIC_PODS[..] } else { &[] };
        for (app, image) in here {
            let digest = digest(&[app, node]);
            let pod = [("app", *app), ("image", image), ("node", node), ("n", &address), ("digest", &digest)];
            objects.extend(STATIC_POD.expand(&pod)?);
        }
    }
    Ok(())
}

fn add_cluster_services(objects: &mut Vec<Value>) -> Result<()> {
    for (i, (app, namespace, image, port)) in COMPONENTS.into_iter().enumerate() {
        let (subnet, restarts) = ((30 + i).to_string(), (i % 3).to_string());
        let (hash, pod, digest) = (suffix(10, &[app, namespace]), suffix(5, &[app, "pod"]), digest(&[app, namespace]));
        objects.extend(COMPONENT.expand(&[
            ("app", app),
            ("namespace", namespace),
            ("image", image),
            ("port", port),
            ("node", "worker-2"),
            ("i", &subnet),
            ("n", &restarts),
            ("hash", &hash),
            ("pod", &pod),
            ("digest", &digest),
        ])?);
    }
    for (i, daemon) in DAEMONS.into_iter().enumerate() {
        add_daemon(objects, i, daemon)?;
    }
    Ok(())
}

fn add_daemon(objects: &mut Vec<Value>, i: usize, daemon: (&str, &str, &str, &str)) -> Result<()> {
    let (app, namespace, image, path) = daemon;
    let (subnet, hash) = ((50 + i).to_string(), suffix(10, &[app, namespace]));
    let daemon =
        [("app", app), ("namespace", namespace), ("image", image), ("path", path), ("i", &subnet), ("hash", &hash)];
    objects.extend(DAEMON.expand(&daemon)?);
    for (place, (node, ..)) in NODES.into_iter().enumerate() {
        let (address, pod) = (node_address(place), suffix(5, &[app, node]));
        let pod = [&daemon[..], &[("node", node), ("n", &address), ("pod", &pod)]].concat();
        objects.extend(DAEMON_POD.expand(&pod)?);
    }
    Ok(())
}

fn add_applications(objects: &mut Vec<Value>) -> Result<()> {
    for (i, app) in WEB_APPS.into_iter().enumerate() {
        let extra = suffix(10, &[app.0, app.1, "former"]);
        add_application(objects, app, i, &WEB, &[("old", &extra)], Some(&WEB_POD))?;
    }
    for (i, app) in STATEFUL_APPS.into_iter().enumerate() {
        add_application(objects, app, 20 + i, &STATEFUL, &[], Some(&STATEFUL_REPLICA))?;
    }
    for (i, app) in CRON_APPS.into_iter().enumerate() {
        add_application(objects, app, i, &CRON, &[], None)?;
    }
    Ok(())
}

/// An application, and two replicas of it where it has a template for them.
fn add_application(
    objects: &mut Vec<Value>,
    (app, namespace): App,
    i: usize,
    template: &Template,
    extra: &[(&str, &str)],
    replica: Option<&Template>,
) -> Result<()> {
    let (subnet, release) = ((100 + i).to_string(), (i % 20).to_string());
    let (hash, pod, whole) = (suffix(10, &[app, namespace]), suffix(5, &[app, namespace]), digest(&[app, namespace]));
    let base = [("app", app), ("namespace", namespace), ("release", release.as_str()), ("i", &subnet), ("hash", &hash)];
    objects.extend(template.expand(&[&base[..], &[("pod", &pod), ("digest", &whole)], extra].concat())?);
    let Some(replica) = replica else { return Ok(()) };
    for n in 0..2 {
        let (ordinal, address, node) = (n.to_string(), (11 + n).to_string(), format!("worker-{n}"));
        let (pod, one) = (suffix(5, &[app, namespace, &ordinal]), digest(&[app, namespace, &ordinal]));
        let uuid = uuid(&one);
        let own = [
            ("n", ordinal.as_str()),
            ("m", &address),
            ("node", &node),
            ("pod", &pod),
            ("digest", &one),
            ("uuid", &uuid),
        ];
        objects.extend(replica.expand(&[&base[..], &own].concat())?);
    }
    Ok(())
}

/// Custom resources whose numbers a detour over YAML or doubles would change.
fn numbers() -> Result<Vec<Value>> {
    serde_json::from_str(NUMBERS.text).context(|| format!("read the demo platform's {}", NUMBERS.file))
}

fn node_address(i: usize) -> String {
    (11 + i).to_string()
}

impl Template {
    /// The documents of this file, word for word.
    fn documents(&self) -> Result<Vec<Value>> {
        self.parse(self.text)
    }

    /// The documents of this file with its `{{name}}` places filled in; one that stays empty is an error.
    fn expand(&self, values: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut text = self.text.to_owned();
        for (name, value) in values {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        match text.lines().find(|line| !line.starts_with('#') && line.contains("{{")) {
            Some(line) => {
                Err(Error::failed(format!("fill in the demo platform's {}: nothing for {}", self.file, line.trim())))
            }
            None => self.parse(&text),
        }
    }

    fn parse(&self, text: &str) -> Result<Vec<Value>> {
        let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
        documents.collect::<Result<_, _>>().context(|| format!("read the demo platform's {}", self.file))
    }
}

/// A stable stand-in for the random ends that controllers give to names, in their alphabet.
fn suffix(length: usize, of: &[&str]) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rest = fnv1a(of);
    std::iter::repeat_with(|| {
        let letter = ALPHABET[(rest % 27) as usize];
        rest /= 27;
        char::from(letter)
    })
    .take(length)
    .collect()
}

/// 64 hexadecimal digits, as container and image digests have.
fn digest(of: &[&str]) -> String {
    ["a", "b", "c", "d"].iter().map(|part| format!("{:016x}", fnv1a(&[of, &[part]].concat()))).collect()
}

fn uuid(digest: &str) -> String {
    [&digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..32]].join("-")
}

/// FNV-1a, 64 bits (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>): stable across versions of Rust.
fn fnv1a(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([b'/']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn key(kind: &Value, namespace: &Value, name: &Value) -> String {
        format!("{kind}/{namespace}/{name}")
    }

    #[test]
    fn the_platform_is_as_large_as_promised() {
        let objects = objects().expect("the platform reads");
        let kinds: BTreeSet<_> = objects.iter().map(|o| format!("{}{}", o["apiVersion"], o["kind"])).collect();
        let namespaces: BTreeSet<_> = objects.iter().filter_map(|o| o["metadata"]["namespace"].as_str()).collect();
        assert!(objects.len() >= 450, "{} objects", objects.len());
        assert!(kinds.len() >= 45, "{} kinds", kinds.len());
        assert!(namespaces.len() >= 12, "{} namespaces", namespaces.len());
    }

    #[test]
    fn every_object_comes_once_and_after_its_namespace_owners_and_claim() {
        let mut seen: BTreeSet<_> =
            BUILT_IN_NAMESPACES.iter().map(|name| key(&"Namespace".into(), &Value::Null, &(*name).into())).collect();
        for object in objects().expect("the platform reads") {
            let metadata = &object["metadata"];
            let namespace = &metadata["namespace"];
            let own = key(&object["kind"], namespace, &metadata["name"]);
            let mut needed = Vec::new();
            if !namespace.is_null() {
                needed.push(key(&"Namespace".into(), &Value::Null, namespace));
            }
            for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
                assert!(owner["uid"].is_null(), "{own} guesses the uid of an owner");
                let inside = key(&owner["kind"], namespace, &owner["name"]);
                let outside = key(&owner["kind"], &Value::Null, &owner["name"]);
                needed.push(if seen.contains(&outside) { outside } else { inside });
            }
            let claim = &object["spec"]["claimRef"];
            if claim.is_object() && claim["uid"].is_null() {
                needed.push(key(&claim["kind"], &claim["namespace"], &claim["name"]));
            }
            let missing: Vec<_> = needed.iter().filter(|needed| !seen.contains(*needed)).collect();
            assert!(missing.is_empty(), "{own} comes before {missing:?}");
            assert!(seen.insert(own.clone()), "{own} comes twice");
        }
    }

    #[test]
    fn numbers_beyond_doubles_are_read_to_the_letter() {
        let objects = objects().expect("the platform reads");
        let ledger = objects.iter().find(|o| o["kind"] == "Ledger").expect("there is a Ledger");
        assert_eq!(ledger["spec"]["account"].to_string(), "9007199254740993");
        assert_eq!(ledger["spec"]["rates"][0].to_string(), "0.30000000000000004");
    }

    #[test]
    fn a_place_that_nothing_fills_is_an_error() {
        let error = NODE.expand(&[("node", "cp-1")]).expect_err("zone, pool and addresses are missing");
        assert!(error.to_string().contains("node.yaml"), "{error}");
    }
}
