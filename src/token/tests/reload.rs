//! The configuration is read anew.

use super::*;
use crate::{config::Credential, token::Condition};

fn changed(identity: &Identity, change: impl Fn(&mut EntraApp)) -> Identity {
    let mut app = (*identity.app).clone();
    change(&mut app);
    Identity { app: Arc::new(app), user: identity.user.clone() }
}

fn with_secret(secret: &str) -> Identity {
    changed(&app(), |app| {
        let credential = Credential::Secrets(vec![secret.into()]);
        app.grant = Grant::ClientCredentials { credential };
    })
}

fn adopt(world: &World, identities: &[&Identity]) {
    let apps: Vec<_> = identities.iter().map(|identity| Arc::clone(&identity.app)).collect();
    let covered: Vec<_> = identities.iter().map(|identity| identity.user.clone()).collect();
    let is_covered = move |_: &EntraApp, user: &str| covered.iter().any(|covered| covered == user);
    world.tokens.adopt(world.entra.courier(), &apps, is_covered);
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_keeps_the_token_and_is_used_for_the_next() {
    let world = World::new(&[Say::Token(3600)]);
    world.tokens.get(&app(), None).await.unwrap();
    let new = with_secret("renewed");
    adopt(&world, &[&new]);
    for who in [&new, &app()] {
        assert_eq!(text(world.tokens.get(who, None).await), "token-1");
    }
    sleep(seconds(3001)).await;
    assert_eq!(world.entra.asked(), 2);
    assert!(world.entra.body(2).ends_with("client_secret=renewed"), "{}", world.entra.body(2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_app_is_forgotten_with_its_secret() {
    let world = World::new(&[REFUSED, Say::Token(3600)]);
    assert!(world.tokens.get(&app(), None).await.is_err());
    assert_eq!(world.tokens.states()[0].condition, Condition::Refused);
    let new = with_secret("renewed");
    adopt(&world, &[&new]);
    assert_eq!(text(world.tokens.get(&new, None).await), "token-2");
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_are_counted_through_a_reload() {
    let world = World::new(&[WRONG_PASSWORD]);
    for guess in 0..5 {
        assert!(world.tokens.get(&user(), Some(&pw(&format!("{guess}")))).await.is_err());
    }
    adopt(&world, &[&user()]);
    let error = world.tokens.get(&user(), Some(&pw("more"))).await;
    assert!(matches!(error, Err(TokenError::Held)));
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_is_forgotten_and_renewed_no_more() {
    let world = World::new(&[Say::Token(3600)]);
    world.tokens.get(&app(), None).await.unwrap();
    adopt(&world, &[&user()]);
    assert!(world.tokens.states().is_empty());
    sleep(seconds(24 * 3600)).await;
    assert_eq!(world.entra.asked(), 1);
    // A session from before the reload is served, and nothing stays of it.
    world.tokens.get(&app(), None).await.unwrap();
    assert!(world.tokens.states().is_empty());
    let asked = world.entra.asked();
    sleep(seconds(24 * 3600)).await;
    assert_eq!(world.entra.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_account_any_more_is_forgotten_though_the_app_stays() {
    let bob = |who: Identity| Identity { user: "bob@contoso.example".to_owned(), ..who };
    let mut ran = 0;
    for (who, stays) in [(user(), bob(user())), (signed_in(), bob(signed_in()))] {
        let world = World::new(&[Say::WithRefresh(3600)]);
        for who in [&who, &stays] {
            world.signs_in(who, "by-hand");
            world.tokens.get(who, Some(&pw("right"))).await.unwrap();
        }
        adopt(&world, &[&stays]);
        assert_eq!(world.tokens.states().len(), 1);
        sleep(seconds(1)).await;
        assert_eq!(world.vault.names().unwrap(), [stays.name()]);
        // A session from before: whatever it gets, nothing of it stays.
        let _ = world.tokens.get(&who, Some(&pw("right"))).await;
        sleep(seconds(3010)).await;
        assert_eq!(world.vault.names().unwrap(), [stays.name()]);
        assert_eq!(world.tokens.states().len(), 1);
        ran += 1;
    }
    assert_eq!(ran, 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_on_its_way_for_who_is_gone_is_not_kept() {
    let world = World::new(&[Say::WithRefresh(3600)]);
    let who = user();
    let right = pw("right");
    let (login, ()) = tokio::join!(world.tokens.get(&who, Some(&right)), async {
        sleep(Duration::from_millis(20)).await;
        adopt(&world, &[&app()]);
    });
    login.unwrap();
    sleep(seconds(1)).await;
    assert!(world.vault.names().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_tenant_is_another_identity() {
    let world = World::new(&[Say::Token(3600)]);
    world.tokens.get(&app(), None).await.unwrap();
    let moved = changed(&app(), |app| app.tenant = "fabrikam.example".to_owned());
    adopt(&world, &[&moved]);
    assert_eq!(text(world.tokens.get(&moved, None).await), "token-2");
}

#[tokio::test(start_paused = true)]
async fn letters_go_by_the_new_courier() {
    let world = World::new(&[Say::NoWay]);
    assert!(world.tokens.get(&app(), None).await.is_err());
    let other = Entra::scripted(&[Say::Token(3600)]);
    world.tokens.adopt(other.courier(), &[app().app], |_, _| true);
    sleep(seconds(3)).await;
    world.tokens.get(&app(), None).await.unwrap();
    assert_eq!((world.entra.asked(), other.asked()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_the_old_secret_says_nothing_of_the_new_one() {
    let world = World::new(&[REFUSED, Say::Token(3600)]);
    let new = with_secret("renewed");
    let old = app();
    let (login, ()) = tokio::join!(world.tokens.get(&old, None), async {
        sleep(Duration::from_millis(20)).await;
        adopt(&world, &[&new]);
    });
    assert_eq!(text(login), "token-2");
    assert!(world.entra.body(2).ends_with("client_secret=renewed"));
}

#[tokio::test(start_paused = true)]
async fn a_late_renewal_does_not_overwrite_what_a_login_brought() {
    let world = World::new(&[Say::WithRefresh(3600)]);
    world.tokens.get(&user(), Some(&pw("old"))).await.unwrap();
    sleep(seconds(3000) + Duration::from_millis(20)).await;
    assert_eq!(world.entra.asked(), 2, "the renewal is on its way");
    assert_eq!(text(world.tokens.get(&user(), Some(&pw("new"))).await), "token-3");
    sleep(seconds(120)).await;
    assert_eq!(text(world.tokens.get(&user(), Some(&pw("new"))).await), "token-3");
    assert_eq!(world.kept_refresh(&user()), "refresh-3");
    assert_eq!(world.entra.asked(), 3);
}
