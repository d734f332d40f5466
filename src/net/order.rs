//! The order of several ways out: one that has failed stands last for a while.
//!
//! Without it each session would wait for a dead proxy before it takes the living one. A way is set
//! aside only when another has led there: where none does, the destination may be the trouble. Each
//! change is logged once. Must never know how a way is gone.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{error::Trouble, tunnel::Early};
use crate::config::{Proxy, ProxyScheme, Way};

/// How long a way that has failed stands last. Then one session tries it first again, and the
/// others do not wait for the outcome.
const ASIDE: Duration = Duration::from_secs(60);

/// Which ways have failed lately, and until when they stand last.
#[derive(Default)]
pub(super) struct Order {
    aside: Mutex<HashMap<Name, Instant>>,
}

/// A way out as the map knows it; `None` is the direct one.
type Name = Option<(ProxyScheme, String, u16)>;

impl Order {
    /// The ways as they are to be tried now.
    pub(super) fn of<'a>(&self, ways: Vec<&'a Way>) -> Vec<&'a Way> {
        if ways.len() < 2 {
            return ways;
        }
        let now = Instant::now();
        let mut aside = self.lock();
        let (mut first, last): (Vec<_>, Vec<_>) =
            ways.into_iter().partition(|way| match aside.get_mut(&name(way)) {
                Some(until) if now < *until => false,
                Some(until) => {
                    *until = now + ASIDE; // this session looks; the others need not
                    true
                }
                None => true,
            });
        first.extend(last);
        first
    }

    /// This way has led to a destination, after these had failed.
    pub(super) fn led(&self, way: &Way, failed: &[(&Way, Trouble)]) {
        let until = Instant::now() + ASIDE;
        let mut lost = Vec::new();
        let mut aside = self.lock();
        for (way, trouble) in failed {
            if aside.insert(name(way), until).is_none() {
                lost.push((words(way), trouble));
            }
        }
        let back = aside.remove(&name(way)).is_some();
        drop(aside);
        let now = words(way);
        for (way, trouble) in lost {
            let remedy = trouble.remedy().unwrap_or_default();
            warn!(event = "way_lost", way, cause = %trouble, remedy, now, "a way out fails; another is taken");
        }
        if back {
            info!(event = "way_back", way = now, "a way out leads again");
        }
    }

    /// This way said that it leads there, and did not; the next session tries it last.
    pub(super) fn doubt(&self, way: &Way, early: &Early) {
        if self.lock().insert(name(way), Instant::now() + ASIDE).is_none() {
            let (way, remedy) = (words(way), early.remedy());
            warn!(event = "way_lost", way, cause = %early, remedy, "a way out fails; another is taken next time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Instant>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(way: &Way) -> Name {
    match way {
        Way::Direct => None,
        Way::Proxy(Proxy { scheme, host, port, .. }) => Some((*scheme, host.clone(), *port)),
    }
}

/// A way in words: `direct`, or `http proxy HOST:PORT`.
pub(super) fn words(way: &Way) -> String {
    match way {
        Way::Direct => "direct".to_owned(),
        Way::Proxy(Proxy { scheme, host, port, .. }) => {
            format!("{scheme} proxy {}", super::authority(host, *port))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::config::ProxyAuth;

    fn proxy(host: &str) -> Way {
        let scheme = ProxyScheme::Socks5h;
        Way::Proxy(Proxy {
            scheme,
            host: host.to_owned(),
            port: 1080,
            credentials: None,
            auth: ProxyAuth::Auto,
        })
    }

    fn trouble() -> Trouble {
        Trouble::Connect { hop: "proxy a:1080".to_owned(), tried: Vec::new() }
    }

    fn shown(ways: &[&Way]) -> String {
        ways.iter().map(|way| words(way)).collect::<Vec<_>>().join(", ")
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_failed_stands_last_for_a_while_and_then_one_session_looks() {
        let (a, b) = (proxy("a"), proxy("b"));
        let order = Order::default();
        let ways = || vec![&a, &b, &Way::Direct];
        let (as_written, a_last) = (
            "socks5h proxy a:1080, socks5h proxy b:1080, direct",
            "socks5h proxy b:1080, direct, socks5h proxy a:1080",
        );
        assert_eq!(shown(&order.of(ways())), as_written);
        order.led(&b, &[(&a, trouble())]);
        assert_eq!(shown(&order.of(ways())), a_last);
        advance(ASIDE).await;
        assert_eq!(shown(&order.of(ways())), as_written, "one looks");
        assert_eq!(shown(&order.of(ways())), a_last, "the others do not");
        order.led(&a, &[]);
        assert_eq!(shown(&order.of(ways())), as_written);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_have_failed_before_the_written_order_counts() {
        let (a, b) = (proxy("a"), proxy("b"));
        let order = Order::default();
        order.led(&b, &[(&a, trouble())]);
        order.led(&Way::Direct, &[(&b, trouble()), (&a, trouble())]);
        assert_eq!(shown(&order.of(vec![&a, &b])), "socks5h proxy a:1080, socks5h proxy b:1080");
        assert_eq!(shown(&order.of(vec![&a])), "socks5h proxy a:1080");
    }
}
