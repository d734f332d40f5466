//! When a slot's tokens are renewed ahead of time, and when a person's sign-in is looked for.
//!
//! Tokens are renewed for as long as they are used, so that no login waits. A refresh token of a
//! user who signed in is used at least every [`KEPT_ALIVE_EVERY`] besides, because 90 days without
//! use end it (AADSTS700082) and then a person has to come: a week leaves a dozen chances to
//! outages and holidays, and costs Entra nothing. Must never know how a token is asked for.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::{Slot, person::Needs, state::State};
use crate::{
    config::Grant,
    token::{TokenError, clock::Moment},
};

/// An identity that nobody has used for so long is no longer renewed; a weekly report still finds
/// a fresh token.
const RENEWED_WHILE_USED: Duration = Duration::from_secs(8 * 24 * 3600);
/// A refresh token whose loss would call for a person is used at least so often.
const KEPT_ALIVE_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a slot that waits for a person looks whether somebody has signed in, and the longest
/// that upkeep sleeps: the monotonic clock may have stood still meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The first wait after a failed renewal; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
/// The longest wait between renewals that fail.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5 * 60);

/// What upkeep should do now.
pub(in crate::token) enum Due {
    /// Renew the app's token.
    App,
    /// Renew the user's with this refresh token.
    Refresh(SecretString),
    /// Look whether somebody has signed in.
    Look,
}

pub(super) struct Upkeep {
    /// A task looks after this slot; there is never a second one.
    running: bool,
    /// The identity is no longer in the configuration.
    gone: bool,
    /// The configuration names this user: they are looked after even before they log in.
    watched: bool,
    /// After a failure, nothing is renewed before this moment.
    retry_at: Option<Instant>,
    backoff: Duration,
    renewed: Moment,
    /// For a sign-in.
    looked: Option<Instant>,
}

impl Upkeep {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            running: false,
            gone: false,
            watched: false,
            retry_at: None,
            backoff: FIRST_BACKOFF,
            renewed: now,
            looked: None,
        }
    }

    pub(super) fn succeeded(&mut self, now: Moment) {
        self.forgive();
        self.renewed = now;
    }

    /// What failed may be tried again at once.
    pub(super) fn forgive(&mut self) {
        (self.retry_at, self.backoff) = (None, FIRST_BACKOFF);
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }
}

impl Slot {
    /// From now on tokens are renewed at half their life.
    pub(in crate::token) fn keep_young(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.young, true) {
            return;
        }
        if let Some(live) = &mut state.live {
            live.renew_at = live.renew_at.earlier(live.half_life);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The configuration names this identity.
    pub(in crate::token) fn watch(&self) {
        self.lock().upkeep.watched = true;
    }

    /// The identity is no longer in the configuration: its upkeep ends.
    pub(in crate::token) fn end(&self) {
        self.lock().upkeep.gone = true;
        self.changed.notify_one();
    }

    /// Whether it is: then nothing of it may stay.
    pub(in crate::token) fn has_ended(&self) -> bool {
        self.lock().upkeep.gone
    }

    /// Whether a task should start to look after this slot; then it must.
    pub(in crate::token) fn start_upkeep(&self) -> bool {
        let mut state = self.lock();
        let starts = !state.upkeep.running && state.next(self.clock.now()).is_some();
        state.upkeep.running |= starts;
        starts
    }

    /// How long upkeep should sleep before it looks again; `None`: there is nothing to look after
    /// any more, and the task must end.
    pub(in crate::token) fn rest(&self) -> Option<Duration> {
        let now = self.clock.now();
        let mut state = self.lock();
        let next = state.next(now);
        state.upkeep.running = next.is_some();
        next.map(|next| next.min(LOOK_EVERY))
    }

    /// Whether something is due. What, is known with the turn only.
    pub(in crate::token) fn is_due(&self) -> bool {
        let now = self.clock.now();
        self.lock().next(now).is_some_and(|next| next.is_zero())
    }

    /// What is due. Needs the turn.
    pub(in crate::token) fn due(&self) -> Option<Due> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.next(now).filter(Duration::is_zero)?;
        if state.app.is_app_only() {
            return Some(Due::App);
        }
        match &state.refresh {
            Some(refresh) if state.may_renew(now) => Some(Due::Refresh(refresh.clone())),
            _ => {
                state.upkeep.looked = Some(now.monotonic);
                Some(Due::Look)
            }
        }
    }

    /// A renewal failed; the next is tried after at least this long, or after a wait that grows.
    /// Returns the wait.
    pub(in crate::token) fn postpone(&self, wait: Option<Duration>) -> Duration {
        let mut state = self.lock();
        let backoff = jittered(state.upkeep.backoff);
        let wait = wait.map_or(backoff, |wait| wait.max(backoff));
        state.upkeep.backoff = (state.upkeep.backoff * 2).min(LONGEST_BACKOFF);
        let now = Instant::now();
        (state.upkeep.retry_at, state.upkeep.looked) = (Some(now + wait), Some(now));
        wait
    }

    /// Why a renewal failed, for those who only look.
    pub(in crate::token) fn note(&self, trouble: TokenError) {
        self.lock().trouble = Some(trouble);
    }

    /// Entra takes this refresh token no more, and the next login brings the password.
    pub(in crate::token) fn drop_refresh(&self) {
        self.lock().refresh = None;
    }
}

impl State {
    /// In how long there is something to do again, if ever.
    fn next(&self, now: Moment) -> Option<Duration> {
        if self.upkeep.gone {
            return None;
        }
        let is_idle = now.monotonic.duration_since(self.used) > RENEWED_WHILE_USED;
        let ready = self.live.as_ref().map_or(Duration::ZERO, |live| live.renew_at.left(now));
        let ready = ready.max(self.held(now.monotonic));
        match &self.app.grant {
            Grant::ClientCredentials { .. } | Grant::ManagedIdentity { .. } => {
                // A refusal is not asked about again without anybody to serve.
                let refused = self.trouble.as_ref().is_some_and(TokenError::is_refusal);
                let ends = self.live.is_none() || is_idle || (refused && !self.lives(now));
                (!ends).then_some(ready)
            }
            // Without a refresh token the next login has to bring the password.
            Grant::Password { .. } => (self.refresh.is_some() && !is_idle).then_some(ready),
            Grant::AuthorizationCode { .. } | Grant::DeviceCode { .. } => {
                if self.refresh.is_none() && !self.upkeep.watched {
                    return None;
                }
                if self.may_renew(now) {
                    if self.needs.is_some() {
                        return Some(self.held(now.monotonic));
                    }
                    let kept_alive = KEPT_ALIVE_EVERY.saturating_sub(self.upkeep.renewed.age(now));
                    return Some(if is_idle { ready.max(kept_alive) } else { ready });
                }
                let since = self.upkeep.looked.map(|looked| now.monotonic.duration_since(looked));
                Some(since.map_or(Duration::ZERO, |since| LOOK_EVERY.saturating_sub(since)))
            }
        }
    }

    /// Whether the refresh token may be used without a login that calls for it: one that was
    /// refused is tried again only while that may still spare somebody a failed login.
    fn may_renew(&self, now: Moment) -> bool {
        let worth_it = |needs: &Needs| needs.untried || self.lives(now);
        self.refresh.is_some()
            && self.may_try(now.monotonic)
            && self.needs.as_ref().is_none_or(worth_it)
    }

    fn lives(&self, now: Moment) -> bool {
        self.live.as_ref().is_some_and(|live| live.token.lives(now))
    }

    /// How long nothing may be asked yet.
    fn held(&self, now: Instant) -> Duration {
        let told = self.not_before.as_ref().map(|(moment, _)| *moment);
        let moments = [self.upkeep.retry_at, told].into_iter().flatten();
        moments.map(|moment| moment.saturating_duration_since(now)).max().unwrap_or_default()
    }
}

/// Between the whole wait and half of it, so that many proxies do not ask in step.
fn jittered(wait: Duration) -> Duration {
    let mut octet = [0];
    let share = getrandom::fill(&mut octet).map_or(255, |()| u32::from(octet[0]));
    wait / 2 + wait / 2 * share / 255
}
