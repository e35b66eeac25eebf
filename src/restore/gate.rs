//! Gates: what must be true before a plan goes on, and what was not when the time was over.

mod answers;
mod claims;
mod command;
mod events;
mod objects;
pub mod readiness;

use std::time::Duration;

use tokio::time::Instant;

use self::answers::Asked;
use self::objects::ObjectWatch;
pub use self::objects::only_namespace;
use super::summary::{NotReady, StepStatus};
use super::work::{Tally, Work};
use super::write::PATIENCE;
use crate::cluster::Cluster;
use crate::config::{Awaited, AwaitedCommand, Gate, KindPattern, format_duration};

/// The pause between two looks: short at first, as much is ready at once, and longer while it takes its time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// However little time is left, one look has so long for its answer.
const SHORTEST_LOOK: Duration = Duration::from_secs(10);

/// How long the look of a check may take, for which a person waits.
const CHECK: Duration = Duration::from_secs(60);

/// How many of the objects that are not ready are named in one line.
const NAMED: usize = 5;

/// Why a gate did not open.
#[derive(Debug)]
pub enum Closed {
    /// The time is over, or it will not become true.
    NotReady {
        /// What is not true, in one line.
        words: String,
        /// Objects that are not ready.
        objects: Vec<NotReady>,
    },
    /// The API server does not answer.
    Lost(String),
}

/// What one look found.
enum Look {
    /// It is true.
    Open(String),
    /// It is not true yet.
    NotYet(Waiting),
    /// It will not become true.
    Never(Waiting),
    /// The API server of the cluster does not answer.
    Silent(String),
}

/// Whether the target serves one of the kinds now.
pub async fn serves(work: &Work, kinds: &[KindPattern]) -> bool {
    let Some(target) = &work.target else { return false };
    let Ok(found) = target.cluster().discover(CHECK).await else { return false };
    found.types.iter().any(|t| kinds.iter().any(|kind| kind.matches(&t.kind, &t.group)))
}

/// What is not true.
#[derive(Default)]
struct Waiting {
    /// In a few words that may be followed by a time: `not Ready`.
    head: String,
    /// Why, where no objects say it.
    why: Option<String>,
    /// How many objects are selected in all.
    all: usize,
    /// How many of those below, from the first on, the line is about.
    said: usize,
    /// Those that are not ready.
    objects: Vec<Unready>,
}

/// An object that is not ready.
#[derive(Default)]
struct Unready {
    kind: String,
    /// Empty for an object that is in none.
    namespace: String,
    name: String,
    /// The selector of its pods.
    pods: Option<String>,
    why: String,
}

impl Unready {
    fn words(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("{} {}", self.kind, self.name),
            namespace => format!("{} {namespace}/{}", self.kind, self.name),
        }
    }
}

impl Waiting {
    fn that(head: String) -> Waiting {
        Waiting { head, ..Waiting::default() }
    }

    fn because(head: String, why: String) -> Waiting {
        Waiting { head, why: Some(why), ..Waiting::default() }
    }

    fn of(head: String, all: usize, objects: Vec<Unready>) -> Waiting {
        Waiting { head, all, said: objects.len(), objects, why: None }
    }

    /// In one line, with the events that were found.
    fn words(&self, after: Option<Duration>, objects: &[NotReady]) -> String {
        let mut line = self.head.clone();
        if let Some(limit) = after {
            line.push_str(&format!(" after {}", format_duration(limit)));
        }
        if self.said > 0 {
            line.push_str(&format!(", {} of {}", self.said, self.all));
        }
        let said = &objects[..self.said.min(objects.len())];
        let mut reasons: Vec<String> = said.iter().take(NAMED).map(one_line).collect();
        reasons.extend(self.why.clone());
        reasons.extend(said.len().checked_sub(NAMED + 1).map(|more| format!("and {} more", more + 1)));
        match reasons.is_empty() {
            true => line,
            false => format!("{line}: {}", reasons.join("; ")),
        }
    }
}

fn one_line(object: &NotReady) -> String {
    let event = object.events.first().map(|event| format!(" ({event})")).unwrap_or_default();
    format!("{}: {}{event}", object.object, object.why)
}

/// What is looked at, with what is known of it from look to look.
enum Watch<'a> {
    Objects(ObjectWatch<'a>),
    Asked(Asked<'a>),
    Command(Option<&'a Cluster>, &'a AwaitedCommand),
}

impl<'a> Watch<'a> {
    fn new(cluster: Option<&'a Cluster>, what: &'a Awaited) -> Result<Watch<'a>, Closed> {
        Ok(match what {
            Awaited::Objects(wanted) => {
                let cluster = cluster.ok_or_else(|| Closed::Lost("no cluster is connected".into()))?;
                Watch::Objects(ObjectWatch::new(cluster, wanted))
            }
            Awaited::Http(wanted) => Watch::Asked(Asked::Answer(wanted)),
            Awaited::Elasticsearch(wanted) => Watch::Asked(Asked::Health(wanted)),
            Awaited::Prometheus(wanted) => Watch::Asked(Asked::Query(wanted)),
            Awaited::Command(wanted) => Watch::Command(cluster, wanted),
        })
    }

    async fn look(&mut self) -> Look {
        match self {
            Watch::Objects(objects) => objects.look().await,
            Watch::Asked(asked) => asked.look().await,
            Watch::Command(cluster, wanted) => command::look(*cluster, wanted).await,
        }
    }

    /// None when the look took too long.
    async fn look_within(&mut self, limit: Duration) -> Option<Look> {
        tokio::time::timeout(limit, self.look()).await.ok()
    }
}

/// Runs a step that is a gate. It closes when its own time is over, or that of the step where that is shorter: cut off from
/// outside, it could not say what was not ready.
pub async fn run(work: &Work, name: &str, gate: &Gate, limit: Option<Duration>) -> (StepStatus, Tally, Option<String>) {
    if work.dry_run {
        return (StepStatus::Planned, Tally::default(), None);
    }
    work.progress.begin(name, None);
    let cluster = work.target.as_ref().map(|target| target.cluster());
    let timeout = limit.map_or(gate.timeout, |limit| limit.min(gate.timeout));
    let waited = tokio::select! {
        waited = wait(cluster, &gate.what, timeout) => waited,
        () = work.lost.cancelled() => Err(Closed::Lost("another step found no answer".into())),
    };
    let (status, not_ready, note) = match waited {
        Ok(note) => (StepStatus::Done, Vec::new(), note),
        Err(Closed::NotReady { words, objects }) => (StepStatus::Failed, objects, words),
        Err(Closed::Lost(why)) => {
            work.lost.cancel();
            (StepStatus::Failed, Vec::new(), format!("the API server was lost: {why}"))
        }
    };
    work.progress.end(name, &note);
    (status, Tally { not_ready, ..Tally::default() }, Some(note))
}

/// Waits until it is true, in words what was seen. Nothing is changed anywhere, so that it may be dropped at any time.
pub async fn wait(cluster: Option<&Cluster>, what: &Awaited, timeout: Duration) -> Result<String, Closed> {
    let deadline = Instant::now() + timeout;
    let mut watch = Watch::new(cluster, what)?;
    let mut last_answer = Instant::now();
    let mut last = Waiting::that(match what {
        Awaited::Objects(wanted) => format!("the cluster does not list {}", wanted.kind),
        Awaited::Command(_) => "the command does not end".into(),
        _ => "no answer".into(),
    });
    let mut pause = FIRST_PAUSE;
    loop {
        let begin = Instant::now();
        let rest = deadline.saturating_duration_since(begin);
        match watch.look_within(rest.max(SHORTEST_LOOK)).await {
            Some(Look::Open(words)) => return Ok(words),
            Some(Look::Never(waiting)) => return Err(close(cluster, waiting, None).await),
            Some(Look::NotYet(waiting)) => (last, last_answer) = (waiting, Instant::now()),
            Some(Look::Silent(why)) if last_answer.elapsed() > PATIENCE => return Err(Closed::Lost(why)),
            Some(Look::Silent(why)) => last = Waiting::because("the API server does not answer".into(), why),
            // What the look before has seen says more than nothing.
            None => {}
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(close(cluster, last, Some(timeout)).await);
        }
        // Where there is much to look at, the server has at least half of the time for others.
        tokio::time::sleep(pause.max(begin.elapsed()).min(rest)).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Looks once: for the check of a manual step, after a person said that it is done.
pub async fn check(cluster: Option<&Cluster>, what: &Awaited) -> Result<String, Closed> {
    match Watch::new(cluster, what)?.look_within(CHECK).await {
        Some(Look::Open(words)) => Ok(words),
        Some(Look::NotYet(waiting) | Look::Never(waiting)) => Err(close(cluster, waiting, None).await),
        Some(Look::Silent(why)) => {
            let words = format!("the API server does not answer: {why}");
            Err(Closed::NotReady { words, objects: Vec::new() })
        }
        None => {
            let words = format!("no answer within {}", format_duration(CHECK));
            Err(Closed::NotReady { words, objects: Vec::new() })
        }
    }
}

async fn close(cluster: Option<&Cluster>, waiting: Waiting, after: Option<Duration>) -> Closed {
    let objects = events::explain(cluster, &waiting.objects).await;
    Closed::NotReady { words: waiting.words(after, &objects), objects }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, events: &[&str]) -> NotReady {
        let events = events.iter().map(ToString::to_string).collect();
        NotReady { object: format!("Pod shop/{name}"), why: "its phase is Pending".into(), events }
    }

    fn waiting(head: &str, all: usize, said: usize) -> Waiting {
        Waiting { head: head.into(), all, said, ..Waiting::default() }
    }

    #[test]
    fn one_line_names_some_and_counts_the_rest() {
        let after = Some(Duration::from_secs(90));
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let all: Vec<NotReady> = names.iter().map(|name| object(name, &[])).collect();
        let line = waiting("not ready", 9, 7).words(after, &all);
        assert!(
            line.starts_with("not ready after 1m30s, 7 of 9: Pod shop/a: its phase is Pending; Pod shop/b: "),
            "{line}"
        );
        assert!(line.ends_with("Pod shop/e: its phase is Pending; and 2 more"), "{line}");
        let five = waiting("not ready", 5, 5).words(after, &all[..5]);
        assert!(five.ends_with("Pod shop/e: its phase is Pending"), "{five}");
    }

    #[test]
    fn one_line_says_what_failed_and_its_last_event() {
        let all = [object("a", &["BackOff: again", "Pulled: once"]), object("b", &[])];
        let line = waiting("failed", 2, 1).words(None, &all);
        assert_eq!(line, "failed, 1 of 2: Pod shop/a: its phase is Pending (BackOff: again)");
        let silent = Waiting::because("http://x does not answer as wanted".into(), "503".into()).words(None, &[]);
        assert_eq!(silent, "http://x does not answer as wanted: 503");
    }
}
