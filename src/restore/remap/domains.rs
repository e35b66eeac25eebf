//! Domains: hosts where they are fields, and texts where the plan says so.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::walk::{annotation, each_at};
use super::{Use, Uses};
use crate::config::{Mappings, TextKind};

/// Fields that hold a host.
const HOSTS: &[(&str, &str)] = &[
    ("ingresses.networking.k8s.io", "spec/rules/[]/host"),
    ("ingresses.networking.k8s.io", "spec/tls/[]/hosts/[]"),
    ("services", "spec/externalName"),
    ("httproutes.gateway.networking.k8s.io", "spec/hostnames/[]"),
    ("grpcroutes.gateway.networking.k8s.io", "spec/hostnames/[]"),
    ("tlsroutes.gateway.networking.k8s.io", "spec/hostnames/[]"),
    ("gateways.gateway.networking.k8s.io", "spec/listeners/[]/hostname"),
    ("certificates.cert-manager.io", "spec/commonName"),
    ("certificates.cert-manager.io", "spec/dnsNames/[]"),
];

/// Annotations of any object that hold hosts or URLs.
const ANNOTATIONS: &[&str] = &[
    "external-dns.alpha.kubernetes.io/hostname",
    "external-dns.alpha.kubernetes.io/internal-hostname",
    "external-dns.alpha.kubernetes.io/target",
    "cert-manager.io/common-name",
    "cert-manager.io/alt-names",
    "nginx.ingress.kubernetes.io/server-alias",
    "nginx.ingress.kubernetes.io/auth-url",
    "nginx.ingress.kubernetes.io/auth-signin",
    "nginx.ingress.kubernetes.io/cors-allow-origin",
];

/// Puts new domains in the place of old ones.
pub fn map(object: &mut Value, resource: &str, mappings: &Mappings, uses: &mut Uses) {
    let domains = &mappings.domains;
    if domains.is_empty() {
        return;
    }
    for (_, path) in HOSTS.iter().filter(|(of, _)| *of == resource) {
        each_at(object, path, &mut |value| replace(value, domains, uses));
    }
    for key in ANNOTATIONS {
        if let Some(value) = annotation(object, key) {
            replace(value, domains, uses);
        }
    }
    let wanted = |kind| mappings.domains_in.contains(&kind);
    match resource {
        "configmaps" if wanted(TextKind::ConfigMap) => {
            each_value(object, "data", &mut |value| replace(value, domains, uses));
        }
        "secrets" if wanted(TextKind::Secret) => {
            each_value(object, "data", &mut |value| replace_encoded(value, domains, uses));
        }
        _ => {}
    }
}

fn each_value(object: &mut Value, key: &str, call: &mut dyn FnMut(&mut Value)) {
    if let Some(map) = object.get_mut(key).and_then(Value::as_object_mut) {
        map.iter_mut().for_each(|(_, value)| call(value));
    }
}

fn replace(value: &mut Value, domains: &BTreeMap<String, String>, uses: &mut Uses) {
    if let Some(new) = value.as_str().and_then(|text| replaced(text, domains, uses)) {
        *value = Value::String(new);
    }
}

/// What is no text, such as a key store, stays as it is.
fn replace_encoded(value: &mut Value, domains: &BTreeMap<String, String>, uses: &mut Uses) {
    let text = value.as_str().and_then(|encoded| String::from_utf8(STANDARD.decode(encoded).ok()?).ok());
    if let Some(new) = text.and_then(|text| replaced(&text, domains, uses)) {
        *value = Value::String(STANDARD.encode(new));
    }
}

/// The text with every old domain replaced, also where it ends a longer one: `a.old.example`. None when it has none.
fn replaced(text: &str, domains: &BTreeMap<String, String>, uses: &mut Uses) -> Option<String> {
    let mut longest_first: Vec<_> = domains.iter().collect();
    longest_first.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
    let (mut new, mut copied) = (String::new(), 0);
    let mut at = 0;
    while at < text.len() {
        match longest_first.iter().find(|(old, _)| stands_at(text, at, old)) {
            Some((old, to)) => {
                new.push_str(&text[copied..at]);
                new.push_str(to);
                uses.insert(Use { what: "domain", from: (*old).clone(), to: (*to).clone() });
                at += old.len();
                copied = at;
            }
            None => at += 1,
        }
    }
    new.push_str(&text[copied..]);
    (copied > 0).then_some(new)
}

/// Neither `notold.example` nor `old.example.com` is the domain `old.example`, nor below it.
fn stands_at(text: &str, at: usize, domain: &str) -> bool {
    let bytes = text.as_bytes();
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !bytes[at..].starts_with(domain.as_bytes()) || at.checked_sub(1).is_some_and(|before| part(&bytes[before])) {
        return false;
    }
    match &bytes[at + domain.len()..] {
        [b'.', next, ..] => !part(next),
        [next, ..] => !part(next),
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_replaced_with_all_below_it_and_nothing_beside_it() {
        let domains = [("old.example", "new.example"), ("eu.old.example", "eu.other")];
        let domains = domains.map(|(a, b)| (a.to_string(), b.to_string())).into();
        let of = |text: &str| replaced(text, &domains, &mut Uses::new()).unwrap_or_else(|| "as it was".into());
        assert_eq!(of("a.old.example"), "a.new.example");
        assert_eq!(of("*.old.example"), "*.new.example");
        assert_eq!(of("https://x.eu.old.example:8443/y, old.example."), "https://x.eu.other:8443/y, new.example.");
        for other in ["notold.example", "old.example.com", "old.examples", "an-old.example", "", "ö"] {
            assert_eq!(of(other), "as it was", "{other}");
        }
        let swap = [("a.test", "b.test"), ("b.test", "a.test")].map(|(a, b)| (a.to_string(), b.to_string())).into();
        assert_eq!(replaced("ä a.test b.test", &swap, &mut Uses::new()).unwrap(), "ä b.test a.test");
    }
}
