//! A person must sign in: when that is so, how it is told, and how it ends.
//!
//! A refresh token that Entra refused is kept (I5) and tried again after waits that grow: what was
//! refused once is at times taken again. Must never know how anybody signs in.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{LONGEST_REFUSAL, REFUSED_FOR, Slot, state::State};
use crate::{
    advice,
    config::EntraApp,
    token::{Refused, Token, TokenError},
};

/// A person must sign in.
pub(super) struct Needs {
    pub(super) refused: Option<Refused>,
    /// The refresh token is not tried before; then it is, in case the refusal was a mistake.
    pub(super) until: Instant,
    pub(super) wait: Duration,
    /// Another refresh token than the refused one has come since.
    pub(super) untried: bool,
}

impl Slot {
    /// The refresh token of a user who signed in, if it is worth trying now.
    pub(in crate::token) fn refresh_to_try(&self) -> Option<SecretString> {
        let state = self.lock();
        state.refresh.clone().filter(|_| state.may_try(Instant::now()))
    }

    /// A person must sign in: because nobody has yet, because Entra has just said so, or still. A
    /// living token is served meanwhile. `None`: the app has been read anew meanwhile.
    pub(in crate::token) fn need_sign_in(
        &self,
        app: &Arc<EntraApp>,
        refused: Option<Refused>,
    ) -> Option<Result<Token, TokenError>> {
        let now = self.clock.now();
        let mut state = self.lock();
        if refused.is_some() && !Arc::ptr_eq(&state.app, app) {
            return None;
        }
        if refused.is_some() || state.needs.is_none() {
            let before = state.needs.take();
            let wait = before.as_ref().map_or(REFUSED_FOR, |needs| {
                if needs.untried { REFUSED_FOR } else { (needs.wait * 2).min(LONGEST_REFUSAL) }
            });
            let until = now.monotonic + wait;
            let needs = Needs { refused, until, wait, untried: false };
            if before.is_none() {
                self.log_needs_sign_in(&needs, &state.app.name);
            }
            state.needs = Some(needs);
        }
        let refused = state.needs.as_ref().and_then(|needs| needs.refused.clone());
        let error = TokenError::NeedsSignIn { user: self.user.clone(), refused };
        state.trouble = Some(error.clone());
        Some(state.served_or(&None, now, error))
    }

    fn log_needs_sign_in(&self, needs: &Needs, app: &str) {
        let refused = needs.refused.as_ref();
        let advice = refused.and_then(|refused| refused.aadsts).and_then(advice::for_aadsts);
        warn!(
            event = "needs_sign_in",
            account = self.user,
            app,
            error = refused.map(|refused| refused.error.as_str()),
            description = refused.map(|refused| refused.description.as_str()),
            cause = advice.map(|advice| advice.cause),
            remedy = format!("run `mailwicket sign-in {}` on this machine", self.user),
            "a person must sign in"
        );
    }

    pub(super) fn signed_in_again(&self, state: &mut State) {
        if state.needs.take().is_some() {
            let app = &state.app.name;
            info!(event = "signed_in_again", account = self.user, app, "signed in: tokens again");
        }
    }
}

impl State {
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.needs.as_ref().is_none_or(|needs| needs.untried || now >= needs.until)
    }
}

/// Whether an OAuth error means that a person must act (RFC 6749 section 5.2, `OpenID` Connect Core
/// section 3.1.2.6, Microsoft's own).
pub(in crate::token) fn is_for_a_person(error: &str) -> bool {
    matches!(
        error,
        "invalid_grant"
            | "interaction_required"
            | "consent_required"
            | "login_required"
            | "user_password_expired"
    )
}
