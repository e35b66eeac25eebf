//! Names chosen by patterns: some included, some excluded.

use std::fmt;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// A set of name patterns in which `*` stands for any characters, also none, `?` for one, `[ab]` for one of several
/// and `{x,y}` for alternatives.
#[derive(Clone, Default)]
pub struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    /// Compiles `texts`; on failure gives the position of each pattern that is wrong, and why.
    pub fn compile(texts: &[String]) -> Result<Self, Vec<(usize, String)>> {
        let mut builder = GlobSetBuilder::new();
        let mut wrong = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match glob(text) {
                Ok(glob) => drop(builder.add(glob)),
                Err(why) => wrong.push((index, why)),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let set = builder.build().map_err(|e| vec![(0, e.to_string())])?;
        Ok(Patterns { texts: texts.to_vec(), set })
    }

    /// Whether any of the patterns matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// Whether there are no patterns at all.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The patterns as they were written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The patterns without wildcards: whole names.
    pub fn exact(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str).filter(|text| !text.contains(['*', '?', '[', '{']))
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(f)
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Patterns {}

/// Names that match an include pattern (any name when there is none) and no exclude pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// What may come in; empty means everything.
    pub include: Patterns,
    /// What stays out, whatever `include` says.
    pub exclude: Patterns,
}

impl Filter {
    /// Whether `name` comes in.
    pub fn allows(&self, name: &str) -> bool {
        (self.include.is_empty() || self.include.matches(name)) && !self.exclude.matches(name)
    }

    /// Whether every name comes in.
    pub fn is_everything(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

/// Compiles one pattern. Names in Kubernetes hold no spaces and no slashes, so a pattern with one never matches.
fn glob(text: &str) -> Result<Glob, String> {
    if text.is_empty() {
        return Err("the pattern is empty".to_string());
    }
    if let Some(c) = text.chars().find(|c| c.is_whitespace() || *c == '/' || *c == '\\') {
        return Err(format!("the pattern `{text}` holds {c:?}, which no name holds"));
    }
    Glob::new(text).map_err(|e| format!("the pattern `{text}` cannot be read: {}", e.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::compile(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn no_include_means_everything_and_exclude_wins() {
        let filter = Filter { include: Patterns::default(), exclude: patterns(&["scratch", "tmp-*"]) };
        assert!(filter.allows("harbor") && !filter.allows("scratch") && !filter.allows("tmp-1"));
        let filter = Filter { include: patterns(&["tmp-*"]), exclude: patterns(&["tmp-1"]) };
        assert!(filter.allows("tmp-2") && !filter.allows("tmp-1") && !filter.allows("harbor"));
    }

    #[test]
    fn a_pattern_matches_whole_names_only() {
        assert!(!patterns(&["harbor"]).matches("harbor-2"));
        assert!(patterns(&["*.cert-manager.io"]).matches("orders.acme.cert-manager.io"));
    }

    #[test]
    fn each_wrong_pattern_is_named() {
        let texts = ["ok", "[a", "a b", ""].map(String::from);
        let wrong = Patterns::compile(&texts).unwrap_err();
        assert_eq!(wrong.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(wrong[1].1, "the pattern `a b` holds ' ', which no name holds");
    }

    #[test]
    fn whole_names_are_told_from_patterns() {
        assert_eq!(patterns(&["a*", "zz", "{b,c}", "d?"]).exact().collect::<Vec<_>>(), ["zz"]);
    }
}
