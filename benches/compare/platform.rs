//! The objects that the cluster is filled with, as bodies that can be created as they are.

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::settings::Scale;

const NAMESPACES: usize = 10;

/// An object, and the collection that it is created in.
#[derive(Debug, Clone)]
pub struct Object {
    pub collection: String,
    pub body: Bytes,
}

impl Object {
    /// Where it is read.
    pub fn path(&self) -> Result<String> {
        let body: Value = serde_json::from_slice(&self.body)?;
        let name = body["metadata"]["name"].as_str().context("an object has no name")?;
        Ok(format!("{}/{name}", self.collection))
    }
}

/// Definitions of custom resources, namespaces, and what stands in them.
#[derive(Debug, Clone)]
pub struct Platform {
    pub definitions: Vec<Object>,
    pub namespaces: Vec<Object>,
    pub objects: Vec<Object>,
}

impl Platform {
    /// Secrets of random bytes, with the other kinds spread evenly between them.
    pub fn build(scale: Scale) -> Result<Platform> {
        let every = scale.secrets.div_ceil(scale.others.max(1)).max(1);
        let mut objects = Vec::with_capacity(scale.objects());
        let mut others = 0..scale.others;
        for number in 0..scale.secrets {
            objects.push(secret(number, scale.secret_bytes)?);
            if number % every == 0 {
                objects.extend(others.next().map(other));
            }
        }
        objects.extend(others.map(other));
        Ok(Platform { definitions: Vec::new(), namespaces: namespaces(), objects })
    }

    pub fn len(&self) -> usize {
        self.all().count()
    }

    /// In an order in which they can be created.
    pub fn all(&self) -> impl Iterator<Item = &Object> {
        self.definitions.iter().chain(&self.namespaces).chain(&self.objects)
    }

    pub fn namespace_names(&self) -> Vec<String> {
        (0..NAMESPACES).map(namespace_name).collect()
    }

    /// Cuts the objects into parts of the same mixture.
    pub fn deal(&self, parts: usize) -> Vec<Vec<Object>> {
        (0..parts).map(|part| self.objects.iter().skip(part).step_by(parts).cloned().collect()).collect()
    }
}

/// How `ckbackup extract` is asked for the Secret of that number.
pub fn secret_address(number: usize) -> String {
    format!("secrets/{}/{}", namespace_name(number), secret_name(number))
}

pub fn namespaces() -> Vec<Object> {
    let namespace = |n| object("/api/v1/namespaces".into(), &json!({"metadata": {"name": namespace_name(n)}}));
    (0..NAMESPACES).map(namespace).collect()
}

pub fn namespace_name(number: usize) -> String {
    format!("bench-{}", number % NAMESPACES)
}

fn secret_name(number: usize) -> String {
    format!("secret-{number:06}")
}

pub fn object(collection: String, body: &Value) -> Object {
    Object { collection, body: body.to_string().into() }
}

fn secret(number: usize, bytes: usize) -> Result<Object> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|e| anyhow!("{e}")).context("get random bytes")?;
    let collection = format!("/api/v1/namespaces/{}/secrets", namespace_name(number));
    let metadata = json!({"name": secret_name(number), "labels": {"app": "bench", "part": format!("{}", number % 97)}});
    Ok(object(collection, &json!({"metadata": metadata, "type": "Opaque", "data": {"data": STANDARD.encode(random)}})))
}

/// Path of the group and version, plural, and all but the metadata.
type Template = (&'static str, &'static str, fn(&str) -> Value);

const OTHERS: [Template; 10] = [
    ("/api/v1", "configmaps", |name| json!({"data": {"config.yaml": format!("name: {name}\nlevel: info\n")}})),
    ("/api/v1", "services", |name| json!({"spec": {"selector": {"app": name}, "ports": [{"port": 80}]}})),
    ("/api/v1", "serviceaccounts", |_| json!({"automountServiceAccountToken": false})),
    ("/apis/apps/v1", "deployments", workload),
    ("/apis/apps/v1", "statefulsets", |name| {
        let mut body = workload(name);
        body["spec"]["serviceName"] = name.into();
        body
    }),
    ("/apis/batch/v1", "cronjobs", |_| {
        let pod = json!({"containers": containers(), "restartPolicy": "Never"});
        json!({"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}})
    }),
    (
        "/apis/rbac.authorization.k8s.io/v1",
        "roles",
        |_| json!({"rules": [{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list"]}]}),
    ),
    ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", |name| {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
        json!({"roleRef": role, "subjects": [{"kind": "ServiceAccount", "name": name}]})
    }),
    (
        "/apis/networking.k8s.io/v1",
        "networkpolicies",
        |name| json!({"spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"]}}),
    ),
    (
        "/apis/policy/v1",
        "poddisruptionbudgets",
        |name| json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}}),
    ),
];

fn other(number: usize) -> Object {
    let (base, plural, template) = OTHERS[number % OTHERS.len()];
    let name = format!("app-{number:06}");
    let mut body = template(&name);
    body["metadata"] = json!({"name": name, "labels": {"app": name}, "annotations": {"example.org/team": "platform"}});
    // The kinds take turns in steps of ten, so that each has objects in every namespace.
    object(format!("{base}/namespaces/{}/{plural}", namespace_name(number / OTHERS.len())), &body)
}

fn workload(name: &str) -> Value {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": containers()}});
    json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}})
}

fn containers() -> Value {
    let env: Vec<_> = (0..8).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value {n}")})).collect();
    let resources = json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}});
    json!([{"name": "app", "image": "registry.example.org/app:1.2.3", "env": env, "resources": resources}])
}
