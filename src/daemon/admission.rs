//! Who may connect at all: the allow list, and how many at a time from one address.
//!
//! Must never know users or passwords; those are the gate's.

use std::{net::IpAddr, sync::Arc};

use dashmap::{DashMap, Entry};
use ipnet::IpNet;

/// Counts sessions by client address.
pub(super) struct Addresses {
    limit: usize,
    sessions: DashMap<IpAddr, usize>,
}

/// A session's place under its address's limit; given back on drop.
pub(super) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, sessions: DashMap::new() }
    }

    /// A place for one more session, or `None` where the address has all it may have.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut sessions = self.sessions.entry(address).or_insert(0);
        if *sessions >= self.limit {
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
