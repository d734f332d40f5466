//! A legacy client reads mail by IMAP through mailwicket from the simulated Microsoft 365.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use mailwicket::{
    mail::Protocol,
    sandbox::{
        Profile,
        world::{Fault, ImapEnd, ImapFault, ProxyFault, TokenFault, contoso},
    },
};
use tokio::{task, time};

use crate::{
    caught::Caught,
    stage::{Client, PASSWORD, Stage, USER, parse, text},
};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.one dot\r\ngr\xfc\xdfe\r\n";

/// Connected and greeted.
async fn connect(stage: &Stage) -> Client {
    let mut client = Client::silent(stage.imap).await;
    let greeting = client.line().await;
    assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "), "{greeting}");
    assert!(!greeting.contains("LOGINDISABLED") && !greeting.contains("XOAUTH2"), "{greeting}");
    client
}

/// The tagged reply to LOGIN.
async fn log_in(client: &mut Client, user: &str, password: &str) -> String {
    let password = password.replace('\\', "\\\\").replace('"', "\\\"");
    let user = user.replace('\\', "\\\\");
    client.ask(&format!("a1 LOGIN \"{user}\" \"{password}\"")).await
}

/// Says a command and takes every line up to its tagged reply.
async fn command(client: &mut Client, command: &str) -> Vec<String> {
    let tag = command.split(' ').next().unwrap();
    let mut lines = vec![client.ask(command).await];
    while !lines.last().unwrap().starts_with(&format!("{tag} ")) {
        let line = client.line().await;
        assert!(!line.is_empty(), "{command}: closed behind {lines:?}");
        lines.push(line);
    }
    lines
}

#[tokio::test]
async fn a_message_is_read_octet_for_octet_through_the_proxy() {
    let stage = Stage::new().await;
    stage.sandbox.world().put(USER, "INBOX", MESSAGE);
    let mut client = connect(&stage).await;
    assert_eq!(log_in(&mut client, USER, PASSWORD).await, "a1 OK Logged in");
    let selected = command(&mut client, "a2 SELECT INBOX").await;
    assert!(selected.iter().any(|line| line == "* 1 EXISTS"), "{selected:?}");
    let fetched = client.ask("a3 FETCH 1 BODY.PEEK[]").await;
    let announced = format!("{{{}}}", MESSAGE.len());
    assert!(fetched.starts_with("* 1 FETCH ") && fetched.ends_with(&announced), "{fetched}");
    assert_eq!(client.octets(MESSAGE.len()).await, MESSAGE);
    assert!(client.line().await.ends_with(')'));
    assert!(client.line().await.starts_with("a3 OK "));
    let bye = command(&mut client, "a4 LOGOUT").await;
    assert!(bye[0].starts_with("* BYE "), "{bye:?}");
    assert!(client.rest().await.is_empty());

    let connects = stage.sandbox.world().counters().connects;
    assert_eq!((connects[0].status, &connects[0].user), (407, &None), "no login unasked");
    let connects = &connects[1..];
    let targets: Vec<_> = connects.iter().map(|connect| connect.target.as_str()).collect();
    assert_eq!(targets, ["login.microsoftonline.com:443", "outlook.office365.com:993"]);
    drop(client);
    assert_eq!(stage.ended().await, 0);
}

#[tokio::test]
async fn what_is_sent_by_smtp_is_read_back_by_imap_and_by_pop3() {
    let stage = Stage::new().await;
    let mut smtp = stage.client().await;
    assert!(smtp.log_in(USER, PASSWORD).await.starts_with("235 "));
    smtp.say(&format!("MAIL FROM:<{USER}>")).await;
    smtp.say(&format!("RCPT TO:<{USER}>")).await;
    smtp.say("DATA").await;
    smtp.write(b"Subject: x\r\n\r\n..one dot\r\ngr\xfc\xdfe\r\n.\r\n").await;
    assert!(smtp.reply().await.starts_with("250 "));
    let stored = &stage.sandbox.world().folder_at_least(USER, "INBOX", 1).await[0];

    let mut imap = connect(&stage).await;
    log_in(&mut imap, USER, PASSWORD).await;
    command(&mut imap, "a2 SELECT INBOX").await;
    imap.ask("a3 FETCH 1 BODY[]").await;
    assert_eq!(imap.octets(stored.bytes.len()).await, *stored.bytes);
    assert!(stored.bytes.ends_with(MESSAGE), "Exchange may put header fields in front");

    let mut pop3 = Client::silent(stage.pop3).await;
    pop3.line().await;
    pop3.ask(&format!("USER {USER}")).await;
    pop3.ask(&format!("PASS {PASSWORD}")).await;
    assert!(pop3.ask("RETR 1").await.starts_with("+OK"));
    let stuffed = String::from_utf8_lossy(&stored.bytes).replace("\r\n.", "\r\n..").len();
    let lossless = stored.bytes.len() + 1;
    assert!(stuffed > lossless, "replacement characters are longer");
    let said = pop3.octets(lossless + 3).await;
    assert!(said.ends_with(b"\r\n..one dot\r\ngr\xfc\xdfe\r\n.\r\n"), "{}", said.escape_ascii());
    assert_eq!(stage.sandbox.world().counters().token_requests_total(), 1, "one token for all");
}

#[tokio::test]
async fn every_form_of_login_opens_the_mailbox_and_keeps_what_is_behind_it() {
    let stage = Stage::new().await;
    let b64 = |text: &str| BASE64_STANDARD.encode(text);
    let plain = b64(&format!("\0{USER}\0{PASSWORD}"));
    let (u, p) = (USER.len(), PASSWORD.len());
    let rows = [
        ("a1", format!("a1 LOGIN {USER} {PASSWORD}")),
        ("a.2", format!("a.2 login \"{USER}\" \"{PASSWORD}\"")),
        ("A00", format!("A00 LOGIN {{{u}}}\r\n{USER} {{{p}}}\r\n{PASSWORD}")),
        ("[!]", format!("[!] LOGIN {{{u}+}}\r\n{USER} {{{p}+}}\r\n{PASSWORD}")),
        ("3", format!("3 LOGIN {USER} {{{p}}}\r\n{PASSWORD}")),
        ("4", format!("4 AUTHENTICATE PLAIN {plain}")),
        ("5", format!("5 authenticate plain\r\n{plain}")),
        ("6", format!("6 AUTHENTICATE LOGIN\r\n{}\r\n{}", b64(USER), b64(PASSWORD))),
        ("7", format!("7 AUTHENTICATE LOGIN {}\r\n{}", b64(USER), b64(PASSWORD))),
        ("8", format!("8 AUTHENTICATE PLAIN =\r\n8 LOGIN {USER} {PASSWORD}")),
    ];
    let mut ran = 0;
    for (tag, login) in rows {
        let mut client = connect(&stage).await;
        // All at once, though it should wait for each `+`, and more behind it.
        client.write(format!("{login}\r\nzz SELECT INBOX\r\nzy LOGOUT\r\n").as_bytes()).await;
        let said = String::from_utf8(client.rest().await).unwrap();
        let at = |line: &str| said.find(line).unwrap_or_else(|| panic!("{login}: {said}"));
        assert!(at(&format!("{tag} OK Logged in\r\n")) < at("zz OK "), "{login}: {said}");
        assert!(at("zz OK ") < at("zy OK "), "{login}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 10);
}

#[tokio::test]
async fn every_refusal_is_permanent_and_every_outage_passing() {
    let fault = |fault: ImapFault| Some(Fault::from(fault));
    let rows = [
        (USER, "wrong", None, "NO [AUTHENTICATIONFAILED] User name or password not accepted"),
        ("nobody@fabrikam.com", PASSWORD, None, "NO [AUTHENTICATIONFAILED] "),
        ("norights@contoso.com", PASSWORD, None, "NO [AUTHORIZATIONFAILED] "),
        ("smtponly@contoso.com", PASSWORD, None, "NO [AUTHORIZATIONFAILED] "),
        ("erp@contoso.com", "wrong", None, "NO [AUTHENTICATIONFAILED] Entra refused the login"),
        (USER, "", None, "NO [AUTHENTICATIONFAILED] User name or password not accepted"),
        ("erp@contoso.com", "", None, "NO [AUTHENTICATIONFAILED] User name or password not"),
        (" scanner@contoso.com", PASSWORD, None, "NO [AUTHENTICATIONFAILED] User name not usable"),
        (USER, PASSWORD, fault(ImapFault::RejectToken), "NO [AUTHENTICATIONFAILED] "),
        (USER, PASSWORD, fault(ImapFault::NotConnected), "NO [AUTHORIZATIONFAILED] "),
        (USER, PASSWORD, fault(ImapFault::ServerUnavailable), "NO [UNAVAILABLE] "),
        (USER, PASSWORD, fault(ImapFault::ThrottledAuth), "NO [LIMIT] "),
        (USER, PASSWORD, fault(ImapFault::DropOnAuth), "NO [UNAVAILABLE] "),
        (USER, PASSWORD, fault(ImapFault::DropOnConnect), "NO [UNAVAILABLE] "),
        (USER, PASSWORD, fault(ImapFault::Preauth), "NO [UNAVAILABLE] "),
        (USER, PASSWORD, fault(ImapFault::ByeGreeting), "NO [UNAVAILABLE] "),
        (USER, PASSWORD, Some(ProxyFault::BadGateway.into()), "NO [UNAVAILABLE] "),
        (USER, PASSWORD, Some(TokenFault::ServiceUnavailable.into()), "NO [UNAVAILABLE] "),
        (USER, PASSWORD, fault(ImapFault::BarePrompt), "OK Logged in"),
        (USER, PASSWORD, fault(ImapFault::NoSaslIr), "OK Logged in"),
        (USER, PASSWORD, fault(ImapFault::UntaggedBeforeReply), "OK Logged in"),
        (USER, PASSWORD, fault(ImapFault::BannerByteByByte), "OK Logged in"),
    ];
    let mut ran = 0;
    for (user, password, fault, told) in rows {
        let stage = Stage::new().await;
        if let Some(fault) = &fault {
            stage.sandbox.world().arm(fault.clone());
        }
        let mut client = connect(&stage).await;
        let reply = log_in(&mut client, user, password).await;
        assert!(reply.starts_with(&format!("a1 {told}")), "{user} {fault:?}: {reply}");
        ran += 1;
    }
    assert_eq!(ran, 22);
}

#[tokio::test]
async fn a_challenge_behind_a_refused_token_is_answered_and_the_token_renewed() {
    let stage = Stage::new().await;
    stage.sandbox.world().arm_times(ImapFault::RejectToken, 1);
    stage.sandbox.world().arm_times(ImapFault::ErrorChallenge, 1);
    let mut client = connect(&stage).await;
    assert_eq!(log_in(&mut client, USER, PASSWORD).await, "a1 OK Logged in");
    assert_eq!(stage.sandbox.world().counters().token_requests_total(), 2);
}

#[tokio::test] // one thread: the log is this thread's
async fn a_mailbox_that_does_not_open_is_explained_by_the_grant() {
    let (caught, _guard) = Caught::begin();
    let mut ran = 0;
    for profile in [Profile::Exo2023, Profile::Exo2026] {
        ran += explained(&caught, profile).await;
    }
    assert_eq!(ran, 4);
}

/// Old front ends say it to the first command, new ones to the login.
async fn explained(caught: &Caught, profile: Profile) -> usize {
    let sandbox = Stage::sandbox_of(profile).await;
    sandbox.world().directory(|directory| {
        for name in ["norights@contoso.com", "erp@contoso.com"] {
            let mailbox = directory.mailbox_mut(name).unwrap();
            (mailbox.imap_disabled, mailbox.full_access) = (true, vec![]);
        }
    });
    let config = parse(&text(&sandbox, "", ""));
    let stage = Stage::run(sandbox, &config);
    let rows = [
        ("norights@contoso.com", PASSWORD, "-User $sp.Id -AccessRights FullAccess, with the Id"),
        ("erp@contoso.com", contoso::PASSWORD, "for another's mailbox Add-MailboxPermission"),
    ];
    let mut ran = 0;
    for (user, password, remedy) in rows {
        let before = caught.text().len();
        let mut client = connect(&stage).await;
        let verdict = log_in(&mut client, user, password).await;
        if profile == Profile::Exo2023 {
            assert_eq!(verdict, "a1 OK Logged in");
            let told = command(&mut client, "a2 SELECT INBOX").await;
            assert_eq!(told, ["a2 BAD User is authenticated but not connected."], "it passes");
            client.rest().await;
        } else {
            assert!(verdict.starts_with("a1 NO [AUTHORIZATIONFAILED] "), "{verdict}");
        }
        let log = caught.text().split_off(before);
        assert_eq!(log.matches(remedy).count(), 1, "{user}: {log}");
        ran += 1;
    }
    ran
}

#[tokio::test] // one thread: the log is this thread's
async fn a_session_that_outlives_its_token_ends_as_it_should() {
    let (caught, _guard) = Caught::begin();
    let stage = Stage::new().await;
    let mut client = connect(&stage).await;
    log_in(&mut client, USER, PASSWORD).await;
    command(&mut client, "a2 SELECT INBOX").await;
    assert!(client.ask("a3 IDLE").await.starts_with('+'));
    stage.sandbox.world().end_imap_sessions(ImapEnd::TokenExpired);
    assert_eq!(client.line().await, "* BYE Session invalidated - AccessTokenExpired");
    assert!(client.rest().await.is_empty());
    drop(client);
    stage.ended().await;
    let log = caught.text();
    assert!(log.contains("access token expired, as it does after an hour or so"), "{log}");
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "it is a normal end: {log}");
}

#[tokio::test]
async fn an_idling_client_hears_of_a_message_when_it_comes() {
    let stage = Stage::new().await;
    let mut client = connect(&stage).await;
    log_in(&mut client, USER, PASSWORD).await;
    command(&mut client, "a2 SELECT INBOX").await;
    assert!(client.ask("a3 IDLE").await.starts_with('+'));
    stage.sandbox.world().put(USER, "INBOX", MESSAGE);
    assert_eq!(client.line().await, "* 1 EXISTS");
    let ended = loop {
        // More news may stand between, such as RECENT.
        let line = client.ask("DONE").await;
        if line.starts_with("a3 ") {
            break line;
        }
    };
    assert!(ended.starts_with("a3 OK "), "{ended}");
}

#[tokio::test]
async fn a_literal_that_is_too_long_is_refused_before_an_octet_of_it_is_read() {
    let stage = Stage::new().await;
    let mut client = connect(&stage).await;
    let refused = client.ask("a1 LOGIN x {1000000}").await;
    assert!(refused.starts_with("a1 BAD Literal longer than "), "{refused}");
    assert_eq!(log_in(&mut client, USER, PASSWORD).await, "a1 OK Logged in", "it goes on");
    let mut pushing = connect(&stage).await;
    let bye = pushing.ask("a1 LOGIN x {1000000+}").await;
    assert!(bye.starts_with("* BYE Literal longer than "), "{bye}");
    assert!(pushing.rest().await.is_empty());
}

#[tokio::test]
async fn what_ends_a_dialogue_has_its_own_words() {
    let stage = Stage::new().await;
    let mut long = connect(&stage).await;
    long.write(&[b'x'; 16_000]).await;
    assert!(long.line().await.starts_with("* BYE Line longer than "));
    assert!(long.rest().await.is_empty());
    let mut early = connect(&stage).await;
    assert!(early.ask("a1 SELECT INBOX").await.starts_with("a1 BAD Log in first"));
    assert_eq!(early.ask("a2 NOOP").await, "a2 OK NOOP completed");
    let told = command(&mut early, "a3 CAPABILITY").await;
    assert!(told[0].contains("AUTH=PLAIN") && told[0].contains("IDLE"), "{told:?}");
    command(&mut early, "a4 LOGOUT").await;
    assert!(early.rest().await.is_empty());
    assert!(stage.sandbox.world().counters().connects.is_empty(), "nothing left for any of them");
}

#[tokio::test]
async fn a_silent_session_ends() {
    let stage = Stage::with("", "[limits]\nimap_idle_timeout = \"1s\"\n").await;
    let mut client = connect(&stage).await;
    assert_eq!(log_in(&mut client, USER, PASSWORD).await, "a1 OK Logged in");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn the_login_deadline_has_its_own_words() {
    let stage = Stage::with("", "[limits]\nlogin_timeout = \"1s\"\n").await;
    let mut silent = Client::silent(stage.imap).await;
    let said = String::from_utf8(silent.rest().await).unwrap();
    assert!(said.contains("\r\n* BYE Login took too long"), "{said}");
}

#[tokio::test]
async fn a_delegate_reads_a_shared_mailbox() {
    let stage = Stage::new().await;
    stage.sandbox.world().put(contoso::SHARED_MAILBOX, "INBOX", MESSAGE);
    let rows = [
        ("erp@contoso.com\\info@contoso.com", contoso::PASSWORD, true),
        ("erp@contoso.com/info", contoso::PASSWORD, true),
        ("scanner@contoso.com/info@contoso.com", PASSWORD, true),
        ("erp@contoso.com/scanner@contoso.com", contoso::PASSWORD, false),
        ("scan/info@contoso.com", PASSWORD, false),
    ];
    let mut ran = 0;
    for (user, password, opens) in rows {
        let mut client = connect(&stage).await;
        let reply = log_in(&mut client, user, password).await;
        if opens {
            assert_eq!(reply, "a1 OK Logged in", "{user}");
            let told = command(&mut client, "a2 STATUS INBOX (MESSAGES)").await;
            assert!(told[0].contains("(MESSAGES 1)"), "{user}: {told:?}");
        } else {
            assert!(reply.starts_with("a1 NO [AUTHORIZATIONFAILED] "), "{user}: {reply}");
        }
        ran += 1;
    }
    assert_eq!(ran, 5);
}

#[tokio::test]
async fn at_the_drain_those_before_login_hear_bye_and_running_ones_go_on() {
    let mut stage = Stage::new().await;
    let mut running = connect(&stage).await;
    log_in(&mut running, USER, PASSWORD).await;
    let mut waiting = connect(&stage).await;
    stage.ask_to_stop();
    assert!(waiting.line().await.starts_with("* BYE [UNAVAILABLE] mailwicket is stopping"));
    assert!(command(&mut running, "a2 NOOP").await[0].starts_with("a2 OK "));
    command(&mut running, "a3 LOGOUT").await;
    drop(running);
    assert_eq!(stage.ended().await, 0);
}

/// Exchange ends an IMAP session together with its token, so the next ones get a token of some age at
/// most; who submits a message is gone by then, and Entra is not asked more often for that.
#[tokio::test]
async fn sessions_that_last_are_given_young_tokens() {
    let mut ran = 0;
    for (protocol, requests) in [(Protocol::Smtp, 1), (Protocol::Imap, 2), (Protocol::Pop3, 2)] {
        let stage = Stage::new().await;
        stage.sandbox.world().tune(|tuning| tuning.token_life = Some(Duration::from_secs(3600)));
        let mut client = stage.client().await;
        let mut imap = connect(&stage).await;
        let mut pop3 = Client::silent(stage.pop3).await;
        pop3.line().await;
        let told = match protocol {
            Protocol::Smtp => client.log_in(USER, PASSWORD).await,
            Protocol::Imap => log_in(&mut imap, USER, PASSWORD).await,
            Protocol::Pop3 => {
                pop3.ask(&format!("USER {USER}")).await;
                pop3.ask(&format!("PASS {PASSWORD}")).await
            }
        };
        assert!(["235 ", "a1 O", "+OK "].contains(&&told[..4]), "{told}");
        time::pause();
        time::advance(Duration::from_secs(1900)).await;
        time::resume();
        let asked = || stage.sandbox.world().counters().token_requests_total();
        assert!(stage.client().await.log_in(USER, PASSWORD).await.starts_with("235 "));
        let all = async {
            while asked() < requests {
                task::yield_now().await;
            }
        };
        time::timeout(Duration::from_secs(20), all).await.expect("renewed at half its life");
        assert_eq!(asked(), requests, "{protocol}");
        ran += 1;
    }
    assert_eq!(ran, 3);
}
