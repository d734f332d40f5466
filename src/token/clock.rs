//! Both clocks at once: neither alone says how old something is.
//!
//! The monotonic clock stands still while a machine sleeps; the wall clock may be wrong and be
//! corrected. So what must not be used too long ends when either says so. Must never know what is
//! timed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// Tells the time. The wall clock is given to it, because only the other one can be paused.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

/// One moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) monotonic: Instant,
    pub(super) wall: SystemTime,
}

impl Clock {
    /// The machine's own.
    pub(super) fn of_the_machine() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A wall clock that a test moves.
    #[cfg(test)]
    pub(super) fn with_wall(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(wall))
    }

    pub(super) fn now(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: (self.0)() }
    }
}

impl Moment {
    /// So much later. Beyond what a clock can hold, the same moment: soon rather than never.
    pub(super) fn plus(self, time: Duration) -> Self {
        Self {
            monotonic: self.monotonic.checked_add(time).unwrap_or(self.monotonic),
            wall: self.wall.checked_add(time).unwrap_or(self.wall),
        }
    }

    /// Whether either clock has reached it.
    pub(super) fn has_come(&self, now: Moment) -> bool {
        self.monotonic <= now.monotonic || self.wall <= now.wall
    }

    /// How much time is left until it, by the clock that leaves less.
    pub(super) fn left(&self, now: Moment) -> Duration {
        let wall = self.wall.duration_since(now.wall).unwrap_or_default();
        self.monotonic.saturating_duration_since(now.monotonic).min(wall)
    }

    /// How long ago it was, by the clock that says longer.
    pub(super) fn age(&self, now: Moment) -> Duration {
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        now.monotonic.saturating_duration_since(self.monotonic).max(wall)
    }

    /// The one that comes first, by the monotonic clock.
    pub(super) fn earlier(self, other: Moment) -> Self {
        if other.monotonic < self.monotonic { other } else { self }
    }
}
