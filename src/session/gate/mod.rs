//! The local gate: who is this, may they come in, and as whom.
//!
//! Nothing leaves the machine for a password that has not passed here. An account has its
//! password's hash; for one whose app has `grant = "password"` Entra judges the password, the
//! token cache remembers the verdict, and the gate is told, because guesses count all the same.
//! Whoever guesses is slowed down and locked out for a while: `throttle`.
//!
//! Must never know: protocols, tokens, upstreams.

mod delays;
mod lockouts;
mod passwords;
#[cfg(test)]
mod tests;
mod throttle;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::{passwords::Passwords, throttle::Throttle};
use crate::{
    config::{self, Account, Grant, Limits, UserPattern},
    secret,
    stats::Stats,
};

/// Decides who may come in.
pub(super) struct Gate {
    accounts: Vec<Arc<Account>>,
    passwords: Passwords,
    throttle: Arc<Throttle>,
}

/// Why the gate stays shut. The client is told the same for all but the last; the log tells them
/// apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shut {
    /// No `[[account]]` covers the user name.
    UnknownUser,
    /// The password does not match the account's hash.
    WrongPassword,
    /// The account may not be used from the client's address.
    NotFromHere,
    /// The account has no password: it is for listeners that ask for none.
    NoLogin,
    /// The client sent an empty password.
    NoPassword,
    /// Too many logins have failed; the password was not looked at.
    Locked,
}

impl Shut {
    /// The same, of a closed set, for the count of logins.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::NotFromHere => "not_from_here",
            Self::NoLogin => "no_login",
            Self::NoPassword => "no_password",
            Self::Locked => "locked",
        }
    }
}

/// A login as the gate sees it.
struct Attempt<'a> {
    /// In lower case.
    user: String,
    password: &'a SecretString,
    network: IpAddr,
    /// What failures are counted by.
    counted_as: String,
}

impl Gate {
    /// `stop` ends what waits for the end of a lockout.
    pub(super) fn new(
        accounts: Vec<Arc<Account>>,
        limits: &Limits,
        stop: CancellationToken,
    ) -> Self {
        let throttle = Arc::new(Throttle::new(limits, stop));
        Self { accounts, passwords: Passwords::new(), throttle }
    }

    /// The gate of a new configuration. Passwords must be shown anew; what has failed stays counted
    /// and locked, unless the limits of it are others now.
    pub(super) fn renewed(
        &self,
        accounts: Vec<Arc<Account>>,
        limits: &Limits,
        stop: CancellationToken,
    ) -> Self {
        if !self.throttle.has(limits) {
            return Self::new(accounts, limits, stop);
        }
        let throttle = Arc::clone(&self.throttle);
        Self { accounts, passwords: Passwords::new(), throttle }
    }

    /// Lockouts are counted there.
    pub(super) fn count_in(self, stats: &Arc<Stats>) -> Self {
        self.throttle.count_in(stats);
        self
    }

    /// The account that this user and password may use from this address. Where Entra judges the
    /// password, that is still to come: [`entra_accepted`](Self::entra_accepted),
    /// [`entra_refused`](Self::entra_refused).
    pub(super) async fn admit(
        &self,
        user: &str,
        password: &SecretString,
        from: IpAddr,
    ) -> Result<Arc<Account>, Shut> {
        let user = user.to_ascii_lowercase();
        if secret::is_empty(password) {
            // Some programs look whether a server takes anybody: no guess. Entra would call it a bug.
            return Err(Shut::NoPassword);
        }
        let Some(account) = self.account_for(&user).cloned() else {
            return Err(self.shut(Shut::UnknownUser, None, password, from).await);
        };
        if !is_usable_from(&account, from) {
            return Err(self.shut(Shut::NotFromHere, Some(&account), password, from).await);
        }
        let judged_by_entra = is_judged_by_entra(&account);
        if account.password_hash.is_none() && !judged_by_entra {
            return Err(self.shut(Shut::NoLogin, None, password, from).await);
        }
        let counted_as = counted_as(&user, &account);
        let attempt = Attempt { user, password, network: network(from), counted_as };
        if let Some(verdict) = self.at_once(&attempt) {
            return verdict;
        }
        if judged_by_entra {
            return Ok(account);
        }
        let permit = self.passwords.permit().await;
        // While this one waited, another connection may have brought the verdict on.
        if let Some(verdict) = self.at_once(&attempt) {
            return verdict;
        }
        let hash = account.password_hash.as_ref();
        let (right, _permit) = Passwords::verify(permit, hash, password).await;
        if !right {
            self.throttle.failed(Some(&attempt.counted_as), attempt.network);
            return Err(Shut::WrongPassword);
        }
        self.throttle.succeeded(&attempt.counted_as, password, attempt.network);
        self.passwords.remember(attempt.user, password, &account);
        Ok(account)
    }

    /// Entra took the password of this user, whom [`admit`](Self::admit) had let through.
    pub(super) fn entra_accepted(
        &self,
        user: &str,
        password: &SecretString,
        account: &Account,
        from: IpAddr,
    ) {
        if is_judged_by_entra(account) {
            self.throttle.succeeded(&counted_as(user, account), password, network(from));
        }
    }

    /// Entra did not. As with a wrong password here, [`slow_down`](Self::slow_down) comes next.
    pub(super) fn entra_refused(&self, user: &str, account: &Account, from: IpAddr) {
        if is_judged_by_entra(account) {
            self.throttle.failed(Some(&counted_as(user, account)), network(from));
        }
    }

    /// Waits before a failed login is answered: not for a first typo, then longer each time, and
    /// one failure of an address after the other, so that many connections guess no faster than
    /// one.
    pub(super) async fn slow_down(&self, from: IpAddr) {
        self.throttle.slow_down(network(from)).await;
    }

    /// Waits before a login is answered that nobody has looked at. It may be a right one, so it
    /// does not queue behind the guesses.
    pub(super) async fn pause(&self) {
        sleep(PAUSE).await;
    }

    /// Whether an account is for exactly this user name.
    pub(super) fn names(&self, user: &str) -> bool {
        let named = |account: &Arc<Account>| match &account.user {
            UserPattern::Exact(name) => name.eq_ignore_ascii_case(user),
            UserPattern::Domain(_) | UserPattern::Any => false,
        };
        self.accounts.iter().any(named)
    }

    /// Exact before `*@domain` before `*`. `user` is in lower case.
    pub(super) fn account_for(&self, user: &str) -> Option<&Arc<Account>> {
        config::closest(&self.accounts, user)
    }

    /// The hash that costs most to check: a user that does not exist takes as long.
    fn dearest_hash(&self) -> Option<&String> {
        let hashes = self.accounts.iter().filter_map(|account| account.password_hash.as_ref());
        hashes.max_by_key(|hash| secret::cost_of(hash))
    }

    /// What needs no look at the hash: a login that was right some minutes ago, and a lockout. The
    /// password that was right last is looked at from where it has come before, whatever others do.
    fn at_once(&self, attempt: &Attempt<'_>) -> Option<Result<Arc<Account>, Shut>> {
        let Attempt { user, password, network, counted_as } = attempt;
        if self.throttle.is_locked(Some(counted_as), *network)
            && !self.throttle.is_known(counted_as, password, *network)
        {
            return Some(Err(Shut::Locked));
        }
        let recognised = self.passwords.recognise(user, password)?;
        self.throttle.succeeded(counted_as, password, *network);
        Some(Ok(recognised))
    }

    /// The work of a wrong password, for a login that could not have been right: the time of the
    /// answer does not tell which it was. It counts for the address, and not for the account, so
    /// that nobody locks out others from where they cannot get in themselves.
    async fn shut(
        &self,
        why: Shut,
        account: Option<&Arc<Account>>,
        password: &SecretString,
        from: IpAddr,
    ) -> Shut {
        let network = network(from);
        if self.throttle.is_locked(None, network) {
            return Shut::Locked;
        }
        let permit = self.passwords.permit().await;
        if self.throttle.is_locked(None, network) {
            return Shut::Locked;
        }
        let own = account.and_then(|account| account.password_hash.as_ref());
        let hash = own.or_else(|| self.dearest_hash());
        let _verified = Passwords::verify(permit, hash, password).await;
        self.throttle.failed(None, network);
        why
    }
}

/// Before a login is answered that nobody has looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether the account's own allow list has the address; an empty one leaves it to the listener.
pub(super) fn is_usable_from(account: &Account, address: IpAddr) -> bool {
    let address = address.to_canonical();
    account.allow.is_empty() || account.allow.iter().any(|net| net.contains(&address))
}

fn is_judged_by_entra(account: &Account) -> bool {
    matches!(account.entra.grant, Grant::Password { .. })
}

/// One password, one count: that of an account, whatever name it is tried with, or, where Entra
/// has one for each user, that of the user.
fn counted_as(user: &str, account: &Account) -> String {
    match &account.user {
        _ if is_judged_by_entra(account) => user.to_ascii_lowercase(),
        UserPattern::Exact(name) => name.clone(),
        UserPattern::Domain(domain) => format!("*@{domain}"),
        UserPattern::Any => "*".to_owned(),
    }
}

/// An IPv6 host commands a /64 (RFC 6177): failures are counted by that.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
