//! Tokens over a restart.

use secrecy::ExposeSecret;

use super::*;
use crate::{config::IdentitySource, token::vault::KeptAccess};

const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn a_restart_while_entra_is_out_of_order_costs_nothing() {
    let mut ran = 0;
    for who in [app(), user(), signed_in()] {
        let mut world = World::new(&[Say::WithRefresh(HOUR), Say::NoWay]);
        world.signs_in(&who, "by-hand");
        assert_eq!(text(world.tokens.get(&who, Some(&pw("right"))).await), "token-1");
        world.restart();
        sleep(seconds(1000)).await;
        assert_eq!(text(world.tokens.get(&who, Some(&pw("right"))).await), "token-1");
        assert_eq!(world.entra.asked(), 1);
        sleep(seconds(HOUR)).await;
        let error = world.tokens.get(&who, Some(&pw("right"))).await.unwrap_err();
        assert!(!error.is_refusal(), "never beyond its end: {error}");
        ran += 1;
    }
    assert_eq!(ran, 3);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_wrong_password_gets_nothing_that_is_kept() {
    let mut world = World::new(&[Say::Token(HOUR), Say::NoWay]);
    world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    world.restart();
    let error = world.tokens.get(&user(), Some(&pw("wrong"))).await.unwrap_err();
    assert!(!error.is_refusal(), "nobody has judged it: {error}");
    assert_eq!(world.entra.asked(), 2, "it went to Entra");
    sleep(seconds(3)).await;
    world.entra.now_says(&[WRONG_PASSWORD]);
    assert!(world.tokens.get(&user(), Some(&pw("wrong"))).await.unwrap_err().is_refusal());
    assert_eq!(text(world.tokens.get(&user(), Some(&pw("right"))).await), "token-1");
    assert!(world.tokens.get(&user(), Some(&pw("wrong"))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_restart_makes_no_acceptance_last_longer() {
    let mut world = World::new(&[Say::Token(40 * HOUR), WRONG_PASSWORD]);
    world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    sleep(seconds(7 * HOUR)).await;
    world.restart();
    assert!(world.tokens.get(&user(), Some(&pw("right"))).await.is_ok());
    assert_eq!(world.entra.asked(), 1);
    sleep(seconds(5 * HOUR)).await;
    assert!(world.tokens.get(&user(), Some(&pw("right"))).await.is_err(), "changed meanwhile");
    // Refused means refused: no restart makes the old password good again.
    world.entra.now_says(&[Say::NoWay]);
    world.restart();
    assert!(world.tokens.get(&user(), Some(&pw("right"))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_password_is_hashed_once_for_each_acceptance() {
    let world = World::new(&[Say::WithRefresh(HOUR)]);
    let hash = || world.kept(&user()).accepted.unwrap().hash;
    world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    let first = hash();
    sleep(seconds(2 * HOUR)).await;
    assert!(world.entra.asked() > 2, "renewed");
    assert_eq!(hash(), first);
    world.tokens.get(&user(), Some(&pw("new"))).await.unwrap();
    assert_ne!(hash(), first);
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_renewed_in_the_background() {
    let mut world = World::new(&[Say::WithRefresh(HOUR)]);
    world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    world.restart();
    world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    assert_eq!(world.entra.asked(), 1);
    sleep(seconds(3001)).await;
    assert_eq!(world.entra.asked(), 2);
    assert!(world.entra.body(2).contains("refresh_token=refresh-1"));
    world.restart();
    assert_eq!(text(world.tokens.get(&user(), Some(&pw("right"))).await), "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_in_the_vault_when_its_access_token_is_used() {
    let world = World::new(&[Say::WithRefresh(HOUR)]);
    world.signs_in(&signed_in(), "by-hand");
    assert_eq!(text(world.tokens.get(&signed_in(), None).await), "token-1");
    assert!(world.entra.body(1).contains("refresh_token=by-hand"));
    assert_eq!(world.kept_refresh(&signed_in()), "refresh-1");
    let access = world.kept(&signed_in()).access.unwrap();
    assert_eq!(access.secret.expose_secret(), "token-1");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_though_nobody_waits_for_it_any_more() {
    let world = World::new(&[Say::WithRefresh(HOUR)]);
    world.signs_in(&signed_in(), "by-hand");
    let (tokens, who) = (world.tokens.clone(), signed_in());
    tokio::select! {
        biased;
        _ = tokens.get(&who, None) => panic!("the vault is written aside, and that takes a moment"),
        () = world.entra.answered.notified() => {} // the client hangs up now
    }
    sleep(seconds(1)).await;
    assert_eq!(world.kept_refresh(&who), "refresh-1");
    assert_eq!(text(world.tokens.get(&who, None).await), "token-1", "the turn was passed on");
    assert_eq!(world.entra.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_cannot_be_written_costs_nobody_a_login() {
    let (log, _guard) = Log::listen();
    let world = World::new(&[Say::WithRefresh(HOUR)]);
    world.signs_in(&signed_in(), "by-hand");
    world.tokens.get(&signed_in(), None).await.unwrap();
    std::fs::remove_dir_all(world.folder.path()).unwrap();
    std::fs::write(world.folder.path(), "no folder any more").unwrap();
    sleep(seconds(HOUR)).await;
    let token = text(world.tokens.get(&signed_in(), None).await);
    assert_eq!(token, "token-2");
    if world.vault.kept(&signed_in().name()).is_err() {
        let lines = log.lines("vault_unwritable");
        assert!(!lines.is_empty() && lines[0].contains("remedy="), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_kept_token_is_believed_that_cannot_be_one() {
    // When it was granted and when it ends, in seconds from now; whether it is served.
    let rows = [
        (-100, 3500, true),
        (0, 48 * 3600, true),
        (600, 4200, true), // the clock was ten minutes fast when it was written
        (3600, 7200, false),
        (-7200, -3600, false),
        (-3600, 0, false),
        (0, 100 * 24 * 3600, false),
        (3600, -3600, false),
        (0, 0, false),
    ];
    let mut ran = 0;
    for (granted, expires, served) in rows {
        let world = World::new(&[Say::NoWay]);
        let at = |offset: i64| {
            let now = world.clock.now().wall;
            let by = seconds(offset.unsigned_abs());
            if offset < 0 { now - by } else { now + by }
        };
        let access =
            KeptAccess { secret: "kept".into(), granted: at(granted), expires: at(expires) };
        let kept = Kept { access: Some(access), ..Kept::default() };
        world.vault.keep(&app().name(), &kept).unwrap();
        let got = world.tokens.get(&app(), None).await;
        assert_eq!(got.is_ok(), served, "{granted} {expires}");
        if granted == 600 {
            sleep(seconds(3599)).await;
            assert!(world.tokens.get(&app(), None).await.is_err(), "no longer than its whole life");
        }
        ran += 1;
    }
    assert_eq!(ran, 9);
}

#[tokio::test(start_paused = true)]
async fn a_kept_token_without_a_kept_password_is_nobodys() {
    let world = World::new(&[Say::NoWay]);
    let now = world.clock.now().wall;
    let access = KeptAccess { secret: "kept".into(), granted: now, expires: now + seconds(HOUR) };
    let kept = Kept { access: Some(access), ..Kept::default() };
    world.vault.keep(&user().name(), &kept).unwrap();
    assert!(world.tokens.get(&user(), Some(&pw("any"))).await.is_err());
}

#[test]
fn an_identitys_name_changes_with_what_tokens_depend_on_and_not_with_secrets() {
    let of = |change: &dyn Fn(&mut EntraApp)| {
        let mut app = (*user().app).clone();
        change(&mut app);
        Identity { app: Arc::new(app), user: "ann@contoso.example".to_owned() }.name()
    };
    let name = user().name();
    let others: [&dyn Fn(&mut EntraApp); 5] = [
        &|app| app.tenant = "fabrikam.example".to_owned(),
        &|app| app.authority = "https://other".to_owned(),
        &|app| app.client_id = "other".to_owned(),
        &|app| app.audience = crate::config::Audience::Resource("scope/.default".to_owned()),
        &|app| app.grant = Grant::DeviceCode { credential: None },
    ];
    let mut names: Vec<_> = others.iter().map(|change| of(*change)).collect();
    names.extend([name.clone(), identity(Grant::by_password(), "bob@contoso.example").name()]);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 7);
    let secret = crate::config::Credential::Secrets(vec!["x".into()]);
    let same = of(&|app| {
        app.grant = Grant::Password { credential: Some(secret.clone()), accepted_for: seconds(1) };
        app.name = "renamed".to_owned();
    });
    assert_eq!(same, name);

    let of = |source| identity(Grant::ManagedIdentity { source }, "").name();
    let service = |endpoint: &str, header: &str| IdentitySource::AppService {
        endpoint: endpoint.to_owned(),
        header: header.into(),
    };
    let machine = |base: &str| of(IdentitySource::Imds(base.to_owned()));
    let (one, two) = ("http://one", "http://two");
    assert_ne!(machine(one), machine(two));
    assert_ne!(of(service(one, "h")), of(service(two, "h")));
    let (first, again) = (of(service(one, "header-canary")), of(service(one, "other")));
    assert_eq!(first, again, "a header is a secret");
    assert!(!first.contains("canary"));
}
