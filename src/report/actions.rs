//! Corrective actions out of the list that somebody keeps.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::model::Action;
use crate::config::CorrectiveAction;
use crate::vault::quarter::Quarter;

/// A list of corrective actions as the report of an exercise has it that ended then, by their ids.
pub fn actions_at(kept: Vec<CorrectiveAction>, at: Timestamp) -> Vec<Action> {
    let all: BTreeMap<String, Action> = kept.into_iter().map(|action| (action.id.clone(), action.into())).collect();
    shown(all.into_values(), Quarter::at(at), at.to_zoned(TimeZone::UTC).date())
}

/// Those that are open on the last day of a report, and those that were closed in its quarter by then.
pub(super) fn shown(all: impl Iterator<Item = Action>, quarter: Quarter, through: Date) -> Vec<Action> {
    // On the last day, what was closed later was still open.
    let as_of = |action: Action| Action { closed: action.closed.filter(|day| *day <= through), ..action };
    let is_shown = |action: &Action| action.closed.is_none_or(|day| day >= quarter.first_day());
    all.map(as_of).filter(is_shown).collect()
}

impl From<CorrectiveAction> for Action {
    fn from(it: CorrectiveAction) -> Action {
        let CorrectiveAction { id, text, owner, due, opened_by, closed } = it;
        Action { id, text, owner, due, opened_by, closed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_action_stands_in_the_reports_of_its_quarter_only() {
        let action = |id: &str, closed: Option<&str>| CorrectiveAction {
            id: id.into(),
            text: "Do it".into(),
            owner: Some("ops".into()),
            due: Some("2026-12-31".parse().unwrap()),
            opened_by: None,
            closed: closed.map(|day| day.parse().unwrap()),
        };
        let kept = vec![
            action("CA-4", Some("2026-11-27")),
            action("CA-3", Some("2026-10-01")),
            action("CA-2", Some("2026-09-30")),
            action("CA-1", None),
        ];
        let found = actions_at(kept, "2026-11-26T15:42:10Z".parse().unwrap());
        let found: Vec<_> = found.iter().map(|it| (it.id.as_str(), it.is_open(), it.owner.is_some())).collect();
        assert_eq!(found, [("CA-1", true, true), ("CA-3", false, true), ("CA-4", true, true)]);
    }
}
