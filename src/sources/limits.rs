//! How much of a source is saved: the newest, up to an age and up to an amount.

use std::time::SystemTime;

use crate::config::{Limits, format_duration};
use crate::inventory::Omission;

/// What has an age and a size.
pub(super) trait Aged {
    /// Its name, by which it is put in order.
    fn path(&self) -> &str;
    /// When it was modified last.
    fn modified(&self) -> SystemTime;
    /// Its size in bytes.
    fn size(&self) -> u64;
}

/// The newest within the limits, in the order of their paths, and what is left out. `noun` is what they are called.
pub(super) fn newest<T: Aged>(mut all: Vec<T>, noun: &str, limits: Limits, now: SystemTime) -> (Vec<T>, Vec<Omission>) {
    let mut left_out = Vec::new();
    let mut cut = |all: &mut Vec<T>, at: usize, why: String| {
        let count = all.len() - at;
        if count > 0 {
            all.truncate(at);
            left_out.push(Omission { what: noun.into(), why, count: Some(count as u64) });
        }
    };
    if limits.newer_than.is_some() || limits.max_size.is_some() {
        all.sort_by(|a, b| b.modified().cmp(&a.modified()).then_with(|| a.path().cmp(b.path())));
    }
    if let Some(age) = limits.newer_than {
        let oldest = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let at = all.partition_point(|one| one.modified() >= oldest);
        cut(&mut all, at, format!("older than {}", format_duration(age)));
    }
    if let Some(most) = limits.max_size {
        let mut total = 0u64;
        let fits = |one: &&T| {
            total = total.saturating_add(one.size());
            total <= most
        };
        let at = all.iter().take_while(fits).count();
        cut(&mut all, at, format!("beyond the newest {most} bytes"));
    }
    all.sort_by(|a, b| a.path().cmp(b.path()));
    (all, left_out)
}
