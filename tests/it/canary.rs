//! No secret in a log, at any level, in any case: sessions of every outcome run under a TRACE
//! subscriber, and the text is searched.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use mailwicket::sandbox::world::{SmtpFault, TokenFault, contoso};

use crate::{
    caught::Caught,
    stage::{Client, PASSWORD, Stage, USER},
};

#[tokio::test] // one thread: the subscriber is this thread's
async fn no_secret_is_logged_at_any_level() {
    let (caught, _guard) = Caught::begin();
    let stage = Stage::new().await;
    let world = stage.sandbox.world();
    for (user, password) in [
        (USER, PASSWORD),
        (USER, "canary-typo"),
        ("erp@contoso.com", contoso::PASSWORD),
        ("erp@contoso.com", "canary-guess"),
    ] {
        let mut client = stage.client().await;
        client.log_in(user, password).await;
        client.send(user, b"canary-message\r\n").await;
        stage.client().await.log_in_plain(user, password).await;
        let mut imap = Client::silent(stage.imap).await;
        imap.line().await;
        imap.ask(&format!("a LOGIN {user} \"{password}\"")).await;
        imap.ask("b SELECT INBOX").await;
        let mut pop3 = Client::silent(stage.pop3).await;
        pop3.line().await;
        pop3.ask(&format!("USER {user}")).await;
        pop3.ask(&format!("PASS {password}")).await;
        pop3.ask("RETR 1").await;
    }
    world.arm(SmtpFault::ErrorChallenge);
    world.arm_times(SmtpFault::RejectToken, 2);
    stage.client().await.log_in(USER, PASSWORD).await;
    world.disarm();
    world.arm(TokenFault::HtmlPage);
    stage.client().await.log_in("mfa@contoso.com", PASSWORD).await;
    stage.ended().await;

    let stage = Stage::changed(|config| {
        Arc::make_mut(&mut config.listeners[0]).pass_tokens = true;
        config.limits.lockout_after = 1;
    })
    .await;
    let token = stage.token().await;
    for token in [token.as_str(), "canary-token"] {
        stage.client().await.log_in_with_token(USER, token).await;
        let mut client = stage.client().await;
        client.log_in_with_token("", token).await;
        client.log_in_with_token(USER, &format!("{token} ")).await;
    }
    stage.client().await.log_in(USER, "canary-typo").await;
    stage.client().await.log_in(USER, "canary-guess").await;
    stage.ended().await;

    let log = caught.text();
    assert!(
        ["session_end", "login_refused", "by=\"token\"", "lockout", "login_locked"]
            .iter()
            .all(|words| log.contains(words)),
        "the log was caught: {log}"
    );
    let canaries = [
        PASSWORD,
        "canary-typo",
        "canary-guess",
        "canary-message",
        "canary-token",
        contoso::PASSWORD,
        contoso::APP_SECRET,
        "proxy-canary-password",
        "eyJ", // how every token begins
        &BASE64_STANDARD.encode("{\"typ\"")[..8],
    ];
    for canary in canaries {
        // In base64 a text looks different at each of three offsets; the first and last letters
        // depend on the neighbours.
        let encoded = (0..3).map(|offset| {
            let whole = BASE64_STANDARD.encode(format!("{}{canary}", "x".repeat(offset)));
            whole.get(4..whole.len() - 4).unwrap_or_default().to_owned()
        });
        for form in [canary.to_owned()].into_iter().chain(encoded.filter(|form| form.len() >= 6)) {
            let found = log.find(&form).map(|at| &log[at.saturating_sub(200)..at]);
            assert!(found.is_none(), "{canary} as {form} behind: {found:?}");
        }
    }
}
