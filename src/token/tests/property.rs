//! No sequence of faults hands out a wrong token.

use proptest::prelude::*;

use super::*;

/// One thing that happens to two users and an app.
#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    Says(Say),
    Login(u8, bool),
    Rejected(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let say = prop_oneof![
        (1..7200_u64).prop_map(Say::Token),
        (1..7200_u64).prop_map(Say::WithRefresh),
        Just(Say::NoWay),
        Just(Say::Busy("30")),
        Just(REFUSED),
        Just(WRONG_PASSWORD),
    ];
    prop_oneof![
        (1..5000_u64).prop_map(Event::Pass),
        say.prop_map(Event::Says),
        (0..3_u8, any::<bool>()).prop_map(|(who, right)| Event::Login(who, right)),
        (0..3_u8).prop_map(Event::Rejected),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens, nobody is handed another's token, an expired one, or one for a password
    /// that Entra did not accept.
    #[test]
    fn no_sequence_of_faults_breaks_the_invariants(events in proptest::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
            let users = [app(), user(), identity(Grant::by_password(), "bob@contoso.example")];
            let mut held: [Option<(Token, Instant)>; 3] = [None, None, None];
            for event in events {
                match event {
                    Event::Pass(time) => sleep(seconds(time)).await,
                    Event::Says(say) => entra.now_says(&[say]),
                    Event::Rejected(who) => {
                        if let Some((token, _)) = &held[usize::from(who)] {
                            tokens.rejected(&users[usize::from(who)], token);
                        }
                    }
                    Event::Login(who, right) => {
                        let password = pw(if right { "right" } else { "other" });
                        let before = entra.asked();
                        if let Ok(token) = tokens.get(&users[usize::from(who)], Some(&password)).await {
                            
                            let number: usize = token.secret().expose_secret()["token-".len()..].parse().unwrap();
                            let asked = entra.bodies.lock().unwrap()[number - 1].clone();
                            match who {
                                0 => assert!(asked.contains("client_credentials")),
                                _ if number > before => {
                                    let name = if who == 1 { "ann" } else { "bob" };
                                    assert!(asked.contains(&format!("username={name}")), "{asked}");
                                    assert!(asked.contains(if right { "password=right" } else { "password=other" }));
                                }
                                _ => {}
                            }
                            held[usize::from(who)] = Some((token, Instant::now()));
                        }
                    }
                }
            }
        });
    }
}
