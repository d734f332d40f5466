//! Answers failures of one address ever more slowly, and one after the other.
//!
//! Must never know why a login failed.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync,
    time::{Instant, sleep},
};

use super::lockouts::make_room;

/// After this long without a failure an address starts afresh.
pub(super) const FORGIVEN_AFTER: Duration = Duration::from_secs(10 * 60);
/// The longest wait before a failed login is answered.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// How often each address has failed of late.
#[derive(Default)]
pub(super) struct Delays(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Clone)]
struct Failures {
    count: u32,
    last: Instant,
    turn: Arc<sync::Mutex<()>>,
}

impl Delays {
    /// Counts one more failure of this address and waits for its turn and its time.
    pub(super) async fn slow_down(&self, address: IpAddr) {
        let Failures { count, turn, .. } = self.count(address);
        let _turn = turn.lock().await;
        sleep(delay(count)).await;
    }

    fn count(&self, address: IpAddr) -> Failures {
        let now = Instant::now();
        // Plain data: valid at any moment.
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut addresses, |failures| failures.lives(now), |failures| failures.last);
        let failures = addresses.entry(address).or_insert_with(|| Failures {
            count: 0,
            last: now,
            turn: Arc::default(),
        });
        if !failures.lives(now) {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.clone()
    }
}

impl Failures {
    fn lives(&self, now: Instant) -> bool {
        now.duration_since(self.last) < FORGIVEN_AFTER
    }
}

/// Nothing, then half a second, doubling to [`LONGEST_DELAY`].
fn delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(500).saturating_mul(1 << (n - 2).min(10)).min(LONGEST_DELAY),
    }
}
