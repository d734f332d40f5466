//! Who may come in, end to end: addresses, tokens of clients' own, lockouts.

use std::sync::Arc;

use mailwicket::{
    config::{Account, Config, Listener, Pinned, UserPattern},
    sandbox::world::{SmtpFault, contoso},
};

use crate::stage::{Client, PASSWORD, Stage, USER};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

/// The first listener, to be changed.
fn listener(config: &mut Config) -> &mut Listener {
    Arc::make_mut(&mut config.listeners[0])
}

/// The account of these users, to be changed.
fn account<'a>(config: &'a mut Config, user: &UserPattern) -> &'a mut Account {
    let account = config.accounts.iter_mut().find(|account| account.user == *user);
    Arc::make_mut(account.expect("on the stage"))
}

fn all() -> UserPattern {
    UserPattern::Domain("contoso.com".to_owned())
}

/// Asks for no login: who connects is this user.
fn pin(config: &mut Config, user: &str) {
    let account = Arc::clone(&config.accounts[0]);
    listener(config).account = Some(Pinned { user: user.to_owned(), account });
}

async fn pinned() -> Stage {
    Stage::changed(|config| pin(config, USER)).await
}

#[tokio::test]
async fn a_device_that_cannot_log_in_sends_from_a_listener_that_asks_for_nothing() {
    let stage = pinned().await;
    let mut client = stage.client().await;
    let offer = client.say("EHLO scanner.example").await;
    assert!(offer.contains("SIZE ") && !offer.contains("AUTH"), "{offer}");
    assert!(client.say("AUTH LOGIN").await.starts_with("503 5.5.1 "));
    assert!(client.send(USER, MESSAGE).await.starts_with("250 "));
    assert!(client.send(USER, MESSAGE).await.starts_with("250 "), "and another");
    assert!(client.say("QUIT").await.starts_with("221 "));
    let messages = stage.sandbox.world().messages();
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|message| message.mailbox == USER));
    assert_eq!(stage.sandbox.world().counters().smtp_sessions, 1);
}

#[tokio::test]
async fn a_device_that_knows_helo_only_may_pipeline_all_the_same() {
    let stage = pinned().await;
    let mut client = stage.client().await;
    assert!(client.say("HELO scanner").await.starts_with("250 "));
    let commands = format!("MAIL FROM:<{USER}>\r\nRCPT TO:<you@example.net>\r\nDATA\r\n");
    client.write(commands.as_bytes()).await;
    for code in ["250", "250", "354"] {
        let reply = client.reply().await;
        assert!(reply.starts_with(code), "{reply}");
    }
    client.write(b"x\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 "));
    assert_eq!(stage.sandbox.world().messages()[0].bytes, b"x\r\n");
}

#[tokio::test]
async fn an_outage_keeps_the_mail_of_a_device_in_its_queue() {
    let stage = pinned().await;
    stage.sandbox.world().arm_times(SmtpFault::ServiceNotAvailable, 1);
    let mut client = stage.client().await;
    client.say("EHLO scanner.example").await;
    let reply = client.send(USER, MESSAGE).await;
    assert!(reply.starts_with("451 4.7.0 the server is not available"), "{reply}");
    assert!(client.say("RCPT TO:<you@example.net>").await.starts_with("503 5.5.1 "));
    assert!(client.send(USER, MESSAGE).await.starts_with("250 "), "on the same connection");
}

#[tokio::test]
async fn an_apps_secret_that_has_expired_sends_no_mail_back() {
    let stage = pinned().await;
    stage.sandbox.world().directory(|directory| {
        for secret in &mut directory.app_mut(contoso::APP_ID).unwrap().secrets {
            secret.expired = true;
        }
    });
    let mut client = stage.client().await;
    client.say("EHLO scanner.example").await;
    let reply = client.send(USER, MESSAGE).await;
    assert!(reply.starts_with("451 4.7.0 Entra refused the login (AADSTS7000222)"), "{reply}");
}

#[tokio::test]
async fn a_refusal_sends_the_mail_of_a_device_back() {
    let stage = Stage::changed(|config| pin(config, "disabled@contoso.com")).await;
    let mut client = stage.client().await;
    client.say("EHLO scanner.example").await;
    let reply = client.send(USER, MESSAGE).await;
    assert!(reply.starts_with("550 5.7.1 Upstream refused the login (535 5.7.139)"), "{reply}");
    assert!(client.say("NOOP").await.starts_with("250 "));
}

#[tokio::test]
async fn an_account_is_refused_from_elsewhere_in_the_words_of_a_wrong_password() {
    let elsewhere = || vec!["192.0.2.0/24".parse().unwrap()];
    let stage = Stage::changed(|config| account(config, &all()).allow = elsewhere()).await;
    let (mut right, mut wrong) = (stage.client().await, stage.client().await);
    let reply = right.log_in(USER, PASSWORD).await;
    assert_eq!(reply, "535 5.7.8 User name or password not accepted\r\n");
    assert_eq!(reply, wrong.log_in(USER, "wrong").await);
    assert!(stage.client().await.log_in("scan", PASSWORD).await.starts_with("235 "), "another's");

    let stage = Stage::changed(|config| {
        account(config, &all()).allow = elsewhere();
        pin(config, USER);
    })
    .await;
    let mut client = stage.client().await;
    client.say("EHLO scanner.example").await;
    let reply = client.send(USER, MESSAGE).await;
    assert_eq!(reply, "550 5.7.1 Your address may not use this account\r\n");
    assert!(stage.sandbox.world().counters().connects.is_empty(), "nothing leaves the machine");
}

#[tokio::test]
async fn nobody_logs_in_to_an_account_without_a_password() {
    let stage = Stage::changed(|config| account(config, &all()).password_hash = None).await;
    for password in ["", PASSWORD] {
        let reply = stage.client().await.log_in_plain(USER, password).await;
        assert_eq!(reply, "535 5.7.8 User name or password not accepted\r\n");
    }
    assert!(stage.sandbox.world().counters().connects.is_empty());
}

#[tokio::test]
async fn a_clients_own_token_is_passed_on_as_it_is() {
    let stage = Stage::changed(|config| {
        listener(config).pass_tokens = true;
        config.accounts.truncate(1); // none is needed
        account(config, &all()).user = UserPattern::Exact("nobody".to_owned());
    })
    .await;
    let token = stage.token().await;
    let requests = stage.sandbox.world().counters().token_requests_total();
    let mut client = stage.client().await;
    let offer = client.say("EHLO client.example").await;
    assert!(offer.contains("250-AUTH LOGIN PLAIN XOAUTH2 OAUTHBEARER\r\n"), "{offer}");
    assert!(client.log_in_with_token(USER, &token).await.starts_with("235 "));
    assert!(client.send(USER, MESSAGE).await.starts_with("250 "));
    assert_eq!(stage.sandbox.world().messages()[0].mailbox, USER);

    // One that is refused is tried once only, and no other in its place.
    let sessions = stage.sandbox.world().counters().smtp_sessions;
    let mut client = stage.client().await;
    let reply = client.log_in_with_token(USER, &format!("{token}x")).await;
    assert!(reply.starts_with("535 5.7.8 Upstream refused the login (535 5.7.3)"), "{reply}");
    let counters = stage.sandbox.world().counters();
    assert_eq!(counters.smtp_sessions, sessions + 1);
    assert_eq!(counters.token_requests_total(), requests);
    assert!(client.log_in_with_token(USER, &token).await.starts_with("235 "), "and on it goes");
}

#[tokio::test]
async fn a_long_token_is_passed_on_even_where_lines_are_cut() {
    let stage = Stage::changed(|config| listener(config).pass_tokens = true).await;
    stage.sandbox.world().tune(|tuning| tuning.token_octets = Some(9000));
    stage.sandbox.world().arm(SmtpFault::ShortAuthLines);
    let token = stage.token().await;
    assert!(token.len() > 8000, "{}", token.len());
    assert!(stage.client().await.log_in_with_token(USER, &token).await.starts_with("235 "));
    let counters = stage.sandbox.world().counters();
    assert_eq!((counters.auth_inline, counters.auth_two_step), (0, 1));
}

#[tokio::test]
async fn where_tokens_are_not_passed_they_are_no_way_in() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let reply = stage.client().await.log_in_with_token(USER, &token).await;
    assert!(reply.starts_with("504 5.5.4 "), "{reply}");
    assert_eq!(stage.sandbox.world().counters().smtp_sessions, 0);
}

#[tokio::test]
async fn a_lockout_is_passing_and_does_not_reach_who_is_at_home() {
    const LOCKED: &str = "454 4.7.0 Too many failed logins, try again in some minutes\r\n";
    let stage = Stage::changed(|config| config.limits.lockout_after = 1).await;
    let log_in = async |user: &'static str, password: &'static str| {
        Client::connect(stage.address).await.log_in(user, password).await
    };
    assert!(log_in("scan", PASSWORD).await.starts_with("235 "));
    assert!(log_in(USER, "wrong").await.starts_with("535 5.7.8 "));
    assert_eq!(log_in(USER, PASSWORD).await, LOCKED);
    assert!(log_in("scan", PASSWORD).await.starts_with("235 "), "another account");
    // Unknown names count for the address: with the third it is locked, but for its own.
    assert!(log_in("nobody@fabrikam.com", "x").await.starts_with("535 5.7.8 "));
    assert!(log_in("nobody@fabrikam.com", "x").await.starts_with("535 5.7.8 "));
    assert_eq!(log_in("nobody@fabrikam.com", "x").await, LOCKED);
    assert!(log_in("scan", PASSWORD).await.starts_with("235 "), "at home");
}

#[tokio::test]
async fn what_entra_refuses_counts_as_well() {
    let stage = Stage::changed(|config| config.limits.lockout_after = 1).await;
    let user = "erp@contoso.com";
    assert!(stage.client().await.log_in(user, "wrong").await.starts_with("535 5.7.8 Entra "));
    let requests = stage.sandbox.world().counters().token_requests_total();
    assert!(stage.client().await.log_in(user, "other").await.starts_with("454 4.7.0 Too many "));
    assert_eq!(stage.sandbox.world().counters().token_requests_total(), requests, "not asked");
}
