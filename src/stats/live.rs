//! The table of live sessions, and the octets that all sessions have carried.
//!
//! A session's own numbers are atomics that nobody else writes, so that counting costs a relay
//! nothing; the table is locked only when a session begins, ends, or somebody looks.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Octets that a session has carried.
#[derive(Debug, Default)]
pub struct Carried {
    /// From the client to the upstream.
    pub up: AtomicU64,
    /// From the upstream to the client.
    pub down: AtomicU64,
}

impl Carried {
    /// Both, up first, as they are now.
    pub fn both(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

/// A session, readable while it runs and after its future has been dropped.
#[derive(Debug)]
pub struct Session {
    /// The protocol's name.
    pub protocol: &'static str,
    /// The client's address; `None` where there is no client.
    pub client: Option<SocketAddr>,
    /// When it began.
    pub started: Instant,
    /// What it has carried.
    pub carried: Arc<Carried>,
    noted: Mutex<Noted>,
}

/// A copy of what was noted last of a session.
#[derive(Clone, Debug)]
pub struct Noted {
    /// `tls`, `login`, `gate`, `token`, `queue`, `dial`, `auth` or `relay`.
    pub phase: &'static str,
    /// The user name of the last login, as typed; `-` before the first.
    pub account: String,
    /// The `user` of the `[[account]]` that covers it, as configured; `-` where none does.
    pub label: Arc<str>,
}

impl Session {
    /// A session that is in no table.
    pub fn alone(protocol: &'static str, client: Option<SocketAddr>) -> Self {
        let noted = Noted { phase: "login", account: "-".to_owned(), label: "-".into() };
        let (started, carried) = (Instant::now(), Arc::default());
        Self { protocol, client, started, carried, noted: Mutex::new(noted) }
    }

    /// It has got so far.
    pub fn enter(&self, phase: &'static str) {
        self.lock().phase = phase;
    }

    /// Somebody tries to log in as this user, whom this account covers.
    pub fn account(&self, user: &str, label: &str) {
        let mut noted = self.lock();
        user.clone_into(&mut noted.account);
        if *noted.label != *label {
            noted.label = label.into();
        }
    }

    /// What was noted last.
    pub fn noted(&self) -> Noted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner) // plain data: valid at any moment
    }
}

/// The sessions that live.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    sessions: BTreeMap<u64, Arc<Session>>,
    /// What sessions that have ended carried.
    ended: (u64, u64),
}

impl Table {
    /// Lists a session. The number is what it is taken out by.
    pub(super) fn put(&self, session: Arc<Session>) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.sessions.insert(number, session);
        number
    }

    pub(super) fn take(&self, number: u64) {
        let mut state = self.lock();
        if let Some(session) = state.sessions.remove(&number) {
            let (up, down) = session.carried.both();
            state.ended = (state.ended.0 + up, state.ended.1 + down);
        }
    }

    /// The oldest first.
    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        self.lock().sessions.values().cloned().collect()
    }

    /// What all sessions have carried so far; never less than before.
    pub(super) fn carried(&self) -> (u64, u64) {
        let state = self.lock();
        state.sessions.values().fold(state.ended, |(up, down), session| {
            let (more_up, more_down) = session.carried.both();
            (up + more_up, down + more_down)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // no step leaves it half done
    }
}
