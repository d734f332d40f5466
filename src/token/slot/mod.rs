//! What is known about one identity's token: a state and its rules, without clockwork or network.
//!
//! Invariants:
//! - **I1** A token is handed out only while it lives, and only for the proof that Entra accepted
//!   for it: nothing where the app or a signed-in user is the identity, the same password for
//!   `grant = "password"`.
//! - **I2** A refusal of one password touches neither token nor acceptance of another.
//! - **I3** Whoever changes the token holds the slot's turn, so a late answer cannot overwrite a
//!   newer state; every token has a generation of its own.
//! - **I4** What was refused for good is not asked again for [`REFUSED_FOR`], a password that is
//!   refused again for longer each time, and nothing is asked before the moment that Entra named.
//! - **I5** A refresh token is let go for another one only, never for a refusal: Entra refuses some
//!   once and takes them again. (By password the next login brings a new one, so there it goes.)
//!
//! Here is what a login meets; `state` is the data, `person` the sign-in, `kept` is the state that
//! outlives the process, `upkeep` the renewal ahead of time, `report` what status and metrics see.

mod kept;
mod person;
mod report;
mod state;
mod upkeep;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use self::state::{GUESSES, GUESSES_WITHIN, Owner, Refusal, State};
pub(super) use self::{person::is_for_a_person, upkeep::Due};
use super::{
    Refused, Token, TokenError,
    clock::{Clock, Moment},
    entra::Granted,
};
use crate::{config::EntraApp, secret::Fingerprint};

/// How long a refusal is remembered. Entra answers identical requests alike, and counts them
/// (AADSTS50196).
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(60);
/// What is refused again and again, a password or a refresh token, is asked about ever more seldom:
/// the wait doubles from [`REFUSED_FOR`] up to this.
const LONGEST_REFUSAL: Duration = Duration::from_secs(15 * 60);
/// A token is renewed at the provider's wish at most this often.
const FORCED_EVERY: Duration = Duration::from_secs(60);
/// Without a word from Entra, how long after a failure nobody asks again: those who were waiting
/// for that answer share it.
const SHARED_FAILURE: Duration = Duration::from_secs(2);

/// What entitles to a token: the password's fingerprint, or nothing where the app or a user who
/// signed in is the identity.
pub(super) type Proof = Option<Fingerprint>;

/// The state of one identity.
pub(super) struct Slot {
    /// The identity's name, here and in the vault.
    pub(super) name: String,
    /// The user, as typed first.
    pub(super) user: String,
    /// Held by whoever asks Entra (I3).
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// Upkeep should look again when its next moment is.
    pub(super) changed: Notify,
    clock: Clock,
    state: Mutex<State>,
}

/// Whom a granted token is for.
pub(super) enum Grantee {
    /// Whoever the slot is: the app, the user who signed in, or whose password was accepted last.
    Holder,
    /// Who typed this password; Entra has just accepted it.
    Password {
        print: Fingerprint,
        /// Its hash, where the slot had none yet.
        hash: Option<String>,
    },
}

impl Slot {
    pub(super) fn new(name: String, user: String, app: Arc<EntraApp>, clock: Clock) -> Self {
        let state = State {
            app,
            live: None,
            refresh: None,
            owner: None,
            refused: VecDeque::new(),
            needs: None,
            not_before: None,
            trouble: None,
            generation: 0,
            forced: None,
            used: Instant::now(),
            young: false,
            shelved: None,
            unsealed: false,
            upkeep: upkeep::Upkeep::new(clock.now()),
        };
        let (turn, changed) = (Arc::default(), Notify::new());
        Self { name, user, turn, changed, clock, state: Mutex::new(state) }
    }

    /// The app as read last.
    pub(super) fn app(&self) -> Arc<EntraApp> {
        Arc::clone(&self.lock().app)
    }

    /// The answer that needs no request, if there is one.
    pub(super) fn answer(&self, proof: &Proof) -> Option<Result<Token, TokenError>> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.used = now.monotonic;
        if state.served(proof, now).is_some_and(|live| !live.suspect) && state.is_settled(now) {
            return state.served(proof, now).map(|live| Ok(live.token.clone()));
        }
        let known = |refusal: &&Refusal| {
            refusal.proof == *proof && now.monotonic < refusal.at + refusal.wait
        };
        if let Some(refusal) = state.refused.iter().find(known) {
            return Some(state.served_or(proof, now, refusal.error.clone()));
        }
        // Who was accepted last does not guess, however many others do.
        let guesses = proof.is_some() && !state.is_owned_by(proof);
        if guesses && state.guesses(now.monotonic) >= GUESSES {
            return Some(Err(TokenError::Held));
        }
        match &state.not_before {
            Some((moment, error)) if now.monotonic < *moment => {
                Some(state.served_or(proof, now, error.clone()))
            }
            _ => None,
        }
    }

    /// The time by both clocks, for what an answer grants from then on.
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Entra granted a token, at this moment. Needs the turn.
    pub(super) fn grant(&self, to: Grantee, granted: Granted, at: Moment) -> Token {
        let mut state = self.lock();
        let token = state.enliven(granted.access, at, granted.life, granted.life);
        let (before, same) = (state.refresh.take(), state.is_held_by(&to));
        // An answer without a refresh token leaves the one before valid (RFC 6749 section 6).
        state.refresh = granted.refresh.or(before.filter(|_| same));
        if let Grantee::Password { print, hash } = to {
            let before = state.owner.take().filter(|_| same).and_then(|owner| owner.hash);
            let hash = hash.or(before);
            state.owner = Some(Owner { print: Some(print), hash, accepted: at });
        }
        let proof = state.owner.as_ref().and_then(|owner| owner.print.clone());
        state.refused.retain(|refusal| refusal.proof != proof);
        (state.not_before, state.trouble, state.unsealed) = (None, None, true);
        state.upkeep.succeeded(at);
        self.signed_in_again(&mut state);
        drop(state);
        self.changed.notify_one();
        token
    }

    /// Entra refused this proof, when the app was as given. A refused password's acceptance ends at
    /// once (I1), with all that came of it, others stand (I2): the second value says whether it
    /// did. Where the app was refused a living token is served even then: its secret may just have
    /// been rotated. `None`: the app has been read anew meanwhile, so the refusal says nothing.
    pub(super) fn refuse(
        &self,
        proof: &Proof,
        app: &Arc<EntraApp>,
        refused: Refused,
    ) -> Option<(Result<Token, TokenError>, bool)> {
        let now = self.clock.now();
        let mut state = self.lock();
        if !Arc::ptr_eq(&state.app, app) {
            return None;
        }
        let of_the_user = !is_of_the_app(&refused.error);
        let error = TokenError::Refused(refused);
        let ends = proof.is_some() && of_the_user && state.is_owned_by(proof);
        if ends {
            (state.live, state.refresh, state.owner) = (None, None, None);
        }
        if !error.blames_the_password() {
            state.trouble = Some(error.clone());
        }
        let at = now.monotonic;
        // Beyond its own wait it is remembered for as long again, so that the next one is longer.
        let is_known = |refusal: &Refusal| at < refusal.at + GUESSES_WITHIN.max(refusal.wait * 2);
        state.refused.retain(is_known);
        let before = state.refused.iter().find(|refusal| refusal.proof == *proof);
        let both =
            |before: &&Refusal| before.error.blames_the_password() && error.blames_the_password();
        let wait = before.filter(both).map_or(REFUSED_FOR, |before| before.wait * 2);
        let wait = wait.min(LONGEST_REFUSAL);
        state.refused.retain(|refusal| refusal.proof != *proof);
        state.refused.push_back(Refusal { proof: proof.clone(), at, wait, error: error.clone() });
        Some((state.served_or(proof, now, error), ends))
    }

    /// No answer from Entra: a living token is served, else those who wait share the failure.
    pub(super) fn fail(
        &self,
        proof: &Proof,
        error: TokenError,
        wait: Option<Duration>,
    ) -> Result<Token, TokenError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let until = now.monotonic + wait.unwrap_or(SHARED_FAILURE);
        state.not_before = Some((until, error.clone()));
        state.trouble = Some(error.clone());
        state.served_or(proof, now, error)
    }

    /// The provider refused this token: whether the next asker gets another one.
    pub(super) fn suspect(&self, token: &Token) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let forced = state.forced;
        let Some(live) =
            state.live.as_mut().filter(|live| live.token.generation == token.generation)
        else {
            return true; // replaced already
        };
        if forced.is_some_and(|last| now < last + FORCED_EVERY) {
            return false;
        }
        live.suspect = true;
        state.forced = Some(now);
        true
    }

    /// The app was read anew. Its refusals are forgotten, because its secret may be another; wrong
    /// passwords are not, because Entra still counts them.
    pub(super) fn reread(&self, app: &Arc<EntraApp>) {
        let mut state = self.lock();
        state.app = Arc::clone(app);
        state.refused.retain(|refusal| refusal.error.blames_the_password());
        if let Some(needs) = &mut state.needs {
            (needs.until, needs.wait) = (Instant::now(), REFUSED_FOR / 2);
        }
        state.upkeep.forgive();
        drop(state);
        self.changed.notify_one();
    }

    /// Whether forgetting the slot would cost a request, an outage's help, or forgive a guess.
    pub(super) fn is_worth_keeping(&self) -> bool {
        let now = self.clock.now();
        let state = self.lock();
        let lives = state.live.as_ref().is_some_and(|live| live.token.lives(now));
        lives
            || state.refresh.is_some()
            || state.upkeep.is_running()
            || state.guesses(now.monotonic) > 0
            || self.turn.try_lock().is_err()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // no step leaves it half done
    }
}

/// Whether an OAuth error is about the app or its configuration, and says nothing of the user
/// (RFC 6749 section 5.2, RFC 8707 section 2; `invalid_resource` is Microsoft's).
fn is_of_the_app(error: &str) -> bool {
    matches!(
        error,
        "invalid_client"
            | "unauthorized_client"
            | "invalid_request"
            | "invalid_scope"
            | "invalid_resource"
            | "invalid_target"
            | "unsupported_grant_type"
    )
}
