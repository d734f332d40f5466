//! What of a slot outlives the process: read from the vault at first use, written before a token
//! is handed out.
//!
//! What the vault keeps is judged by the wall clock, which may have been wrong when it was written.
//! A kept token of `grant = "password"` is for nobody until somebody brings the password that has
//! the kept hash (I1). Must never know where or how it is kept.

use std::time::{Duration, SystemTime};

use secrecy::SecretString;

use super::{
    Grantee, Proof, Slot,
    state::{Owner, State},
};
use crate::{
    config::Grant,
    secret::{Fingerprint, Fingerprints},
    token::{
        clock::Moment,
        entra::Granted,
        vault::{Accepted, Kept, KeptAccess},
    },
};

/// How wrong a wall clock may have been when it stamped a token; a stamp further in the future is
/// not believed.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// No kept token lives longer; nor is one granted for longer (`entra` sees to that).
const LONGEST_LIFE: Duration = Duration::from_secs(48 * 3600);

impl Slot {
    /// Whether the vault need not be asked any more.
    pub(in crate::token) fn is_unsealed(&self) -> bool {
        self.lock().unsealed
    }

    /// What the vault keeps, at first use. Needs the turn.
    pub(in crate::token) fn unseal(&self, kept: Option<Kept>, prints: &Fingerprints) {
        let now = self.clock.now();
        let mut state = self.lock();
        if std::mem::replace(&mut state.unsealed, true) {
            return;
        }
        if let Some(kept) = kept {
            state.shelved = kept.refresh.as_ref().map(|token| prints.of(&self.name, token));
            state.take(kept, now);
        }
    }

    /// Whether there is a refresh token at hand, good or refused.
    pub(in crate::token) fn has_refresh(&self) -> bool {
        self.lock().refresh.is_some()
    }

    /// The hash that the first password after a restart is judged by.
    pub(in crate::token) fn unverified(&self) -> Option<String> {
        let state = self.lock();
        let owner = state.owner.as_ref().filter(|owner| owner.print.is_none());
        owner.and_then(|owner| owner.hash.clone())
    }

    /// The password of this proof has the kept hash. Needs the turn.
    pub(in crate::token) fn recognise(&self, proof: &Proof) {
        if let Some(owner) = self.lock().owner.as_mut().filter(|owner| owner.print.is_none()) {
            owner.print.clone_from(proof);
        }
    }

    /// Whether this refresh token in the vault is of a sign-in in another process: it is not the one
    /// here, nor what the vault has been known to keep. Needs the turn.
    pub(in crate::token) fn is_news(&self, theirs: &SecretString, prints: &Fingerprints) -> bool {
        let print = |token| prints.of(&self.name, token);
        let theirs = Some(print(theirs));
        let state = self.lock();
        state.refresh.as_ref().map(print) != theirs && state.shelved != theirs
    }

    /// The vault keeps this refresh token by now.
    pub(in crate::token) fn shelve(&self, refresh: Option<&SecretString>, prints: &Fingerprints) {
        self.lock().shelved = refresh.map(|token| prints.of(&self.name, token));
    }

    /// Takes what the vault keeps if its refresh token is of a sign-in since. Says whether it is.
    /// Needs the turn.
    pub(in crate::token) fn take_other(&self, kept: Kept, prints: &Fingerprints) -> bool {
        if !kept.refresh.as_ref().is_some_and(|theirs| self.is_news(theirs, prints)) {
            return false;
        }
        self.shelve(kept.refresh.as_ref(), prints);
        let now = self.clock.now();
        let mut state = self.lock();
        state.refused.clear();
        state.upkeep.forgive();
        if state.take(kept, now) {
            state.trouble = None;
            self.signed_in_again(&mut state);
        } else if let Some(needs) = &mut state.needs {
            needs.untried = true;
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Whether this password, which Entra has accepted, must be hashed for the vault.
    pub(in crate::token) fn lacks_hash(&self, print: &Fingerprint) -> bool {
        let state = self.lock();
        let has_one = state.owner.as_ref().is_some_and(|owner| owner.hash.is_some());
        !(has_one && state.is_owned_by(&Some(print.clone())))
    }

    /// What the vault should keep of a grant, to be written before the grant is known to anybody.
    /// Needs the turn.
    pub(in crate::token) fn record(&self, to: &Grantee, granted: &Granted, at: Moment) -> Kept {
        let state = self.lock();
        let same = state.is_held_by(to);
        let owner = state.owner.as_ref().filter(|_| same);
        let hash_before = owner.and_then(|owner| owner.hash.clone());
        let accepted = match to {
            Grantee::Holder => hash_before.zip(owner.map(|owner| owner.accepted)),
            Grantee::Password { hash, .. } => hash.clone().or(hash_before).map(|hash| (hash, at)),
        };
        Kept {
            access: Some(KeptAccess {
                secret: granted.access.clone(),
                granted: at.wall,
                expires: at.plus(granted.life).wall,
            }),
            refresh: granted.refresh.clone().or_else(|| state.refresh.clone().filter(|_| same)),
            accepted: accepted.map(|(hash, at)| Accepted { hash, at: at.wall }),
        }
    }
}

impl State {
    /// Takes what is believed of it. Says whether there is a living access token among it.
    fn take(&mut self, kept: Kept, now: Moment) -> bool {
        if matches!(self.app.grant, Grant::Password { .. }) {
            let Some(Accepted { hash, at }) = kept.accepted else {
                return false; // nobody could ever show that it is theirs
            };
            // A stamp from the future is no reason to believe a password for longer.
            let wall = if at > now.plus(SKEW).wall { SystemTime::UNIX_EPOCH } else { at };
            let accepted = Moment { monotonic: now.monotonic, wall };
            self.owner = Some(Owner { print: None, hash: Some(hash), accepted });
        }
        if kept.refresh.is_some() {
            self.refresh = kept.refresh;
        }
        kept.access.is_some_and(|access| self.take_access(access, now))
    }

    fn take_access(&mut self, kept: KeptAccess, now: Moment) -> bool {
        let KeptAccess { secret, granted, expires } = kept;
        let Ok(life) = expires.duration_since(granted) else {
            return false;
        };
        if granted > now.plus(SKEW).wall || life > LONGEST_LIFE {
            return false;
        }
        // The clock may have gone back since: no token has more left than its whole life.
        let left = expires.duration_since(now.wall).unwrap_or_default().min(life);
        if left.is_zero() {
            return false;
        }
        self.enliven(secret, now, life, left).lives(now)
    }
}
