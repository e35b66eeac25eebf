//! Where a Kubernetes object stands in an archive: `resources/<resource>.<group>/<version>/<namespace or _cluster>/<name>.json`.

use sha2::{Digest, Sha256};

/// Stands in the place of the namespace for objects that have none. No namespace can be called so.
pub const CLUSTER: &str = "_cluster";

/// File systems take names of 255 bytes, Kubernetes names have up to 253, and `.json` has five.
const LONGEST_NAME: usize = 250;

/// An object's place, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectPath<'a> {
    /// `deployments.apps`, `secrets`.
    pub resource: &'a str,
    /// `v1`.
    pub version: &'a str,
    /// None for an object outside namespaces.
    pub namespace: Option<&'a str>,
    /// The file's name without `.json`: the object's name, shortened where it is very long.
    pub stem: &'a str,
}

/// The folder of a type.
pub fn type_folder(resource: &str, version: &str) -> String {
    format!("resources/{resource}/{version}/")
}

/// The path of an object; `namespace` is empty for an object outside namespaces.
pub fn object_path(resource: &str, version: &str, namespace: &str, name: &str) -> String {
    let namespace = if namespace.is_empty() { CLUSTER } else { namespace };
    format!("resources/{resource}/{version}/{namespace}/{}.json", stem(name))
}

/// A name that is too long for a file is cut, and told apart by its digest; the object itself holds the whole name.
fn stem(name: &str) -> String {
    let encoded = encode(name);
    if encoded.len() <= LONGEST_NAME {
        return encoded;
    }
    let digest = hex::encode(&Sha256::digest(name)[..8]);
    let cut = (0..=200).rev().find(|i| encoded.is_char_boundary(*i)).unwrap_or(0);
    format!("{}~{digest}", &encoded[..cut])
}

/// Some types allow nearly any name (a Role may be called `a\\b`, or have a line break in it): what no file name should
/// have stands as `%` and two hex digits, like in a URL. Kubernetes itself allows no `%` and no `/`.
fn encode(name: &str) -> String {
    let plain = |c: char| !c.is_control() && !matches!(c, '%' | '/' | '\\');
    if name.chars().all(plain) && name != "." && name != ".." {
        return name.to_string();
    }
    let mut encoded = String::new();
    for c in name.chars() {
        if plain(c) && c != '.' {
            encoded.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    encoded
}

impl<'a> ObjectPath<'a> {
    /// Takes a path apart; none where it is not an object's.
    pub fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix("resources/")?.strip_suffix(".json")?.splitn(4, '/');
        let (resource, version, namespace, stem) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let namespace = (namespace != CLUSTER).then_some(namespace);
        Some(ObjectPath { resource, version, namespace, stem })
    }

    /// `deployments.apps/shop/web`, `namespaces/shop`: as people name it.
    pub fn shown(&self) -> String {
        match self.namespace {
            Some(ns) => format!("{}/{ns}/{}", self.resource, self.stem),
            None => format!("{}/{}", self.resource, self.stem),
        }
    }

    /// The group in `resource`; empty for the core group.
    pub fn group(&self) -> &'a str {
        self.resource.split_once('.').map_or("", |(_, group)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart_again() {
        let path = object_path("clusterroles.rbac.authorization.k8s.io", "v1", "", "system:node");
        let parsed = ObjectPath::parse(&path).unwrap();
        assert_eq!(parsed.shown(), "clusterroles.rbac.authorization.k8s.io/system:node");
        assert_eq!((parsed.group(), parsed.namespace), ("rbac.authorization.k8s.io", None));
        let path = object_path("secrets", "v1", "shop", "a");
        assert_eq!(ObjectPath::parse(&path).unwrap().namespace, Some("shop"));
    }

    #[test]
    fn names_that_no_file_can_have_are_encoded() {
        let path = |name: &str| object_path("roles.rbac.authorization.k8s.io", "v1", "n", name);
        assert!(path("a\\b").ends_with("/a%5Cb.json"));
        assert!(path("nul\0x").ends_with("/nul%00x.json"));
        assert!(path("two\nlines").ends_with("/two%0Alines.json"));
        assert!(path("..").ends_with("/%2E%2E.json"));
        assert!(path(&"y".repeat(20_000)).len() < 400);
        assert_ne!(path("a\\b"), path("a/b"));
    }

    #[test]
    fn the_longest_name_fits_into_a_file_name() {
        let (a, b) = (format!("{}a", "x".repeat(252)), format!("{}b", "x".repeat(252)));
        let (a, b) = (object_path("secrets", "v1", "n", &a), object_path("secrets", "v1", "n", &b));
        assert_ne!(a, b);
        assert!(a.rsplit('/').next().unwrap().len() <= 255);
    }
}
