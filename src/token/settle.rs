//! Writes down what Entra answered: in the vault first, then in the slot.
//!
//! This runs as a task of its own that holds the slot's turn, so that an answer is not lost when
//! whoever asked has gone away: a refresh token that Entra has replaced must not be forgotten. Must
//! never know how the answer was got.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};

use super::{
    Refused, Token, TokenError,
    cache::Tokens,
    entra::{Answer, Granted},
    errand::unusable,
    shelf::Left,
    slot::{Grantee, Proof, REFUSED_FOR, Slot, is_for_a_person},
    vault::Kept,
};
use crate::{
    advice,
    config::{EntraApp, Grant},
};

/// Who asked.
pub(super) enum By {
    /// A login with this proof, and the password of it where Entra was shown one.
    Login {
        /// What entitles to the token.
        proof: Proof,
        /// What the client typed.
        password: Option<SecretString>,
    },
    /// The renewal ahead of time.
    Upkeep,
}

/// What came of it.
pub(super) struct Settled {
    /// For whoever asked; `None` if the question must be asked anew, because the app was read anew
    /// meanwhile.
    pub(super) outcome: Option<Result<Token, TokenError>>,
    /// The slot's turn, handed back.
    pub(super) turn: Option<OwnedMutexGuard<()>>,
}

impl Tokens {
    /// Writes the answer down. Goes on to its end even where the caller does not.
    pub(super) async fn settle(
        &self,
        slot: &Arc<Slot>,
        app: Arc<EntraApp>,
        by: By,
        answer: Result<Answer, TokenError>,
        turn: OwnedMutexGuard<()>,
    ) -> Settled {
        self.0.stats.token_request(&app.name, outcome(&answer));
        let (tokens, slot) = (self.clone(), Arc::clone(slot));
        let work = self.0.tasks.spawn(async move {
            let outcome = tokens.write_down(&slot, &app, by, answer).await;
            Settled { outcome, turn: Some(turn) }
        });
        work.await.unwrap_or_else(|error| {
            let error = unusable(&format!("writing down the answer broke off: {error}"));
            Settled { outcome: Some(Err(error)), turn: None }
        })
    }

    async fn write_down(
        &self,
        slot: &Arc<Slot>,
        app: &Arc<EntraApp>,
        by: By,
        answer: Result<Answer, TokenError>,
    ) -> Option<Result<Token, TokenError>> {
        match (answer, by) {
            (Ok(Answer::Granted(granted)), by) => {
                Some(Ok(self.granted(slot, app, by, granted).await))
            }
            (Ok(Answer::Refused { error, description, aadsts }), By::Login { proof, password }) => {
                let by_password = password.is_some();
                let refused = Refused { error, description, aadsts, by_password };
                self.login_refused(slot, app, &proof, refused).await
            }
            (Ok(Answer::Refused { error, description, aadsts }), By::Upkeep) => {
                let refused = Refused { error, description, aadsts, by_password: false };
                renewal_refused(slot, app, refused)
            }
            (Ok(Answer::Transient { what, retry_after }), by) => {
                Some(failed(slot, app, &by, unusable(&what), retry_after))
            }
            (Err(error), by) => Some(failed(slot, app, &by, error, None)),
        }
    }

    async fn granted(
        &self,
        slot: &Arc<Slot>,
        app: &EntraApp,
        by: By,
        mut granted: Granted,
    ) -> Token {
        let (at, seconds) = (slot.now(), granted.life.as_secs());
        let words = if matches!(by, By::Upkeep) { "token renewed" } else { "token granted" };
        let to = self.grantee(slot, by).await;
        if self.0.shelf.is_there() && !slot.has_ended() {
            let kept = slot.record(&to, &granted, at);
            if !app.grant.needs_sign_in() {
                self.0.shelf.keep(&slot.name, kept).await;
            } else if let Some(theirs) = self.keep_unless_signed_in(slot, kept).await {
                granted.refresh = Some(theirs);
            }
        }
        let token = slot.grant(to, granted, at);
        info!(event = "token", app = app.name, seconds, "{words}");
        self.look_after(slot);
        token
    }

    /// Keeps this, unless somebody has signed in while Entra was asked: then theirs stays, and the
    /// next renewal is by their refresh token, which is returned.
    async fn keep_unless_signed_in(&self, slot: &Arc<Slot>, kept: Kept) -> Option<SecretString> {
        let refresh = kept.refresh.clone();
        let (tokens, looks) = (self.clone(), Arc::clone(slot));
        let is_spared = move |old: &Kept| {
            let theirs = old.refresh.as_ref();
            theirs.is_some_and(|theirs| looks.is_news(theirs, &tokens.0.prints))
        };
        match self.0.shelf.keep_unless(&slot.name, kept, is_spared).await {
            Left::Ours => slot.shelve(refresh.as_ref(), &self.0.prints),
            Left::Theirs(Kept { refresh, .. }) => {
                slot.shelve(refresh.as_ref(), &self.0.prints);
                return refresh;
            }
            Left::Unknown => {}
        }
        None
    }

    async fn grantee(&self, slot: &Slot, by: By) -> Grantee {
        let By::Login { proof: Some(print), password: Some(password) } = by else {
            return Grantee::Holder;
        };
        // Hashing is dear: once for each password that Entra accepts, and not without a vault.
        let hash = if self.0.shelf.is_there() && slot.lacks_hash(&print) {
            self.0.shelf.hash(&password).await
        } else {
            None
        };
        Grantee::Password { print, hash }
    }

    async fn login_refused(
        &self,
        slot: &Slot,
        app: &Arc<EntraApp>,
        proof: &Proof,
        refused: Refused,
    ) -> Option<Result<Token, TokenError>> {
        if app.grant.needs_sign_in() && is_for_a_person(&refused.error) {
            return slot.need_sign_in(app, Some(refused));
        }
        let (outcome, ended) = slot.refuse(proof, app, refused)?;
        if ended && !slot.has_ended() {
            // Else a restart would believe the password again.
            self.0.shelf.keep(&slot.name, Kept::default()).await;
        }
        Some(outcome)
    }
}

/// What came of a request, of a closed set.
fn outcome(answer: &Result<Answer, TokenError>) -> &'static str {
    match answer {
        Ok(Answer::Granted(_)) => "granted",
        Ok(Answer::Refused { .. }) => "refused",
        Ok(Answer::Transient { .. }) => "unavailable",
        Err(_) => "unreachable",
    }
}

fn renewal_refused(
    slot: &Slot,
    app: &Arc<EntraApp>,
    refused: Refused,
) -> Option<Result<Token, TokenError>> {
    let for_a_person = is_for_a_person(&refused.error);
    if for_a_person && app.grant.needs_sign_in() {
        return slot.need_sign_in(app, Some(refused));
    }
    let advice = refused.aadsts.and_then(advice::for_aadsts);
    warn!(
        event = "token_renewal_refused",
        app = app.name,
        account = (!app.is_app_only()).then_some(slot.user.as_str()),
        error = refused.error,
        description = refused.description,
        cause = advice.map(|advice| advice.cause),
        remedy = advice.map(|advice| advice.remedy),
        "token not renewed; it is served until it ends",
    );
    let error = TokenError::Refused(refused.clone());
    if !matches!(app.grant, Grant::Password { .. }) {
        let _for_nobody = slot.refuse(&None, app, refused)?;
    } else if for_a_person {
        slot.drop_refresh();
        return Some(Err(error));
    } else {
        slot.note(error.clone());
    }
    slot.postpone(Some(REFUSED_FOR));
    Some(Err(error))
}

fn failed(
    slot: &Slot,
    app: &EntraApp,
    by: &By,
    error: TokenError,
    retry_after: Option<Duration>,
) -> Result<Token, TokenError> {
    match by {
        By::Login { proof, .. } => slot.fail(proof, error, retry_after),
        By::Upkeep => {
            let wait = slot.postpone(retry_after);
            warn!(
                event = "token_renewal_failed",
                app = app.name,
                account = (!app.is_app_only()).then_some(slot.user.as_str()),
                what = %error,
                remedy = error.remedy(),
                ?wait,
                "token not renewed, trying again; it is served until it ends"
            );
            slot.fail(&None, error, retry_after)
        }
    }
}
