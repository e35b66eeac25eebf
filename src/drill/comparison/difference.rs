//! What a comparison found.

use std::collections::BTreeMap;

use serde::Serialize;

/// An object that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// `deployments.apps/shop/web`.
    pub object: String,
    /// Where: `.spec.replicas`.
    pub paths: Vec<String>,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// In the backup, not on the other side.
    pub missing: Vec<String>,
    /// On the other side, not in the backup.
    pub extra: Vec<String>,
    /// On both, and different.
    pub changed: Vec<Changed>,
    /// On both, and equal.
    pub equal: u64,
    /// Objects that are not compared, by the rule that says why.
    pub ignored: BTreeMap<String, u64>,
    /// Fields of the backup's objects that are not compared, by the rule that takes them away.
    pub ignored_fields: BTreeMap<String, u64>,
    /// Types that could not be read on the other side, and why.
    pub problems: Vec<String>,
    /// What was compared, by type and namespace; the namespace is empty for objects outside of one.
    #[serde(skip)]
    pub compared: BTreeMap<(String, String), Compared>,
}

/// How many objects were compared, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// On both sides, and equal.
    pub equal: u64,
    /// In the backup, not on the other side.
    pub missing: u64,
    /// On both, and different.
    pub changed: u64,
    /// In the backup, and not compared: no step of the plan takes them.
    pub left: u64,
}

impl Compared {
    /// Adds another count.
    pub fn add(&mut self, other: &Compared) {
        self.equal += other.equal;
        self.missing += other.missing;
        self.changed += other.changed;
        self.left += other.left;
    }
}

impl Difference {
    /// Whether both sides say the same.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.changed.is_empty() && self.problems.is_empty()
    }

    /// What came of the objects whose type and namespace are wanted.
    pub fn of(&self, is_wanted: impl Fn(&str, &str) -> bool) -> Compared {
        let mut all = Compared::default();
        let wanted = self.compared.iter().filter(|((resource, namespace), _)| is_wanted(resource, namespace));
        wanted.for_each(|(_, compared)| all.add(compared));
        all
    }
}

impl Difference {
    /// Adds what was found of other objects.
    pub(super) fn add(&mut self, other: Difference) {
        self.missing.extend(other.missing);
        self.extra.extend(other.extra);
        self.changed.extend(other.changed);
        self.equal += other.equal;
        other.ignored.into_iter().for_each(|(rule, count)| *self.ignored.entry(rule).or_default() += count);
        let fields = other.ignored_fields.into_iter();
        fields.for_each(|(rule, count)| *self.ignored_fields.entry(rule).or_default() += count);
        self.problems.extend(other.problems);
        for (place, compared) in other.compared {
            self.compared.entry(place).or_default().add(&compared);
        }
    }

    /// Puts it into an order that does not depend on what was compared first.
    pub(super) fn sort(&mut self) {
        self.missing.sort();
        self.extra.sort();
        self.changed.sort();
        self.problems.sort();
    }
}
