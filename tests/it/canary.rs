//! No secret in a log, at any level, in any case: sessions of every outcome run under a TRACE
//! subscriber, and the text is searched.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use mailwicket::sandbox::world::{SmtpFault, TokenFault, contoso};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt, registry};

use crate::stage::{PASSWORD, Stage, USER};

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Text {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test] // one thread: the subscriber is this thread's
async fn no_secret_is_logged_at_any_level() {
    let text = Text::default();
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(text.clone());
    let _guard = tracing::subscriber::set_default(registry().with(layer));

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
    }
    world.arm(SmtpFault::ErrorChallenge);
    world.arm_times(SmtpFault::RejectToken, 2);
    stage.client().await.log_in(USER, PASSWORD).await;
    world.disarm();
    world.arm(TokenFault::HtmlPage);
    stage.client().await.log_in("mfa@contoso.com", PASSWORD).await;
    stage.ended().await;

    let log = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("session_end") && log.contains("login_refused"),
        "the log was caught: {log}"
    );
    let canaries = [
        PASSWORD,
        "canary-typo",
        "canary-guess",
        "canary-message",
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
