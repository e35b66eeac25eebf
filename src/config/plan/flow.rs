//! When a step runs, how often it is tried, and what its failure means for the rest.

use std::time::Duration;

use crate::config::duration::parse_duration;
use crate::config::kinds::{self, KindPattern};
use crate::config::names::Name;
use crate::config::problems::{Problems, suggestion};
use crate::config::raw;
use crate::error::{Error, Result};

/// Between two tries of a step, unless the plan says.
pub const DEFAULT_RETRY_WAIT: Duration = Duration::from_secs(10);

/// More tries than this are a mistake.
const MOST_TRIES: u32 = 20;

/// What must hold for a step to run; all that is given. A step that is not wanted counts as done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct When {
    /// The backup holds this source.
    pub source: Option<Name>,
    /// The backup holds an object of one of these kinds.
    pub kinds: Option<Vec<KindPattern>>,
    /// The target serves one of these kinds at the time of the step.
    pub serves: Option<Vec<KindPattern>>,
    /// It is a drill, or it is none.
    pub drill: Option<bool>,
}

/// What the failure of a step means for the steps after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// They are not run.
    #[default]
    Stop,
    /// They run as if it were done.
    Continue,
    /// A person says: try again, go on, or stop.
    Ask,
}

impl OnFailure {
    const ALL: [OnFailure; 3] = [OnFailure::Stop, OnFailure::Continue, OnFailure::Ask];

    /// The word in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Stop => "stop",
            OnFailure::Continue => "continue",
            OnFailure::Ask => "ask",
        }
    }
}

impl std::str::FromStr for OnFailure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words = OnFailure::ALL.map(OnFailure::as_str);
        let found = OnFailure::ALL.into_iter().find(|way| way.as_str() == text);
        let near = suggestion(text, &words);
        found.ok_or_else(|| Error::usage(format!("`{text}` is no way to take a failure{near}")))
    }
}

/// How often a step that fails is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// In all; at least one.
    pub most: u32,
    /// Between two of them.
    pub wait: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Tries { most: 1, wait: DEFAULT_RETRY_WAIT }
    }
}

/// All of it, for one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flow {
    /// What must hold; every entry. A plan inside a plan adds the outer one's.
    pub when: Vec<When>,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// How often it is tried.
    pub tries: Tries,
    /// How long one try may take.
    pub timeout: Option<Duration>,
    /// How long it should take.
    pub expect: Option<Duration>,
}

pub(super) fn validate(raw: &raw::Step, path: &str, problems: &mut Problems<'_>) -> Option<Flow> {
    let key = |name: &str| format!("{path}.{name}");
    let when = match &raw.when {
        None => Some(Vec::new()),
        Some(raw) => when(raw, &key("when"), problems).map(|when| vec![when]),
    };
    let on_failure = match &raw.on_failure {
        None => Some(OnFailure::default()),
        Some(text) => problems.parse(&key("onFailure"), text),
    };
    let tries = match &raw.retry {
        None => Some(Tries::default()),
        Some(raw) => tries(raw, &key("retry"), problems),
    };
    let timeout = optional_duration(raw.timeout.as_ref(), &key("timeout"), problems);
    let expect = optional_duration(raw.expect.as_ref(), &key("expect"), problems);
    Some(Flow { when: when?, on_failure: on_failure?, tries: tries?, timeout: timeout?, expect: expect? })
}

fn when(raw: &raw::When, path: &str, problems: &mut Problems<'_>) -> Option<When> {
    if raw.source.is_none() && raw.kinds.is_none() && raw.serves.is_none() && raw.drill.is_none() {
        problems.add(path, "says nothing; give it `source`, `kinds`, `serves` or `drill`, or leave it out");
        return None;
    }
    let source = match &raw.source {
        None => Some(None),
        Some(text) => problems.parse(&format!("{path}.source"), text).map(Some),
    };
    let mut patterns = |texts: &Option<Vec<String>>, key: &str| match texts {
        None => Some(None),
        Some(texts) if texts.is_empty() => {
            problems.add(&format!("{path}.{key}"), "names no kind; leave the key out");
            None
        }
        Some(texts) => kinds::validate(texts, &format!("{path}.{key}"), problems).map(Some),
    };
    let (kinds, serves) = (patterns(&raw.kinds, "kinds"), patterns(&raw.serves, "serves"));
    Some(When { source: source?, kinds: kinds?, serves: serves?, drill: raw.drill })
}

fn tries(raw: &raw::Retry, path: &str, problems: &mut Problems<'_>) -> Option<Tries> {
    let wait = match &raw.wait {
        None => Some(DEFAULT_RETRY_WAIT),
        Some(text) => problems.check(&format!("{path}.wait"), parse_duration(text)),
    };
    if raw.times == 0 || raw.times >= MOST_TRIES {
        let what = format!("{} more tries; write 1 to {}", raw.times, MOST_TRIES - 1);
        problems.add(&format!("{path}.times"), what);
        return None;
    }
    Some(Tries { most: raw.times + 1, wait: wait? })
}

pub(super) fn optional_duration(
    text: Option<&String>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Option<Duration>> {
    match text {
        None => Some(None),
        Some(text) => problems.check(path, parse_duration(text)).map(Some),
    }
}
