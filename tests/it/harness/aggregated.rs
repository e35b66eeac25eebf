//! An aggregated API server for tests: registered at a real API server, and as well or badly behaved as a test needs.

use serde_json::json;

use super::{Action, Api, FaultProxy, Seen, eventually};

/// The resource it serves, in version `v1` of its group: `widgets`, which can be listed and are namespaced.
pub const AGGREGATED_RESOURCE: &str = "widgets";

/// Registers an API group that a server of the test answers, and waits until the real API server passes requests on to
/// it. The closure decides about requests for widgets; discovery works.
///
/// The group lives as long as the returned proxy; afterwards its requests fail with 503. It needs an API server of the test's
/// own.
pub async fn serve_aggregated(
    api: &Api,
    group: &'static str,
    widgets: impl Fn(&Seen) -> Action + Send + Sync + 'static,
) -> FaultProxy {
    let proxy = FaultProxy::alone(move |seen| {
        if seen.path.contains(AGGREGATED_RESOURCE) { widgets(seen) } else { discovery(group, &seen.path) }
    });
    register_group(api, group, &proxy).await;
    eventually("the aggregated API is discovered", async || is_discovered(api, group).await).await;
    proxy
}

/// Tells the API server that the proxy answers for version `v1` of a group, and does not wait until it has noticed.
pub async fn register_group(api: &Api, group: &str, proxy: &FaultProxy) {
    let port: u16 = proxy.url().rsplit_once(':').unwrap().1.parse().unwrap();
    // An external name may be any address of this machine; endpoints may not be on loopback.
    let name = group.replace('.', "-");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    });
    api.create("/api/v1/namespaces/default/services", &service).await;
    let registration = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("v1.{group}")},
        "spec": {
            "group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"name": name, "namespace": "default", "port": port},
        },
    });
    api.create("/apis/apiregistration.k8s.io/v1/apiservices", &registration).await;
}

/// Whether the API server lists the group's resources as current: it asks the group's server in the background.
async fn is_discovered(api: &Api, group: &str) -> bool {
    let all = api.get_as("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").await;
    let groups = all["items"].as_array().unwrap();
    groups.iter().find(|known| known["metadata"]["name"] == group).is_some_and(|known| {
        let version = &known["versions"][0];
        version["freshness"] == "Current" && version["resources"][0]["resource"] == AGGREGATED_RESOURCE
    })
}

/// The unaggregated form, which the API server turns into the aggregated one.
fn discovery(group: &str, path: &str) -> Action {
    let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    let document = match path {
        path if path.starts_with(&format!("/apis/{group}/v1")) => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/v1"),
            "resources": [{
                "name": AGGREGATED_RESOURCE, "singularName": "widget", "kind": "Widget", "namespaced": true,
                "verbs": ["list", "get", "create"],
            }],
        }),
        "/apis" => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": [{"name": group, "versions": [version], "preferredVersion": version}],
        }),
        _ => return Action::status(404),
    };
    Action::Respond(200, vec![("content-type", "application/json".into())], document.to_string())
}
