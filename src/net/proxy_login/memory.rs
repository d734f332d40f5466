//! What is known of each proxy from the tunnels before: by which scheme it lets us in, and that it
//! has refused the password. The scheme is no secret; Kerberos tickets lie in [`Kerberos`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Scheme,
    kerberos::{Kerberos, Places},
};
use crate::config::Proxy;

/// How long a refused password is not sent again. Domains lock an account after some ten wrong ones
/// within ten minutes; mail clients try every few seconds.
const PAUSE: Duration = Duration::from_secs(120);

/// The memory of a [`Dialer`](crate::net::dial::Dialer).
pub struct LoginMemory {
    proxies: Mutex<HashMap<String, Arc<Known>>>,
    pub(super) kerberos: Kerberos,
}

/// What is known of one proxy.
#[derive(Default)]
pub(super) struct Known {
    /// Held by who tries a password that has not proved right yet, so that a wrong one is sent once
    /// and not by all sessions together.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    right: Option<Entry>,
    refused: Option<(Scheme, Instant)>,
}

/// What proved right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    /// It asked for nothing.
    Open,
    /// A login by this scheme.
    By(Scheme),
}

impl LoginMemory {
    /// Knows nothing yet; Kerberos looks for its files in `places`.
    pub fn new(places: Places) -> Self {
        Self { proxies: Mutex::default(), kerberos: Kerberos::new(places) }
    }

    /// What is known of `proxy`.
    pub(super) fn of(&self, proxy: &Proxy) -> Arc<Known> {
        let name = format!("{}:{}", proxy.host, proxy.port);
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(proxies.entry(name).or_default())
    }
}

impl Known {
    /// What proved right last time.
    pub(super) fn right(&self) -> Option<Entry> {
        self.state().right
    }

    /// The scheme by which the password was refused, and for how many seconds it is not sent again.
    pub(super) fn paused(&self) -> Option<(Scheme, u64)> {
        let (scheme, since) = self.state().refused?;
        let left = PAUSE.checked_sub(since.elapsed()).filter(|left| !left.is_zero())?;
        Some((scheme, left.as_secs().max(1)))
    }

    /// The proxy let us in.
    pub(super) fn proved(&self, right: Entry) {
        *self.locked() = State { right: Some(right), refused: None };
    }

    /// The proxy, or the KDC, refused the password.
    pub(super) fn refused(&self, scheme: Scheme) {
        *self.locked() = State { right: None, refused: Some((scheme, Instant::now())) };
    }

    /// What proved right does no longer.
    pub(super) fn forget(&self) {
        self.locked().right = None;
    }

    fn state(&self) -> State {
        *self.locked()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
