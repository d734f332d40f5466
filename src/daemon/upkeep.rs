//! What is looked after while nobody logs in: secrets and certificates that end, and people who
//! have to sign in.
//!
//! A credential that ends stops all mail at once, so the log tells of it from 30 days ahead, when
//! the daemon starts or has a new configuration, and then each day. Who has to sign in is known
//! from the configuration, so nobody waits for the first login to fail. Must never know what a
//! dialogue says.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{Timestamp, tz::Offset};
use secrecy::SecretString;
use tokio::{
    sync::watch,
    task,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{
    config::{Config, Date, EntraApp, Log, UserPattern, VaultFiles, VaultKey},
    secret::Fingerprints,
    token::{
        Identity, TokenError,
        cache::Tokens,
        expiry::{self, Ending, Ends},
    },
};

/// How often the calendar is looked at: a day may end while the machine sleeps, which stops the
/// clock that tells how long it was.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Tells of credentials that end. Ends with the process.
pub(super) struct Almanac {
    apps: watch::Sender<Vec<Arc<EntraApp>>>,
}

impl Almanac {
    /// Tells of these apps' now, and each day from now on.
    pub(super) fn begin(
        apps: Vec<Arc<EntraApp>>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let today = || Offset::UTC.to_datetime(Timestamp::now()).date();
        Self::by(today, apps, tasks, stop)
    }

    pub(super) fn by(
        today: impl Fn() -> Date + Send + 'static,
        apps: Vec<Arc<EntraApp>>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (apps, changed) = watch::channel(apps);
        tasks.spawn(async move {
            stop.run_until_cancelled(tell_each_day(today, changed)).await;
        });
        Self { apps }
    }

    /// Tells of these apps' from now on.
    pub(super) fn change(&self, apps: Vec<Arc<EntraApp>>) {
        self.apps.send_replace(apps);
    }
}

async fn tell_each_day(today: impl Fn() -> Date, mut changed: watch::Receiver<Vec<Arc<EntraApp>>>) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            changed = changed.changed() => match changed {
                Ok(()) => told = None,
                Err(_) => return, // the daemon is gone
            },
            _ = look.tick() => {}
        }
        let today = today();
        if told != Some(today) {
            told = Some(today);
            let apps = changed.borrow_and_update().clone();
            // The files of certificates may be on a slow disk.
            let _ = task::spawn_blocking(move || endings(&apps, today)).await.map(tell);
        }
    }
}

type Found = Result<Ending, (String, TokenError)>;

fn endings(apps: &[Arc<EntraApp>], today: Date) -> Vec<Found> {
    let ending = |app: &Arc<EntraApp>| {
        expiry::ending(app, today).map_err(|error| (app.name.clone(), error)).transpose()
    };
    apps.iter().filter_map(ending).collect()
}

fn tell(found: Vec<Found>) {
    for found in found {
        match found {
            Ok(ending) => {
                let (app, day, left) = (&ending.app, ending.expiry.day, ending.expiry.left);
                let (cause, remedy) = (ending.what(), ending.remedy());
                match (&ending.ends, ending.expiry.is_over()) {
                    (Ends::Secret, false) => {
                        warn!(event = "secret_expires", app, %day, left, cause, remedy, "a client secret ends soon");
                    }
                    (Ends::Secret, true) => {
                        error!(event = "secret_expired", app, %day, left, cause, remedy, "a client secret has ended");
                    }
                    (Ends::Certificate(_), false) => {
                        warn!(event = "certificate_expires", app, %day, left, cause, remedy, "a certificate ends soon");
                    }
                    (Ends::Certificate(_), true) => {
                        error!(event = "certificate_expired", app, %day, left, cause, remedy, "a certificate has ended");
                    }
                }
            }
            Err((app, error)) => {
                let remedy = error.remedy();
                error!(event = "certificate_unusable", app, cause = %error, remedy, "a certificate cannot be used");
            }
        }
    }
}

/// Looks after everybody whom the configuration names and who has to sign in: whose refresh token
/// is kept alive, and whose missing sign-in is told.
pub(super) fn attend(tokens: &Tokens, config: &Config) {
    let exact = config.accounts.iter().filter_map(|account| match &account.user {
        UserPattern::Exact(user) => Some((user, account)),
        UserPattern::Domain(_) | UserPattern::Any => None,
    });
    let pinned = config.listeners.iter().filter_map(|listener| listener.account.as_ref());
    let pinned = pinned.map(|pinned| (&pinned.user, &pinned.account));
    let mut seen = BTreeSet::new();
    for (user, account) in exact.chain(pinned) {
        let identity = Identity { app: Arc::clone(&account.entra), user: user.clone() };
        if identity.app.grant.needs_sign_in() && seen.insert(identity.name()) {
            tokens.attend(&identity);
        }
    }
}

/// What only a start reads of a configuration.
pub(super) struct Rooted {
    vault: Option<VaultFiles>,
    log: Log,
}

impl Rooted {
    pub(super) fn of(config: &Config) -> Self {
        Self { vault: config.vault.clone(), log: config.log.clone() }
    }

    /// Says what of the new configuration has to wait for a restart.
    pub(super) fn warn_of(&self, config: &Config) {
        let log = &config.log;
        let changes = [
            ("[vault]", !is_same_vault(self.vault.as_ref(), config.vault.as_ref())),
            ("[log]", self.log.format != log.format || self.log.level != log.level),
        ];
        for (table, _) in changes.into_iter().filter(|(_, changed)| *changed) {
            warn!(
                event = "restart_needed",
                table,
                cause = "this table is read at start only",
                remedy = "restart mailwicket when it suits",
                "a changed table is not in force yet",
            );
        }
    }
}

fn is_same_vault(one: Option<&VaultFiles>, other: Option<&VaultFiles>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.path == other.path
                && match (&one.key, &other.key) {
                    (VaultKey::File(one), VaultKey::File(other)) => one == other,
                    (VaultKey::Value(one), VaultKey::Value(other)) => is_same(one, other),
                    _ => false,
                }
        }
        _ => false,
    }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    let prints = Fingerprints::new();
    prints.of("", one) == prints.of("", other)
}
