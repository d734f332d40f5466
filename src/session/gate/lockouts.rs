//! Counts failures, and locks what has too many of them.
//!
//! Must never know what a key stands for, nor what a failure is.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failures within this time of the first are added up.
pub(super) const WINDOW: Duration = Duration::from_secs(10 * 60);
/// The most entries of a table: who can make up names or has many addresses fills no memory.
const MOST: usize = 4096;

/// A table of failures.
pub(super) struct Lockouts<K> {
    after: u32,
    time: Duration,
    entries: Mutex<HashMap<K, Entry>>,
}

struct Entry {
    since: Instant,
    count: u32,
    until: Option<Instant>,
}

impl<K: Eq + Hash> Lockouts<K> {
    /// Locks for `time` what has failed `after` times within the [`WINDOW`].
    pub(super) fn new(after: u32, time: Duration) -> Self {
        Self { after, time, entries: Mutex::default() }
    }

    pub(super) fn is_after(&self, failures: u32) -> bool {
        self.after == failures
    }

    pub(super) fn is_locked(&self, key: &K) -> bool {
        let until = self.entries().get(key).and_then(|entry| entry.until);
        until.is_some_and(|until| until > Instant::now())
    }

    /// Counts a failure; true where a lockout begins with it. During a lockout nothing is counted,
    /// so that it ends when it was said to.
    pub(super) fn fail(&self, key: K) -> bool {
        let now = Instant::now();
        let mut entries = self.entries();
        make_room(&mut entries, |entry| entry.lives(now), |entry| (entry.until, entry.since));
        let entry = entries.entry(key).or_insert_with(|| Entry::new(now));
        if !entry.lives(now) {
            *entry = Entry::new(now);
        }
        if entry.until.is_some() {
            return false;
        }
        entry.count = entry.count.saturating_add(1);
        if entry.count < self.after {
            return false;
        }
        entry.until = Some(now + self.time);
        true
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<K, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner) // plain data: valid at any moment
    }
}

impl Entry {
    fn new(since: Instant) -> Self {
        Self { since, count: 0, until: None }
    }

    fn lives(&self, now: Instant) -> bool {
        self.until.unwrap_or(self.since + WINDOW) > now
    }
}

/// Where a table is full, drops what is over; where that is not enough, drops the half that is
/// worth least.
pub(super) fn make_room<K: Eq + Hash, V, W: Copy + Ord>(
    entries: &mut HashMap<K, V>,
    lives: impl Fn(&V) -> bool,
    worth: impl Fn(&V) -> W,
) {
    if entries.len() < MOST {
        return;
    }
    entries.retain(|_, entry| lives(entry));
    if entries.len() < MOST {
        return;
    }
    let mut worths: Vec<W> = entries.values().map(&worth).collect();
    let middle = worths.len() / 2;
    let (_, median, _) = worths.select_nth_unstable(middle);
    let median = *median;
    entries.retain(|_, entry| worth(entry) > median);
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const TIME: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn a_lockout_begins_with_the_last_failure_that_is_borne_and_ends_in_time() {
        let table = Lockouts::new(3, TIME);
        assert!(!table.fail("ann") && !table.fail("ann") && !table.fail("bob"));
        assert!(!table.is_locked(&"ann"));
        assert!(table.fail("ann"), "the third");
        assert!(table.is_locked(&"ann") && !table.is_locked(&"bob"));
        advance(TIME.checked_sub(Duration::from_secs(1)).unwrap()).await;
        assert!(table.is_locked(&"ann"));
        assert!(!table.fail("ann"), "not counted, and no second beginning");
        advance(Duration::from_secs(1)).await;
        assert!(!table.is_locked(&"ann"));
        assert!(!table.fail("ann") && !table.fail("ann"), "counted from the start");
        assert!(table.fail("ann"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_lie_far_apart_are_not_added_up() {
        let table = Lockouts::new(3, TIME);
        assert!(!table.fail("ann") && !table.fail("ann"));
        advance(WINDOW).await;
        assert!(!table.fail("ann") && !table.fail("ann"));
        advance(WINDOW.checked_sub(Duration::from_secs(1)).unwrap()).await;
        assert!(table.fail("ann"), "within the window of the second first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_stays_bounded_and_keeps_what_is_locked() {
        let table = Lockouts::new(2, TIME);
        assert!(!table.fail(usize::MAX) && table.fail(usize::MAX));
        for name in 0..5 * MOST {
            advance(Duration::from_millis(1)).await;
            table.fail(name);
            assert!(table.entries().len() <= MOST);
        }
        assert!(table.is_locked(&usize::MAX));
        assert!(table.entries().len() > MOST / 4, "not more is dropped than needed");
        advance(2 * WINDOW).await;
        for name in 0..=MOST {
            table.fail(name);
        }
        assert!(!table.entries().contains_key(&usize::MAX), "what is over goes first");
    }
}
