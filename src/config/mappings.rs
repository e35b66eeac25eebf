//! What is called otherwise in the target: namespaces, storage classes, image registries and domains.

use std::collections::BTreeMap;

use super::problems::{Problems, suggestion};
use super::raw;
use crate::error::{Error, Result};

/// New names by old ones. Each applies once, so that two names may be exchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Namespaces.
    pub namespaces: BTreeMap<String, String>,
    /// Storage classes.
    pub storage_classes: BTreeMap<String, String>,
    /// Registries, with or without the beginning of a path: `docker.io`, `registry.example/team`.
    pub image_registries: BTreeMap<String, String>,
    /// Domains, with everything below them.
    pub domains: BTreeMap<String, String>,
    /// In whose texts domains are replaced, too.
    pub domains_in: Vec<TextKind>,
}

impl Mappings {
    /// Whether nothing is called otherwise.
    pub fn is_empty(&self) -> bool {
        [&self.namespaces, &self.storage_classes, &self.image_registries, &self.domains]
            .iter()
            .all(|map| map.is_empty())
    }

    /// The namespace in the target.
    pub fn namespace<'a>(&'a self, old: &'a str) -> &'a str {
        self.namespaces.get(old).map_or(old, String::as_str)
    }
}

/// A kind whose data is free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// Config maps.
    ConfigMap,
    /// Secrets; only values that are text.
    Secret,
}

impl std::str::FromStr for TextKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ConfigMap" => Ok(TextKind::ConfigMap),
            "Secret" => Ok(TextKind::Secret),
            _ => {
                let near = suggestion(text, &["ConfigMap", "Secret"]);
                Err(Error::usage(format!("`{text}` is no kind whose texts are looked through{near}")))
            }
        }
    }
}

/// Makes mappings of what was typed, or notes what is wrong with them.
pub(super) fn validate(raw: &raw::Mappings, path: &str, problems: &mut Problems<'_>) -> Option<Mappings> {
    let key = |name: &str| format!("{path}.{name}");
    let namespaces = checked(&raw.namespaces, &key("namespaces"), problems, namespace);
    let storage_classes = checked(&raw.storage_classes, &key("storageClasses"), problems, dns_name);
    let image_registries = checked(&raw.image_registries, &key("imageRegistries"), problems, registry);
    let domains = checked(&raw.domains, &key("domains"), problems, domain);
    let texts = raw.domains_in.iter().enumerate();
    let domains_in: Vec<_> =
        texts.map(|(index, text)| problems.parse(&format!("{path}.domainsIn[{index}]"), text)).collect();
    if !raw.domains_in.is_empty() && raw.domains.is_empty() {
        problems.add(&key("domainsIn"), "there are no `domains` that could be replaced there");
    }
    Some(Mappings {
        namespaces: namespaces?,
        storage_classes: storage_classes?,
        image_registries: image_registries?,
        domains: domains?,
        domains_in: domains_in.into_iter().collect::<Option<_>>()?,
    })
}

/// Both names of each must be what the check takes.
fn checked(
    raw: &BTreeMap<String, String>,
    path: &str,
    problems: &mut Problems<'_>,
    check: fn(&str) -> Result<()>,
) -> Option<BTreeMap<String, String>> {
    let mut sound = true;
    for (old, new) in raw {
        for name in [old, new] {
            sound &= problems.check(path, check(name)).is_some();
        }
    }
    sound.then(|| raw.clone())
}

fn namespace(text: &str) -> Result<()> {
    text.parse::<super::Name>().map(drop)
}

/// RFC 1123, as Kubernetes reads it.
fn dns_name(text: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits =
        |part: &str| part.starts_with(plain) && part.ends_with(plain) && part.chars().all(|c| plain(c) || c == '-');
    match text.len() <= 253 && text.split('.').all(fits) {
        true => Ok(()),
        false => Err(Error::usage(format!("`{text}` is no valid name: use lowercase letters, digits, `-` and `.`"))),
    }
}

fn domain(text: &str) -> Result<()> {
    match dns_name(text) {
        Ok(()) if text.contains('.') => Ok(()),
        _ => Err(Error::usage(format!("`{text}` is no domain; write it like `apps.example.com`, without `*.`"))),
    }
}

/// A host that cannot be mistaken for a part of a path, and what may follow it.
fn registry(text: &str) -> Result<()> {
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let is_host = host.contains(['.', ':']) || host == "localhost";
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    match is_host && !text.ends_with('/') && path.chars().all(fits) {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "`{text}` is no registry; write it like `docker.io`, `registry.example:5000` or `registry.example/team`"
        ))),
    }
}
