//! Who may connect at all: the allow list, and how many at a time, together and from one address.
//!
//! Limits may change while sessions run: those are counted on.
//!
//! Must never know users or passwords; those are the gate's.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::warn;

/// Counts sessions.
pub(super) struct Permits {
    semaphore: Arc<Semaphore>,
    limit: AtomicUsize,
}

impl Permits {
    pub(super) fn new(limit: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(limit)), limit: AtomicUsize::new(limit) }
    }

    /// Waits for a place for one more session, and says so where it must.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.semaphore).try_acquire_owned() {
            return Some(permit);
        }
        warn!(
            event = "max_sessions",
            cause = "limits.max_sessions is reached; new clients wait in the backlog",
            remedy = "raise limits.max_sessions, or find the client that holds so many",
            "no session free",
        );
        Arc::clone(&self.semaphore).acquire_owned().await.ok()
    }

    /// From now on there are so many places. Where there were more, those are taken away that are
    /// free, and others as they become so.
    pub(super) fn resize(&self, limit: usize, tasks: &TaskTracker) {
        let before = self.limit.swap(limit, Ordering::Relaxed);
        self.semaphore.add_permits(limit.saturating_sub(before));
        let surplus = u32::try_from(before.saturating_sub(limit)).unwrap_or(u32::MAX);
        if surplus > 0 {
            let semaphore = Arc::clone(&self.semaphore);
            tasks.spawn(async move {
                for _ in 0..surplus {
                    if let Ok(permit) = semaphore.acquire().await {
                        permit.forget();
                    }
                }
            });
        }
    }
}

/// Counts sessions by client address.
pub(super) struct Addresses {
    limit: AtomicUsize,
    sessions: DashMap<IpAddr, usize>,
}

/// A session's place under its address's limit; given back on drop.
pub(super) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), sessions: DashMap::new() }
    }

    /// From now on an address may have so many sessions; those that it has go on.
    pub(super) fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A place for one more session, or `None` where the address has all it may have.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut sessions = self.sessions.entry(address).or_insert(0);
        if *sessions >= self.limit.load(Ordering::Relaxed) {
            return None;
        }
        *sessions += 1;
        Some(Place { addresses: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut sessions) = self.addresses.sessions.entry(self.address) {
            *sessions.get_mut() -= 1; // this place was counted
            if *sessions.get() == 0 {
                sessions.remove();
            }
        }
    }
}

/// Whether the allow list covers the address. An IPv4 address that arrives mapped into IPv6
/// (RFC 4291 section 2.5.5.2) counts as IPv4.
pub(super) fn is_allowed(allow: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    allow.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let addresses = Arc::new(Addresses::new(2));
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let first = addresses.enter(here);
        let second = addresses.enter("::ffff:192.0.2.1".parse().unwrap());
        assert!(first.is_some() && second.is_some());
        assert!(addresses.enter(here).is_none(), "mapped or not, it is one address");
        assert!(addresses.enter(there).is_some(), "another address has its own");
        drop(first);
        let again = addresses.enter(here);
        assert!(again.is_some());
        drop((again, second));
        assert!(addresses.sessions.is_empty(), "no entry stays behind");
    }

    #[test]
    fn the_allow_list_is_by_network() {
        let allow: Vec<IpNet> =
            ["10.1.0.0/16", "2001:db8::/32"].map(|text| text.parse().unwrap()).into();
        let rows = [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
        ];
        for (address, allowed) in rows {
            assert_eq!(is_allowed(&allow, address.parse().unwrap()), allowed, "{address}");
        }
    }
}
