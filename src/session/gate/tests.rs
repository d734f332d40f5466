use std::{sync::Mutex, time::Duration};

use tokio::time::{Instant, advance};

use super::*;
use crate::{
    config::{EntraApp, Mailbox},
    secret,
};

use super::{
    delays::{FORGIVEN_AFTER, LONGEST_DELAY},
    lockouts::WINDOW,
    passwords::REMEMBERED_FOR,
    throttle::HOME_FOR,
};

const ANN: &str = "ann@contoso.com";
/// What a guesser does not guess.
const RIGHT: &str = "exact";
const LOCKOUT: Duration = Duration::from_secs(300);

fn account(user: UserPattern, grant: Grant, password: Option<&str>) -> Account {
    let entra = EntraApp::sample(grant);
    let password_hash = password.map(|password| secret::hash_password(&password.into()));
    Account { user, password_hash, mailbox: Mailbox::default(), entra, allow: vec![] }
}

fn exact(name: &str) -> UserPattern {
    UserPattern::Exact(name.to_owned())
}

fn domain(name: &str) -> UserPattern {
    UserPattern::Domain(name.to_owned())
}

fn gate_of(accounts: impl IntoIterator<Item = Account>) -> Gate {
    let limits = Limits { lockout_after: 3, lockout_time: LOCKOUT, ..Limits::default() };
    let accounts = accounts.into_iter().map(Arc::new).collect();
    Gate::new(accounts, &limits, CancellationToken::new())
}

fn gate() -> Gate {
    let app = || Grant::of_app("secret");
    gate_of([
        account(UserPattern::Any, app(), Some("any")),
        account(domain("contoso.com"), app(), Some("domain")),
        account(exact(ANN), app(), Some(RIGHT)),
    ])
}

fn at(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn here() -> IpAddr {
    at("192.0.2.1")
}

fn there() -> IpAddr {
    at("192.0.2.2")
}

impl Gate {
    /// Why not, if not.
    async fn tried(&self, user: &str, password: &str, from: IpAddr) -> Option<Shut> {
        self.admit(user, &password.into(), from).await.err()
    }

    async fn fails(&self, times: usize, user: &str, from: IpAddr) {
        for time in 1..=times {
            let shut = self.tried(user, "wrong", from).await;
            assert_ne!(shut, Some(Shut::Locked), "{user} from {from}, time {time}");
            assert!(shut.is_some());
        }
    }
}

#[tokio::test]
async fn exact_comes_before_domain_before_any_without_regard_to_case() {
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
    let gate = gate();
    let mut ran = 0;
    for (user, password, admitted) in rows {
        let shut = gate.tried(user, password, here()).await;
        assert_eq!(shut.is_none(), admitted, "{user} {password}");
        ran += 1;
    }
    assert_eq!(ran, 9);
}

/// Who may log in by which grant: only `password` leaves the password to Entra.
#[tokio::test]
async fn the_local_hash_decides_but_for_the_password_grant() {
    use crate::config::IdentitySource;
    let credential = || None;
    let redirect_uri = "http://localhost".to_owned();
    let source = IdentitySource::Imds("http://169.254.169.254".to_owned());
    let grants = [
        (Grant::of_app("secret"), false),
        (Grant::ManagedIdentity { source }, false),
        (Grant::AuthorizationCode { credential: credential(), redirect_uri }, false),
        (Grant::DeviceCode { credential: credential() }, false),
        (Grant::by_password(), true),
    ];
    let mut ran = 0;
    for (grant, is_entras) in grants {
        let name = grant.name();
        let gate = gate_of([account(exact(ANN), grant.clone(), None)]);
        assert_eq!(gate.tried(ANN, "", here()).await, Some(Shut::NoPassword), "{name}");
        let shut = gate.tried(ANN, "any", here()).await;
        assert_eq!(shut, (!is_entras).then_some(Shut::NoLogin), "{name} without a hash");
        if !is_entras {
            let gate = gate_of([account(exact(ANN), grant, Some(RIGHT))]);
            assert_eq!(gate.tried(ANN, RIGHT, here()).await, None, "{name}");
            assert_eq!(gate.tried(ANN, "no", here()).await, Some(Shut::WrongPassword), "{name}");
        }
        ran += 1;
    }
    assert_eq!(ran, 5);
}

#[tokio::test]
async fn an_account_is_used_from_where_it_allows_only() {
    let mut restricted = account(exact(ANN), Grant::of_app("secret"), Some(RIGHT));
    restricted.allow = vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let mut entras = account(exact("erp"), Grant::by_password(), None);
    entras.allow.clone_from(&restricted.allow);
    let gate = gate_of([restricted, entras]);
    let rows = [
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("2001:db8::1", None),
        ("10.2.0.1", Some(Shut::NotFromHere)),
        ("127.0.0.1", Some(Shut::NotFromHere)),
    ];
    let mut ran = 0;
    for (address, expected) in rows {
        // The first makes it a recognised login, which is not recognised elsewhere either.
        assert_eq!(gate.tried(ANN, RIGHT, at(address)).await, expected, "{address}");
        assert_eq!(gate.tried("erp", "x", at(address)).await, expected, "{address}");
        ran += 1;
    }
    assert_eq!(ran, 5);
}

#[tokio::test]
async fn a_verified_login_is_recognised_and_a_wrong_one_beside_it_is_not() {
    let gate = gate();
    let recognised = |password: &str| gate.passwords.recognise(ANN, &password.into()).is_some();
    assert!(!recognised(RIGHT));
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None);
    assert!(recognised(RIGHT));
    assert!(!recognised("domain"));
    assert_eq!(gate.tried(ANN, "wrong", here()).await, Some(Shut::WrongPassword));
    assert!(recognised(RIGHT), "a typo evicts nothing");
}

#[tokio::test(start_paused = true)]
async fn a_recognised_login_is_forgotten_after_some_minutes() {
    let gate = gate();
    let right = RIGHT.into();
    gate.passwords.remember(ANN.to_owned(), &right, &gate.accounts[2]);
    advance(REMEMBERED_FOR.checked_sub(Duration::from_secs(1)).unwrap()).await;
    assert!(gate.passwords.recognise(ANN, &right).is_some());
    advance(Duration::from_secs(1)).await;
    assert!(gate.passwords.recognise(ANN, &right).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_account_is_locked_for_guessers_from_anywhere_and_not_for_its_own_scanner() {
    let gate = gate();
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None);
    gate.fails(1, ANN, at("198.51.100.1")).await;
    gate.fails(1, "ANN@contoso.com", at("198.51.100.2")).await;
    assert_eq!(gate.tried(ANN, RIGHT, there()).await, None, "not yet locked: a new place is fine");
    gate.fails(1, ANN, at("198.51.100.3")).await;

    let elsewhere = at("198.51.100.4");
    assert_eq!(gate.tried(ANN, "wrong", elsewhere).await, Some(Shut::Locked));
    assert_eq!(gate.tried(ANN, RIGHT, elsewhere).await, Some(Shut::Locked), "nothing is checked");
    for home in [here(), there()] {
        assert_eq!(gate.tried(ANN, RIGHT, home).await, None, "{home}");
    }
    advance(REMEMBERED_FOR).await; // nothing is recognised any more, and the lockout is over
    assert_eq!(gate.tried(ANN, RIGHT, elsewhere).await, None, "over");
}

#[tokio::test(start_paused = true)]
async fn a_home_needs_no_recognition_and_ends_after_a_day() {
    let gate = gate();
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None);
    advance(HOME_FOR.checked_sub(Duration::from_secs(1)).unwrap()).await;
    gate.fails(3, ANN, there()).await;
    assert_eq!(gate.tried(ANN, "wrong", here()).await, Some(Shut::WrongPassword), "is looked at");
    advance(Duration::from_secs(1)).await;
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, Some(Shut::Locked));
}

#[tokio::test(start_paused = true)]
async fn guessing_from_a_home_locks_the_home_and_nobody_else() {
    let gate = gate();
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None);
    advance(REMEMBERED_FOR).await;
    gate.fails(3, ANN, here()).await;
    assert_eq!(gate.tried(ANN, "fourth", here()).await, Some(Shut::Locked));
    assert_eq!(gate.tried(ANN, RIGHT, there()).await, None);
    assert_eq!(gate.tried("bob@contoso.com", "domain", here()).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_password_that_was_right_today_passes_every_lockout_at_home() {
    let gate = gate_of([account(exact(ANN), Grant::of_app("secret"), Some(RIGHT))]);
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None);
    advance(REMEMBERED_FOR).await;
    gate.fails(3, ANN, here()).await;
    gate.fails(9, "nobody", here()).await;
    assert_eq!(gate.tried(ANN, "wrong", here()).await, Some(Shut::Locked));
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None, "though nothing is recognised");

    let limits = Limits { lockout_after: 3, lockout_time: LOCKOUT, ..Limits::default() };
    let reloaded = gate.renewed(gate.accounts.clone(), &limits, CancellationToken::new());
    assert_eq!(reloaded.tried(ANN, "wrong", here()).await, Some(Shut::Locked), "still counted");
    assert_eq!(reloaded.tried(ANN, RIGHT, here()).await, None, "over a reload");
    let changed = account(exact(ANN), Grant::of_app("secret"), Some("new"));
    let changed = gate.renewed(vec![Arc::new(changed)], &limits, CancellationToken::new());
    let shut = changed.tried(ANN, RIGHT, here()).await;
    assert_eq!(shut, Some(Shut::WrongPassword), "it is looked at, and no more");
}

#[tokio::test(start_paused = true)]
async fn one_hash_is_one_count_whatever_names_it_is_tried_with() {
    let gate = gate();
    for name in ["a", "b", "c"] {
        gate.fails(1, &format!("{name}@contoso.com"), here()).await;
    }
    assert_eq!(gate.tried("d@contoso.com", "domain", there()).await, Some(Shut::Locked));
    assert_eq!(gate.tried(ANN, RIGHT, there()).await, None, "an account of its own");
}

#[tokio::test(start_paused = true)]
async fn an_address_is_locked_after_three_times_as_many_over_all_names() {
    let gate = gate_of([
        account(exact("a"), Grant::of_app("s"), Some("a")),
        account(exact("b"), Grant::of_app("s"), Some("b")),
        account(exact("c"), Grant::of_app("s"), None),
    ]);
    gate.fails(2, "a", here()).await;
    gate.fails(2, "b", here()).await;
    gate.fails(2, "c", here()).await;
    gate.fails(3, "unknown", here()).await;
    for user in ["a", "b", "c", "unknown"] {
        assert_eq!(gate.tried(user, "a", here()).await, Some(Shut::Locked), "{user}");
    }
    assert_eq!(gate.tried("a", "a", there()).await, None, "elsewhere all is well");
    advance(LOCKOUT).await;
    assert_eq!(gate.tried("a", "a", here()).await, None, "over");
}

#[tokio::test(start_paused = true)]
async fn a_typo_now_and_then_locks_nothing() {
    let gate = gate();
    for _ in 0..5 {
        gate.fails(2, ANN, here()).await;
        advance(WINDOW).await;
    }
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_get_in_locks_nobody_out() {
    let mut restricted = account(exact(ANN), Grant::of_app("secret"), Some(RIGHT));
    restricted.allow = vec!["192.0.2.1/32".parse().unwrap()];
    let gate = gate_of([restricted]);
    gate.fails(9, ANN, there()).await;
    assert_eq!(gate.tried(ANN, RIGHT, there()).await, Some(Shut::Locked), "as an address");
    assert_eq!(gate.tried(ANN, RIGHT, here()).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_entra_refuses_counts_for_each_user_and_what_it_accepts_makes_a_home() {
    let gate = gate_of([account(domain("contoso.com"), Grant::by_password(), None)]);
    let account = Arc::clone(&gate.accounts[0]);
    gate.entra_accepted(ANN, &"mine".into(), &account, here());
    for _ in 0..3 {
        assert_eq!(gate.tried(ANN, "guess", there()).await, None, "Entra's to judge");
        gate.entra_refused("Ann@contoso.com", &account, there());
    }
    assert_eq!(gate.tried(ANN, "guess", there()).await, Some(Shut::Locked));
    assert_eq!(gate.tried(ANN, "x", here()).await, None, "at home");
    for _ in 0..3 {
        gate.entra_refused(ANN, &account, here());
    }
    assert_eq!(gate.tried(ANN, "x", here()).await, Some(Shut::Locked), "a stale script at home");
    assert_eq!(gate.tried(ANN, "mine", here()).await, None, "does not keep out the right one");
    assert_eq!(gate.tried("bob@contoso.com", "x", there()).await, None, "another password");
}

#[tokio::test]
async fn at_most_as_many_guesses_more_as_run_at_once_are_looked_at() {
    let gate = Arc::new(gate());
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..20_u8 {
        let gate = Arc::clone(&gate);
        let from = IpAddr::from([198, 51, 100, number]);
        tries.spawn(async move { gate.tried(ANN, "guess", from).await });
    }
    let shut: Vec<_> = tries.join_all().await;
    let looked_at = shut.iter().filter(|shut| **shut == Some(Shut::WrongPassword)).count();
    assert!((3..=5).contains(&looked_at), "{looked_at}: {shut:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lockout_is_told_once_at_its_start_and_once_at_its_end() {
    let log = Log::default();
    let (writer, subscriber) = (log.clone(), tracing_subscriber::fmt().with_ansi(false));
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    // While there is one subscriber only, a test on another thread that comes first to a log line
    // switches it off for good: tracing asks that thread's, and it has none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let gate = gate();
    gate.fails(3, ANN, here()).await;
    for _ in 0..5 {
        gate.tried(ANN, "wrong", here()).await;
    }
    assert_eq!(log.lines_with("of=account ann@contoso.com"), 1);
    assert_eq!(log.lines_with("event=\"lockout\""), 1);
    assert_eq!(log.lines_with("remedy="), 1);
    advance(LOCKOUT.checked_sub(Duration::from_secs(1)).unwrap()).await;
    tokio::task::yield_now().await;
    assert_eq!(log.lines_with("event=\"lockout_end\""), 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(log.lines_with("event=\"lockout_end\""), 1);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines_with(&self, words: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(words)).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_address_are_answered_ever_more_slowly_and_one_by_one() {
    let gate = gate();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let start = Instant::now();
        gate.slow_down(here()).await;
        waits.push(start.elapsed().as_millis());
    }
    assert_eq!(waits, [0, 500, 1000, 2000, 4000, 8000, 8000, 8000]);

    let start = Instant::now();
    tokio::join!(gate.slow_down(here()), gate.slow_down(here()), gate.slow_down(there()));
    assert_eq!(start.elapsed(), 2 * LONGEST_DELAY, "no faster on two connections");

    advance(FORGIVEN_AFTER).await;
    let start = Instant::now();
    gate.slow_down(here()).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "forgiven");
}

#[test]
fn ipv6_failures_are_counted_by_network() {
    let [one, other, far] =
        ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"].map(|text| network(at(text)));
    assert_eq!(one, other);
    assert_ne!(one, far);
    assert_eq!(network(at("::ffff:192.0.2.1")), here());
}
