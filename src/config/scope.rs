//! Which objects of a cluster belong to a `kubernetes` source.

use std::time::Duration;

use super::duration::{format_duration, parse_duration};
use super::exclusions::{Exclusion, Reach, find_exclusion, resource_name};
use super::filter::{Filter, Patterns};
use super::problems::Problems;
use super::raw;
use super::selector::LabelSelector;

/// How many objects one page of a list asks for, unless the schedule says.
pub const DEFAULT_PAGE_SIZE: u32 = 2000;
/// How many types are listed at a time, unless the schedule says.
pub const DEFAULT_PARALLELISM: u32 = 8;
/// How long one request may take, unless the schedule says: an aggregated API that hangs is given up after this.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What of a cluster is saved, and how it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesScope {
    /// The namespaces whose objects are saved; [`KubernetesScope::namespace`] asks it.
    pub namespaces: Filter,
    /// The types that are saved, as `plural.group`; [`KubernetesScope::resource`] asks it.
    pub resources: Filter,
    /// The labels that an object of any type must carry.
    pub label_selector: Option<LabelSelector>,
    /// Whether types outside namespaces are saved.
    pub cluster_scoped: bool,
    /// Whether the table of [`super::EXCLUSIONS`] applies.
    pub defaults: bool,
    /// Objects per page of a list.
    pub page_size: u32,
    /// Types that are listed at a time.
    pub parallelism: u32,
    /// The longest that one request may take.
    pub request_timeout: Duration,
}

impl Default for KubernetesScope {
    fn default() -> Self {
        KubernetesScope {
            namespaces: Filter::default(),
            resources: Filter::default(),
            label_selector: None,
            cluster_scoped: true,
            defaults: true,
            page_size: DEFAULT_PAGE_SIZE,
            parallelism: DEFAULT_PARALLELISM,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
        }
    }
}

impl KubernetesScope {
    /// Whether objects in the namespace are saved, and with them the Namespace object of that name.
    pub fn namespace(&self, name: &str) -> bool {
        self.namespaces.allows(name)
    }

    /// Whether objects of the type are saved; `group` is empty for the core group.
    pub fn resource(&self, plural: &str, group: &str) -> bool {
        self.left_out_because(plural, group).is_none()
    }

    /// Why the type is not saved, for the manifest; nothing when it is.
    pub fn left_out_because(&self, plural: &str, group: &str) -> Option<&'static str> {
        let name = resource_name(plural, group);
        if !self.resources.include.is_empty() && !self.resources.include.matches(&name) {
            return Some("not in resources.include of the schedule");
        }
        if self.resources.exclude.matches(&name) {
            return Some("in resources.exclude of the schedule");
        }
        self.exclusion(plural, group, Reach::WholeType).map(|exclusion| exclusion.reason)
    }

    /// Why objects of the type that a controller made are not saved, though a person's own are; nothing when all are.
    pub fn controller_made_left_out_because(&self, plural: &str, group: &str) -> Option<&'static str> {
        self.exclusion(plural, group, Reach::ControllerMade).map(|exclusion| exclusion.reason)
    }

    fn exclusion(&self, plural: &str, group: &str, reach: Reach) -> Option<&'static Exclusion> {
        let found = if self.defaults { find_exclusion(plural, group) } else { None };
        found.filter(|exclusion| exclusion.reach == reach)
    }
}

pub(super) fn validate(raw: &raw::Kubernetes, path: &str, problems: &mut Problems<'_>) -> Option<KubernetesScope> {
    let key = |name: &str| format!("{path}.{name}");
    let namespaces = filter(&raw.namespaces, &key("namespaces"), problems);
    let resources = filter(&raw.resources, &key("resources"), problems);
    let label_selector = optional_selector(raw.label_selector.as_deref(), &key("labelSelector"), problems);
    let page_size = number(raw.page_size, DEFAULT_PAGE_SIZE, (1, 10_000), &key("pageSize"), problems);
    let parallelism = number(raw.parallelism, DEFAULT_PARALLELISM, (1, 256), &key("parallelism"), problems);
    let request_timeout = timeout(raw.request_timeout.as_deref(), &key("requestTimeout"), problems);
    let defaults = raw.defaults.unwrap_or(true);
    if defaults {
        refuse_contradictions(&raw.resources.include, &key("resources.include"), problems);
    }
    Some(KubernetesScope {
        namespaces: namespaces?,
        resources: resources?,
        label_selector: label_selector?,
        cluster_scoped: raw.cluster_scoped.unwrap_or(true),
        defaults,
        page_size: page_size?,
        parallelism: parallelism?,
        request_timeout: request_timeout?,
    })
}

/// A type that is asked for by its whole name, and left out by default all the same, would be missed in silence.
fn refuse_contradictions(include: &[String], path: &str, problems: &mut Problems<'_>) {
    for (index, name) in include.iter().enumerate() {
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        if let Some(exclusion) = find_exclusion(plural, group).filter(|found| found.reach == Reach::WholeType) {
            let reason = exclusion.reason;
            let what = format!("`{name}` is always left out ({reason}); remove it, or set `defaults: false`");
            problems.add(&format!("{path}[{index}]"), what);
        }
    }
}

/// Compiles a filter, and notes each pattern that is wrong.
pub(super) fn filter(raw: &raw::Filter, path: &str, problems: &mut Problems<'_>) -> Option<Filter> {
    let include = patterns(&raw.include, &format!("{path}.include"), problems);
    let exclude = patterns(&raw.exclude, &format!("{path}.exclude"), problems);
    Some(Filter { include: include?, exclude: exclude? })
}

fn patterns(texts: &[String], path: &str, problems: &mut Problems<'_>) -> Option<Patterns> {
    let wrong = match Patterns::compile(texts) {
        Ok(patterns) => return Some(patterns),
        Err(wrong) => wrong,
    };
    for (index, why) in wrong {
        problems.add(&format!("{path}[{index}]"), why);
    }
    None
}

/// The outer option is empty when the selector is wrong, the inner one when there is none.
pub(super) fn optional_selector(
    text: Option<&str>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Option<LabelSelector>> {
    match text {
        None => Some(None),
        Some(text) => problems.parse(path, text).map(Some),
    }
}

fn number(
    given: Option<u32>,
    default: u32,
    (least, most): (u32, u32),
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<u32> {
    let value = given.unwrap_or(default);
    if (least..=most).contains(&value) {
        return Some(value);
    }
    problems.add(path, format!("must be between {least} and {most}, but is {value}"));
    None
}

fn timeout(text: Option<&str>, path: &str, problems: &mut Problems<'_>) -> Option<Duration> {
    let Some(text) = text else { return Some(DEFAULT_REQUEST_TIMEOUT) };
    let span = problems.check(path, parse_duration(text))?;
    if span < Duration::from_secs(1) {
        problems.add(path, format!("must be at least 1s, but is {}", format_duration(span)));
        return None;
    }
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_everything_is_saved_but_what_must_never_come_back() {
        let scope = KubernetesScope::default();
        assert!(scope.namespace("harbor") && scope.resource("deployments", "apps") && scope.resource("pods", ""));
        assert!(!scope.resource("events", "") && !scope.resource("leases", "coordination.k8s.io"));
        assert!(scope.resource("endpoints", ""));
        assert!(scope.controller_made_left_out_because("endpoints", "").is_some());
    }

    #[test]
    fn without_defaults_everything_is_saved() {
        let scope = KubernetesScope { defaults: false, ..KubernetesScope::default() };
        assert!(scope.resource("events", ""));
        assert_eq!(scope.controller_made_left_out_because("endpoints", ""), None);
    }

    #[test]
    fn types_are_chosen_by_plural_and_group() {
        let compile = |text: &str| Patterns::compile(&[text.to_string()]).unwrap();
        let resources = Filter { include: compile("*.cert-manager.io"), exclude: compile("issuers.cert-manager.io") };
        let scope = KubernetesScope { resources, ..KubernetesScope::default() };
        assert!(scope.resource("certificates", "cert-manager.io"));
        assert!(!scope.resource("deployments", "apps"));
        let why = scope.left_out_because("issuers", "cert-manager.io");
        assert_eq!(why, Some("in resources.exclude of the schedule"));
    }
}
