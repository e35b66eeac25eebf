//! When a restore will be done: from what it has measured, from what earlier ones took, and from the plan's budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Action, RestorePlan, Step};

/// Objects a second that an API server takes, as long as nothing was measured: what two cores are seen to take.
const OBJECTS_PER_SECOND: f64 = 1500.0;

/// What a step takes of which nothing is known.
const UNKNOWN: Duration = Duration::from_secs(60);
/// What a gate takes of which nothing is known.
const UNKNOWN_GATE: Duration = Duration::from_secs(30);
/// What a person takes of whom nothing is known.
const UNKNOWN_PERSON: Duration = Duration::from_secs(15 * 60);

/// The part of the limit that must be left for a restore to be on course.
const RESERVE: f64 = 0.1;

/// So much of a step must be done before its own rate says more than what was known before; seconds.
const MEASURED_AFTER: f64 = 2.0;

/// How the clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Course {
    /// It will be done in time.
    OnCourse,
    /// It will be done in time by a hair.
    AtRisk,
    /// It is past the limit, or will be.
    Late,
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Course::OnCourse => "on course",
            Course::AtRisk => "at risk",
            Course::Late => "late",
        })
    }
}

/// What is known of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progressed {
    /// It has not begun.
    Waiting,
    /// It runs.
    Running {
        /// Since it began.
        elapsed: Duration,
        /// Objects that an earlier try had done.
        found: u64,
        /// Objects that are done since.
        done: u64,
    },
    /// It ended, after so long.
    Ended(Duration),
}

/// Where an estimate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// What this run has measured.
    Measured,
    /// What the step took in an earlier restore or drill.
    Earlier,
    /// What the plan says.
    Plan,
    /// Neither: a guess.
    Guess,
}

/// What a step took once.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Took {
    /// How long.
    pub seconds: f64,
    /// Its objects, then.
    pub items: u64,
}

/// What is known before a restore begins.
#[derive(Debug, Clone, Default)]
pub struct Experience {
    /// What steps took in the newest restore or drill with the same plan.
    pub steps: BTreeMap<String, Took>,
    /// Objects a second, over all steps of the newest one that wrote many.
    pub rate: Option<f64>,
}

/// A step's estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// How long it takes, in all.
    pub whole: Duration,
    /// Where that comes from.
    pub basis: Basis,
}

/// When it will be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Seconds from the begin of the incident to its end, as it looks now.
    pub finish_seconds: f64,
    /// The same for the gate that says that people can work again; absent where the plan names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable_seconds: Option<f64>,
    /// Seconds that are left until then: until people can work again, where the plan names a gate that says so.
    pub left_seconds: f64,
    /// Seconds that the plan allows.
    pub limit_seconds: f64,
    /// How that stands.
    pub course: Course,
    /// The steps that decide when it is done, in order.
    pub critical_path: Vec<String>,
    /// The step that takes longest of those, or is furthest above what it should take: what to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

/// How long a step takes, before it has begun. `objects` are those that it applies.
pub fn estimate(step: &Step, objects: u64, known: &Experience, rate: Option<f64>) -> Estimate {
    let seconds = |seconds: f64, basis| Estimate { whole: span(seconds), basis };
    if let Some(took) = known.steps.get(step.name.as_str()) {
        let is_people = matches!(step.action, Action::Manual(_));
        let grown = if took.items > 0 && !is_people { objects as f64 / took.items as f64 } else { 1.0 };
        return seconds(took.seconds * grown, Basis::Earlier);
    }
    let measured = rate.map(|rate| (rate, Basis::Measured));
    let earlier = known.rate.map(|rate| (rate, Basis::Earlier));
    if let (Action::Apply(_), Some((rate, basis))) = (&step.action, measured.or(earlier)) {
        return seconds(objects as f64 / rate, basis);
    }
    if let Some(expected) = step.flow.expect {
        return Estimate { whole: expected, basis: Basis::Plan };
    }
    let whole = match &step.action {
        Action::Apply(_) => span(objects as f64 / OBJECTS_PER_SECOND),
        Action::Gate(_) => UNKNOWN_GATE,
        Action::Manual(manual) => {
            manual.minutes.map_or(UNKNOWN_PERSON, |minutes| Duration::from_secs(u64::from(minutes) * 60))
        }
        _ => UNKNOWN,
    };
    Estimate { whole, basis: Basis::Guess }
}

/// A record may say anything; no step takes longer than this.
fn span(seconds: f64) -> Duration {
    const LONGEST: f64 = 30.0 * 24.0 * 3600.0;
    Duration::from_secs_f64(if seconds.is_finite() { seconds.clamp(0.0, LONGEST) } else { 0.0 })
}

/// What is left of a step, and how long it takes in all.
fn left(progressed: Progressed, objects: u64, estimate: Estimate) -> (Duration, Duration) {
    match progressed {
        Progressed::Ended(took) => (Duration::ZERO, took),
        Progressed::Waiting => (estimate.whole, estimate.whole),
        Progressed::Running { elapsed, found, done } => {
            let measured = elapsed.as_secs_f64() >= MEASURED_AFTER && done > 0 && objects > 0;
            let left = match measured {
                true => elapsed.mul_f64(objects.saturating_sub(found + done) as f64 / done as f64),
                false => estimate.whole.saturating_sub(elapsed),
            };
            (left, elapsed + left)
        }
    }
}

/// Everything that a forecast is made from.
pub struct Outlook<'a> {
    /// The plan.
    pub plan: &'a RestorePlan,
    /// Where each step stands.
    pub progressed: &'a [Progressed],
    /// Objects of each step.
    pub objects: &'a [u64],
    /// What each step should take.
    pub estimates: &'a [Estimate],
    /// Since the incident began.
    pub elapsed: Duration,
    /// When the plan's gate opened, where it has.
    pub opened: Option<Duration>,
}

impl Outlook<'_> {
    /// When it will be done, as it looks now.
    pub fn forecast(&self) -> Forecast {
        let (ends, before) = self.ends();
        let last = (0..ends.len()).max_by_key(|step| ends[*step]);
        let left = last.map_or(Duration::ZERO, |step| ends[step]);
        let path = critical_path(last, &before);
        let limit = self.plan.rto.limit();
        let finish = self.elapsed + left;
        let usable = self.plan.usable.map(|gate| self.opened.unwrap_or(self.elapsed + ends[gate]));
        Forecast {
            finish_seconds: super::rounded(finish.as_secs_f64()),
            usable_seconds: usable.map(|usable| super::rounded(usable.as_secs_f64())),
            left_seconds: super::rounded(usable.unwrap_or(finish).saturating_sub(self.elapsed).as_secs_f64()),
            limit_seconds: limit.as_secs_f64(),
            course: course(usable.unwrap_or(finish), limit),
            decided_by: self.decided_by(&path),
            critical_path: path.into_iter().map(|step| self.plan.steps[step].name.to_string()).collect(),
        }
    }

    /// When each step begins and ends, from now, as it looks now.
    pub fn spans(&self) -> Vec<(Duration, Duration)> {
        let (ends, before) = self.ends();
        let begin = |step: usize| before[step].map_or(Duration::ZERO, |before| ends[before]);
        (0..ends.len()).map(|step| (begin(step), ends[step])).collect()
    }

    /// When each step ends, from now; and which of those before it ends last.
    fn ends(&self) -> (Vec<Duration>, Vec<Option<usize>>) {
        let count = self.plan.steps.len();
        let (mut ends, mut before) = (vec![Duration::ZERO; count], vec![None; count]);
        for step in self.plan.order().iter().flatten().copied() {
            let (left, _) = left(self.progressed[step], self.objects[step], self.estimates[step]);
            let last = self.plan.steps[step].after.iter().copied().max_by_key(|before| ends[*before]);
            before[step] = last;
            let begin = last.map_or(Duration::ZERO, |last| ends[last]);
            ends[step] = match self.progressed[step] {
                Progressed::Running { .. } => left,
                // One that will not run is over, but what comes after it still waits for what comes before it.
                Progressed::Waiting | Progressed::Ended(_) => begin + left,
            };
        }
        (ends, before)
    }

    /// The step of the path that is furthest above its budget; where all keep it, the longest that is left.
    fn decided_by(&self, path: &[usize]) -> Option<String> {
        let over = |step: usize| {
            let (_, whole) = left(self.progressed[step], self.objects[step], self.estimates[step]);
            let budget = self.plan.steps[step].flow.expect?;
            whole.checked_sub(budget).filter(|over| !over.is_zero())
        };
        let rest = |step: usize| left(self.progressed[step], self.objects[step], self.estimates[step]).0;
        let worst = path.iter().copied().filter(|step| over(*step).is_some()).max_by_key(|step| over(*step));
        let longest = || path.iter().copied().filter(|step| !rest(*step).is_zero()).max_by_key(|step| rest(*step));
        worst.or_else(longest).map(|step| self.plan.steps[step].name.to_string())
    }
}

fn critical_path(last: Option<usize>, before: &[Option<usize>]) -> Vec<usize> {
    let mut path: Vec<usize> = std::iter::successors(last, |step| before[*step]).collect();
    path.reverse();
    path
}

fn course(finish: Duration, limit: Duration) -> Course {
    if finish > limit {
        Course::Late
    } else if finish > limit.mul_f64(1.0 - RESERVE) {
        Course::AtRisk
    } else {
        Course::OnCourse
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Document, parse};

    const PLAN: &str = "\
apiVersion: ckbackup.io/v1
kind: RestorePlan
metadata: {name: all}
spec:
  rto: 10m
  usable: ready
  steps:
    - name: objects
      apply: {}
      expect: 1m
    - name: ready
      after: [objects]
      gate: {kind: Deployment, condition: Available}
      expect: 2m
    - name: history
      after: [ready]
      manual: {title: Load the old logs}
      expect: 4m
    - name: aside
      manual: {title: Tell people}
      expect: 30s
";

    fn plan() -> RestorePlan {
        match parse(PLAN, Path::new("x.yaml")).unwrap().remove(0) {
            Document::RestorePlan(plan) => *plan,
            other => panic!("{other:?}"),
        }
    }

    fn forecast(progressed: &[Progressed], elapsed: u64, known: &Experience) -> Forecast {
        let plan = plan();
        let objects = [6000, 0, 0, 0];
        let estimates: Vec<_> =
            plan.steps.iter().zip(objects).map(|(step, objects)| estimate(step, objects, known, None)).collect();
        let elapsed = Duration::from_secs(elapsed);
        let opened = matches!(progressed[1], Ended(_)).then_some(Duration::from_secs(65));
        Outlook { plan: &plan, progressed, objects: &objects, estimates: &estimates, elapsed, opened }.forecast()
    }

    use Progressed::{Ended, Running, Waiting};

    #[test]
    fn before_the_begin_the_budgets_along_the_longest_way_count() {
        let told = forecast(&[Waiting; 4], 60, &Experience::default());
        assert_eq!((told.finish_seconds, told.usable_seconds, told.left_seconds), (480.0, Some(240.0), 180.0));
        assert_eq!(
            (told.course, told.critical_path),
            (Course::OnCourse, vec!["objects".into(), "ready".into(), "history".to_string()])
        );
        assert_eq!(told.decided_by.as_deref(), Some("history"));
    }

    #[test]
    fn what_comes_after_a_step_that_will_not_run_still_waits_for_what_comes_before_it() {
        let told = forecast(&[Waiting, Ended(Duration::ZERO), Waiting, Waiting], 0, &Experience::default());
        assert_eq!(told.finish_seconds, 60.0 + 240.0);
    }

    #[test]
    fn what_is_measured_counts_more_than_what_was_planned() {
        let running = Running { elapsed: Duration::from_secs(100), found: 0, done: 1000 };
        let told = forecast(&[running, Waiting, Waiting, Waiting], 100, &Experience::default());
        assert_eq!(told.finish_seconds, 100.0 + 500.0 + 120.0 + 240.0);
        assert_eq!((told.course, told.decided_by.as_deref()), (Course::Late, Some("objects")));
    }

    /// Looking at them takes no time to speak of: they say nothing of how long the rest takes.
    #[test]
    fn what_was_done_before_it_was_resumed_counts_as_done_and_not_as_fast() {
        let running = Running { elapsed: Duration::from_secs(100), found: 4000, done: 1000 };
        let told = forecast(&[running, Waiting, Waiting, Waiting], 100, &Experience::default());
        assert_eq!(told.finish_seconds, 100.0 + 100.0 + 120.0 + 240.0);
    }

    #[test]
    fn the_gate_that_people_wait_for_decides_until_it_is_open() {
        let closed = [Ended(Duration::from_secs(60)), Waiting, Waiting, Waiting];
        assert_eq!(forecast(&closed, 430, &Experience::default()).course, Course::AtRisk);
        let open = [Ended(Duration::from_secs(60)), Ended(Duration::from_secs(5)), Waiting, Waiting];
        let told = forecast(&open, 470, &Experience::default());
        // What comes after it may take longer than the limit.
        assert_eq!((told.usable_seconds, told.course), (Some(65.0), Course::OnCourse));
        assert!(told.finish_seconds > 600.0);
    }

    #[test]
    fn what_a_step_took_before_grows_with_its_objects() {
        let mut known = Experience::default();
        known.steps.insert("objects".into(), Took { seconds: 10.0, items: 3000 });
        let plan = plan();
        let told = estimate(&plan.steps[0], 6000, &known, Some(1.0));
        assert_eq!((told.whole.as_secs(), told.basis), (20, Basis::Earlier));
        assert_eq!(estimate(&plan.steps[0], 6000, &Experience::default(), Some(100.0)).whole.as_secs(), 60);
        // Of this step nothing is known, but how fast others were.
        let known = Experience { rate: Some(2000.0), ..Experience::default() };
        let told = estimate(&plan.steps[0], 6000, &known, None);
        assert_eq!((told.whole.as_secs(), told.basis), (3, Basis::Earlier));
        assert_eq!(estimate(&plan.steps[0], 6000, &known, Some(100.0)).basis, Basis::Measured);
    }
}
