//! Time of machines, and time of people.

use jiff::Timestamp;

use crate::restore::StepSummary;

/// From, to.
type Span = (Timestamp, Timestamp);

/// Seconds in which nothing but people was waited for: no other step was running.
pub(super) fn people_alone(steps: &[StepSummary]) -> f64 {
    let spans = |manual: bool| {
        let of_kind = steps.iter().filter(move |step| (step.kind == "manual") == manual);
        union(of_kind.filter_map(|step| Some((step.started?, step.ended?))).collect())
    };
    let (people, machines) = (spans(true), spans(false));
    let alone: f64 = people.iter().map(|span| seconds(*span) - overlap(*span, &machines)).sum();
    (alone * 1000.0).round() / 1000.0
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
}
