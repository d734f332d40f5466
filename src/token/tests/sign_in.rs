//! Users who sign in once, in a browser: what their refresh tokens live through.

use super::*;
use crate::token::{Condition, vault::KeptAccess};

fn is_needed(outcome: &Result<Token, TokenError>) -> bool {
    matches!(outcome, Err(TokenError::NeedsSignIn { .. }))
}

#[tokio::test(start_paused = true)]
async fn who_never_signed_in_is_told_once_in_the_log_and_may_at_any_time() {
    let (log, _guard) = Log::listen();
    let world = World::new(&[Say::WithRefresh(3600)]);
    let who = signed_in();
    for _ in 0..5 {
        let error = world.tokens.get(&who, None).await.unwrap_err();
        assert!(!error.is_refusal() && !error.blames_the_password());
        assert!(error.remedy().unwrap().contains("mailwicket sign-in eve@contoso.example"));
    }
    assert_eq!(world.entra.asked(), 0);
    let lines = log.lines("needs_sign_in");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("mailwicket sign-in eve@contoso.example"), "{lines:?}");
    assert_eq!(world.tokens.states()[0].condition, Condition::NeedsSignIn);

    world.signs_in(&who, "by-hand");
    assert_eq!(text(world.tokens.get(&who, None).await), "token-1");
    assert_eq!(log.lines("signed_in_again").len(), 1);
    assert_eq!(world.tokens.states()[0].condition, Condition::Fresh);
}

#[tokio::test(start_paused = true)]
async fn invalid_grant_once_and_then_fine() {
    let world = World::new(&[REVOKED, Say::WithRefresh(3600)]);
    let who = signed_in();
    world.signs_in(&who, "by-hand");
    for _ in 0..5 {
        let error = world.tokens.get(&who, None).await.unwrap_err();
        assert_eq!(error.aadsts(), Some(50_173), "remembered, in Entra's words");
        assert!(matches!(error, TokenError::NeedsSignIn { .. }));
    }
    assert_eq!(world.entra.asked(), 1);
    assert_eq!(world.kept_refresh(&who), "by-hand");
    sleep(seconds(61)).await;
    assert_eq!(text(world.tokens.get(&who, None).await), "token-2");
    assert!(world.entra.body(2).contains("refresh_token=by-hand"));
}

#[tokio::test(start_paused = true)]
async fn invalid_grant_once_in_the_background_is_noticed_by_nobody() {
    let world = World::new(&[Say::WithRefresh(3600), REVOKED, Say::WithRefresh(3600)]);
    let who = signed_in();
    world.signs_in(&who, "by-hand");
    world.tokens.get(&who, None).await.unwrap();
    sleep(seconds(3005)).await;
    assert_eq!(world.tokens.states()[0].condition, Condition::NeedsSignIn);
    assert_eq!(text(world.tokens.get(&who, None).await), "token-1");
    sleep(seconds(200)).await;
    assert_eq!(text(world.tokens.get(&who, None).await), "token-3");
    assert_eq!(world.tokens.states()[0].condition, Condition::Fresh);
}

#[tokio::test(start_paused = true)]
async fn what_is_really_revoked_is_served_to_its_end_kept_and_seldom_tried_again() {
    let (log, _guard) = Log::listen();
    let world = World::new(&[Say::WithRefresh(3600), REVOKED]);
    let who = signed_in();
    world.signs_in(&who, "by-hand");
    world.tokens.get(&who, None).await.unwrap();
    sleep(seconds(3580)).await;
    assert_eq!(text(world.tokens.get(&who, None).await), "token-1", "living, so served");
    assert!((3..=6).contains(&world.entra.asked()), "{}", world.entra.asked());
    sleep(seconds(20)).await;
    let asked = world.entra.asked();
    for _ in 0..240 {
        assert!(is_needed(&world.tokens.get(&who, None).await));
        sleep(seconds(60)).await;
    }
    let asked = world.entra.asked() - asked;
    assert!((12..=20).contains(&asked), "{asked} requests in four hours");
    assert_eq!(world.kept_refresh(&who), "refresh-1", "kept");
    assert_eq!(log.lines("needs_sign_in").len(), 1);
    let asked = world.entra.asked();
    sleep(seconds(24 * 3600)).await;
    assert_eq!(world.entra.asked(), asked, "nobody needs it");
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_ends_a_remembered_refusal_at_the_next_login() {
    let world = World::new(&[REVOKED, Say::WithRefresh(3600)]);
    let who = signed_in();
    world.signs_in(&who, "first");
    assert!(is_needed(&world.tokens.get(&who, None).await));
    world.signs_in(&who, "second");
    assert_eq!(text(world.tokens.get(&who, None).await), "token-2");
    assert!(world.entra.body(2).contains("refresh_token=second"));
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_counts_once_it_has_brought_an_access_token() {
    let (log, _guard) = Log::listen();
    let world = World::new(&[REVOKED]);
    let who = signed_in();
    for refresh in ["first", "second"] {
        world.signs_in(&who, refresh);
        assert!(is_needed(&world.tokens.get(&who, None).await));
    }
    assert_eq!(world.entra.asked(), 2);
    assert_eq!((log.lines("needs_sign_in").len(), log.lines("signed_in_again").len()), (1, 0));

    let now = world.clock.now().wall;
    let access = KeptAccess { secret: "new".into(), granted: now, expires: now + seconds(3600) };
    let (access, refresh) = (Some(access), Some("third".into()));
    world.vault.keep(&who.name(), &Kept { access, refresh, accepted: None }).unwrap();
    assert_eq!(text(world.tokens.get(&who, None).await), "new");
    assert_eq!(world.entra.asked(), 2, "it came with the sign-in");
    assert_eq!(log.lines("signed_in_again").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_while_the_old_token_is_being_refused_serves_that_very_login() {
    let world = World::new(&[REVOKED, Say::WithRefresh(3600)]);
    let who = signed_in();
    world.signs_in(&who, "first");
    let (login, ()) = tokio::join!(world.tokens.get(&who, None), async {
        sleep(Duration::from_millis(20)).await;
        world.signs_in(&who, "second");
    });
    assert_eq!(text(login), "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_while_the_token_before_is_still_good_is_what_is_used_from_then_on() {
    let world = World::new(&[Say::WithRefresh(3600)]);
    let who = signed_in();
    world.signs_in(&who, "first");
    world.tokens.get(&who, None).await.unwrap();
    world.signs_in(&who, "second");
    sleep(seconds(3005)).await;
    assert_eq!(world.entra.asked(), 2);
    assert!(world.entra.body(2).contains("refresh_token=second"), "{}", world.entra.body(2));
    assert_eq!(world.kept_refresh(&who), "refresh-2");

    // A login that needs another token looks as well.
    world.signs_in(&who, "third");
    let token = world.tokens.get(&who, None).await.unwrap();
    assert!(world.tokens.rejected(&who, &token));
    world.tokens.get(&who, None).await.unwrap();
    assert!(world.entra.body(3).contains("refresh_token=third"), "{}", world.entra.body(3));
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_while_entra_is_asked_is_not_overwritten() {
    let world = World::new(&[Say::WithRefresh(3600)]);
    let who = signed_in();
    world.signs_in(&who, "first");
    let (login, ()) = tokio::join!(world.tokens.get(&who, None), async {
        world.entra.answered.notified().await; // and the vault not yet written
        world.signs_in(&who, "second");
    });
    assert_eq!(text(login), "token-1");
    assert_eq!(world.kept_refresh(&who), "second");
    sleep(seconds(3005)).await;
    assert!(world.entra.body(2).contains("refresh_token=second"), "{}", world.entra.body(2));
    assert_eq!(world.kept_refresh(&who), "refresh-2");
}

#[tokio::test(start_paused = true)]
async fn what_a_full_disk_left_in_the_vault_is_no_sign_in() {
    let world = World::new(&[Say::WithRefresh(3600)]);
    let who = signed_in();
    world.signs_in(&who, "by-hand");
    std::fs::create_dir(world.folder.path().join("vault.new")).unwrap(); // nothing can be written
    world.tokens.get(&who, None).await.unwrap();
    assert_eq!(world.kept_refresh(&who), "by-hand");
    sleep(seconds(3005)).await;
    assert!(world.entra.body(2).contains("refresh_token=refresh-1"), "{}", world.entra.body(2));
    std::fs::remove_dir(world.folder.path().join("vault.new")).unwrap();
    sleep(seconds(3005)).await;
    assert_eq!(world.kept_refresh(&who), "refresh-3");
}

#[tokio::test(start_paused = true)]
async fn no_other_error_lets_a_refresh_token_go() {
    let scope = Say::Body(400, r#"{"error":"invalid_scope"}"#);
    let unknown = Say::Body(400, r#"{"error":"something_new"}"#);
    let rows = [REFUSED, scope, unknown, Say::Down("60"), Say::Busy("60"), Say::NoWay, Say::Hang];
    let mut ran = 0;
    for fault in rows {
        let world = World::new(&[Say::WithRefresh(3600), fault.clone()]);
        let who = signed_in();
        world.signs_in(&who, "by-hand");
        world.tokens.get(&who, None).await.unwrap();
        sleep(seconds(2 * 3600)).await;
        let error = world.tokens.get(&who, None).await.unwrap_err();
        assert!(!matches!(error, TokenError::NeedsSignIn { .. }), "{fault:?}: {error}");
        assert_eq!(world.kept_refresh(&who), "refresh-1", "{fault:?}");
        world.entra.now_says(&[Say::WithRefresh(3600)]);
        sleep(seconds(400)).await;
        world.tokens.get(&who, None).await.unwrap();
        let last = world.entra.body(world.entra.asked());
        assert!(last.contains("refresh_token=refresh-1"), "{fault:?}: {last}");
        ran += 1;
    }
    assert_eq!(ran, 7);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_kept_alive_though_nobody_logs_in() {
    let world = World::new(&[Say::WithRefresh(3600)]);
    world.signs_in(&signed_in(), "by-hand");
    world.tokens.get(&signed_in(), None).await.unwrap();
    sleep(seconds(10 * 24 * 3600)).await;
    let asked = world.entra.asked();
    sleep(seconds(28 * 24 * 3600)).await;
    let asked = world.entra.asked() - asked;
    assert!((3..=4).contains(&asked), "{asked} in four weeks");
    // And the first login after the holidays is good.
    world.tokens.get(&signed_in(), None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_user_whom_the_configuration_names_is_attended_before_any_login() {
    let (log, _guard) = Log::listen();
    let world = World::new(&[Say::WithRefresh(3600)]);
    world.tokens.attend(&signed_in());
    sleep(seconds(1)).await;
    assert_eq!(world.tokens.states()[0].condition, Condition::NeedsSignIn);
    assert_eq!(log.lines("needs_sign_in").len(), 1);
    world.signs_in(&signed_in(), "by-hand");
    sleep(seconds(61)).await;
    assert_eq!(world.tokens.states()[0].condition, Condition::Fresh);
    let start = Instant::now();
    world.tokens.get(&signed_in(), None).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_cannot_be_read_is_an_outage_and_no_missing_sign_in() {
    let world = World::new(&[Say::WithRefresh(3600)]);
    std::fs::write(world.folder.path().join("vault"), "damaged").unwrap();
    let error = world.tokens.get(&signed_in(), None).await.unwrap_err();
    assert!(!error.is_refusal() && error.remedy().is_some(), "{error}");
    // Whoever can do without it does.
    world.tokens.get(&app(), None).await.unwrap();
}
