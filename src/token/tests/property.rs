//! No sequence of faults hands out a wrong token.

use proptest::prelude::*;

use super::*;

/// One thing that happens to an app, two users with passwords, and two who signed in.
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
    Reload,
}

const WHO: usize = 5;

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
        1 => (3..WHO).prop_map(Event::SignsIn),
        1 => (0..WHO).prop_map(Event::Rejected),
        1 => Just(Event::Restart),
        1 => Just(Event::Reload),
    ]
}

/// Whose token the answer to this request is, and for which password, by what was asked.
fn asked_for(entra: &Entra, number: usize) -> (usize, Option<bool>) {
    let body = entra.body(number);
    if body.contains("client_credentials") {
        return (0, None);
    }
    if let Some((_, user)) = body.split_once("username=") {
        let who = if user.starts_with("ann") { 1 } else { 2 };
        return (who, Some(body.contains("password=right")));
    }
    let (_, token) = body.split_once("refresh_token=").unwrap();
    let token = token.split('&').next().unwrap();
    match token.strip_prefix("refresh-") {
        Some(earlier) => asked_for(entra, earlier.parse().unwrap()),
        None => (token.strip_prefix("by-hand-of-").unwrap().parse().unwrap(), None),
    }
}

async fn play(events: Vec<Event>) {
    let mut world = World::new(&[Say::Token(3600)]);
    let device = |user| identity(Grant::DeviceCode { credential: None }, user);
    let users = [
        app(),
        user(),
        identity(Grant::by_password(), "bob@contoso.example"),
        device("eve@contoso.example"),
        device("fred@contoso.example"),
    ];
    let mut held: [Option<Token>; WHO] = [const { None }; WHO];
    for event in events {
        match event {
            Event::Pass(time) => sleep(seconds(time)).await,
            Event::Jump(by) => world.shift_wall(by),
            Event::Says(say) => world.entra.now_says(&[say]),
            Event::SignsIn(who) => world.signs_in(&users[who], &format!("by-hand-of-{who}")),
            Event::Rejected(who) => {
                if let Some(token) = &held[who] {
                    world.tokens.rejected(&users[who], token);
                }
            }
            Event::Restart => world.restart(),
            Event::Reload => {
                let apps: Vec<_> = users.iter().map(|user| Arc::new((*user.app).clone())).collect();
                world.tokens.adopt(world.entra.courier(), &apps);
            }
            Event::Login(who, right) => {
                let password = pw(if right { "right" } else { "other" });
                let Ok(token) = world.tokens.get(&users[who], Some(&password)).await else {
                    continue;
                };
                assert!(token.lives(world.clock.now()), "an expired token");
                let number = token.secret().expose_secret()["token-".len()..].parse().unwrap();
                let (whose, by) = asked_for(&world.entra, number);
                assert_eq!(whose, who, "another's token");
                assert!(by.is_none_or(|by| by == right), "a token of another password");
                held[who] = Some(token);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever happens, through restarts and reloads, nobody is handed another's token, an expired
    /// one, or one for a password that Entra did not accept.
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
