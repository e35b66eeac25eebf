//! Services: cluster IPs and node ports.

use serde_json::{Value, json};

use super::place::*;

const ADDRESSES: [&str; 2] = [".spec.clusterIP", ".spec.clusterIPs[0]"];

fn service(name: &str, spec: Value) -> Value {
    object("v1", "Service", name, json!({"spec": spec}))
}

pub async fn a_service_gets_a_new_cluster_ip() {
    let place = Place::new().await;
    let spec = json!({
        "selector": {"app": "x"}, "ports": [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "h2c"}],
        "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local", "publishNotReadyAddresses": true,
        "externalIPs": ["192.0.2.7"], "ipFamilyPolicy": "PreferDualStack", "trafficDistribution": "PreferClose",
    });
    let saved = place.save_here("services", service("web", spec)).await;
    let (status, why) = place.post_as_saved("services", &saved).await;
    assert!(status == 422 && why.contains("provided IP is already allocated"), "{status} {why}");
    let restored = comes_back(&place, &Surroundings::default(), "services", &saved, &ADDRESSES).await;
    assert_eq!(restored["spec"]["ipFamilies"], saved["spec"]["ipFamilies"]);
    assert_eq!(restored["spec"]["ipFamilyPolicy"], "PreferDualStack");
}

pub async fn services_without_a_cluster_ip_stay_without() {
    let place = Place::new().await;
    let headless = json!({"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 5432}]});
    let no_ports = json!({"clusterIP": "None"});
    let external = json!({"type": "ExternalName", "externalName": "db.example.com", "ports": [{"port": 5432}]});
    for (name, spec) in [("headless", headless), ("bare", no_ports), ("external", external)] {
        let saved = place.save_here("services", service(name, spec)).await;
        let restored = comes_back(&place, &Surroundings::default(), "services", &saved, &[]).await;
        assert_eq!(restored["spec"].get("clusterIPs"), saved["spec"].get("clusterIPs"));
    }
    // Somebody wrote the endpoints of the one without a selector by hand: they come back with it.
    let subsets = json!([{"addresses": [{"ip": "192.0.2.9"}, {"ip": "192.0.2.10"}], "ports": [{"port": 5432}]}]);
    let saved = place.save_here("endpoints", object("v1", "Endpoints", "bare", json!({"subsets": subsets}))).await;
    comes_back(&place, &Surroundings::default(), "endpoints", &saved, &[]).await;
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "bare", "endpointslice.kubernetes.io/managed-by": "me"}},
        "addressType": "IPv4", "ports": [{"port": 5432}],
        "endpoints": [{"addresses": ["192.0.2.9"], "conditions": {"ready": true}, "zone": "a"}],
    });
    let slice = object("discovery.k8s.io/v1", "EndpointSlice", "bare-by-hand", slice);
    let saved = place.save_here("endpointslices.discovery.k8s.io", slice).await;
    comes_back(&place, &Surroundings::default(), "endpointslices.discovery.k8s.io", &saved, &[]).await;
}

fn node_port_service() -> Value {
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 53, "protocol": "UDP"}]);
    service("edge", json!({"type": "NodePort", "selector": {"app": "x"}, "ports": ports}))
}

pub async fn node_ports_are_given_anew() {
    let place = Place::new().await;
    let saved = place.save_here("services", node_port_service()).await;
    let mut with_ports = without_version(&saved);
    with_ports["spec"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("clusterIP"));
    let (status, why) = place.post("services", &with_ports).await;
    assert!(status == 422 && why.contains("provided port is already allocated"), "{status} {why}");

    let but = [ADDRESSES[0], ADDRESSES[1], ".spec.ports[0].nodePort", ".spec.ports[1].nodePort"];
    let restored = comes_back(&place, &Surroundings::default(), "services", &saved, &but).await;
    assert!(restored["spec"]["ports"][1]["nodePort"].is_number());
}

pub async fn node_ports_are_preserved_where_the_plan_says_so() {
    let place = Place::new().await;
    let preserving = || Surroundings { preserve_node_ports: true, ..Surroundings::default() };
    let saved = place.save_here("services", node_port_service()).await;
    place.delete("services", &saved).await;
    comes_back(&place, &preserving(), "services", &saved, &ADDRESSES).await;

    let saved = place.save_here("services", local_load_balancer()).await;
    assert!(saved["spec"]["healthCheckNodePort"].is_number());
    place.delete("services", &saved).await;
    comes_back(&place, &preserving(), "services", &saved, &ADDRESSES).await;
}

fn local_load_balancer() -> Value {
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/lb",
        "loadBalancerSourceRanges": ["192.0.2.0/24"], "loadBalancerIP": "192.0.2.1",
        "selector": {"app": "x"}, "ports": [{"port": 443}],
    });
    service("balanced", spec)
}

pub async fn a_load_balancer_gets_new_addresses() {
    let place = Place::new().await;
    let saved = place.save_here("services", local_load_balancer()).await;
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let saved = place.change("services", &saved, "/status", ingress).await;
    let but = [
        ADDRESSES[0],
        ADDRESSES[1],
        ".spec.healthCheckNodePort",
        ".spec.ports[0].nodePort",
        ".status.loadBalancer.ingress",
    ];
    let restored = comes_back(&place, &Surroundings::default(), "services", &saved, &but).await;
    assert!(restored["spec"]["healthCheckNodePort"].is_number());

    let spec = json!({
        "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "selector": {"app": "x"},
        "ports": [{"port": 443}],
    });
    let saved = place.save_here("services", service("without-node-ports", spec)).await;
    let restored = comes_back(&place, &Surroundings::default(), "services", &saved, &ADDRESSES).await;
    assert!(restored["spec"]["ports"][0].get("nodePort").is_none());
}
