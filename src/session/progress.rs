//! How far a session has got, readable after its future has been dropped.
//!
//! A deadline or a drain drops the login in the middle; the log must still say in which phase it
//! was and for whom. Must never know what the phases do.

use std::sync::Arc;

pub(super) use crate::stats::Noted;
use crate::stats::{Carried, Session};

/// The phase and the account of one session, which may be listed among the live ones.
pub(super) struct Progress(Arc<Session>);

impl Progress {
    /// Of a session that nobody looks at.
    pub(super) fn new() -> Self {
        Self(Arc::new(Session::alone("-", None)))
    }

    pub(super) fn of(session: &Arc<Session>) -> Self {
        Self(Arc::clone(session))
    }

    pub(super) fn session(&self) -> &Session {
        &self.0
    }

    pub(super) fn enter(&self, phase: &'static str) {
        self.0.enter(phase);
    }

    /// Somebody logs in as `user`, whom this account covers.
    pub(super) fn account(&self, user: &str, label: &str) {
        self.0.account(user, label);
    }

    pub(super) fn noted(&self) -> Noted {
        self.0.noted()
    }

    pub(super) fn carried(&self) -> &Arc<Carried> {
        &self.0.carried
    }
}
