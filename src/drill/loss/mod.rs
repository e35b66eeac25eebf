//! What a scenario loses, and how it is shown that it is there again.

mod namespace;
mod stock_tools;
mod vault;

pub use self::namespace::LostNamespace;
pub use self::stock_tools::{StockKeys, open_with_stock_tools};
pub use self::vault::{Overwritten, overwrite_a_copy};

use crate::report::model::{CountCheck, Verification, VerificationKind, VerificationOutcome};

/// A check that passed if all of its counts are equal and nothing differs.
fn checked(subject: &str, kind: VerificationKind, counts: Vec<CountCheck>, note: Option<String>) -> Verification {
    let equal = counts.iter().filter(|count| count.is_equal()).count();
    let outcome = match equal == counts.len() && equal > 0 {
        true => VerificationOutcome::Passed,
        false => VerificationOutcome::Failed,
    };
    Verification {
        compared: counts.len() as u64,
        equal: equal as u64,
        changed: (counts.len() - equal) as u64,
        counts,
        note,
        ..Verification::new(subject, kind, outcome)
    }
}

fn counted(name: impl Into<String>, expected: u64, found: u64) -> CountCheck {
    CountCheck { name: name.into(), expected, found: Some(found) }
}
