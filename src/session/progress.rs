//! How far a session has got, readable after its future has been dropped.
//!
//! A deadline or a drain drops the login in the middle; the log must still say in which phase it
//! was and for whom. Must never know what the phases do.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The phase and the account of one session.
pub(super) struct Progress(Mutex<Noted>);

/// A copy of what was noted last.
#[derive(Clone)]
pub(super) struct Noted {
    /// `login`, `gate`, `token`, `queue`, `dial`, `auth` or `relay`.
    pub(super) phase: &'static str,
    /// The user name of the last login; `-` before the first.
    pub(super) account: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Noted { phase: "login", account: "-".to_owned() }))
    }

    pub(super) fn enter(&self, phase: &'static str) {
        self.lock().phase = phase;
    }

    pub(super) fn account(&self, user: &str) {
        user.clone_into(&mut self.lock().account);
    }

    pub(super) fn noted(&self) -> Noted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // plain data: valid at any moment
    }
}
