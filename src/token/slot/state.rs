//! The data behind a slot, and what can be said of it.
//!
//! Must never know the network, or who may change it when (I3 is the slot's).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::time::Instant;

use super::{Grantee, Proof, person::Needs, upkeep::Upkeep};
use crate::{
    config::{EntraApp, Grant},
    secret::Fingerprint,
    token::{Token, TokenError, clock::Moment},
};

/// So many different refused passwords of one user, within [`GUESSES_WITHIN`], and no further one
/// is tried: Entra's smart lockout begins at ten (AADSTS50053).
pub(super) const GUESSES: usize = 5;
/// See [`GUESSES`].
pub(super) const GUESSES_WITHIN: Duration = Duration::from_secs(10 * 60);
/// A token is not used in its last moments: it has a way to go.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

pub(super) struct State {
    /// The app as read last.
    pub(super) app: Arc<EntraApp>,
    pub(super) live: Option<Live>,
    pub(super) refresh: Option<SecretString>,
    /// Whose password all this was granted for; only with `grant = "password"`.
    pub(super) owner: Option<Owner>,
    pub(super) refused: VecDeque<Refusal>,
    pub(super) needs: Option<Needs>,
    /// Nothing is asked before this moment.
    pub(super) not_before: Option<(Instant, TokenError)>,
    /// Why there was no token last time; a wrong password is none of the identity's troubles.
    pub(super) trouble: Option<TokenError>,
    pub(super) generation: u64,
    pub(super) forced: Option<Instant>,
    pub(super) used: Instant,
    /// Long sessions begin with these tokens.
    pub(super) young: bool,
    /// Of the refresh token that the vault is known to keep: an older one than `refresh` where it
    /// could not be written.
    pub(super) shelved: Option<Fingerprint>,
    /// What the vault keeps is known here.
    pub(super) unsealed: bool,
    pub(super) upkeep: Upkeep,
}

pub(super) struct Live {
    pub(super) token: Token,
    /// All of its life; what is left, the token knows.
    pub(super) life: Duration,
    pub(super) renew_at: Moment,
    pub(super) half_life: Moment,
    /// The provider refused it; kept only for the case that no other can be had.
    pub(super) suspect: bool,
}

pub(super) struct Owner {
    /// `None` after a restart, until somebody brings the password that has this hash.
    pub(super) print: Option<Fingerprint>,
    /// For the vault.
    pub(super) hash: Option<String>,
    /// When Entra accepted the password.
    pub(super) accepted: Moment,
}

pub(super) struct Refusal {
    pub(super) proof: Proof,
    pub(super) at: Instant,
    /// For how long it is not asked about again.
    pub(super) wait: Duration,
    pub(super) error: TokenError,
}

impl Live {
    /// How long it may still be used, and how long ago Entra granted it.
    pub(super) fn left_and_age(&self, now: Moment) -> (Duration, Duration) {
        let left = self.token.expires.left(now);
        (left, self.life.saturating_sub(left + LAST_MOMENTS.min(self.life / 10)))
    }
}

impl State {
    /// The living token, for its own proof (I1).
    pub(super) fn served(&self, proof: &Proof, now: Moment) -> Option<&Live> {
        let live = self.live.as_ref()?;
        (self.is_owned_by(proof) && live.token.lives(now)).then_some(live)
    }

    pub(super) fn served_or(
        &self,
        proof: &Proof,
        now: Moment,
        error: TokenError,
    ) -> Result<Token, TokenError> {
        self.served(proof, now).map(|live| live.token.clone()).ok_or(error)
    }

    /// Whether what is here was granted for this proof.
    pub(super) fn is_owned_by(&self, proof: &Proof) -> bool {
        match self.app.grant {
            Grant::Password { .. } => {
                let owner = self.owner.as_ref().and_then(|owner| owner.print.as_ref());
                owner.is_some() && owner == proof.as_ref()
            }
            _ => proof.is_none(),
        }
    }

    /// Whether the grantee is who had the slot before.
    pub(super) fn is_held_by(&self, to: &Grantee) -> bool {
        match to {
            Grantee::Holder => true,
            Grantee::Password { print, .. } => self.is_owned_by(&Some(print.clone())),
        }
    }

    /// Whether the owner's password need not be shown to Entra again yet.
    pub(super) fn is_settled(&self, now: Moment) -> bool {
        match (&self.app.grant, &self.owner) {
            (Grant::Password { accepted_for, .. }, Some(owner)) => {
                owner.accepted.age(now) < *accepted_for
            }
            (Grant::Password { .. }, None) => false,
            _ => true,
        }
    }

    pub(super) fn guesses(&self, now: Instant) -> usize {
        let wrong = self.refused.iter().filter(|refusal| refusal.error.blames_the_password());
        wrong.filter(|refusal| now < refusal.at + GUESSES_WITHIN).count()
    }

    /// A token lives from now on: `life` in all, of which `left` is left.
    pub(super) fn enliven(
        &mut self,
        secret: SecretString,
        now: Moment,
        life: Duration,
        left: Duration,
    ) -> Token {
        self.generation += 1;
        let expires = now.plus(left.saturating_sub(LAST_MOMENTS.min(life / 10)));
        let token = Token { secret: secret.into(), generation: self.generation, expires };
        let half_life = now.plus(left.saturating_sub(life / 2));
        // A life shorter than twice the margin is renewed at half of it.
        let margin = self.app.token_expiry_margin.min(life / 2);
        let renew_at = if self.young { half_life } else { now.plus(left.saturating_sub(margin)) };
        self.live = Some(Live { token: token.clone(), life, renew_at, half_life, suspect: false });
        token
    }
}
