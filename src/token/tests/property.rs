//! No sequence of faults hands out a wrong token.

use proptest::prelude::*;

use super::*;
use crate::config::IdentitySource;

/// One thing that happens to an app, two users with passwords, two who signed in, and a machine.
#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    /// The machine sleeps, or its clock is set.
    Jump(i64),
    Says(Say),
    Login(usize, bool),
    SignsIn(usize),
    Rejected(usize),
    Restart,
    /// With an account of this user, or without.
    Reload(usize, bool),
    /// The managed identity's endpoint is another one.
    Moves,
}

const WHO: usize = 6;
/// These sign in.
const IN_PERSON: std::ops::Range<usize> = 3..5;
/// A managed identity.
const MACHINE: usize = 5;

fn event() -> impl Strategy<Value = Event> {
    let say = prop_oneof![
        (1..7200_u64).prop_map(Say::Token),
        (1..7200_u64).prop_map(Say::WithRefresh),
        Just(Say::NoWay),
        Just(Say::Busy("30")),
        Just(REFUSED),
        Just(WRONG_PASSWORD),
        Just(REVOKED),
    ];
    prop_oneof![
        3 => (1..5000_u64).prop_map(Event::Pass),
        1 => (-900..9000_i64).prop_map(Event::Jump),
        3 => say.prop_map(Event::Says),
        6 => (0..WHO, any::<bool>()).prop_map(|(who, right)| Event::Login(who, right)),
        2 => IN_PERSON.prop_map(Event::SignsIn),
        1 => (0..WHO).prop_map(Event::Rejected),
        1 => Just(Event::Restart),
        1 => (0..WHO, any::<bool>()).prop_map(|(who, there)| Event::Reload(who, there)),
        1 => Just(Event::Moves),
    ]
}

/// How a request came to be asked.
#[derive(Clone, Copy)]
struct Asked {
    who: usize,
    /// With the right password, where with one.
    right: Option<bool>,
    /// Of which sign-in it comes, or at which endpoint it was.
    of: Option<usize>,
}

/// Whose token the answer to this request is, and for what, by what was asked.
fn asked_for(entra: &Entra, number: usize) -> Asked {
    let body = entra.body(number);
    if body.contains("client_credentials") {
        return Asked { who: 0, right: None, of: None };
    }
    if let Some(rest) = body.strip_prefix("http://machine-") {
        let (place, _) = rest.split_once('/').unwrap();
        return Asked { who: MACHINE, right: None, of: place.parse().ok() };
    }
    if let Some((_, user)) = body.split_once("username=") {
        let who = if user.starts_with("ann") { 1 } else { 2 };
        return Asked { who, right: Some(body.contains("password=right")), of: None };
    }
    let (_, token) = body.split_once("refresh_token=").unwrap();
    of_refresh(entra, token.split('&').next().unwrap())
}

fn of_refresh(entra: &Entra, token: &str) -> Asked {
    if let Some(earlier) = token.strip_prefix("refresh-") {
        return asked_for(entra, earlier.parse().unwrap());
    }
    let (who, of) = token.strip_prefix("by-hand-of-").unwrap().split_once('.').unwrap();
    Asked { who: who.parse().unwrap(), right: None, of: of.parse().ok() }
}

fn machine(place: usize) -> Identity {
    let source = IdentitySource::Imds(format!("http://machine-{place}"));
    identity(Grant::ManagedIdentity { source }, "")
}

/// The configuration is read anew, without those who have no account.
async fn reload(world: &World, users: &[Identity], there: [bool; WHO]) {
    let covered: Vec<_> =
        users.iter().zip(there).filter_map(|(user, there)| there.then_some(user)).collect();
    let apps: Vec<_> = covered.iter().map(|user| Arc::new((*user.app).clone())).collect();
    let names: Vec<_> = covered.iter().map(|user| user.user.clone()).collect();
    let is_covered = move |_: &EntraApp, user: &str| names.iter().any(|name| name == user);
    world.tokens.adopt(world.entra.courier(), &apps, is_covered);
    sleep(seconds(1)).await; // who is gone is forgotten aside
}

async fn play(events: Vec<Event>) {
    let mut world = World::new(&[Say::Token(3600)]);
    let device = |user| identity(Grant::DeviceCode { credential: None }, user);
    let mut users = [
        app(),
        user(),
        identity(Grant::by_password(), "bob@contoso.example"),
        device("eve@contoso.example"),
        device("fred@contoso.example"),
        machine(0),
    ];
    let mut held: [Option<Token>; WHO] = [const { None }; WHO];
    let (mut there, mut place) = ([true; WHO], 0);
    // The last sign-in of each, unless it has been forgotten since.
    let mut last: [Option<usize>; WHO] = [None; WHO];
    for (serial, event) in events.into_iter().enumerate() {
        match event {
            Event::Pass(time) => sleep(seconds(time)).await,
            Event::Jump(by) => world.shift_wall(by),
            Event::Says(say) => world.entra.now_says(&[say]),
            Event::SignsIn(who) => {
                world.signs_in(&users[who], &format!("by-hand-of-{who}.{serial}"));
                last[who] = there[who].then_some(serial); // without an account it may be forgotten
            }
            Event::Rejected(who) => {
                if let Some(token) = &held[who] {
                    world.tokens.rejected(&users[who], token);
                }
            }
            Event::Restart => world.restart(),
            Event::Reload(who, stays) => {
                there[who] = stays;
                if !stays {
                    last[who] = None;
                }
                reload(&world, &users, there).await;
            }
            Event::Moves => {
                place += 1;
                users[MACHINE] = machine(place);
                held[MACHINE] = None;
                reload(&world, &users, there).await;
            }
            Event::Login(who, right) => {
                let password = pw(if right { "right" } else { "other" });
                let Ok(token) = world.tokens.get(&users[who], Some(&password)).await else {
                    continue;
                };
                assert!(token.lives(world.clock.now()), "an expired token");
                let number = token.secret().expose_secret()["token-".len()..].parse().unwrap();
                let asked = asked_for(&world.entra, number);
                assert_eq!(asked.who, who, "another's token");
                assert!(asked.right.is_none_or(|by| by == right), "a token of another password");
                assert!(who != MACHINE || asked.of == Some(place), "a token of another endpoint");
                held[who] = Some(token);
            }
        }
        for who in IN_PERSON {
            if let Some(serial) = last[who] {
                let kept = of_refresh(&world.entra, &world.kept_refresh(&users[who]));
                assert_eq!((kept.who, kept.of), (who, Some(serial)), "a sign-in is lost");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever happens, through restarts and reloads, nobody is handed another's token, an expired
    /// one, one of another endpoint, or one for a password that Entra did not accept; and no sign-in
    /// is lost while its account is there.
    #[test]
    fn no_sequence_of_faults_breaks_the_invariants(events in proptest::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(events));
    }
}
