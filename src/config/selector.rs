//! Label selectors in the syntax of `kubectl -l`.
//!
//! The grammar is that of Kubernetes (`k8s.io/apimachinery/pkg/labels`), without `<` and `>`, which the API server
//! takes for nodes' affinities only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What labels an object must carry; all requirements hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(BTreeSet<String>),
    /// Also true of objects that do not carry the label, as in Kubernetes.
    NotIn(BTreeSet<String>),
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// The same for labels that are kept some other way: `value` gives the value of a label, if the object has it.
    pub fn matches_by<'l>(&self, value: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.test.holds(value(&requirement.key)))
    }

    /// The selector as the API server's `labelSelector` parameter takes it (before percent-encoding).
    pub fn to_query(&self) -> String {
        self.requirements.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_query())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match &self.test {
            Test::Exists => write!(f, "{}", self.key),
            Test::Missing => write!(f, "!{}", self.key),
            Test::In(values) if values.len() == 1 => write!(f, "{}={}", self.key, list(values)),
            Test::NotIn(values) if values.len() == 1 => write!(f, "{}!={}", self.key, list(values)),
            Test::In(values) => write!(f, "{} in ({})", self.key, list(values)),
            Test::NotIn(values) => write!(f, "{} notin ({})", self.key, list(values)),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let requirements = parse(text).map_err(|why| {
            Error::usage(format!("`{text}` is no label selector: {why}"))
                .hint("write it as for `kubectl -l`, for example `app=web,tier in (front,back),!temporary`")
        })?;
        Ok(LabelSelector { requirements })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Symbol(&'static str),
}

/// Longest first, so that `==` is not read as two `=`.
const SYMBOLS: [&str; 7] = ["==", "!=", "=", "!", "(", ")", ","];

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = rest[symbol.len()..].trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "=!(),".contains(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..end]));
            rest = rest[end..].trim_start();
        }
    }
    tokens
}

fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut reader = Reader { tokens: tokens(text), next: 0 };
    if reader.tokens.is_empty() {
        return Err("it is empty; leave the key out to select everything".to_string());
    }
    let mut requirements = Vec::new();
    loop {
        requirements.push(reader.requirement()?);
        match reader.take() {
            None => return Ok(requirements),
            Some(Token::Symbol(",")) => {}
            Some(other) => return Err(format!("{} stands where a comma should", shown(Some(other)))),
        }
    }
}

struct Reader<'t> {
    tokens: Vec<Token<'t>>,
    next: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).cloned()
    }

    fn take(&mut self) -> Option<Token<'t>> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == Some(Token::Symbol("!")) {
            self.next += 1;
            return Ok(Requirement { key: self.key()?, test: Test::Missing });
        }
        let key = self.key()?;
        let test = match self.peek() {
            None | Some(Token::Symbol(",")) => Test::Exists,
            Some(Token::Symbol("=" | "==")) => Test::In(self.single()?),
            Some(Token::Symbol("!=")) => Test::NotIn(self.single()?),
            Some(Token::Word("in")) => Test::In(self.list()?),
            Some(Token::Word("notin")) => Test::NotIn(self.list()?),
            other => {
                return Err(format!("{} stands after `{key}`, where `=`, `!=`, `in` or `notin` should", shown(other)));
            }
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, String> {
        match self.take() {
            Some(Token::Word(word)) => check_key(word).map(|()| word.to_string()),
            other => Err(format!("{} stands where a label's name should", shown(other))),
        }
    }

    /// The value after `=`, which may be empty.
    fn single(&mut self) -> Result<BTreeSet<String>, String> {
        self.next += 1;
        Ok(BTreeSet::from([self.value()?]))
    }

    /// The values in brackets after `in`; nothing between two commas is the empty value, as in Kubernetes.
    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        self.next += 1;
        if self.take() != Some(Token::Symbol("(")) {
            return Err("the values after `in` and `notin` stand in brackets".to_string());
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            match self.take() {
                Some(Token::Symbol(")")) => return Ok(values),
                Some(Token::Symbol(",")) => {}
                other => return Err(format!("{} stands where `,` or `)` should", shown(other))),
            }
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let Some(Token::Word(word)) = self.peek() else { return Ok(String::new()) };
        self.next += 1;
        check_value(word).map(|()| word.to_string())
    }
}

fn shown(token: Option<Token<'_>>) -> String {
    match token {
        None => "nothing".to_string(),
        Some(Token::Word(text)) => format!("`{text}`"),
        Some(Token::Symbol(text)) => format!("`{text}`"),
    }
}

/// A qualified name: an optional DNS prefix and `/`, then up to 63 letters, digits, `-`, `_`, `.`.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let prefix_fits = prefix.is_none_or(|p| !p.is_empty() && p.len() <= 253 && p.chars().all(dns));
    if prefix_fits && !name.is_empty() && fits_label(name) {
        return Ok(());
    }
    Err(format!("`{key}` cannot be the name of a label"))
}

fn check_value(value: &str) -> Result<(), String> {
    if fits_label(value) { Ok(()) } else { Err(format!("`{value}` cannot be the value of a label")) }
}

fn fits_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| plain(c) || "-_.".contains(c);
    text.len() <= 63 && text.chars().all(inner) && text.starts_with(plain) && text.ends_with(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        selector.parse::<LabelSelector>().unwrap().matches(&labels)
    }

    #[test]
    fn each_operator_means_what_it_means_in_kubernetes() {
        let web = [("app", "web"), ("tier", "front")];
        assert!(selects("app=web", &web) && selects("app==web", &web) && !selects("app=db", &web));
        assert!(selects("app!=db", &web) && !selects("app!=web", &web) && selects("app!=web", &[]));
        assert!(selects("tier in (front, back)", &web) && !selects("tier in (back)", &web));
        assert!(selects("tier notin (back)", &web) && selects("tier notin (back)", &[]));
        assert!(selects("app", &web) && !selects("!app", &web) && selects("!gone", &web));
        assert!(selects("app=web,tier=front", &web) && !selects("app=web,tier=back", &web));
    }

    #[test]
    fn the_empty_value_is_a_value() {
        assert!(selects("app=", &[("app", "")]) && !selects("app=", &[("app", "x")]) && !selects("app=", &[]));
        assert!(selects("app in (,x)", &[("app", "")]) && selects("app in ()", &[("app", "")]));
    }

    #[test]
    fn labels_named_like_operators_are_labels() {
        assert!(selects("in in (in)", &[("in", "in")]) && selects("notin", &[("notin", "")]));
    }

    #[test]
    fn the_query_reads_back_as_the_same_selector() {
        let text = "a.io/b=c, d==e ,f!=g,h in (x,y),i notin (z,w),j,!k,l=,m in (,n)";
        let selector: LabelSelector = text.parse().unwrap();
        assert_eq!(selector.to_query(), "a.io/b=c,d=e,f!=g,h in (x,y),i notin (w,z),j,!k,l=,m in (,n)");
        assert_eq!(selector.to_query().parse::<LabelSelector>().unwrap(), selector);
    }

    #[test]
    fn what_is_no_selector_says_why() {
        let why = |text: &str| text.parse::<LabelSelector>().unwrap_err().to_string();
        assert_eq!(why(" "), "` ` is no label selector: it is empty; leave the key out to select everything");
        assert_eq!(why("a=b,"), "`a=b,` is no label selector: nothing stands where a label's name should");
        assert_eq!(why("a in b"), "`a in b` is no label selector: the values after `in` and `notin` stand in brackets");
        assert_eq!(why("a in (b"), "`a in (b` is no label selector: nothing stands where `,` or `)` should");
        assert_eq!(
            why("a b"),
            "`a b` is no label selector: `b` stands after `a`, where `=`, `!=`, `in` or `notin` should"
        );
        assert_eq!(why("a=b c"), "`a=b c` is no label selector: `c` stands where a comma should");
        assert_eq!(why("a=-b"), "`a=-b` is no label selector: `-b` cannot be the value of a label");
        assert_eq!(
            why("A B/c=d"),
            "`A B/c=d` is no label selector: `B/c` stands after `A`, where `=`, `!=`, `in` or `notin` should"
        );
        assert_eq!(why("/c=d"), "`/c=d` is no label selector: `/c` cannot be the name of a label");
        assert_eq!(why("a>1"), "`a>1` is no label selector: `a>1` cannot be the name of a label");
    }
}
