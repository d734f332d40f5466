//! What is known of each proxy and user from the tunnels before: by which scheme it lets us in, that
//! it has refused the password, and how many logins are under way. The scheme is no secret; Kerberos
//! tickets lie in [`Kerberos`].
//!
//! Domains lock an account after some ten wrong passwords, and mail clients try every few seconds. So
//! whoever sends a password needs a [`Leave`]; a password that has not proved right yet is sent by one
//! at a time, and a refused one not at all for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    LoginError, Scheme,
    kerberos::{Kerberos, Places},
};
use crate::config::Proxy;

/// How long a refused password is not sent again: after the first refusal, and after each more in a
/// row. The last counts for all further ones.
const PAUSES: [Duration; 4] = [minutes(2), minutes(5), minutes(15), minutes(30)];
/// Refusals that lie further apart are not in a row.
const IN_A_ROW: Duration = minutes(120);
/// The most logins under way with a password that has proved right: it may have been changed since.
const AT_ONCE: u32 = 3;
/// How long a login waits for those under way, where the password has proved right. A proxy that takes
/// longer does not look at passwords, but waits for a host, which is not to hold up other hosts.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many logins in a row without an answer, and the password counts as not proved any more.
const UNANSWERED: u32 = 5;

/// The memory of a [`Dialer`](crate::net::dial::Dialer).
pub struct LoginMemory {
    proxies: Mutex<HashMap<Name, Arc<Known>>>,
    pub(super) kerberos: Kerberos,
}

/// Host and port of a proxy, and the user there, if any.
type Name = (String, u16, Option<String>);

/// What is known of one proxy and one user.
pub(in crate::net) struct Known {
    under_way: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// What proved right last time.
    right: Option<Scheme>,
    /// A scheme that has proved right and does not send the password in clear.
    stronger: Option<Scheme>,
    refusal: Option<Refusal>,
    /// Logins in a row without an answer.
    unanswered: u32,
}

#[derive(Clone, Copy)]
struct Refusal {
    scheme: Scheme,
    since: Instant,
    /// Whether it was said; else there was no answer.
    said: bool,
    /// How many in a row there were before.
    before: usize,
}

/// The leave to send a password, until the answer. Dropped without one, the password counts as
/// refused, unless it has proved right before.
pub(in crate::net) struct Leave {
    known: Arc<Known>,
    /// By which scheme a password is under way.
    sent: Option<Scheme>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl LoginMemory {
    /// Knows nothing yet; Kerberos looks for its files in `places`.
    pub fn new(places: Places) -> Self {
        Self { proxies: Mutex::default(), kerberos: Kerberos::new(places) }
    }

    /// What is known of `proxy` and its user.
    pub(in crate::net) fn of(&self, proxy: &Proxy) -> Arc<Known> {
        let user = proxy.credentials.as_ref().map(|login| login.username.clone());
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(proxies.entry((proxy.host.clone(), proxy.port, user)).or_default())
    }
}

impl Default for Known {
    fn default() -> Self {
        let under_way = Arc::new(Semaphore::new(AT_ONCE as usize));
        Self { under_way, state: Mutex::default() }
    }
}

impl Known {
    /// What proved right last time.
    pub(super) fn right(&self) -> Option<Scheme> {
        self.locked().right
    }

    /// A scheme better than Basic that has ever proved right.
    pub(super) fn stronger(&self) -> Option<Scheme> {
        self.locked().stronger
    }

    /// # Errors
    /// [`LoginError::Paused`] while a refused password is not to be sent.
    pub(in crate::net) fn unpaused(&self) -> Result<(), LoginError> {
        let Some(Refusal { scheme, since, said, before }) = self.locked().refusal else {
            return Ok(());
        };
        match pause(before).checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
            None => Ok(()),
            Some(left) => Err(LoginError::Paused { scheme, said, seconds: left.as_secs().max(1) }),
        }
    }

    /// Waits until a password may be sent.
    ///
    /// # Errors
    /// [`LoginError::Paused`], also where it was refused meanwhile.
    pub(in crate::net) async fn leave(self: &Arc<Self>) -> Result<Leave, LoginError> {
        loop {
            self.unpaused()?;
            let under_way = Arc::clone(&self.under_way);
            let proved = self.right().is_some();
            let permit = if proved {
                timeout(PATIENCE, under_way.acquire_owned()).await.ok().and_then(Result::ok)
            } else {
                under_way.acquire_many_owned(AT_ONCE).await.ok()
            };
            if self.right().is_some() == proved {
                self.unpaused()?;
                return Ok(Leave { known: Arc::clone(self), sent: None, _permit: permit });
            }
        }
    }

    /// The proxy let us in. `looked`: because of the login, for which it had asked; else it may not have
    /// looked at it, which says nothing of a password that was refused.
    pub(in crate::net) fn proved(&self, right: Scheme, looked: bool) {
        let mut state = self.locked();
        state.right = Some(right);
        if looked {
            state.refusal = None;
            state.stronger = Some(right).filter(|&right| right.hides()).or(state.stronger);
        }
    }

    /// The proxy, or the KDC, refused the password.
    pub(in crate::net) fn refused(&self, scheme: Scheme) {
        self.pause(scheme, true);
    }

    /// What proved right does no longer.
    pub(super) fn forget(&self) {
        self.locked().right = None;
    }

    /// There was no answer to a password.
    fn unanswered(&self, scheme: Scheme) {
        let mut state = self.locked();
        if state.right.is_none() {
            drop(state);
            self.pause(scheme, false);
            return;
        }
        state.unanswered += 1;
        if state.unanswered >= UNANSWERED {
            (state.right, state.unanswered) = (None, 0);
        }
    }

    fn pause(&self, scheme: Scheme, said: bool) {
        let mut state = self.locked();
        let last = state.refusal.filter(|last| last.since.elapsed() < IN_A_ROW);
        let before = last.map_or(0, |last| last.before + 1);
        state.right = None;
        state.refusal = Some(Refusal { scheme, since: Instant::now(), said, before });
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    /// A password goes out by this scheme.
    pub(in crate::net) fn sends(&mut self, scheme: Scheme) {
        self.sent = Some(scheme);
    }

    /// There is an answer to it, whichever.
    pub(in crate::net) fn answered(&mut self) {
        self.sent = None;
        self.known.locked().unanswered = 0;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(scheme) = self.sent {
            self.known.unanswered(scheme);
        }
    }
}

fn pause(before: usize) -> Duration {
    let [.., last] = PAUSES;
    PAUSES.get(before).copied().unwrap_or(last)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}
