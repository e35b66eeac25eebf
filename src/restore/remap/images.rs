//! Images of containers, wherever a pod is described.

use std::collections::BTreeMap;

use serde_json::Value;

use super::walk::{each_at, each_key, is_free};
use super::{Use, Uses};

/// The registry of images that name none, and where the official ones stand in it.
const DOCKER: &str = "docker.io";
const OFFICIAL: &str = "library";

/// The lists of a pod whose items have an image.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Puts new registries in the place of old ones. A field `image` that is of no container is left alone.
pub fn map(object: &mut Value, resource: &str, registries: &BTreeMap<String, String>, uses: &mut Uses) {
    if registries.is_empty() || is_free(resource) {
        return;
    }
    each_key(object, &mut |key, value| match key {
        key if CONTAINERS.contains(&key) => each_at(value, "[]/image", &mut |image| replace(image, registries, uses)),
        // A volume may be made of an image.
        "volumes" => each_at(value, "[]/image/reference", &mut |image| replace(image, registries, uses)),
        _ => {}
    });
}

fn replace(image: &mut Value, registries: &BTreeMap<String, String>, uses: &mut Uses) {
    let Some((from, to, new)) = image.as_str().and_then(|image| mapped(image, registries)) else { return };
    uses.insert(Use { what: "imageRegistry", from: from.into(), to: to.into() });
    *image = Value::String(new);
}

/// The image in its new place. Of several that fit, the longest beginning counts.
fn mapped<'a>(image: &str, registries: &'a BTreeMap<String, String>) -> Option<(&'a str, &'a str, String)> {
    let whole = whole_name(image);
    let fits = |old: &str| {
        let rest = whole.strip_prefix(&whole_registry(old))?;
        (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then(|| rest.to_string())
    };
    let found = registries.iter().filter_map(|(old, new)| Some((old, new, fits(old)?)));
    let (old, new, rest) = found.max_by_key(|(old, ..)| old.len())?;
    Some((old, new, format!("{new}{rest}")))
}

/// An image with its registry, as container runtimes read it: `nginx` is `docker.io/library/nginx`.
fn whole_name(image: &str) -> String {
    let (registry, path) = match image.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DOCKER, image),
    };
    let registry = whole_registry(registry);
    match registry == DOCKER && !path.contains('/') {
        true => format!("{registry}/{OFFICIAL}/{path}"),
        false => format!("{registry}/{path}"),
    }
}

/// What stands before the first `/` is a host only if it cannot be a part of a path.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.contains(|c: char| c.is_ascii_uppercase())
}

/// Docker's registry has had several names.
pub fn whole_registry(registry: &str) -> String {
    let (host, rest) = registry.split_at(registry.find('/').unwrap_or(registry.len()));
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { DOCKER } else { host };
    format!("{host}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_as_container_runtimes_read_them() {
        let all = [
            ("docker.io", "mirror.example/hub"),
            ("docker.io/bitnami", "mirror.example/bitnami"),
            ("quay.io", "q.example"),
            ("localhost:5000/team", "r.example/team"),
        ];
        let registries = all.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        let of = |image: &str| mapped(image, &registries).map(|(.., new)| new);
        assert_eq!(of("nginx").as_deref(), Some("mirror.example/hub/library/nginx"));
        assert_eq!(of("nginx:1.27@sha256:00").as_deref(), Some("mirror.example/hub/library/nginx:1.27@sha256:00"));
        assert_eq!(of("library/nginx").as_deref(), Some("mirror.example/hub/library/nginx"));
        assert_eq!(of("grafana/grafana:11").as_deref(), Some("mirror.example/hub/grafana/grafana:11"));
        assert_eq!(of("index.docker.io/bitnami/redis").as_deref(), Some("mirror.example/bitnami/redis"));
        assert_eq!(of("docker.io/bitnamilegacy/redis").as_deref(), Some("mirror.example/hub/bitnamilegacy/redis"));
        assert_eq!(of("quay.io/jetstack/x").as_deref(), Some("q.example/jetstack/x"));
        assert_eq!(of("localhost:5000/team/app:1").as_deref(), Some("r.example/team/app:1"));
        assert_eq!(of("localhost:5000/teams/app:1"), None);
        assert_eq!(of("quay.io.evil.example/jetstack/x"), None);
    }
}
