//! Which backups stay and which go: a pure function of what the storage lists and of what was verified.
//!
//! Age is when the storage took the manifest. What a manifest says of itself decides nothing: whoever holds a
//! signing key could date a backup as they like.

use jiff::{SignedDuration, Timestamp};

use crate::vault::layout::BackupId;

/// Of backups that are closer together than this, one counts: one a day, though nights differ in length, clocks change,
/// and clusters start at different times. So that a flood of young backups cannot push out the good ones.
pub const APART: SignedDuration = SignedDuration::from_hours(18);

/// How long the remains of a run are left alone, since it may be under way.
pub const REMAINS_STAY: SignedDuration = SignedDuration::from_hours(48);

/// How long after its end a backup can have come into the storage; what came later was put there by somebody.
const STORED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// A folder in the vault, as rotation sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id.
    pub id: BackupId,
    /// When the storage took its manifest; without one, its newest object.
    pub stored: Timestamp,
    /// What it is.
    pub state: State,
}

/// What a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Complete, with a signature that holds, and stored when it says that it was finished.
    Sound {
        /// When it says that it was finished.
        finished: Timestamp,
        /// Whether it was read back and found to be as it was written; not known until somebody does.
        intact: Option<bool>,
    },
    /// A backup that cannot count, and why.
    Unfit(String),
    /// No manifest: a run that is under way or was cut off, or a backup that is half removed.
    Remains,
}

/// What becomes of a folder, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its id.
    pub id: BackupId,
    /// When the storage took it.
    pub stored: Timestamp,
    /// Whether it goes.
    pub remove: bool,
    /// Whether it is one of the copies that are promised.
    pub counts: bool,
    /// Why.
    pub why: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing can be decided before this backup has been read back: the number of the candidate.
    Verify(usize),
    /// Every folder, newest first.
    Decided(Vec<Decision>),
}

/// Decides. The newest `keep` backups that are sound, intact and far enough apart stay, with all that is newer than the
/// oldest of them; what is older goes. While there are fewer, every backup stays.
pub fn plan(candidates: &[Candidate], keep: u32, now: Timestamp) -> Plan {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse((candidates[at].stored, &candidates[at].id)));
    let mut counted: Vec<&Candidate> = Vec::new();
    let mut decisions = Vec::with_capacity(order.len());
    for at in order {
        let candidate = &candidates[at];
        let decision = |remove, counts, why: String| Decision {
            id: candidate.id.clone(),
            stored: candidate.stored,
            remove,
            counts,
            why,
        };
        if candidate.state == State::Remains {
            decisions.push(remains(candidate, now, decision));
            continue;
        }
        if counted.len() >= keep as usize {
            let newer = counted.len();
            decisions.push(decision(true, false, format!("{newer} newer copies are intact")));
            continue;
        }
        match unfit(candidate, counted.last().copied()) {
            Some(why) => decisions.push(decision(false, false, why)),
            None => match candidate.state {
                State::Sound { intact: None, .. } => return Plan::Verify(at),
                _ => {
                    counted.push(candidate);
                    decisions.push(decision(false, true, format!("copy {} of {keep}, intact", counted.len())));
                }
            },
        }
    }
    Plan::Decided(decisions)
}

fn remains(candidate: &Candidate, now: Timestamp, decision: impl Fn(bool, bool, String) -> Decision) -> Decision {
    let old = now.duration_since(candidate.stored) > REMAINS_STAY;
    let hours = REMAINS_STAY.as_hours();
    match old {
        true => decision(true, false, format!("remains of a run or of a removal, untouched for {hours} hours")),
        false => decision(false, false, format!("no manifest: a run may be under way; remains go after {hours} hours")),
    }
}

/// Why a backup cannot count, given the one that was counted last.
fn unfit(candidate: &Candidate, newer: Option<&Candidate>) -> Option<String> {
    match &candidate.state {
        State::Remains => Some("no manifest".into()),
        State::Unfit(why) => Some(format!("does not count: {why}")),
        State::Sound { intact: Some(false), .. } => Some("does not count: it is damaged".into()),
        State::Sound { finished, .. } if late(candidate.stored, *finished) => {
            Some(format!("does not count: it says that it was finished at {finished}, but was stored at another time"))
        }
        State::Sound { .. } => {
            newer.filter(|newer| newer.stored.duration_since(candidate.stored) < APART).map(|newer| {
                format!(
                    "does not count: one a day does, and {} is less than {} hours newer",
                    newer.id,
                    APART.as_hours()
                )
            })
        }
    }
}

fn late(stored: Timestamp, finished: Timestamp) -> bool {
    stored.duration_since(finished).abs() > STORED_WITHIN
}

#[cfg(test)]
mod tests;
