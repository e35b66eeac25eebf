//! Commands in pods: which pod, and its streams.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use serde_json::Value;

use super::{Cluster, Retry};
use crate::error::{Error, Result};

/// Bytes of each stream that wait in this process.
const BUFFER: usize = 256 << 10;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A pod that commands run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The container that is meant.
    pub container: String,
}

impl Cluster {
    /// The first pod, by name, that a selector finds and that is ready.
    pub async fn find_pod(&self, namespace: &str, selector: &str, container: Option<&str>) -> Result<FoundPod> {
        let query: String = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={query}");
        let doing = || format!("find a pod by {selector} in namespace {namespace}");
        let body = Retry::default()
            .run(|| self.get(&path, None, TIMEOUT))
            .await
            .map_err(|e| Error::failed(doing()).because(e))?;
        let list: Value = serde_json::from_slice(&body).map_err(|e| Error::failed(doing()).because(e))?;
        let pods: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
        let mut ready: Vec<&Value> = pods.iter().copied().filter(|pod| is_ready(pod)).collect();
        ready.sort_by_key(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_string());
        let Some(pod) = ready.first() else {
            let hint = match pods.len() {
                0 => "there is none; check the namespace and the labels".to_string(),
                count => format!("there are {count}, and none is ready"),
            };
            return Err(Error::failed(doing()).hint(hint));
        };
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let container = container_of(pod, container).ok_or_else(|| {
            Error::failed(format!("pod {namespace}/{name} has no container {}", container.unwrap_or_default()))
        })?;
        Ok(FoundPod { namespace: namespace.into(), name: name.into(), container })
    }

    /// Starts a command in a pod. Its output is not read further than it is taken.
    pub async fn exec(&self, pod: &FoundPod, command: &[String], with_input: bool) -> Result<AttachedProcess> {
        let client = self.client.read().await.client.clone();
        let params = AttachParams::default()
            .container(&pod.container)
            .stdin(with_input)
            .stdout(true)
            .stderr(true)
            .max_stdin_buf_size(BUFFER)
            .max_stdout_buf_size(BUFFER);
        let pods: Api<Pod> = Api::namespaced(client, &pod.namespace);
        let starting = pods.exec(&pod.name, command.iter().map(String::as_str), &params);
        starting.await.map_err(|e| {
            Error::failed(format!("run a command in pod {}/{}", pod.namespace, pod.name))
                .because(e)
                .hint("it takes the right to create pods/exec, and an API server that reaches the node")
        })
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

/// The named one; else the one that kubectl takes; else the first.
fn container_of(pod: &Value, wanted: Option<&str>) -> Option<String> {
    let names: Vec<&str> =
        pod["spec"]["containers"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    let chosen = match wanted.or(pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str()) {
        Some(name) => names.into_iter().find(|known| *known == name),
        None => names.into_iter().next(),
    };
    chosen.map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_is_chosen_as_kubectl_does() {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(container_of(&pod, None).as_deref(), Some("a"));
        assert_eq!(container_of(&pod, Some("b")).as_deref(), Some("b"));
        assert_eq!(container_of(&pod, Some("c")), None);
        pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "b"});
        assert_eq!(container_of(&pod, None).as_deref(), Some("b"));
    }

    #[test]
    fn a_pod_that_goes_is_not_ready() {
        let mut pod = json!({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(is_ready(&pod));
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-25T00:00:00Z");
        assert!(!is_ready(&pod));
    }
}
