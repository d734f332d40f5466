//! Checks passwords against hashes.
//!
//! Off the async threads and a few at a time, because argon2 is memory-hard by design; a login
//! that was right is recognised for some minutes by a keyed hash, so that a polling client does
//! not pay for it each time. Must never know where a login comes from.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use secrecy::SecretString;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
    time::Instant,
};

use crate::{
    config::Account,
    secret::{self, Fingerprint, Fingerprints},
};

/// Argon2 verifications at one time: each takes 19 MiB and a core.
const VERIFICATIONS: usize = 2;
/// How long a verified login is recognised without argon2.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);
/// Beyond this many entries the table is swept of what is out of date. Only right logins enter it.
const SWEEP_ABOVE: usize = 4096;

/// Judges passwords, and recognises those that were right.
pub(super) struct Passwords {
    prints: Fingerprints,
    remembered: DashMap<String, Remembered>,
    verifications: Arc<Semaphore>,
}

struct Remembered {
    print: Fingerprint,
    account: Arc<Account>,
    until: Instant,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            prints: Fingerprints::new(),
            remembered: DashMap::new(),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS)),
        }
    }

    /// The account, where this user brought this password some minutes ago and it was right.
    pub(super) fn recognise(&self, user: &str, password: &SecretString) -> Option<Arc<Account>> {
        let entry = self.remembered.get(user)?;
        let known = entry.until > Instant::now() && entry.print == self.prints.of(user, password);
        known.then(|| Arc::clone(&entry.account))
    }

    pub(super) fn remember(&self, user: String, password: &SecretString, account: &Arc<Account>) {
        let now = Instant::now();
        if self.remembered.len() > SWEEP_ABOVE {
            self.remembered.retain(|_, entry| entry.until > now);
        }
        let print = self.prints.of(&user, password);
        let until = now + REMEMBERED_FOR;
        self.remembered.insert(user, Remembered { print, account: Arc::clone(account), until });
    }

    /// The turn to verify. `None` is never given, because the semaphore is never closed; with it
    /// no password is right.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.verifications).acquire_owned().await.ok()
    }

    /// Checks a hash off the async threads; without one, does the work of a default hash and says
    /// no, so that the time of the answer does not tell whether the user exists. The permit is
    /// held by the work, even where nobody waits for it any more, and comes back with the verdict:
    /// a failure is counted before the next guess is looked at.
    pub(super) async fn verify(
        permit: Option<OwnedSemaphorePermit>,
        hash: Option<&String>,
        password: &SecretString,
    ) -> (bool, Option<OwnedSemaphorePermit>) {
        let Some(permit) = permit else { return (false, None) };
        let (hash, password) = (hash.cloned(), password.clone());
        let verified = task::spawn_blocking(move || {
            let right = match hash {
                Some(hash) => secret::verify_password(&hash, &password),
                None => secret::verify_nobody(&password),
            };
            (right, Some(permit))
        });
        verified.await.unwrap_or((false, None))
    }
}
