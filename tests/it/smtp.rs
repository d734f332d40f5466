//! A legacy client sends mail through mailwicket to the simulated Microsoft 365.

use std::time::Duration;

use mailwicket::sandbox::world::{ProxyFault, SmtpFault, TokenFault, contoso};
use tokio::{join, task::JoinSet};

use crate::stage::{Client, PASSWORD, Stage, USER};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n..two dots\r\ngr\xfc\xdfe \x00\x01 octets\r\n...\r\n";

#[tokio::test]
async fn a_message_arrives_byte_for_byte_through_the_proxy() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    assert_eq!(client.log_in(USER, PASSWORD).await, "235 2.7.0 Authentication successful\r\n");
    assert!(client.send(USER, MESSAGE).await.starts_with("250 "));
    assert!(client.say("QUIT").await.starts_with("221 "));
    assert!(client.rest().await.is_empty());

    let message = &stage.sandbox.world().messages()[0];
    assert_eq!(
        message.bytes,
        b"Subject: x\r\n\r\n.two dots\r\ngr\xfc\xdfe \x00\x01 octets\r\n..\r\n"
    );
    assert_eq!(message.mailbox, USER);
    let connects = stage.sandbox.world().counters().connects;
    assert_eq!((connects[0].status, &connects[0].user), (407, &None), "no login unasked");
    let connects = &connects[1..];
    let targets: Vec<_> = connects.iter().map(|connect| connect.target.as_str()).collect();
    assert_eq!(
        targets,
        ["login.microsoftonline.com:443", "smtp.office365.com:587"],
        "both by name, nothing else"
    );
    assert!(connects.iter().all(|connect| connect.user.as_deref() == Some("svc-mail")));
    drop(client);
    assert_eq!(stage.ended().await, 0);
}

#[tokio::test]
async fn what_is_pipelined_behind_the_login_reaches_the_upstream() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.say("EHLO client.example").await;
    let login =
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("\0{USER}\0{PASSWORD}"));
    client
        .write(format!("AUTH PLAIN {login}\r\nMAIL FROM:<{USER}>\r\nRCPT TO:<you@example.net>\r\nBDAT 4 LAST\r\nabcd").as_bytes())
        .await;
    for code in ["235", "250", "250", "250"] {
        let reply = client.reply().await;
        assert!(reply.starts_with(code), "{reply}");
    }
    let message = &stage.sandbox.world().messages()[0];
    assert!(message.chunked && message.bytes == b"abcd");
}

#[tokio::test]
async fn the_client_learns_what_the_upstream_really_offers_and_its_name_is_passed_on() {
    let stage = Stage::new().await;
    stage.sandbox.world().tune(|tuning| tuning.size_limit = 1234);
    let mut client = stage.client().await;
    assert!(
        client.say("EHLO printer.example").await.contains("SIZE 157286400"),
        "before the first session"
    );
    client.log_in(USER, PASSWORD).await;
    let mut next = stage.client().await;
    let offer = next.say("EHLO printer.example").await;
    assert!(offer.contains("SIZE 1234") && offer.contains("AUTH=LOGIN PLAIN"), "{offer}");
    assert!(!offer.contains("XOAUTH2") && !offer.contains("STARTTLS"), "{offer}");
    let said = stage.sandbox.world().transcript();
    assert!(said.iter().any(|line| line.text == "EHLO client.example"), "{said:?}");
}

#[tokio::test]
async fn nothing_leaves_for_a_wrong_password_an_unknown_user_or_a_port_scan() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    assert!(client.log_in(USER, "wrong").await.starts_with("535 5.7.8 "));
    assert!(client.log_in_plain("nobody@fabrikam.com", PASSWORD).await.starts_with("535 5.7.8 "));
    assert!(
        client.log_in_plain(USER, "wrong").await.starts_with("421 4.7.0 "),
        "the third refusal closes"
    );
    assert!(client.rest().await.is_empty());
    drop(Client::silent(stage.address).await);
    let counters = stage.sandbox.world().counters();
    assert!(counters.connects.is_empty() && counters.smtp_sessions == 0, "{counters:?}");
    assert_eq!(stage.ended().await, 0);
}

#[tokio::test]
async fn a_second_login_after_a_refused_one_works() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    assert!(client.log_in(USER, "wrong").await.starts_with("535 "));
    assert!(client.say(&format!("MAIL FROM:<{USER}>")).await.starts_with("530 5.7.0 "));
    assert!(client.log_in(USER, PASSWORD).await.starts_with("235 "));
    assert!(client.send(USER, MESSAGE).await.starts_with("250 "));
}

#[tokio::test]
async fn a_hundred_logins_at_once_make_one_token_request() {
    let stage = Stage::changed(|config| config.limits.smtp_sessions_per_mailbox = 100).await;
    let mut logins = JoinSet::new();
    for _ in 0..100 {
        let address = stage.address;
        logins.spawn(async move { Client::connect(address).await.log_in(USER, PASSWORD).await });
    }
    while let Some(reply) = logins.join_next().await {
        assert!(reply.unwrap().starts_with("235 "));
    }
    assert_eq!(stage.sandbox.world().counters().token_requests_total(), 1);
}

#[tokio::test]
async fn entra_judges_passwords_and_a_cached_token_lets_no_other_in() {
    let stage = Stage::new().await;
    let user = "erp@contoso.com";
    assert!(stage.client().await.log_in(user, contoso::PASSWORD).await.starts_with("235 "));
    assert!(
        stage
            .client()
            .await
            .log_in(user, PASSWORD)
            .await
            .starts_with("535 5.7.8 Entra refused the login (AADSTS50126)")
    );
    assert!(
        stage.client().await.log_in("ERP@contoso.com", contoso::PASSWORD).await.starts_with("235 ")
    );
    let requests = stage.sandbox.world().counters().token_requests;
    assert_eq!(requests.get("password"), Some(&2), "{requests:?}");
}

#[tokio::test]
async fn an_alias_stands_for_its_mailbox() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    assert!(client.log_in("scan", PASSWORD).await.starts_with("235 "));
    assert!(client.send(USER, MESSAGE).await.starts_with("250 "));
    assert_eq!(stage.sandbox.world().messages()[0].mailbox, USER);
}

#[tokio::test]
async fn a_rejected_token_is_fetched_anew_and_tried_once_more_in_two_steps() {
    let stage = Stage::new().await;
    stage.sandbox.world().arm_times(SmtpFault::RejectToken, 1);
    assert!(stage.client().await.log_in(USER, PASSWORD).await.starts_with("235 "));
    let counters = stage.sandbox.world().counters();
    assert_eq!((counters.token_requests_total(), counters.smtp_sessions), (2, 2));
    assert_eq!((counters.auth_inline, counters.auth_two_step), (1, 1));
}

#[tokio::test]
async fn a_server_that_cuts_long_lines_is_remembered() {
    let stage = Stage::new().await;
    stage.sandbox.world().tune(|tuning| tuning.token_octets = Some(2400));
    stage.sandbox.world().arm(SmtpFault::ShortAuthLines);
    for _ in 0..3 {
        assert!(stage.client().await.log_in(USER, PASSWORD).await.starts_with("235 "));
    }
    let counters = stage.sandbox.world().counters();
    assert_eq!(
        (counters.auth_inline, counters.auth_two_step),
        (1, 3),
        "inline was tried once only"
    );
}

/// Of tokens as long as Entra's usually are: each further one would count at Exchange as a failure,
/// and wait for its tarpit.
#[tokio::test]
async fn a_refusal_that_is_meant_is_not_repeated_each_time() {
    let stage = Stage::new().await;
    let world = stage.sandbox.world();
    world.tune(|tuning| tuning.token_octets = Some(2400));
    world.arm(SmtpFault::RejectToken);
    for failed in [2, 3, 4] {
        let reply = stage.client().await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("535 5.7.8 "), "{reply}");
        assert_eq!(world.counters().auth_failed, failed);
    }
    world.disarm();
    assert!(stage.client().await.log_in("info@contoso.com", PASSWORD).await.starts_with("235 "));
    world.arm(SmtpFault::RejectToken);
    stage.client().await.log_in("info@contoso.com", PASSWORD).await;
    assert_eq!(world.counters().auth_failed, 5, "this server takes long lines");
}

#[tokio::test]
async fn a_challenge_after_the_token_is_a_refusal() {
    let stage = Stage::new().await;
    stage.sandbox.world().arm(SmtpFault::RejectToken);
    stage.sandbox.world().arm(SmtpFault::ErrorChallenge);
    let reply = stage.client().await.log_in(USER, PASSWORD).await;
    assert!(reply.starts_with("535 5.7.8 Upstream refused the login (535 5.7.3)"), "{reply}");
}

#[tokio::test]
async fn every_refusal_is_permanent_and_every_outage_passing() {
    enum Cause {
        Token(TokenFault),
        Smtp(SmtpFault),
        Proxy(ProxyFault),
    }
    use Cause::{Proxy, Smtp, Token};
    let rows = [
        (Token(TokenFault::ServiceUnavailable), "454 4.7.0 No token now"),
        (Token(TokenFault::Throttled(Some(30))), "454 4.7.0 No token now"),
        (Token(TokenFault::Throttled(None)), "454 4.7.0 No token now"),
        (Token(TokenFault::TruncatedJson), "454 4.7.0 No token now"),
        (Token(TokenFault::HtmlPage), "454 4.7.0 No token now"),
        (Token(TokenFault::Reset), "454 4.7.0 No token now"),
        (Token(TokenFault::InvalidGrant), "535 5.7.8 Entra refused the login (AADSTS70000)"),
        (Token(TokenFault::LoopDetected), "454 4.7.0 No token now: AADSTS50196"),
        (Token(TokenFault::NoExpiresIn), "235 "),
        (Token(TokenFault::NumbersAsStrings), "235 "),
        (
            Smtp(SmtpFault::ServiceNotAvailable),
            "454 4.7.0 the server is not available (greeting): 421",
        ),
        (
            Smtp(SmtpFault::DropOnConnect),
            "454 4.7.0 The proxy or the mail server closed the connection during greeting",
        ),
        (Smtp(SmtpFault::DropOnAuth), "454 4.7.0 Upstream closed the connection during auth"),
        (Smtp(SmtpFault::NoStartTls), "454 4.7.0 the server offers no STARTTLS"),
        (Smtp(SmtpFault::MangledStartTls), "454 4.7.0 the server offers no STARTTLS"),
        (Smtp(SmtpFault::BytesBehindStartTls), "454 4.7.0 the server, or somebody on the way"),
        (
            Smtp(SmtpFault::TemporaryAuthFailure),
            "454 4.7.0 the server is not available (auth): 454",
        ),
        (Smtp(SmtpFault::RejectToken), "535 5.7.8 Upstream refused the login (535 5.7.3)"),
        (Smtp(SmtpFault::BannerByteByByte), "235 "),
        (Smtp(SmtpFault::EhloSplit), "235 "),
        (Smtp(SmtpFault::BarePrompt), "235 "),
        (Proxy(ProxyFault::BadGateway), "454 4.7.0 No token now: The proxy answered 502"),
        (Proxy(ProxyFault::ConnectFailed), "454 4.7.0 No token now: The proxy answered 503"),
        (Proxy(ProxyFault::EarlyOkThenClose), "454 4.7.0 No token now: The proxy broke off"),
        (Proxy(ProxyFault::GlueGreeting), "235 "),
        (Proxy(ProxyFault::ByteByByte), "235 "),
    ];
    let mut ran = 0;
    for (cause, expected) in rows {
        let stage = Stage::new().await;
        let world = stage.sandbox.world();
        let name = match cause {
            Token(fault) => (format!("{fault:?}"), world.arm(fault)).0,
            Smtp(fault) => (format!("{fault:?}"), world.arm(fault)).0,
            Proxy(fault) => (format!("{fault:?}"), world.arm(fault)).0,
        };
        let reply = stage.client().await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with(expected), "{name}: {reply}");
        ran += 1;
    }
    assert_eq!(ran, 26);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_status() {
    for (fault, port, summary) in [
        (None, Some(443), "454 4.7.0 The proxy answered 403 (mail server)"),
        (Some(ProxyFault::CloseOn407), None, "407"),
        (Some(ProxyFault::EmptyOn407), None, "407"),
    ] {
        let sandbox = Stage::sandbox().await;
        let mut text = crate::stage::text(&sandbox, "", "");
        if let Some(fault) = fault {
            sandbox.world().arm(fault);
            text = text.replace("proxy-canary-password", "wrong");
        }
        sandbox.world().tune(|tuning| tuning.proxy_ports = port.map(|port| vec![port]));
        let stage = Stage::run(sandbox, &crate::stage::parse(&text));
        let reply = stage.client().await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("454 4.7.0 ") && reply.contains(summary), "{reply}");
    }
}

#[tokio::test]
async fn a_disabled_mailbox_is_refused_without_a_second_attempt() {
    let stage = Stage::new().await;
    let reply = stage.client().await.log_in("disabled@contoso.com", PASSWORD).await;
    assert!(
        reply.starts_with(
            "535 5.7.8 Upstream refused the login (535 5.7.139): SMTP AUTH is switched off"
        ),
        "{reply}"
    );
    assert_eq!(stage.sandbox.world().counters().smtp_sessions, 1);
}

#[tokio::test]
async fn half_a_close_still_brings_the_answer() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.log_in(USER, PASSWORD).await;
    client.say(&format!("MAIL FROM:<{USER}>")).await;
    client.say("RCPT TO:<you@example.net>").await;
    client.say("DATA").await;
    client.write(b"x\r\n.\r\nQUIT\r\n").await;
    client.shutdown().await;
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert!(rest.starts_with("250 ") && rest.contains("\r\n221 "), "{rest}");
}

#[tokio::test]
async fn at_the_drain_those_before_login_are_told_and_running_ones_finish() {
    let mut stage = Stage::new().await;
    let (mut waiting, mut sending) = (stage.client().await, stage.client().await);
    sending.log_in(USER, PASSWORD).await;
    stage.ask_to_stop();
    let told = String::from_utf8(waiting.rest().await).unwrap();
    assert_eq!(told, "421 4.3.2 mailwicket is stopping, try again later\r\n");
    assert!(tokio::net::TcpStream::connect(stage.address).await.is_err(), "no new sessions");
    let finish = async {
        assert!(sending.send(USER, MESSAGE).await.starts_with("250 "));
        sending.say("QUIT").await;
        drop(sending);
    };
    let (cut, ()) = join!(stage.ended(), finish);
    assert_eq!(cut, 0);
}

#[tokio::test]
async fn after_the_grace_running_sessions_are_cut() {
    let stage = Stage::with("", "[limits]\nshutdown_grace = \"0s\"\n").await;
    let mut client = stage.client().await;
    client.log_in(USER, PASSWORD).await;
    let (cut, rest) = join!(stage.ended(), client.rest());
    assert_eq!(cut, 1);
    assert!(rest.is_empty());
}

#[tokio::test]
async fn the_login_deadline_has_its_own_words() {
    let stage = Stage::with("", "[limits]\nlogin_timeout = \"1s\"\n").await;
    let mut client = stage.client().await;
    client.say("EHLO client.example").await;
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(rest, "421 4.4.2 Login took too long, closing connection\r\n");
}

#[tokio::test]
async fn an_idle_session_ends() {
    let stage = Stage::with("", "[limits]\nsmtp_idle_timeout = \"1s\"\n").await;
    let mut client = stage.client().await;
    client.log_in(USER, PASSWORD).await;
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn an_address_has_so_many_sessions_and_a_stranger_none() {
    let stage = Stage::with("", "[limits]\nmax_sessions_per_address = 2\n").await;
    let (_one, _two) = (stage.client().await, stage.client().await);
    let mut third = Client::silent(stage.address).await;
    assert_eq!(third.reply().await, "421 4.3.2 Too many connections from your address\r\n");

    let stage = Stage::with("allow = [\"192.0.2.0/24\"]", "").await;
    let mut stranger = Client::silent(stage.address).await;
    assert_eq!(stranger.reply().await, "421 4.7.0 Your address may not use this port\r\n");
    assert!(stranger.rest().await.is_empty());
}

#[tokio::test]
async fn beyond_max_sessions_a_client_waits_and_is_then_served() {
    let stage = Stage::with("", "[limits]\nmax_sessions = 1\n").await;
    let first = stage.client().await;
    let mut second = Client::silent(stage.address).await;
    let early = tokio::time::timeout(Duration::from_millis(200), second.reply()).await;
    assert!(early.is_err(), "not before the first has gone: {early:?}");
    drop(first);
    assert!(second.reply().await.starts_with("220 "));
}
