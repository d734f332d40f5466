//! The local gate: who is this, may they come in, and as whom.
//!
//! Nothing leaves the machine for a client that has not passed here. Password hashes are checked
//! off the async threads and a few at a time, because argon2 is memory-hard by design; a login
//! that was right is recognised for some minutes by a keyed hash, so that a polling client does
//! not pay for it each time. An account whose app has `grant = "password"` has no hash: Entra
//! judges its password, and the token cache remembers the verdict.
//!
//! Must never know: protocols, tokens, upstreams.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use dashmap::DashMap;
use secrecy::SecretString;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task,
    time::{Instant, sleep},
};

use crate::{
    config::{Account, UserPattern},
    secret::{self, Fingerprint, Fingerprints},
};

/// Argon2 verifications at one time: each takes 19 MiB and a core.
const VERIFICATIONS: usize = 2;
/// How long a verified login is recognised without argon2.
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);
/// After this long without a failure an address starts afresh.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10 * 60);
/// The longest wait before a failed login is answered.
const LONGEST_DELAY: Duration = Duration::from_secs(8);
/// Beyond this many entries the tables are swept of what is out of date.
const SWEEP_ABOVE: usize = 4096;

/// Decides who may come in.
pub(super) struct Gate {
    accounts: Vec<Arc<Account>>,
    prints: Fingerprints,
    remembered: DashMap<String, Remembered>,
    verifications: Arc<Semaphore>,
    failures: DashMap<IpAddr, Failures>,
}

/// Why the gate stays shut. The client is told the same for both; the log tells them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shut {
    /// No `[[account]]` covers the user name.
    UnknownUser,
    /// The password does not match the account's hash.
    WrongPassword,
}

struct Remembered {
    print: Fingerprint,
    account: Arc<Account>,
    until: Instant,
}

#[derive(Clone)]
struct Failures {
    count: u32,
    last: Instant,
    /// Failed logins of one address are answered one after the other.
    turn: Arc<Mutex<()>>,
}

impl Gate {
    pub(super) fn new(accounts: Vec<Arc<Account>>) -> Self {
        Self {
            accounts,
            prints: Fingerprints::new(),
            remembered: DashMap::new(),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS)),
            failures: DashMap::new(),
        }
    }

    /// The account that this user and password may use. For an account without a hash the
    /// password is still to be judged by Entra.
    pub(super) async fn admit(
        &self,
        user: &str,
        password: &SecretString,
    ) -> Result<Arc<Account>, Shut> {
        let user = user.to_ascii_lowercase();
        if let Some(account) = self.recognise(&user, password) {
            return Ok(account);
        }
        let account = self.account_for(&user).cloned();
        if let Some(account) = account.as_ref().filter(|account| account.password_hash.is_none()) {
            return Ok(Arc::clone(account));
        }
        let Ok(permit) = Arc::clone(&self.verifications).acquire_owned().await else {
            return Err(Shut::WrongPassword); // never closed; a shut gate is the safe answer
        };
        if let Some(account) = self.recognise(&user, password) {
            return Ok(account); // verified by another connection while this one waited
        }
        let hash = account.as_ref().and_then(|account| account.password_hash.clone());
        let right = verify(permit, hash, password.clone()).await;
        let account = account.ok_or(Shut::UnknownUser)?;
        if !right {
            return Err(Shut::WrongPassword);
        }
        self.remember(user, password, &account);
        Ok(account)
    }

    /// Waits before a failed login is answered: not for a first typo, then longer each time, and
    /// one failure of an address after the other, so that many connections guess no faster than
    /// one. A right password never waits here.
    pub(super) async fn slow_down(&self, address: IpAddr) {
        if self.failures.len() > SWEEP_ABOVE {
            self.failures.retain(|_, failures| failures.last.elapsed() < FORGIVEN_AFTER);
        }
        let failures = {
            let mut entry = self.failures.entry(network(address)).or_insert_with(|| Failures {
                count: 0,
                last: Instant::now(),
                turn: Arc::default(),
            });
            if entry.last.elapsed() >= FORGIVEN_AFTER {
                entry.count = 0;
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = Instant::now();
            entry.clone()
        };
        let _turn = failures.turn.lock().await;
        sleep(delay(failures.count)).await;
    }

    fn recognise(&self, user: &str, password: &SecretString) -> Option<Arc<Account>> {
        let entry = self.remembered.get(user)?;
        let known = entry.until > Instant::now() && entry.print == self.prints.of(user, password);
        known.then(|| Arc::clone(&entry.account))
    }

    fn remember(&self, user: String, password: &SecretString, account: &Arc<Account>) {
        let now = Instant::now();
        if self.remembered.len() > SWEEP_ABOVE {
            self.remembered.retain(|_, entry| entry.until > now);
        }
        let print = self.prints.of(&user, password);
        let until = now + REMEMBERED_FOR;
        self.remembered.insert(user, Remembered { print, account: Arc::clone(account), until });
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
        let domain = user.rsplit_once('@').map(|(_, domain)| domain);
        let rank = |account: &Account| match &account.user {
            UserPattern::Exact(name) => (name == user).then_some(0),
            UserPattern::Domain(name) => (Some(name.as_str()) == domain).then_some(1),
            UserPattern::Any => Some(2),
        };
        let ranked = self.accounts.iter().filter_map(|account| Some((rank(account)?, account)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, account)| account)
    }
}

/// Checks a hash off the async threads; without one, does the work of a default hash, so that the
/// time of the answer does not tell whether the user exists.
async fn verify(
    permit: OwnedSemaphorePermit,
    hash: Option<String>,
    password: SecretString,
) -> bool {
    let verified = task::spawn_blocking(move || {
        let _permit = permit; // held by the work, even where nobody waits for it any more
        match hash {
            Some(hash) => secret::verify_password(&hash, &password),
            None => secret::verify_nobody(&password),
        }
    });
    verified.await.unwrap_or(false)
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

/// Nothing, then half a second, doubling to [`LONGEST_DELAY`].
fn delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(500).saturating_mul(1 << (n - 2).min(10)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EntraApp, Grant, Mailbox};

    fn account(user: UserPattern, password: Option<&str>) -> Arc<Account> {
        let entra = EntraApp::sample(Grant::by_password());
        let password_hash = password.map(|password| secret::hash_password(&password.into()));
        let mailbox = Mailbox::default();
        Arc::new(Account { user, password_hash, mailbox, entra, allow: vec![] })
    }

    fn gate() -> Gate {
        Gate::new(vec![
            account(UserPattern::Any, Some("any")),
            account(UserPattern::Domain("contoso.com".to_owned()), Some("domain")),
            account(UserPattern::Exact("ann@contoso.com".to_owned()), Some("exact")),
        ])
    }

    #[tokio::test]
    async fn exact_comes_before_domain_before_any_without_regard_to_case() {
        let gate = gate();
        let rows = [
            ("ann@contoso.com", "exact", true),
            ("Ann@CONTOSO.com", "exact", true),
            ("ann@contoso.com", "domain", false),
            ("ann@contoso.com", "Exact", false),
            ("bob@contoso.com", "domain", true),
            ("bob@contoso.com", "any", false),
            ("bob@sub.contoso.com", "domain", false),
            ("bob@sub.contoso.com", "any", true),
            ("scanner", "any", true),
        ];
        let mut ran = 0;
        for (user, password, admitted) in rows {
            let result = gate.admit(user, &password.into()).await;
            assert_eq!(result.is_ok(), admitted, "{user} {password}");
            ran += 1;
        }
        assert_eq!(ran, 9);
    }

    #[tokio::test]
    async fn a_verified_login_is_recognised_and_a_wrong_one_beside_it_is_not() {
        let gate = gate();
        let right = "exact".into();
        assert!(gate.recognise("ann@contoso.com", &right).is_none());
        gate.admit("ann@contoso.com", &right).await.unwrap();
        assert!(gate.recognise("ann@contoso.com", &right).is_some());
        assert!(gate.recognise("ann@contoso.com", &"domain".into()).is_none());
        let refused = gate.admit("ann@contoso.com", &"wrong".into()).await;
        assert_eq!(refused.unwrap_err(), Shut::WrongPassword);
        assert!(gate.recognise("ann@contoso.com", &right).is_some(), "a typo evicts nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_recognised_login_is_forgotten_after_some_minutes() {
        let gate = gate();
        let (user, right) = ("ann@contoso.com".to_owned(), "exact".into());
        gate.remember(user.clone(), &right, &gate.accounts[2]);
        tokio::time::advance(REMEMBERED_FOR.checked_sub(Duration::from_secs(1)).unwrap()).await;
        assert!(gate.recognise(&user, &right).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(gate.recognise(&user, &right).is_none());
    }

    #[tokio::test]
    async fn an_unknown_user_is_refused_and_a_hashless_account_is_left_to_entra() {
        let domain = UserPattern::Domain("contoso.com".to_owned());
        let gate = Gate::new(vec![account(domain, None)]);
        assert!(gate.admit("ann@contoso.com", &"whatever".into()).await.is_ok());
        let unknown = gate.admit("ann@fabrikam.com", &"whatever".into()).await;
        assert_eq!(unknown.unwrap_err(), Shut::UnknownUser);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_one_address_are_answered_ever_more_slowly_and_one_by_one() {
        let gate = Arc::new(gate());
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let mut waits = Vec::new();
        for _ in 0..8 {
            let start = Instant::now();
            gate.slow_down(here).await;
            waits.push(start.elapsed().as_millis());
        }
        assert_eq!(waits, [0, 500, 1000, 2000, 4000, 8000, 8000, 8000]);

        let start = Instant::now();
        tokio::join!(gate.slow_down(here), gate.slow_down(here), gate.slow_down(there));
        assert_eq!(start.elapsed(), 2 * LONGEST_DELAY, "no faster on two connections");

        tokio::time::advance(FORGIVEN_AFTER).await;
        let start = Instant::now();
        gate.slow_down(here).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "forgiven");
    }

    #[test]
    fn ipv6_failures_are_counted_by_network() {
        let [one, other, far] = ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"]
            .map(|text| network(text.parse().unwrap()));
        assert_eq!(one, other);
        assert_ne!(one, far);
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
    }
}
