//! Outages of every kind: none is a refusal, a living token is served through all, and what comes
//! back is used.

use super::*;

/// Without a token nobody is told a refusal, and `wait` seconds later all is well; with one nobody
/// notices.
async fn is_survived(fault: Say, wait: u64) {
    let (entra, tokens) = Entra::new(&[fault.clone(), Say::Token(3600)]);
    let error = tokens.get(&app(), None).await.unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    sleep(seconds(wait - 1)).await;
    assert!(tokens.get(&app(), None).await.is_err(), "{fault:?}: not asked again so soon");
    assert_eq!(entra.asked(), 1);
    sleep(seconds(1)).await;
    assert_eq!(text(tokens.get(&app(), None).await), "token-2");

    entra.now_says(&[fault]);
    sleep(seconds(3500)).await;
    assert!(entra.asked() > 2, "renewal was tried");
    assert_eq!(text(tokens.get(&app(), None).await), "token-2");
    sleep(seconds(100)).await;
    assert!(!tokens.get(&app(), None).await.unwrap_err().is_refusal(), "expired in an outage");
    entra.now_says(&[Say::Token(3600)]);
    sleep(seconds(600)).await;
    let start = Instant::now();
    tokens.get(&app(), None).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "upkeep went on, so that no login has to wait");
}

#[tokio::test(start_paused = true)]
async fn busy_without_a_word_for_how_long() {
    is_survived(Say::Body(429, ""), 2).await;
}

#[tokio::test(start_paused = true)]
async fn busy_for_a_named_time() {
    is_survived(Say::Busy("120"), 120).await;
}

#[tokio::test(start_paused = true)]
async fn down_without_a_word_for_how_long() {
    is_survived(Say::Body(503, ""), 2).await;
}

#[tokio::test(start_paused = true)]
async fn down_for_a_named_time() {
    is_survived(Say::Down("120"), 120).await;
}

#[tokio::test(start_paused = true)]
async fn no_answer_at_all() {
    is_survived(Say::Hang, 2).await;
}

#[tokio::test(start_paused = true)]
async fn no_such_name() {
    is_survived(Say::Cut("login.microsoftonline.com: no such name"), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset() {
    is_survived(Say::Cut("connection reset by peer"), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_proxy() {
    is_survived(Say::NoWay, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_in_place_of_json() {
    is_survived(Say::Body(200, "<html><title>Welcome to the Wi-Fi</title></html>"), 2).await;
}

#[tokio::test(start_paused = true)]
async fn truncated_json() {
    is_survived(Say::Body(200, r#"{"token_type":"Bearer","access_token":"eyJ0"#), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_lockout() {
    is_survived(LOCKED, 300).await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_entra_sees() {
    is_survived(LOOP, 90).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_locked_out_by_a_stranger_keeps_token_and_acceptance_and_is_told_to_wait() {
    let (entra, tokens) = Entra::new(&[Say::Token(48 * 3600), LOCKED, Say::Token(48 * 3600)]);
    tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    sleep(seconds(13 * 3600)).await; // beyond `accepted_for`
    for _ in 0..3 {
        assert_eq!(text(tokens.get(&user(), Some(&pw("right"))).await), "token-1");
        let error = tokens.get(&user(), Some(&pw("other"))).await.unwrap_err();
        assert!(!error.is_refusal() && !error.blames_the_password(), "{error}");
        assert!(error.client_text().contains("AADSTS50053"), "{}", error.client_text());
        assert!(error.remedy().is_some_and(|remedy| !remedy.contains("page")), "{error}");
        sleep(seconds(99)).await;
    }
    assert_eq!(entra.asked(), 2, "Entra is left alone meanwhile");
    sleep(seconds(4)).await;
    assert_eq!(text(tokens.get(&user(), Some(&pw("right"))).await), "token-3");
}

#[tokio::test(start_paused = true)]
async fn a_lockout_calls_for_no_sign_in() {
    let world = World::new(&[LOCKED, Say::WithRefresh(3600)]);
    world.signs_in(&signed_in(), "by-hand");
    let error = world.tokens.get(&signed_in(), None).await.unwrap_err();
    assert!(matches!(error, TokenError::Unavailable { .. }), "{error}");
    sleep(seconds(301)).await;
    world.tokens.get(&signed_in(), None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waits_between_renewals_grow_and_are_jittered_within_bounds() {
    let (entra, tokens) = Entra::new(&[Say::Token(12 * 3600), Say::NoWay]);
    tokens.get(&app(), None).await.unwrap();
    sleep(seconds(12 * 3600 + 3600)).await;
    let moments = entra.moments.lock().unwrap().clone();
    let waits: Vec<_> = moments[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut longest = seconds(5);
    for (number, wait) in waits.iter().enumerate() {
        // Each request takes 50 ms.
        let bounds = longest / 2..=longest + Duration::from_millis(60);
        assert!(bounds.contains(wait), "wait {number}: {wait:?} not in {bounds:?}");
        longest = (longest * 2).min(seconds(300));
    }
    assert!(waits.len() > 10, "{waits:?}");
    let full = waits.iter().filter(|wait| **wait > seconds(299)).count();
    assert!(full < waits.len() / 2, "no jitter: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_moment_that_renewal_was_told_holds_for_logins_too() {
    let (entra, tokens) = Entra::new(&[Say::Token(600), Say::Busy("900"), Say::Token(600)]);
    tokens.get(&app(), None).await.unwrap();
    sleep(seconds(700)).await; // told at 300, dead since 600
    assert!(!tokens.get(&app(), None).await.unwrap_err().is_refusal());
    assert_eq!(entra.asked(), 2);
    sleep(seconds(510)).await;
    tokens.get(&app(), None).await.unwrap();
    assert_eq!(entra.asked(), 3);
}
