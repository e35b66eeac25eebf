//! Divides objects into groups that stay the same when others come and go: each is a unit, and one that has not changed is
//! taken over from the backup before.

use sha2::{Digest, Sha256};

use crate::storage::Object;

/// How large groups are on average, in bytes, unless there would be too many.
const SMALLEST: u64 = 64 << 20;

/// About so many groups at most: each has segments, an index and a receipt of its own.
const MOST: u64 = 512;

/// What an object costs besides its content, in bytes, so that groups of very small ones end, too.
const OVERHEAD: u64 = 32 << 10;

/// Groups of objects, which come and stay in the order of their names.
///
/// Whether a group ends behind an object is decided by the digest of its name, and is the likelier the larger it is. Nothing
/// else counts, so an object that comes or goes changes the group that it is in, and at most the one behind it. Only when
/// there is twice as much, groups are joined: ends of larger groups are ends of smaller ones, too.
pub(super) fn group(objects: Vec<Object>) -> Vec<Vec<Object>> {
    let target = target(objects.iter().map(weight).sum());
    let mut groups = vec![Vec::new()];
    for object in objects {
        let ends = ends_group(&object, target);
        if let Some(last) = groups.last_mut() {
            last.push(object);
        }
        if ends {
            groups.push(Vec::new());
        }
    }
    groups.retain(|group| !group.is_empty());
    groups.iter_mut().for_each(Vec::shrink_to_fit);
    groups
}

fn weight(object: &Object) -> u64 {
    object.size.saturating_add(OVERHEAD)
}

/// A power of two times the smallest, so that it changes rarely.
fn target(all: u64) -> u64 {
    let mut target = SMALLEST;
    while all / target > MOST {
        target *= 2;
    }
    target
}

fn ends_group(object: &Object, target: u64) -> bool {
    let digest = Sha256::digest(object.path.as_bytes());
    let number = digest.iter().take(8).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
    u128::from(number) * u128::from(target) < u128::from(weight(object)) << 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(count: usize, size: u64) -> Vec<Object> {
        let object = |number| {
            let path = format!("2026/11/{number:06}.gz").into();
            Object { path, size, modified: 0, etag: None }
        };
        (0..count).map(object).collect()
    }

    #[test]
    fn an_object_that_comes_or_goes_changes_two_groups_at_most() {
        let all = objects(3000, 1 << 20);
        let whole = group(all.clone());
        assert!((20..120).contains(&whole.len()), "{}", whole.len());
        assert_eq!(whole.concat(), all);
        for at in [0, 1, 777, 1500, 2998, 2999] {
            let mut fewer = all.clone();
            fewer.remove(at);
            let changed = group(fewer).into_iter().filter(|group| !whole.contains(group)).count();
            assert!(changed <= 1, "one group is another, or two became one: {changed}");
        }
    }

    #[test]
    fn the_number_of_groups_is_bounded_and_small_objects_are_many_in_one() {
        let count = group(objects(20_000, 20 << 20)).len();
        assert!((200..800).contains(&count), "{count}");
        let tiny = group(objects(20_000, 10)).len();
        assert!((2..40).contains(&tiny), "{tiny}");
        assert!(group(Vec::new()).is_empty());
    }

    #[test]
    fn an_object_that_is_a_group_in_itself_ends_one() {
        let groups = group(objects(5, 200 << 20));
        assert_eq!(groups.len(), 5);
    }

    #[test]
    fn larger_groups_are_made_of_smaller_ones() {
        let ends = |target| move |object: &Object| ends_group(object, target);
        let all = objects(5000, 1 << 20);
        let small: Vec<_> = all.iter().filter(|o| ends(SMALLEST)(o)).collect();
        assert!(all.iter().filter(|o| ends(SMALLEST * 2)(o)).all(|object| small.contains(&object)));
    }
}
