//! The life of a token, of every kind, under faults.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_logins_with_a_cold_cache_make_one_request() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
    let identity = app();
    let logins = TaskTracker::new();
    for _ in 0..1000 {
        let (tokens, identity) = (tokens.clone(), identity.clone());
        logins.spawn(async move { assert_eq!(text(tokens.get(&identity, None).await), "token-1") });
    }
    logins.close();
    logins.wait().await;
    assert_eq!(entra.asked(), 1);
    assert_eq!(
        entra.bodies.lock().unwrap()[0],
        "client_id=client&scope=scope%2F.default&grant_type=client_credentials&client_secret=s3cret%2B%26"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hundred_logins_share_one_failure() {
    let (entra, tokens) = Entra::new(&[Say::NoWay]);
    let identity = app();
    let logins = TaskTracker::new();
    for _ in 0..100 {
        let (tokens, identity) = (tokens.clone(), identity.clone());
        logins.spawn(async move {
            let error = tokens.get(&identity, None).await.unwrap_err();
            assert!(!error.is_refusal());
            assert!(error.to_string().contains("proxy p:8080 answered 403"), "{error}");
        });
    }
    logins.close();
    logins.wait().await;
    assert_eq!(entra.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_passes_the_turn_on() {
    let (entra, tokens) = Entra::new(&[Say::Hang, Say::Token(3600)]);
    let identity = app();
    let first = timeout(seconds(1), tokens.get(&identity, None));
    let second = tokens.get(&identity, None);
    let (led, followed) = tokio::join!(first, second);
    assert!(led.is_err());
    assert_eq!(text(followed), "token-2");
    assert_eq!(entra.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_ahead_so_that_no_login_waits() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
    let identity = app();
    assert_eq!(text(tokens.get(&identity, None).await), "token-1");
    advance(seconds(3600 - 601)).await;
    sleep(seconds(2)).await; // lets the background run
    assert_eq!(entra.asked(), 2, "renewed ten minutes before the end");
    let start = Instant::now();
    assert_eq!(text(tokens.get(&identity, None).await), "token-2");
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(seconds(3600 * 24)).await;
    let asked = entra.asked();
    assert!((24..=32).contains(&asked), "{asked} requests a day");
    let start = Instant::now();
    tokens.get(&identity, None).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "nor after a day without logins");
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_nobody_uses_is_no_longer_renewed() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
    tokens.get(&app(), None).await.unwrap();
    sleep(seconds(9 * 24 * 3600)).await;
    let asked = entra.asked();
    sleep(seconds(24 * 3600)).await;
    assert_eq!(entra.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_token_is_renewed_at_half_its_life() {
    let (entra, tokens) = Entra::new(&[Say::Token(600)]);
    tokens.get(&app(), None).await.unwrap();
    sleep(seconds(299)).await;
    assert_eq!(entra.asked(), 1);
    sleep(seconds(2)).await;
    assert_eq!(entra.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_long_sessions_are_kept_young() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
    let app = app();
    tokens.get(&app, None).await.unwrap();
    advance(seconds(600)).await;
    tokens.keep_young(&app);
    tokens.keep_young(&app); // every further session asks for the same
    sleep(seconds(1190)).await;
    assert_eq!(entra.asked(), 1, "not before half its life");
    sleep(seconds(20)).await;
    assert_eq!(entra.asked(), 2, "renewed at half its life, without anybody asking");
    sleep(seconds(1800)).await;
    assert_eq!(entra.asked(), 3, "and so is the one after it");
}

#[tokio::test(start_paused = true)]
async fn a_token_beyond_half_its_life_is_renewed_once_a_long_session_shows_up() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
    let app = app();
    let first = text(tokens.get(&app, None).await);
    sleep(seconds(2400)).await;
    assert_eq!(text(tokens.get(&app, None).await), first, "no login waits for the young one");
    tokens.keep_young(&app);
    sleep(seconds(1)).await;
    assert_eq!(entra.asked(), 2);
    assert_ne!(text(tokens.get(&app, None).await), first);
}

#[tokio::test(start_paused = true)]
async fn while_renewal_fails_the_living_token_is_served_and_never_an_expired_one() {
    let (entra, tokens) =
        Entra::new(&[Say::Token(3600), Say::Body(503, "<html><title>Oops</title>")]);
    let identity = app();
    tokens.get(&identity, None).await.unwrap();
    sleep(seconds(3580)).await;
    assert!(entra.asked() > 3, "renewal was tried again: {}", entra.asked());
    assert!(entra.asked() < 30, "with growing waits: {}", entra.asked());
    assert_eq!(text(tokens.get(&identity, None).await), "token-1");
    sleep(seconds(20)).await;
    let error = tokens.get(&identity, None).await.unwrap_err();
    assert!(!error.is_refusal() && error.to_string().contains("Oops"), "{error}");
    entra.now_says(&[Say::Token(3600)]);
    sleep(seconds(3)).await;
    tokens.get(&identity, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_not_asked_again_for_a_minute() {
    let (entra, tokens) = Entra::new(&[REFUSED, Say::Token(3600)]);
    let identity = app();
    for _ in 0..10 {
        let error = tokens.get(&identity, None).await.unwrap_err();
        assert!(error.is_refusal() && error.aadsts() == Some(7_000_215), "{error}");
        assert!(error.client_text().contains("AADSTS7000215"), "{}", error.client_text());
    }
    assert_eq!(entra.asked(), 1);
    sleep(seconds(60)).await;
    assert_eq!(text(tokens.get(&identity, None).await), "token-2");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let (entra, tokens) = Entra::new(&[Say::Busy("120"), Say::Token(3600)]);
    let identity = app();
    assert!(!tokens.get(&identity, None).await.unwrap_err().is_refusal());
    sleep(seconds(119)).await;
    assert!(tokens.get(&identity, None).await.is_err());
    assert_eq!(entra.asked(), 1);
    sleep(seconds(1)).await;
    assert_eq!(text(tokens.get(&identity, None).await), "token-2");
}

#[tokio::test(start_paused = true)]
async fn renewal_honours_retry_after_too() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600), Say::Busy("300"), Say::Token(3600)]);
    tokens.get(&app(), None).await.unwrap();
    sleep(seconds(3001)).await;
    assert_eq!(entra.asked(), 2);
    sleep(seconds(290)).await;
    assert_eq!(entra.asked(), 2);
    sleep(seconds(15)).await;
    assert_eq!(entra.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_is_given_up() {
    let (_, tokens) = Entra::new(&[Say::Hang]);
    let start = Instant::now();
    let error = tokens.get(&app(), None).await.unwrap_err();
    assert!(error.to_string().contains("within 30 s"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_upstream_rejects_is_fetched_anew_once_a_minute() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
    let identity = app();
    let first = tokens.get(&identity, None).await.unwrap();
    assert!(tokens.rejected(&identity, &first));
    let second = tokens.get(&identity, None).await.unwrap();
    assert_eq!(second.secret().expose_secret(), "token-2");
    assert!(tokens.rejected(&identity, &first), "another has replaced it already");
    assert!(!tokens.rejected(&identity, &second), "not twice in a minute");
    assert_eq!(text(tokens.get(&identity, None).await), "token-2");
    assert_eq!(entra.asked(), 2);
    sleep(seconds(60)).await;
    assert!(tokens.rejected(&identity, &second));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_is_still_served_where_no_other_can_be_had() {
    let (_, tokens) = Entra::new(&[Say::Token(3600), Say::NoWay]);
    let identity = app();
    let first = tokens.get(&identity, None).await.unwrap();
    assert!(tokens.rejected(&identity, &first));
    assert_eq!(text(tokens.get(&identity, None).await), "token-1");
}

#[tokio::test(start_paused = true)]
async fn a_cached_token_never_lets_a_wrong_password_in() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600), WRONG_PASSWORD]);
    let identity = user();
    assert_eq!(text(tokens.get(&identity, Some(&pw("right"))).await), "token-1");
    let error = tokens.get(&identity, Some(&pw("wrong"))).await.unwrap_err();
    assert!(error.is_refusal() && error.blames_the_password());
    assert_eq!(
        text(tokens.get(&identity, Some(&pw("right"))).await),
        "token-1",
        "a typo evicts nothing"
    );
    assert!(tokens.get(&identity, Some(&pw("wrong"))).await.is_err());
    assert!(matches!(tokens.get(&identity, None).await, Err(TokenError::NoPassword)));
    assert_eq!(entra.asked(), 2);
    let asked = entra.bodies.lock().unwrap()[0].clone();
    assert!(
        asked.contains("grant_type=password&username=ann%40contoso.example&password=right"),
        "{asked}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_never_gets_the_right_ones_result_at_the_same_time() {
    let (_, tokens) = Entra::new(&[Say::Token(3600), WRONG_PASSWORD]);
    let identity = user();
    let (right, wrong) = (pw("right"), pw("wrong"));
    let (first, second, third) = tokio::join!(
        tokens.get(&identity, Some(&right)),
        tokens.get(&identity, Some(&wrong)),
        tokens.get(&identity, Some(&right)),
    );
    assert!(first.is_ok() && second.is_err() && third.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_changed_password_works_at_once_and_ends_the_old_one() {
    let (_, tokens) = Entra::new(&[Say::Token(3600), Say::Token(3600), WRONG_PASSWORD]);
    let identity = user();
    tokens.get(&identity, Some(&pw("old"))).await.unwrap();
    assert_eq!(text(tokens.get(&identity, Some(&pw("new"))).await), "token-2");
    assert!(tokens.get(&identity, Some(&pw("old"))).await.is_err());
    assert_eq!(text(tokens.get(&identity, Some(&pw("new"))).await), "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_users_token_is_renewed_with_its_refresh_token() {
    let (entra, tokens) = Entra::new(&[Say::WithRefresh(3600), Say::WithRefresh(3600)]);
    let identity = user();
    tokens.get(&identity, Some(&pw("right"))).await.unwrap();
    sleep(seconds(3600 + 2900)).await;
    assert_eq!(entra.asked(), 3);
    let bodies = entra.bodies.lock().unwrap().clone();
    assert!(
        bodies[1].contains("grant_type=refresh_token&refresh_token=refresh-1"),
        "{}",
        bodies[1]
    );
    assert!(bodies[2].contains("refresh_token=refresh-2"), "the rotated one: {}", bodies[2]);
    assert!(bodies[1..].iter().all(|body| !body.contains("right")), "the password is not kept");
    assert_eq!(text(tokens.get(&identity, Some(&pw("right"))).await), "token-3");
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_leaves_the_token_to_its_end() {
    let (entra, tokens) = Entra::new(&[Say::WithRefresh(3600), REVOKED, Say::Token(3600)]);
    let identity = user();
    tokens.get(&identity, Some(&pw("right"))).await.unwrap();
    sleep(seconds(3500)).await;
    assert_eq!(entra.asked(), 2, "refused once, not asked again");
    assert_eq!(text(tokens.get(&identity, Some(&pw("right"))).await), "token-1");
    sleep(seconds(200)).await;
    assert_eq!(
        text(tokens.get(&identity, Some(&pw("right"))).await),
        "token-3",
        "by the typed password"
    );
}

#[tokio::test(start_paused = true)]
async fn an_accepted_password_is_asked_about_again_after_half_a_day() {
    let (entra, tokens) = Entra::new(&[Say::Token(48 * 3600), WRONG_PASSWORD]);
    let identity = user();
    tokens.get(&identity, Some(&pw("right"))).await.unwrap();
    sleep(seconds(12 * 3600 - 60)).await;
    assert!(tokens.get(&identity, Some(&pw("right"))).await.is_ok());
    assert_eq!(entra.asked(), 1);
    sleep(seconds(61)).await;
    assert!(tokens.get(&identity, Some(&pw("right"))).await.is_err(), "changed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn user_names_differ_and_their_case_does_not() {
    let (entra, tokens) = Entra::new(&[Say::Token(3600)]);
    let (ann, upper) = (user(), identity(Grant::by_password(), "ANN@contoso.example"));
    let bob = identity(Grant::by_password(), "bob@contoso.example");
    assert_eq!(text(tokens.get(&ann, Some(&pw("x"))).await), "token-1");
    assert_eq!(text(tokens.get(&upper, Some(&pw("x"))).await), "token-1");
    assert_eq!(text(tokens.get(&bob, Some(&pw("x"))).await), "token-2");
    assert_eq!(entra.asked(), 2);
}

/// Status, body, and whether the error is a refusal and by which code; none: a token.
type Row = (u16, &'static str, Option<(bool, Option<u32>)>);

#[tokio::test(start_paused = true)]
async fn answers_of_every_kind_are_read() {
    let refused = |code| Some((true, Some(code)));
    let refused_without_code = Some((true, None));
    let transient = Some((false, None));
    let rows: &[Row] = &[
        (200, r#"{"access_token":"a.b.c","token_type":"Bearer","expires_in":3599}"#, None),
        (
            200,
            r#"{"access_token":"a.b.c","token_type":"bearer","expires_in":"3599","expires_on":"1"}"#,
            None,
        ),
        (200, r#"{"access_token":"a.b.c"}"#, None),
        (200, r#"{"access_token":"a.b.c","expires_in":null}"#, None),
        (200, r#"{"access_token":"a.b.c","expires_in":99999999999999999999}"#, None),
        (200, r#"{"access_token":"a.b.c","expires_in":0}"#, transient),
        (200, r#"{"access_token":"a.b.c","expires_in":-5}"#, transient),
        (200, r#"{"access_token":""}"#, transient),
        (200, r#"{"access_token":"a\r\nb"}"#, transient),
        (200, r#"{"access_token":"a","token_type":"mac"}"#, transient),
        (200, r#"{"token_type":"Bearer"}"#, transient),
        (200, r#"{"access_token":"a.b"#, transient),
        (200, "", transient),
        (200, "<html><head><title>Sign in to the proxy</title></head>", transient),
        (302, "", transient),
        (400, "<html>no</html>", transient),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"AADSTS50076: MFA","error_codes":[50076],"suberror":"basic_action"}"#,
            refused(50_076),
        ),
        (
            400,
            r#"{"error":"invalid_scope","error_description":"AADSTS70011: scope\r\nTrace ID: 1"}"#,
            refused(70_011),
        ),
        (400, r#"{"error":"invalid_request","error_codes":["900023"]}"#, refused(900_023)),
        (401, r#"{"error":"invalid_client","error_codes":[7000222]}"#, refused(7_000_222)),
        (400, r#"{"error":"something_new"}"#, refused_without_code),
        (400, r#"{"error":"temporarily_unavailable","error_codes":[90033]}"#, transient),
        (429, r#"{"error":"temporarily_unavailable","error_codes":[90055]}"#, transient),
        (500, r#"{"error":"server_error"}"#, transient),
        (503, "Service Unavailable", transient),
        (408, "", transient),
    ];
    let mut ran = 0;
    for (status, body, expected) in rows {
        let (_, tokens) = Entra::new(&[Say::Body(*status, body)]);
        let got = tokens.get(&app(), None).await;
        let got = got.err().map(|error| (error.is_refusal(), error.aadsts()));
        assert_eq!(got, *expected, "{status} {body}");
        ran += 1;
    }
    assert_eq!(ran, 26);
}

#[tokio::test(start_paused = true)]
async fn the_words_name_a_page_and_never_the_token() {
    let page = Say::Body(200, "<html><title>Blocked by policy</title>");
    let (_, tokens) = Entra::new(&[page]);
    let error = tokens.get(&app(), None).await.unwrap_err();
    assert!(error.to_string().contains("Blocked by policy"), "{error}");
    let (_, tokens) = Entra::new(&[Say::Token(3600)]);
    let token = tokens.get(&app(), None).await.unwrap();
    assert!(!format!("{token:?}").contains("token-1"), "{token:?}");
}
