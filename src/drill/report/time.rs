//! Time of machines, and time of people.

use jiff::Timestamp;

use crate::restore::StepSummary;
use crate::words::to_millis;

/// From, to.
type Span = (Timestamp, Timestamp);

/// The time since an incident began, in seconds. Together the three are all of it.
pub(super) struct Shares {
    /// While steps ran, other than those that people do.
    pub machines: f64,
    /// While nothing but people was waited for: no other step was running.
    pub people: f64,
    /// While no step was under way: before the first one began, and between a crash and its resume.
    pub others: f64,
}

/// Whose time the `elapsed` seconds since the begin of the incident were.
pub(super) fn shares(steps: &[StepSummary], elapsed: f64) -> Shares {
    let (by_people, by_machines) = (spans(steps, true), spans(steps, false));
    let alone: f64 = by_people.iter().map(|span| seconds(*span) - overlap(*span, &by_machines)).sum();
    let people = to_millis(alone).min(elapsed);
    let machines = to_millis(by_machines.into_iter().map(seconds).sum()).min(elapsed - people);
    Shares { machines, people, others: to_millis((elapsed - people - machines).max(0.0)) }
}

/// When steps that people do were under way, or else all others.
fn spans(steps: &[StepSummary], manual: bool) -> Vec<Span> {
    let of_kind = steps.iter().filter(|step| (step.kind == "manual") == manual);
    union(of_kind.flat_map(StepSummary::under_way).map(|run| (run.started, run.ended)).collect())
}

fn seconds((from, to): Span) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// Spans that do not overlap, in order.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort();
    let mut all: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match all.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => all.push((from, to)),
        }
    }
    all
}

fn overlap((from, to): Span, others: &[Span]) -> f64 {
    others.iter().map(|other| (from.max(other.0), to.min(other.1))).filter(|(from, to)| from < to).map(seconds).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn spans_that_overlap_count_once() {
        let all = union(vec![(at(5), at(9)), (at(0), at(3)), (at(2), at(4))]);
        assert_eq!(all, [(at(0), at(4)), (at(5), at(9))]);
        assert_eq!(overlap((at(3), at(6)), &all), 2.0);
    }

    fn step(kind: &str, from: i64, to: i64) -> StepSummary {
        let step = serde_json::json!({
            "name": "it", "kind": kind, "status": "done", "started": at(from), "ended": at(to),
            "seconds": to - from, "items": crate::restore::Items::default(),
        });
        serde_json::from_value(step).unwrap()
    }

    fn shared(steps: &[StepSummary], elapsed: f64) -> [f64; 3] {
        let Shares { machines, people, others } = shares(steps, elapsed);
        [machines, people, others]
    }

    #[test]
    fn what_passed_before_the_restore_began_is_nobodys_work() {
        // The cluster is there after an hour; the restore takes 20 minutes, of which five wait for people alone.
        let steps = [step("apply", 3600, 4200), step("manual", 4100, 4500), step("gate", 4500, 4800)];
        assert_eq!(shared(&steps, 4800.0), [900.0, 300.0, 3600.0]);
    }

    #[test]
    fn what_passed_between_a_crash_and_its_resume_is_nobodys_work() {
        let steps = [step("apply", 0, 100), step("apply", 50, 120), step("files", 700, 1000)];
        assert_eq!(shared(&steps, 1000.0), [420.0, 0.0, 580.0]);
    }

    #[test]
    fn shares_are_never_more_than_the_whole() {
        // A clock that was set back in between.
        assert_eq!(shared(&[step("apply", 0, 100), step("manual", 100, 150)], 120.0), [70.0, 50.0, 0.0]);
        assert_eq!(shared(&[], 60.0), [0.0, 0.0, 60.0]);
    }
}
