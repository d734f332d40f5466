//! What is known about one identity's token: a state and its rules, without clockwork or network.
//!
//! Invariants:
//! - **I1** A token is handed out only while it lives, and only for the proof that Entra accepted
//!   for it: nothing for client credentials, the same password for `grant = "password"`.
//! - **I2** A refusal of one password touches neither token nor acceptance of another.
//! - **I3** Whoever changes the token holds the slot's turn, so a late answer cannot overwrite a
//!   newer state; every token has a generation of its own.
//! - **I4** What was refused for good is not asked again for [`REFUSED_FOR`], and nothing is asked
//!   before the moment that Entra named.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use secrecy::SecretString;
use tokio::{sync::Notify, time::Instant};

use super::{Expiry, Refused, Token, TokenError, entra::Granted};
use crate::secret::Fingerprint;

/// How long a refusal is remembered. Entra answers identical requests alike, and counts them
/// (AADSTS50196).
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How long an accepted password is believed before Entra is asked again. Should Entra be out of
/// reach then, the living token is still served.
const ACCEPTED_FOR: Duration = Duration::from_secs(12 * 3600);
/// So many different refused passwords of one user, within [`GUESSES_WITHIN`], and no further one
/// is tried: Entra's smart lockout begins at ten (AADSTS50053).
const GUESSES: usize = 5;
/// See [`GUESSES`].
const GUESSES_WITHIN: Duration = Duration::from_secs(10 * 60);
/// A token is renewed at the provider's wish at most this often.
const FORCED_EVERY: Duration = Duration::from_secs(60);
/// A token is not used in its last moments: it has a way to go.
const LAST_MOMENTS: Duration = Duration::from_secs(10);
/// Without a word from Entra, how long after a failure nobody asks again: those who were waiting
/// for that answer share it.
const SHARED_FAILURE: Duration = Duration::from_secs(2);

/// What entitles to a token: the password's fingerprint, or nothing where the app is the identity.
pub(super) type Proof = Option<Fingerprint>;

/// The state of one identity.
pub(super) struct Slot {
    /// Held by whoever asks Entra (I3).
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The moment of the next renewal has been put forward.
    pub(super) hurry: Notify,
    state: Mutex<State>,
}

struct State {
    live: Option<Live>,
    refused: VecDeque<Refusal>,
    /// Nothing is asked before this moment.
    not_before: Option<(Instant, TokenError)>,
    generation: u64,
    forced: Option<Instant>,
    used: Instant,
    /// Long sessions begin with these tokens.
    young: bool,
}

struct Live {
    token: Token,
    proof: Proof,
    accepted: Instant,
    refresh: Option<SecretString>,
    renew_at: Instant,
    half_life: Instant,
    /// The provider refused it; kept only for the case that no other can be had.
    suspect: bool,
}

struct Refusal {
    proof: Proof,
    at: Instant,
    error: TokenError,
}

/// What the background needs to know to renew a token.
pub(super) struct Renewal {
    pub(super) generation: u64,
    pub(super) at: Instant,
}

impl Slot {
    pub(super) fn new() -> Self {
        let (refused, used) = (VecDeque::new(), Instant::now());
        let state = State {
            live: None,
            refused,
            not_before: None,
            generation: 0,
            forced: None,
            used,
            young: false,
        };
        let (turn, hurry) = (tokio::sync::Mutex::new(()), Notify::new());
        Self { turn, hurry, state: Mutex::new(state) }
    }

    /// The answer that needs no request, if there is one.
    pub(super) fn answer(&self, proof: &Proof) -> Option<Result<Token, TokenError>> {
        let now = Instant::now();
        let mut state = self.lock();
        state.used = now;
        if let Some(live) = state.served(proof) {
            let settled = !live.suspect && (proof.is_none() || now < live.accepted + ACCEPTED_FOR);
            if settled {
                return Some(Ok(live.token.clone()));
            }
        }
        let known = |refusal: &&Refusal| refusal.proof == *proof && now < refusal.at + REFUSED_FOR;
        if let Some(refusal) = state.refused.iter().find(known) {
            return Some(Err(refusal.error.clone()));
        }
        if proof.is_some() && state.guesses(now) >= GUESSES {
            return Some(Err(TokenError::Held));
        }
        match &state.not_before {
            Some((moment, error)) if now < *moment => {
                let error = error.clone();
                Some(state.served(proof).map_or(Err(error), |live| Ok(live.token.clone())))
            }
            _ => None,
        }
    }

    /// Entra granted a token for this proof. Needs the turn.
    pub(super) fn grant(&self, proof: Proof, granted: Granted, margin: Duration) -> Token {
        let now = Instant::now();
        let mut state = self.lock();
        state.generation += 1;
        let usable = granted.life.saturating_sub(LAST_MOMENTS.min(granted.life / 10));
        let expires = Expiry { monotonic: now + usable, wall: SystemTime::now() + usable };
        let token = Token { secret: granted.access.into(), generation: state.generation, expires };
        // A life shorter than twice the margin is renewed at half of it.
        let half_life = now + granted.life / 2;
        let renew_at = if state.young {
            half_life
        } else {
            now + granted.life.saturating_sub(margin).max(granted.life / 2)
        };
        let same = state.live.take().filter(|live| live.proof == proof);
        let accepted = same.as_ref().map_or(now, |live| live.accepted);
        // An answer without a refresh token leaves the one before valid (RFC 6749 section 6).
        let refresh = granted.refresh.or(same.and_then(|live| live.refresh));
        state.refused.retain(|refusal| refusal.proof != proof);
        state.not_before = None;
        state.live = Some(Live {
            token: token.clone(),
            proof,
            accepted,
            refresh,
            renew_at,
            half_life,
            suspect: false,
        });
        token
    }

    /// Entra accepted the password itself, now. Needs the turn.
    pub(super) fn accept(&self, proof: &Proof) {
        if let Some(live) = self.lock().live.as_mut().filter(|live| live.proof == *proof) {
            live.accepted = Instant::now();
        }
    }

    /// Entra refused this proof. A refused acceptance ends at once (I1); others stand (I2).
    /// An app's living token is served even then: its secret may just have been rotated.
    pub(super) fn refuse(&self, proof: &Proof, refused: Refused) -> Result<Token, TokenError> {
        let error = TokenError::Refused(refused);
        let at = Instant::now();
        let mut state = self.lock();
        if proof.is_some() && state.live.as_ref().is_some_and(|live| live.proof == *proof) {
            state.live = None;
        }
        let forgotten = GUESSES_WITHIN.max(REFUSED_FOR);
        state.refused.retain(|refusal| refusal.proof != *proof && at < refusal.at + forgotten);
        state.refused.push_back(Refusal { proof: proof.clone(), at, error: error.clone() });
        state.served(proof).map(|live| live.token.clone()).ok_or(error)
    }

    /// No answer from Entra: a living token is served, else those who wait share the failure.
    pub(super) fn fail(
        &self,
        proof: &Proof,
        error: TokenError,
        wait: Option<Duration>,
    ) -> Result<Token, TokenError> {
        let mut state = self.lock();
        state.not_before = Some((Instant::now() + wait.unwrap_or(SHARED_FAILURE), error.clone()));
        state.served(proof).map(|live| live.token.clone()).ok_or(error)
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

    /// From now on tokens are renewed at half their life.
    pub(super) fn keep_young(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.young, true) {
            return;
        }
        if let Some(live) = &mut state.live {
            live.renew_at = live.renew_at.min(live.half_life);
        }
        drop(state);
        self.hurry.notify_one();
    }

    /// What the background should do next, if there is anything to renew.
    pub(super) fn renewal(&self) -> Option<Renewal> {
        let state = self.lock();
        let live = state.live.as_ref()?;
        Some(Renewal { generation: live.token.generation, at: live.renew_at })
    }

    /// Proof and refresh token of the living token of this generation; `None` if there is another
    /// by now, or none.
    pub(super) fn current(&self, generation: u64) -> Option<(Proof, Option<SecretString>)> {
        let state = self.lock();
        let live = state.live.as_ref()?;
        let current = live.token.generation == generation && live.token.lives();
        current.then(|| (live.proof.clone(), live.refresh.clone()))
    }

    /// Whether forgetting the slot would cost a request or forgive a guess.
    pub(super) fn is_worth_keeping(&self) -> bool {
        let state = self.lock();
        let lives = state.live.as_ref().is_some_and(|live| live.token.lives());
        lives || state.guesses(Instant::now()) > 0 || self.turn.try_lock().is_err()
    }

    /// Since when nobody has asked.
    pub(super) fn unused_for(&self) -> Duration {
        self.lock().used.elapsed()
    }

    /// Entra takes the refresh token no more; the next login brings the password.
    pub(super) fn drop_refresh(&self, generation: u64) {
        if let Some(live) =
            self.lock().live.as_mut().filter(|live| live.token.generation == generation)
        {
            live.refresh = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // no step leaves it half done
    }
}

impl State {
    /// The living token, for its own proof (I1).
    fn served(&self, proof: &Proof) -> Option<&Live> {
        self.live.as_ref().filter(|live| live.proof == *proof && live.token.lives())
    }

    fn guesses(&self, now: Instant) -> usize {
        self.refused.iter().filter(|refusal| now < refusal.at + GUESSES_WITHIN).count()
    }
}
