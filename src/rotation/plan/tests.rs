//! Random histories of a vault: partial, forged, future-dated, doubled and damaged backups, and remains.

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000;

/// One folder of a history, and what reading it back would find.
#[derive(Debug, Clone)]
struct Folder {
    candidate: Candidate,
    damaged: bool,
}

fn time(hours_ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - hours_ago * 3600).unwrap()
}

fn id(at: usize) -> BackupId {
    let night = time(24 * 400 - at as i64);
    BackupId::new(night, &"nightly".parse().unwrap())
}

/// Storage times go from a little in the future, where clocks differ, to two weeks back.
fn folder() -> impl Strategy<Value = (i64, u8, bool)> {
    (-2i64..24 * 14, 0u8..10, any::<bool>())
}

fn history() -> impl Strategy<Value = Vec<Folder>> {
    proptest::collection::vec(folder(), 0..40).prop_map(|folders| {
        let make = |(at, (hours_ago, kind, damaged)): (usize, (i64, u8, bool))| {
            let stored = time(hours_ago);
            let sound = |finished| State::Sound { finished, intact: None };
            let state = match kind {
                0 => State::Unfit("it is partial".into()),
                1 => State::Unfit("its signature does not hold".into()),
                2 => State::Remains,
                3 => sound(stored + SignedDuration::from_hours(24 * 30)),
                4 => sound(stored - SignedDuration::from_hours(24 * 30)),
                _ => sound(stored),
            };
            Folder { candidate: Candidate { id: id(at), stored, state }, damaged: damaged && kind > 7 }
        };
        folders.into_iter().enumerate().map(make).collect()
    })
}

/// Runs plan and verification in turn, and counts the verifications.
fn rotate(folders: &mut [Folder], keep: u32) -> (Vec<Decision>, usize) {
    let mut verified = 0;
    loop {
        let candidates: Vec<_> = folders.iter().map(|f| f.candidate.clone()).collect();
        match plan(&candidates, keep, time(0)) {
            Plan::Decided(decisions) => return (decisions, verified),
            Plan::Verify(at) => {
                verified += 1;
                let damaged = folders[at].damaged;
                let State::Sound { intact, .. } = &mut folders[at].candidate.state else {
                    panic!("only what is sound is read back");
                };
                assert!(intact.replace(!damaged).is_none(), "nothing is read back twice");
            }
        }
    }
}

fn good(folder: &Folder) -> bool {
    match folder.candidate.state {
        State::Sound { finished, .. } => !folder.damaged && !late(folder.candidate.stored, finished),
        _ => false,
    }
}

/// How many good backups can count at most: from the newest, as close together as is allowed.
fn countable(folders: &[Folder]) -> usize {
    let mut times: Vec<_> = folders.iter().filter(|f| good(f)).map(|f| f.candidate.stored).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let mut last: Option<Timestamp> = None;
    times.retain(|time| {
        let counts = last.is_none_or(|last| last.duration_since(*time) >= APART);
        if counts {
            last = Some(*time);
        }
        counts
    });
    times.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_promised_copies_stay_whatever_else_is_there(mut folders in history(), keep in 1u32..5) {
        let (decisions, verified) = rotate(&mut folders, keep);
        prop_assert_eq!(decisions.len(), folders.len());
        let of = |id: &BackupId| folders.iter().find(|f| f.candidate.id == *id).unwrap();

        // As many copies as there can be, never fewer; each read back, and good.
        let copies: Vec<_> = decisions.iter().filter(|d| d.counts).collect();
        prop_assert_eq!(copies.len(), countable(&folders).min(keep as usize));
        prop_assert!(copies.iter().all(|d| !d.remove && good(of(&d.id))));
        prop_assert!(copies.windows(2).all(|two| two[0].stored.duration_since(two[1].stored) >= APART));
        prop_assert!(verified >= copies.len());

        // No backup goes while copies lack, and none that is newer than the oldest copy.
        for gone in decisions.iter().filter(|d| d.remove) {
            if of(&gone.id).candidate.state == State::Remains {
                prop_assert!(time(0).duration_since(gone.stored) > REMAINS_STAY);
                continue;
            }
            prop_assert_eq!(copies.len(), keep as usize);
            prop_assert!(copies.iter().all(|copy| copy.stored >= gone.stored));
        }
        // What is older than all copies goes: the vault does not grow for ever.
        if copies.len() == keep as usize {
            let oldest = copies.last().unwrap().stored;
            prop_assert!(decisions.iter().all(|d| d.stored >= oldest || d.remove || of(&d.id).candidate.state == State::Remains));
        }
    }

    #[test]
    fn a_second_rotation_finds_nothing_to_do(mut folders in history(), keep in 1u32..5) {
        let (decisions, _) = rotate(&mut folders, keep);
        let gone = |f: &Folder| decisions.iter().any(|d| d.remove && d.id == f.candidate.id);
        let mut left: Vec<_> = folders.iter().filter(|f| !gone(f)).cloned().collect();
        let (again, _) = rotate(&mut left, keep);
        prop_assert!(again.iter().all(|d| !d.remove), "{:?}", again);
    }

    /// A rotation that is killed leaves some of what it was to remove: whole, or without a manifest.
    #[test]
    fn a_rotation_that_was_killed_is_finished_by_the_next(mut folders in history(), keep in 1u32..5, half in any::<u64>()) {
        let (decisions, _) = rotate(&mut folders, keep);
        let gone: Vec<_> = decisions.iter().filter(|d| d.remove).map(|d| d.id.clone()).collect();
        let kept: Vec<_> = decisions.iter().filter(|d| d.counts).map(|d| d.id.clone()).collect();
        let mut left = Vec::new();
        for (n, mut folder) in folders.into_iter().enumerate() {
            if gone.contains(&folder.candidate.id) {
                match half >> (2 * n % 64) & 3 {
                    0 => continue,
                    1 => folder.candidate.state = State::Remains,
                    _ => {}
                }
            }
            left.push(folder);
        }
        let (again, _) = rotate(&mut left, keep);
        prop_assert!(again.iter().filter(|d| kept.contains(&d.id)).all(|d| d.counts && !d.remove));
        // Remains that are too young for it go with a later one.
        let young = |d: &Decision| time(0).duration_since(d.stored) <= REMAINS_STAY;
        prop_assert!(again.iter().filter(|d| gone.contains(&d.id)).all(|d| d.remove || young(d)));
    }
}

#[test]
fn a_flood_of_young_backups_pushes_nothing_out() {
    let sound = |at: usize, hours_ago| Candidate {
        id: id(at),
        stored: time(hours_ago),
        state: State::Sound { finished: time(hours_ago), intact: Some(true) },
    };
    let nights = (0..3).map(|night| sound(night, 20 + 24 * night as i64));
    let flood = (0..100).map(|n| sound(10 + n, n as i64 / 10));
    let candidates: Vec<_> = nights.chain(flood).collect();
    let Plan::Decided(decisions) = plan(&candidates, 3, time(0)) else { panic!("all is verified") };
    let copies: Vec<_> = decisions.iter().filter(|d| d.counts).map(|d| d.id.clone()).collect();
    assert_eq!(copies.len(), 3);
    assert_eq!(copies[1..], [id(0), id(1)]);
    assert!(decisions.iter().filter(|d| d.remove).all(|d| d.id == id(2)));
}
