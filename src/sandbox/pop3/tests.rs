//! The POP3 server over raw sockets: each reply against the sheet of observed texts.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::Sandbox;
use crate::sandbox::kit::{Raw, app_token, start, start_2023, user_token, xoauth2};
use crate::sandbox::world::Pop3Fault;
use crate::sandbox::world::contoso::{APP_ID, SHARED_MAILBOX};

const SCANNER: &str = "scanner@contoso.com";
const GOOD: &str = "+OK User successfully authenticated.";
const FAILED: &str = "-ERR Authentication failure: unknown user name or bad password.";
const PROTOCOL: &str = "-ERR Protocol error. Connection is closed. 10";

async fn greeted(sandbox: &Sandbox) -> Raw {
    let mut raw = Raw::pop3(sandbox).await;
    assert!(raw.line().await.starts_with("+OK "));
    raw
}

/// The verdict on a login in two lines.
async fn auth(raw: &mut Raw, mailbox: &str, token: &str) -> String {
    assert_eq!(raw.say("AUTH XOAUTH2").await, "+ ");
    raw.say(&xoauth2(mailbox, token)).await
}

async fn logged_in(sandbox: &Sandbox, mailbox: &str) -> Raw {
    let token = app_token(sandbox).await;
    let mut raw = greeted(sandbox).await;
    assert_eq!(auth(&mut raw, mailbox, &token).await, GOOD);
    raw
}

async fn listing(raw: &mut Raw, command: &str) -> String {
    raw.send(format!("{command}\r\n").as_bytes()).await;
    raw.lines_until(|line| line == "." || line.starts_with('-')).await
}

#[tokio::test]
async fn both_generations_open_as_observed() {
    for (sandbox, head, tail, capabilities, password, plain) in [
        (
            start_2023().await,
            "+OK The Microsoft Exchange POP3 service is ready. [",
            "]",
            "+OK|TOP|UIDL|SASL PLAIN XOAUTH2|USER|.",
            "-ERR Logon failure: unknown user name or bad password.",
            "+ ",
        ),
        (
            start().await,
            "+OK Microsoft Exchange POP3 server ready (tcpproxy/15.20.9137.005). [",
            "]",
            "+OK|TOP|UIDL|SASL XOAUTH2|.",
            "-ERR Basic authentication is disabled",
            "-ERR Basic authentication is disabled",
        ),
    ] {
        let mut raw = Raw::pop3(&sandbox).await;
        let greeting = raw.line().await;
        assert!(greeting.starts_with(head) && greeting.ends_with(tail), "{greeting}");
        assert_eq!(listing(&mut raw, "capa").await, capabilities);
        assert_eq!(raw.say("USER scanner@contoso.com").await, "+OK");
        assert_eq!(raw.say("PASS stupid-password").await, password);
        assert_eq!(raw.say("PASS stupid-password").await, "-ERR Protocol error. 19");
        assert_eq!(raw.say("AUTH PLAIN").await, plain);
        if plain == "+ " {
            assert_eq!(raw.say("AHN0dXBpZC1wYXNzd29yZA==").await, password);
        }
        for unknown in ["XYZZY", "", "STLS", "AUTH", "AUTH CRAM-MD5", "STAT", "USER", "RETR 1"] {
            assert_eq!(raw.say(unknown).await, "-ERR Protocol error. 19", "{unknown}");
        }
        let signing_off = "+OK Microsoft Exchange Server POP3 server signing off.";
        assert_eq!(raw.say("QUIT").await, signing_off);
        assert_eq!(raw.line().await, "(closed)");
        let transcript = format!("{:?}", sandbox.world().transcript());
        assert!(!transcript.contains("stupid") && !transcript.contains("AHN0"), "{transcript}");
        sandbox.world().counters_when(|counters| counters.pop3_open == 0).await;
        assert_eq!(sandbox.world().counters().pop3_sessions, 1);
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_login_sounds_the_same() {
    let sandbox = start().await;
    let world = sandbox.world();
    let app = app_token(&sandbox).await;
    let (erp, scanner) =
        (user_token(&sandbox, "erp@contoso.com").await, user_token(&sandbox, SCANNER).await);
    world.directory(|directory| directory.app_mut(APP_ID).unwrap().roles.pop());
    let roleless = app_token(&sandbox).await;
    let away = "-ERR Server Unavailable. 21";
    let rows = [
        (SCANNER, &app, GOOD),
        (SCANNER, &scanner, GOOD),
        (SHARED_MAILBOX, &app, GOOD),
        (SHARED_MAILBOX, &erp, GOOD),
        ("disabled@contoso.com", &app, GOOD),
        (SHARED_MAILBOX, &scanner, FAILED),
        (SCANNER, &erp, FAILED),
        (SCANNER, &roleless, FAILED),
        (SCANNER, &format!("{app}x"), FAILED),
        ("norights@contoso.com", &app, FAILED),
        ("smtponly@contoso.com", &app, FAILED),
        ("blocked@contoso.com", &app, FAILED),
        ("nobody@contoso.com", &app, FAILED),
        ("unavailable@contoso.com", &app, away),
        ("throttled@contoso.com", &app, away),
    ];
    for (number, (mailbox, token, verdict)) in rows.iter().enumerate() {
        let mut raw = greeted(&sandbox).await;
        assert_eq!(auth(&mut raw, mailbox, token).await, *verdict, "row {number} {mailbox}");
    }
    let counters = world.counters();
    assert_eq!((rows.len(), counters.pop3_auth_succeeded, counters.pop3_auth_failed), (15, 5, 10));
}

#[tokio::test]
async fn one_line_and_long_tokens_are_protocol_errors_of_the_newer_generation() {
    let (old, new) = (start_2023().await, start().await);
    for sandbox in [&old, &new] {
        let inline = format!("AUTH XOAUTH2 {}", xoauth2(SCANNER, &app_token(sandbox).await));
        sandbox.world().tune(|tuning| tuning.token_octets = Some(4200));
        let long = app_token(sandbox).await;
        assert!(long.len() > 4096);
        let (one_line, too_long) = (
            greeted(sandbox).await.say(&inline).await,
            auth(&mut greeted(sandbox).await, SCANNER, &long).await,
        );
        let expected = if std::ptr::eq(sandbox, &raw const old) { GOOD } else { PROTOCOL };
        assert_eq!((one_line.as_str(), too_long.as_str()), (expected, expected));
    }
    let mut raw = greeted(&new).await;
    assert_eq!(raw.say("AUTH XOAUTH2 eA==").await, PROTOCOL);
    assert_eq!(raw.line().await, "(closed)");
    let mut raw = greeted(&new).await;
    assert_eq!(raw.say("AUTH XOAUTH2").await, "+ ");
    assert_eq!(raw.say("*").await, FAILED);
}

#[tokio::test]
async fn the_inbox_is_a_maildrop() {
    let sandbox = start().await;
    let world = sandbox.world();
    world.put(SCANNER, "INBOX", "A: 1\r\n\r\n.dot\r\nline\r\n");
    world.put(SCANNER, "INBOX", "A: 2\r\n\r\nx\r\n");
    world.put(SCANNER, "Drafts", "A: 3\r\n\r\nx\r\n");
    let mut raw = logged_in(&sandbox, SCANNER).await;
    let late = world.put(SCANNER, "INBOX", "A: 4\r\n\r\nx\r\n");
    let rows = [
        ("STAT", "+OK 2 31"),
        ("noop", "+OK"),
        ("LIST 1", "+OK 1 20"),
        ("LIST 3", "-ERR The specified message is out of range."),
        ("UIDL 0", "-ERR The specified message is out of range."),
        ("DELE x", "-ERR The specified message is out of range."),
        ("DELE", "-ERR Protocol error. 19"),
        ("TOP 1", "-ERR Protocol error. 19"),
        ("AUTH XOAUTH2", "-ERR Protocol error. 19"),
        ("DELE 1", "+OK"),
        ("DELE 1", "-ERR The specified message is out of range."),
        ("RETR 1", "-ERR The specified message is out of range."),
        ("STAT", "+OK 1 11"),
        ("RSET", "+OK"),
        ("STAT", "+OK 2 31"),
    ];
    for (command, reply) in rows {
        assert_eq!(raw.say(command).await, reply, "{command}");
    }
    assert_eq!(rows.len(), 15);
    assert_eq!(listing(&mut raw, "LIST").await, "+OK|1 20|2 11|.");
    assert_eq!(listing(&mut raw, "RETR 1").await, "+OK|A: 1||..dot|line|.");
    assert_eq!(listing(&mut raw, "TOP 1 1").await, "+OK|A: 1||..dot|.");
    let uidl = listing(&mut raw, "UIDL").await;
    let words: Vec<_> = uidl.split(['|', ' ']).collect();
    assert!(words.len() == 6 && words[2].ends_with("-1") && words[4].ends_with("-2"), "{uidl}");
    assert_eq!(raw.say("UIDL 2").await, format!("+OK 2 {}", words[4]));
    assert_eq!(raw.say("DELE 2").await, "+OK");
    drop(raw);
    world.counters_when(|counters| counters.pop3_open == 0).await;
    assert_eq!(world.folder(SCANNER, "INBOX").len(), 3, "only QUIT deletes");
    let mut raw = logged_in(&sandbox, SCANNER).await;
    assert_eq!(raw.say("DELE 2").await, "+OK");
    raw.say("QUIT").await;
    let left = world.folder_when(SCANNER, "INBOX", |messages| messages.len() == 2).await;
    assert_eq!(left.iter().map(|message| message.uid).collect::<Vec<_>>(), [1, late]);
}

#[tokio::test]
async fn faults_strike() {
    let sandbox = start().await;
    let world = sandbox.world();
    let token = app_token(&sandbox).await;
    world.arm_times(Pop3Fault::DropOnConnect, 1);
    let io = tokio::net::TcpStream::connect(sandbox.pop3()).await.unwrap();
    assert_eq!(Raw::over(io).line().await, "(closed)");
    world.arm_times(Pop3Fault::BannerByteByByte, 1);
    greeted(&sandbox).await;
    world.arm_times(Pop3Fault::BannerDelayed(Duration::from_millis(100)), 1);
    let dialled = Instant::now();
    greeted(&sandbox).await;
    assert!(dialled.elapsed() >= Duration::from_millis(100));
    world.arm_times(Pop3Fault::DropOnAuth, 1);
    assert_eq!(greeted(&sandbox).await.say("AUTH XOAUTH2").await, "(closed)");
    world.arm_times(Pop3Fault::ProtocolError, 1);
    assert_eq!(greeted(&sandbox).await.say("AUTH XOAUTH2").await, PROTOCOL);
    let rows = [
        (Pop3Fault::TemporaryFailure, "-ERR Server Unavailable. 21"),
        (Pop3Fault::InUse, "-ERR [IN-USE] The mailbox is in use."),
        (Pop3Fault::RejectToken, FAILED),
    ];
    for (fault, verdict) in &rows {
        world.arm_times(fault.clone(), 1);
        let mut raw = greeted(&sandbox).await;
        assert_eq!(auth(&mut raw, SCANNER, &token).await, *verdict, "{fault:?}");
        assert_eq!(auth(&mut raw, SCANNER, &token).await, GOOD, "the session goes on");
    }
    assert_eq!(rows.len(), 3);
    let mut raw = greeted(&sandbox).await;
    world.arm_times(Pop3Fault::BarePrompt, 1);
    world.arm_times(Pop3Fault::ErrorChallenge, 1);
    assert_eq!(raw.say("AUTH XOAUTH2").await, "+");
    let challenge = raw.say(&xoauth2("nobody@contoso.com", &token)).await;
    let json = STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap();
    assert!(json.starts_with(b"{\"status\":\"401\""));
    assert_eq!(raw.say("").await, FAILED);
    world.put(SCANNER, "INBOX", "A: 1\r\n\r\nbody\r\n");
    world.arm_times(Pop3Fault::DropMidRetr, 1);
    let mut raw = logged_in(&sandbox, SCANNER).await;
    assert!(listing(&mut raw, "RETR 1").await.ends_with("(closed)"));
    world.tune(|tuning| tuning.login_idle = Duration::from_millis(50));
    let mut raw = greeted(&sandbox).await;
    assert_eq!(raw.line().await, PROTOCOL);
    assert_eq!(raw.line().await, "(closed)");
}
