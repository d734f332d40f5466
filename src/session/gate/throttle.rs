//! Makes guessing hopeless, and keeps a typo from being an outage.
//!
//! Failed logins are counted by account and by address, and either is locked for a while when it
//! has too many: then passwords are not even looked at. Where an account has logged in rightly
//! within the last day it is at home. Such a pair of account and address stands apart: it has a
//! count of its own, adds to no other, and no other locks it. And the very password that was right
//! there is looked at whatever is locked. So neither a guesser elsewhere nor a broken client on the
//! same machine keeps out the scanner that works, and guessing from a home gets no further than
//! from anywhere else. A success clears no count: a guesser could hide behind it.
//!
//! Addresses arrive here as the networks that they are counted by.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    delays::Delays,
    lockouts::{Lockouts, WINDOW, make_room},
};
use crate::{
    config::Limits,
    secret::{Fingerprint, Fingerprints},
    stats::Stats,
};

/// How long an address is an account's home after a right login.
pub(super) const HOME_FOR: Duration = Duration::from_secs(24 * 3600);
/// An address may stand for many clients: it is locked after so many times what locks an account.
const OF_AN_ADDRESS: u32 = 3;

/// An account at an address.
type Pair = (String, IpAddr);

/// Counts, locks and slows down.
pub(super) struct Throttle {
    accounts: Lockouts<String>,
    addresses: Lockouts<IpAddr>,
    pairs: Lockouts<Pair>,
    /// Each pair's last right login.
    homes: Mutex<HashMap<Pair, Home>>,
    prints: Fingerprints,
    delays: Delays,
    time: Duration,
    ends: TaskTracker,
    stop: CancellationToken,
    stats: OnceLock<Arc<Stats>>,
}

/// A right login, and how its password is known again.
struct Home {
    last: Instant,
    print: Fingerprint,
}

impl Home {
    fn lives(&self) -> bool {
        self.last.elapsed() < HOME_FOR
    }
}

/// What a lockout is of; its `Display` is for the log.
#[derive(Clone)]
enum Locked {
    Account(String),
    Address(IpAddr),
    Pair(Pair),
}

impl Throttle {
    pub(super) fn new(limits: &Limits, stop: CancellationToken) -> Self {
        let (after, time) = (limits.lockout_after, limits.lockout_time);
        Self {
            accounts: Lockouts::new(after, time),
            addresses: Lockouts::new(after.saturating_mul(OF_AN_ADDRESS), time),
            pairs: Lockouts::new(after, time),
            homes: Mutex::default(),
            prints: Fingerprints::new(),
            delays: Delays::default(),
            time,
            ends: TaskTracker::new(),
            stop,
            stats: OnceLock::new(),
        }
    }

    pub(super) fn count_in(&self, stats: &Arc<Stats>) {
        self.stats.get_or_init(|| Arc::clone(stats));
    }

    /// Whether it counts by these limits.
    pub(super) fn has(&self, limits: &Limits) -> bool {
        self.accounts.is_after(limits.lockout_after) && self.time == limits.lockout_time
    }

    /// Whether logins to this account from there are refused now; without an account, all that
    /// come from there.
    pub(super) fn is_locked(&self, account: Option<&str>, from: IpAddr) -> bool {
        match account {
            Some(account) if self.is_home(account, from) => {
                self.pairs.is_locked(&(account.to_owned(), from))
            }
            Some(account) => {
                self.accounts.is_locked(&account.to_owned()) || self.addresses.is_locked(&from)
            }
            None => self.addresses.is_locked(&from),
        }
    }

    /// Whether the account has logged in rightly from there within the last day.
    pub(super) fn is_home(&self, account: &str, from: IpAddr) -> bool {
        self.homes().get(&(account.to_owned(), from)).is_some_and(Home::lives)
    }

    /// Whether this very password was right for the account there within the last day. It may not
    /// be any more; it is no guess.
    pub(super) fn is_known(&self, account: &str, password: &SecretString, from: IpAddr) -> bool {
        let print = self.prints.of(account, password);
        let homes = self.homes();
        let home = homes.get(&(account.to_owned(), from));
        home.is_some_and(|home| home.lives() && home.print == print)
    }

    /// Notes a right login.
    pub(super) fn succeeded(&self, account: &str, password: &SecretString, from: IpAddr) {
        let home = Home { last: Instant::now(), print: self.prints.of(account, password) };
        let mut homes = self.homes();
        make_room(&mut homes, Home::lives, |home| home.last);
        homes.insert((account.to_owned(), from), home);
    }

    /// Counts a failed login; without an account, for the address only.
    pub(super) fn failed(&self, account: Option<&str>, from: IpAddr) {
        if let Some(account) = account {
            let pair = (account.to_owned(), from);
            if self.is_home(account, from) {
                if self.pairs.fail(pair.clone()) {
                    self.begin(Locked::Pair(pair));
                }
                return;
            }
            if self.accounts.fail(account.to_owned()) {
                self.begin(Locked::Account(account.to_owned()));
            }
        }
        if self.addresses.fail(from) {
            self.begin(Locked::Address(from));
        }
    }

    /// See [`Delays::slow_down`].
    pub(super) async fn slow_down(&self, from: IpAddr) {
        self.delays.slow_down(from).await;
    }

    /// Says that a lockout has begun, and later that it has ended.
    fn begin(&self, locked: Locked) {
        let seconds = self.time.as_secs();
        if let Some(stats) = self.stats.get() {
            stats.lockout(locked.kind());
        }
        warn!(
            event = "lockout",
            of = %locked,
            seconds,
            cause = %format_args!("too many failed logins within {} minutes", WINDOW.as_secs() / 60),
            remedy = locked.remedy(),
            "locked for a while: passwords are not looked at",
        );
        let (over, stop) = (sleep(self.time), self.stop.clone());
        self.ends.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = over => info!(event = "lockout_end", of = %locked, "lockout is over"),
            }
        });
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<Pair, Home>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner) // plain data: valid at any moment
    }
}

impl Locked {
    fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Address(_) => "address",
            Self::Pair(_) => "account_at_address",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Account(_) => {
                "look at the client addresses of the login_refused lines before: mend the client \
                 that has a wrong password, or shut the guesser out with allow; addresses from \
                 which the account has logged in today still get in"
            }
            Self::Address(_) => {
                "mend the client at this address, or shut it out with allow if it guesses; accounts \
                 that have logged in from there today still get in"
            }
            Self::Pair(_) => {
                "mend the password in this client: it logged in rightly today and now does not; \
                 until then it is told to come back later"
            }
        }
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "account {account}"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Pair((account, address)) => write!(f, "account {account} at address {address}"),
        }
    }
}
