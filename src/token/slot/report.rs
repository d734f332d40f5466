//! How an identity stands, for those who only look: status, `check`, metrics.

use super::Slot;
use crate::token::{Condition, IdentityState, TokenError};

impl Slot {
    /// How it stands. Asks nobody, and changes nothing.
    pub(in crate::token) fn report(&self) -> IdentityState {
        let now = self.clock.now();
        let state = self.lock();
        let live = state.live.as_ref().filter(|live| live.token.lives(now));
        let trouble = state.trouble.clone();
        IdentityState {
            app: state.app.name.clone(),
            grant: state.app.grant.name(),
            user: (!state.app.is_app_only()).then(|| self.user.clone()),
            left: live.map(|live| live.left_and_age(now).0),
            age: live.map(|live| live.left_and_age(now).1),
            condition: match &trouble {
                None if live.is_some() => Condition::Fresh,
                None => Condition::Idle,
                Some(TokenError::NeedsSignIn { .. }) => Condition::NeedsSignIn,
                Some(error) if error.is_refusal() => Condition::Refused,
                Some(_) => Condition::Failing,
            },
            trouble,
        }
    }
}
