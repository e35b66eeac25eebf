//! Files chosen by patterns over their paths.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::problems::Problems;
use super::raw;

/// Paths that match an include pattern (any path when there is none) and no exclude pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathFilter {
    include: PathPatterns,
    exclude: PathPatterns,
}

/// A pattern without `/` is for the file's name, wherever it lies; one with `/` for its whole path below the folder, where
/// `*` stops at a `/` and `**` does not.
#[derive(Clone, Default)]
struct PathPatterns {
    texts: Vec<String>,
    names: GlobSet,
    paths: GlobSet,
}

impl PathFilter {
    /// Whether the file at this path, below the folder, comes in.
    pub fn allows(&self, path: &str) -> bool {
        (self.include.texts.is_empty() || self.include.matches(path)) && !self.exclude.matches(path)
    }
}

impl PathFilter {
    /// Whether a folder at this path is left out with all that is in it.
    pub fn leaves_out(&self, folder: &str) -> bool {
        self.exclude.matches(folder)
    }
}

impl PathPatterns {
    /// Compiles `texts`; on failure gives the position of each pattern that is wrong, and why.
    fn compile(texts: &[String]) -> Result<Self, Vec<(usize, String)>> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut wrong = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let builder = if text.contains('/') { &mut paths } else { &mut names };
            match GlobBuilder::new(text.trim_start_matches('/')).literal_separator(true).build() {
                Ok(_) if text.is_empty() => wrong.push((index, "the pattern is empty".to_string())),
                Ok(glob) => drop(builder.add(glob)),
                Err(e) => wrong.push((index, format!("the pattern `{text}` cannot be read: {}", e.kind()))),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let built = |e: globset::Error| vec![(0, e.to_string())];
        let (names, paths) = (names.build().map_err(built)?, paths.build().map_err(built)?);
        Ok(PathPatterns { texts: texts.to_vec(), names, paths })
    }

    fn matches(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.names.is_match(name) || self.paths.is_match(path)
    }
}

impl fmt::Debug for PathPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(f)
    }
}

impl PartialEq for PathPatterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for PathPatterns {}

/// Compiles both lists; `path` is where they stand in the file.
pub(super) fn validate(raw: &raw::PathFilter, path: &str, problems: &mut Problems<'_>) -> Option<PathFilter> {
    let include = patterns(&raw.include, &format!("{path}.include"), problems);
    let exclude = patterns(&raw.exclude, &format!("{path}.exclude"), problems);
    Some(PathFilter { include: include?, exclude: exclude? })
}

fn patterns(texts: &[String], path: &str, problems: &mut Problems<'_>) -> Option<PathPatterns> {
    match PathPatterns::compile(texts) {
        Ok(patterns) => Some(patterns),
        Err(wrong) => {
            wrong.into_iter().for_each(|(index, why)| problems.add(&format!("{path}[{index}]"), why));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> PathFilter {
        let list =
            |texts: &[&str]| PathPatterns::compile(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        PathFilter { include: list(include), exclude: list(exclude) }
    }

    #[test]
    fn names_match_anywhere_and_paths_from_the_folder() {
        let logs = filter(&["*.log", "audit/**/*.gz"], &["debug.log", "old/*"]);
        for path in ["a.log", "x/y/a.log", "audit/2026/11/a.gz", "audit/a.gz"] {
            assert!(logs.allows(path), "{path}");
        }
        for path in ["a.gz", "x/audit/a.gz", "debug.log", "x/debug.log", "old/a.log", "a.log.1"] {
            assert!(!logs.allows(path), "{path}");
        }
        assert!(filter(&[], &["*.tmp"]).allows("anything") && !filter(&[], &["*.tmp"]).allows("a/b.tmp"));
    }

    #[test]
    fn each_wrong_pattern_is_named() {
        let wrong = PathPatterns::compile(&["ok", "[a", ""].map(String::from)).unwrap_err();
        assert_eq!(wrong.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    }
}
