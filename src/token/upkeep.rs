//! Renews tokens in the background, one task for each identity that has something to renew.
//!
//! When what is due, the slot says; the task sleeps, takes the turn and asks. It ends with the
//! process, or when there is nothing left to look after. Must never know how a request travels.

use std::sync::Arc;

use tokio::time::sleep;

use super::{
    TokenError,
    cache::Tokens,
    grant::Ask,
    settle::{By, Settled},
    slot::{Due, Slot},
};

impl Tokens {
    /// Sees to it that the slot is looked after, if it has anything to look after.
    pub(super) fn look_after(&self, slot: &Arc<Slot>) {
        if !slot.start_upkeep() {
            return;
        }
        let (tokens, slot) = (self.clone(), Arc::clone(slot));
        self.0.tasks.spawn(async move {
            let stop = tokens.0.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokens.keep_looking(&slot) => {}
            }
        });
    }

    async fn keep_looking(&self, slot: &Arc<Slot>) {
        while let Some(rest) = slot.rest() {
            tokio::select! {
                () = sleep(rest) => {}
                () = slot.changed.notified() => {}
            }
            if slot.is_due() {
                self.do_what_is_due(slot).await;
            }
        }
    }

    async fn do_what_is_due(&self, slot: &Arc<Slot>) {
        let turn = Arc::clone(&slot.turn).lock_owned().await;
        if self.unseal(slot).await.is_err() {
            slot.postpone(None);
            return;
        }
        // A login may have done it while the turn was awaited.
        let Some(mut due) = slot.due() else { return };
        let of_a_person = matches!(due, Due::Refresh(_)) && slot.app().grant.needs_sign_in();
        if of_a_person && matches!(self.finds_sign_in(slot).await, Ok(true)) {
            let Some(still) = slot.due() else { return }; // a sign-in brings an access token too
            due = still;
        }
        let ask = match &due {
            Due::App => Ask::App,
            Due::Refresh(token) => Ask::Refresh(token),
            Due::Look => {
                self.look_for_sign_in(slot).await;
                return;
            }
        };
        let app = slot.app();
        let answer = self.0.errands.run(&app, &ask).await;
        let settled = self.settle(slot, app, By::Upkeep, answer, turn).await;
        if let Settled { outcome: Some(Err(TokenError::NeedsSignIn { .. })), turn: Some(_turn) } =
            settled
        {
            self.look_for_sign_in(slot).await;
        }
    }

    /// Somebody may have signed in since. Nobody asks for a token now, so that without a sign-in
    /// nothing but the state is touched.
    async fn look_for_sign_in(&self, slot: &Arc<Slot>) {
        if let Ok(false) = self.finds_sign_in(slot).await {
            slot.need_sign_in(&slot.app(), None);
        }
    }
}
