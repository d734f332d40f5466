//! Wrong passwords: what they cost Entra, and whom they shut out.

use super::*;

#[tokio::test(start_paused = true)]
async fn guessing_is_held_before_entra_locks_the_account_and_the_right_password_still_works() {
    let (entra, tokens) = Entra::new(&[Say::Token(36_000), WRONG_PASSWORD]);
    let identity = user();
    tokens.get(&identity, Some(&pw("right"))).await.unwrap();
    assert!(!TokenError::Held.is_refusal(), "it passes");
    for guess in 0..20 {
        assert!(tokens.get(&identity, Some(&pw(&format!("guess {guess}")))).await.is_err());
    }
    assert_eq!(entra.asked(), 6, "five guesses went to Entra");
    assert!(matches!(tokens.get(&identity, Some(&pw("more"))).await, Err(TokenError::Held)));
    assert!(tokens.get(&identity, Some(&pw("right"))).await.is_ok());
    sleep(seconds(600)).await;
    assert!(!matches!(tokens.get(&identity, Some(&pw("more"))).await, Err(TokenError::Held)));
}

#[tokio::test(start_paused = true)]
async fn guesses_do_not_shut_out_who_was_accepted_last() {
    let mut world = World::new(&[Say::Token(48 * 3600)]);
    world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        sleep(seconds(13 * 3600)).await; // beyond `accepted_for`
        world.entra.now_says(&[WRONG_PASSWORD]);
        for guess in 0..5 {
            assert!(world.tokens.get(&user(), Some(&pw(&format!("guess {guess}")))).await.is_err());
        }
        let error = world.tokens.get(&user(), Some(&pw("more"))).await;
        assert!(matches!(error, Err(TokenError::Held)));
        world.entra.now_says(&[Say::Token(48 * 3600)]);
        let asked = world.entra.asked();
        world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
        assert_eq!(world.entra.asked(), asked + 1, "asked again, as it is no guess");
    }
    // Once Entra has refused it, it is one guess of many.
    sleep(seconds(13 * 3600)).await;
    world.entra.now_says(&[WRONG_PASSWORD]);
    for password in ["a", "b", "c", "d", "e", "right"] {
        assert!(world.tokens.get(&user(), Some(&pw(password))).await.is_err());
    }
    sleep(seconds(70)).await;
    assert!(world.tokens.get(&user(), Some(&pw("right"))).await.is_err());
    let error = world.tokens.get(&user(), Some(&pw("more"))).await;
    assert!(matches!(error, Err(TokenError::Held)));
}

#[tokio::test(start_paused = true)]
async fn a_stale_password_is_asked_about_ever_more_seldom_and_another_at_once() {
    let (entra, tokens) = Entra::new(&[WRONG_PASSWORD]);
    for _ in 0..4 * 60 * 6 {
        let error = tokens.get(&user(), Some(&pw("stale"))).await.unwrap_err();
        assert!(error.blames_the_password(), "remembered: {error}");
        sleep(seconds(10)).await;
    }
    let moments = entra.moments.lock().unwrap().clone();
    let waits: Vec<_> = moments.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    for (number, wait) in waits.iter().enumerate() {
        let least = [60, 120, 240, 480].get(number).copied().unwrap_or(900);
        assert!((least..=least + 20).contains(wait), "{waits:?}");
    }
    assert!(waits.len() > 15, "{waits:?}");
    entra.now_says(&[Say::Token(3600)]);
    tokens.get(&user(), Some(&pw("new"))).await.unwrap();
    // What is new again later begins anew.
    entra.now_says(&[WRONG_PASSWORD]);
    sleep(seconds(3600)).await;
    assert!(tokens.get(&user(), Some(&pw("stale"))).await.is_err());
    let asked = entra.asked();
    sleep(seconds(61)).await;
    assert!(tokens.get(&user(), Some(&pw("stale"))).await.is_err());
    assert_eq!(entra.asked(), asked + 1);
}
