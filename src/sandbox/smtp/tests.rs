//! The submission server over raw sockets: each reply against the sheet of observed texts.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::kit::{Raw, app_token, post, shape, start, start_2023, xoauth2};
use crate::sandbox::world::SmtpFault;
use crate::sandbox::world::contoso::{APP_ID, PASSWORD, PUBLIC_APP_ID, TENANT_DOMAIN};

const SUFFIX: &str = "[HOST ISO ID]";
const SCANNER: &str = "scanner@contoso.com";
const BAD: &str = "535 5.7.3 Authentication unsuccessful [HOST ISO ID]";

async fn user_token(sandbox: &crate::sandbox::Sandbox, user: &str) -> String {
    let form = format!(
        "grant_type=password&client_id={PUBLIC_APP_ID}&username={user}&password={PASSWORD}\
         &scope=https://outlook.office.com/SMTP.Send"
    );
    let answer = post(sandbox, TENANT_DOMAIN, "", &form).await.unwrap().json();
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_opening_is_as_observed() {
    let sandbox = start().await;
    let mut raw = Raw::dial(&sandbox).await;
    let greeting = raw.line().await;
    let (head, tail) = greeting.split_once(" ready at ").unwrap();
    assert_eq!(shape(head), "220 HOST Microsoft ESMTP MAIL Service");
    assert!(tail.contains(" +0000 [08DE") && tail.ends_with(']'), "{greeting}");
    assert_eq!(raw.ask("STARTTLS").await, format!("503 5.5.2 Send hello first {SUFFIX}"));
    let before = "250-HOST Hello [127.0.0.1]|250-SIZE 157286400|250-PIPELINING|250-DSN|\
                  250-ENHANCEDSTATUSCODES|250-STARTTLS|250-8BITMIME|250-BINARYMIME|250-CHUNKING|\
                  250 SMTPUTF8";
    assert_eq!(raw.ask("EHLO client.example").await, before);
    assert_eq!(raw.ask("STARTTLS").await, "220 2.0.0 SMTP server ready");
    let mut raw = raw.start_tls(&sandbox, "smtp.office365.com").await;
    let after = before.replace("STARTTLS", "AUTH LOGIN XOAUTH2");
    assert_eq!(raw.ask("ehlo [192.0.2.1]").await, after);
    assert_eq!(raw.ask("EHLO").await, after);
    assert_eq!(raw.ask("HELO x").await, "250 HOST Hello [127.0.0.1]");
}

#[tokio::test]
async fn the_older_profile_has_neither_ids_nor_times() {
    let sandbox = start_2023().await;
    let mut raw = Raw::dial(&sandbox).await;
    assert!(raw.line().await.ends_with(" +0000"));
    assert_eq!(raw.ask("FOO").await, "500 5.3.3 Unrecognized command 'FOO' [HOST]");
}

#[tokio::test]
async fn every_command_has_its_reply() {
    let sandbox = start().await;
    let clear = [
        ("MAIL FROM:<a@b.c>", "503 5.5.2 Send hello first [HOST ISO ID]"),
        ("EHLO bad.name..", "501 5.5.4 Invalid domain name [HOST ISO ID]"),
        ("HELO ...", "501 5.5.4 Invalid domain name [HOST ISO ID]"),
        ("EHLO good", ""),
        ("AUTH LOGIN", "504 5.7.4 Unrecognized authentication type [HOST ISO ID]"),
        ("AUTH XOAUTH2 x", "504 5.7.4 Unrecognized authentication type [HOST ISO ID]"),
        ("MAIL FROM:<a@b.c>", "530 5.7.57 Client not authenticated to send mail. [HOST ISO ID]"),
        ("XYZZY now", "500 5.3.3 Unrecognized command 'XYZZY' [HOST ISO ID]"),
        ("", "500 5.3.3 Unrecognized command '' [HOST ISO ID]"),
        ("noop", "250 2.0.0 OK"),
        ("RSET", "250 2.0.0 Resetting"),
        ("VRFY x", "252 2.1.5 Cannot VRFY user"),
        ("EXPN x", "502 5.3.3 Command not implemented [HOST ISO ID]"),
        ("DATA", "503 5.5.2 Need mail command [HOST ISO ID]"),
        ("RCPT TO:<a@b.c>", "503 5.5.2 Need mail command [HOST ISO ID]"),
    ];
    let mut raw = Raw::dial(&sandbox).await;
    raw.reply().await;
    let mut rows = 0;
    for (command, reply) in clear {
        let got = raw.ask(command).await;
        assert!(reply.is_empty() || got == reply, "{command}: {got}");
        rows += 1;
    }
    let secure = [
        ("AUTH PLAIN AGEAYg==", "504 5.7.4 Unrecognized authentication type [HOST ISO ID]"),
        ("AUTH", "504 5.7.4 Unrecognized authentication type [HOST ISO ID]"),
        ("AUTH XOAUTH2 !!!", BAD),
        ("AUTH XOAUTH2 eA==", BAD),
        ("STARTTLS", "503 5.5.2 Only one STARTTLS command can be issued per session [HOST ISO ID]"),
        ("auth login", "334 VXNlcm5hbWU6"),
        ("c2Nhbm5lckBjb250b3NvLmNvbQ==", "334 UGFzc3dvcmQ6"),
        (
            "eA==",
            "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [HOST ISO ID]",
        ),
        (
            "MAIL FROM:<a@b.c>",
            "530 5.7.57 Client not authenticated to send mail. Error: 535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [HOST ISO ID]",
        ),
        ("AUTH XOAUTH2", "334 "),
        ("*", BAD),
    ];
    let mut raw = Raw::secure(&sandbox).await;
    for (command, reply) in secure {
        assert_eq!(raw.ask(command).await, reply, "{command}");
        rows += 1;
    }
    let mut raw = Raw::logged_in(&sandbox, SCANNER).await;
    let member = [
        ("AUTH XOAUTH2 eA==", "503 5.5.2 Already authenticated [HOST ISO ID]"),
        ("MAIL FROM: scanner", "501 5.5.4 Invalid arguments [HOST ISO ID]"),
        ("MAIL FROM:<a@b.c> SIZE=x", "501 5.5.4 Invalid arguments [HOST ISO ID]"),
        (
            "MAIL FROM:<a@b.c> SIZE=157286401",
            "552 5.3.4 Message size exceeds fixed maximum message size [HOST ISO ID]",
        ),
        ("mail from:<a@b.c> size=157286400 BODY=BINARYMIME", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<a@b.c>", "503 5.5.2 Sender already specified [HOST ISO ID]"),
        ("DATA", "503 5.5.2 Need rcpt command [HOST ISO ID]"),
        ("RCPT TO:<>", "501 5.5.4 Invalid arguments [HOST ISO ID]"),
        ("RCPT TO: <a@b.c> NOTIFY=NEVER", "250 2.1.5 Recipient OK"),
        ("DATA", "503 5.5.2 BINARYMIME requires BDAT [HOST ISO ID]"),
        ("RSET", "250 2.0.0 Resetting"),
        ("DATA", "503 5.5.2 Need mail command [HOST ISO ID]"),
        ("QUIT", "221 2.0.0 Service closing transmission channel"),
    ];
    for (command, reply) in member {
        assert_eq!(raw.ask(command).await, reply, "{command}");
        rows += 1;
    }
    assert_eq!(rows, 15 + 11 + 13);
    assert_eq!(raw.line().await, "(closed)");
}

#[tokio::test]
async fn logins_are_decided_in_the_order_of_exchange() {
    let sandbox = start().await;
    let world = sandbox.world();
    let app = app_token(&sandbox).await;
    let user = user_token(&sandbox, SCANNER).await;
    let graph = {
        let form =
            crate::sandbox::kit::app_form().replace("outlook.office365.com", "graph.microsoft.com");
        let answer = post(&sandbox, TENANT_DOMAIN, "", &form).await.unwrap().json();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    world.directory(|directory| directory.app_mut(APP_ID).unwrap().roles.clear());
    let roleless = app_token(&sandbox).await;
    world.tune(|tuning| tuning.clock_offset = -7200);
    let expired = user_token(&sandbox, SCANNER).await;
    world.tune(|tuning| tuning.clock_offset = 0);
    let off = |whose: &str| {
        format!(
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the {whose}. Visit https://aka.ms/smtp_auth_disabled for more information. {SUFFIX}"
        )
    };
    let criteria = format!(
        "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator. {SUFFIX}"
    );
    let good = "235 2.7.0 Authentication successful".to_owned();
    let rows = [
        (SCANNER, &app, &good),
        ("SCANNER@Contoso.com", &app, &good),
        ("norights@contoso.com", &app, &good),
        (SCANNER, &user, &good),
        ("erp@contoso.com", &user, &BAD.to_owned()),
        (SCANNER, &graph, &BAD.to_owned()),
        (SCANNER, &roleless, &BAD.to_owned()),
        (SCANNER, &expired, &BAD.to_owned()),
        (SCANNER, &format!("{app}x"), &BAD.to_owned()),
        ("nobody@contoso.com", &app, &BAD.to_owned()),
        ("scanner@fabrikam.com", &app, &BAD.to_owned()),
        ("disabled@contoso.com", &app, &off("Mailbox")),
        ("disabled@contoso.com", &"rubbish".to_owned(), &off("Mailbox")),
        ("blocked@contoso.com", &app, &criteria),
    ];
    for (number, (mailbox, token, reply)) in rows.iter().enumerate() {
        let mut raw = Raw::secure(&sandbox).await;
        let inline = raw.ask(&format!("AUTH XOAUTH2 {}", xoauth2(mailbox, token))).await;
        assert_eq!(&inline, *reply, "row {number} {mailbox} inline");
        let mut raw = Raw::secure(&sandbox).await;
        assert_eq!(raw.ask("auth xoauth2").await, "334 ");
        assert_eq!(&raw.ask(&xoauth2(mailbox, token)).await, *reply, "row {number} in two steps");
    }
    let counters = world.counters();
    assert_eq!((rows.len(), counters.auth_inline, counters.auth_two_step), (14, 14, 14));
    assert_eq!((counters.auth_succeeded, counters.auth_failed), (8, 20));

    world.directory(|directory| {
        directory.tenants[0].smtp_auth_disabled = true;
        directory.mailbox_mut("erp@contoso.com").unwrap().smtp_auth_disabled = Some(false);
        directory.app_mut(APP_ID).unwrap().rbac_mailboxes.push("erp@contoso.com".to_owned());
    });
    let mut raw = Raw::secure(&sandbox).await;
    let reply = raw.ask(&format!("AUTH XOAUTH2 {}", xoauth2(SCANNER, &app))).await;
    assert_eq!(reply, off("Tenant"));
    let reply = raw.ask(&format!("AUTH XOAUTH2 {}", xoauth2("erp@contoso.com", &roleless))).await;
    assert_eq!(reply, good, "the mailbox's switch wins, and RBAC needs no role");
}

#[tokio::test]
async fn basic_authentication_works_where_the_tenant_still_allows_it() {
    let sandbox = start().await;
    sandbox.world().directory(|directory| directory.tenants[0].basic_auth = true);
    for (password, reply) in [
        (
            "wrong",
            format!(
                "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. {SUFFIX}"
            ),
        ),
        (PASSWORD, "235 2.7.0 Authentication successful".to_owned()),
    ] {
        let mut raw = Raw::secure(&sandbox).await;
        let ask = raw.ask(&format!("AUTH LOGIN {}", STANDARD.encode(SCANNER))).await;
        assert_eq!(ask, "334 UGFzc3dvcmQ6");
        assert_eq!(raw.ask(&STANDARD.encode(password)).await, reply);
    }
}

#[tokio::test]
async fn a_message_arrives_octet_for_octet() {
    let sandbox = start().await;
    let mut raw = Raw::logged_in(&sandbox, SCANNER).await;
    raw.ask("MAIL FROM:<scanner@contoso.com> SIZE=99 BODY=8BITMIME").await;
    raw.ask("RCPT TO:<x@example.net>").await;
    raw.ask("RCPT TO:<y@example.net>").await;
    raw.ask("DATA").await;
    raw.send(b"Message-ID: <1@x>\r\n\r\n..dot\r\n\xe9\x00 bare\n.\nlf\r\n...\r\n.\r\nNOOP\r\n")
        .await;
    assert_eq!(raw.reply().await, "250 2.0.0 OK <1@x> [Hostname=HOST]");
    assert_eq!(raw.reply().await, "250 2.0.0 OK", "pipelined behind the dot");
    let messages = sandbox.world().messages_at_least(1).await;
    let message = &messages[0];
    let expected = b"Message-ID: <1@x>\r\n\r\n.dot\r\n\xe9\x00 bare\n.\nlf\r\n..\r\n";
    assert_eq!(message.bytes, expected);
    assert_eq!(message.octets, expected.len() as u64);
    assert_eq!((message.mailbox.as_str(), message.from.as_str()), (SCANNER, SCANNER));
    assert_eq!(message.recipients, ["x@example.net", "y@example.net"]);
    assert_eq!(message.parameters, ["SIZE=99", "BODY=8BITMIME"]);
    assert!(!message.chunked);

    raw.ask("MAIL FROM:<scanner@contoso.com>").await;
    raw.send(b"BDAT 3\r\nabc").await;
    assert_eq!(raw.reply().await, format!("503 5.5.2 Need rcpt command {SUFFIX}"));
    raw.ask("RCPT TO:<x@example.net>").await;
    assert_eq!(raw.ask("BDAT 4\r\n.\r").await, "250 2.6.0 CHUNK received OK, 4 octets");
    raw.send(b"bdat 3 last\r\n\r\n.").await;
    assert!(raw.reply().await.starts_with("250 2.0.0 OK <"));
    let messages = sandbox.world().messages_at_least(2).await;
    assert_eq!(messages[1].bytes, b".\r\r\n\r\n.");
    assert!(messages[1].chunked);
    assert_eq!(raw.ask("BDAT 2 LAST\r\n").await, format!("503 5.5.2 Need mail command {SUFFIX}"));
    assert_eq!(raw.ask("BDAT x").await, format!("501 5.5.4 Invalid arguments {SUFFIX}"));
    assert_eq!(raw.line().await, "(closed)");
}

#[tokio::test]
async fn a_large_message_is_measured_but_not_kept_whole() {
    let sandbox = start().await;
    sandbox.world().tune(|tuning| {
        tuning.keep_octets = 100;
        tuning.size_limit = 3_000_000;
    });
    let mut raw = Raw::logged_in(&sandbox, SCANNER).await;
    let verdict = raw.message(SCANNER, &format!("A: b\r\n\r\n{}", "x".repeat(2_000_000))).await;
    assert!(verdict.starts_with("250 2.0.0 OK"), "{verdict}");
    let message = sandbox.world().messages().remove(0);
    assert_eq!((message.bytes.len(), message.octets), (100, 2_000_010));
    let verdict = raw.message(SCANNER, &"x\r\n".repeat(1_000_001)).await;
    assert_eq!(
        verdict,
        "552 5.3.4 Message size exceeds fixed maximum message size [Hostname=HOST]"
    );
    let verdict = raw.message(SCANNER, &"A: b\r\n".repeat(60_000)).await;
    assert_eq!(verdict, "552 5.3.4 Header size exceeds fixed maximum size [Hostname=HOST]");
}

#[tokio::test]
async fn rights_and_limits_show_at_the_end_of_data() {
    let sandbox = start().await;
    let world = sandbox.world();
    let mut raw = Raw::logged_in(&sandbox, "norights@contoso.com").await;
    let verdict = raw.message("norights@contoso.com", "a").await;
    assert!(verdict.starts_with("430 4.2.0 STOREDRV; mailbox logon failure; STOREDRV.Submission.Exception:ConnectionFailedTransientException.MapiExceptionLogonFailed; Failed to process message due to a transient exception with message [BeginDiagnosticData]Cannot open mailbox. Server = AM9PR"), "{verdict}");

    let mut raw = Raw::logged_in(&sandbox, SCANNER).await;
    for (from, message) in
        [("boss@contoso.com", "a"), (SCANNER, "From: Boss <boss@contoso.com>\r\n\r\na")]
    {
        let verdict = raw.message(from, message).await;
        assert!(verdict.starts_with("554 5.2.252 SendAsDenied; scanner@contoso.com not allowed to send as boss@contoso.com; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception with message [BeginDiagnosticData]Cannot submit message. 0.35250:"), "{verdict}");
        assert!((1000..2000).contains(&verdict.len()), "{}", verdict.len());
        assert!(verdict.ends_with("[EndDiagnosticData] [Hostname=HOST]"), "{verdict}");
    }
    let mut erp = Raw::logged_in(&sandbox, "erp@contoso.com").await;
    assert!(erp.message("invoices@contoso.com", "a").await.starts_with("250 2.0.0 OK"));
    assert!(erp.message("", "a").await.starts_with("250 2.0.0 OK"), "the null path");

    let mut second = Raw::logged_in(&sandbox, SCANNER).await;
    let mut third = Raw::logged_in(&sandbox, SCANNER).await;
    let mut fourth = Raw::logged_in(&sandbox, SCANNER).await;
    let surplus = "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information. [Hostname=HOST]";
    assert_eq!(fourth.message(SCANNER, "a").await, surplus);
    for allowed in [&mut raw, &mut second, &mut third] {
        assert!(allowed.message(SCANNER, "a").await.starts_with("250 2.0.0 OK"));
    }
    let open = world.counters().smtp_open;
    third.ask("QUIT").await;
    world.counters_when(|counters| counters.smtp_open < open).await;
    assert!(fourth.message(SCANNER, "a").await.starts_with("250 2.0.0 OK"), "a place is free");

    world.directory(|directory| directory.mailbox_mut(SCANNER).unwrap().full = true);
    assert!(raw.message(SCANNER, "a").await.starts_with("554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded"));
    world.directory(|directory| directory.mailbox_mut(SCANNER).unwrap().quota_exceeded = true);
    assert!(
        raw.message(SCANNER, "a").await.starts_with(
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"
        )
    );
    assert_eq!(world.counters().messages, 6);
}

#[tokio::test]
async fn refusals_wait_and_silence_ends() {
    let sandbox = start().await;
    sandbox.world().tune(|tuning| {
        tuning.tarpit = Duration::from_millis(120);
        tuning.idle = Duration::from_millis(600);
    });
    let mut raw = Raw::secure(&sandbox).await;
    for command in ["AUTH XOAUTH2 eA==", "XYZZY", "EHLO .."] {
        let asked = Instant::now();
        assert!(raw.ask(command).await.starts_with('5'));
        assert!(asked.elapsed() >= Duration::from_millis(120), "{command}");
    }
    let timeout = format!("451 4.7.0 Timeout waiting for client input {SUFFIX}");
    assert_eq!(raw.reply().await, timeout);
    assert_eq!(raw.line().await, "(closed)");
}

#[tokio::test]
async fn odd_input_ends_no_worse_than_the_session() {
    let sandbox = start().await;
    let mut raw = Raw::dial(&sandbox).await;
    raw.reply().await;
    raw.send(&vec![b'x'; 70_000]).await;
    assert_eq!(raw.reply().await, format!("500 5.5.2 Line too long {SUFFIX}"));
    assert_eq!(raw.line().await, "(closed)");
    for odd in [
        &b"\xff\xfe\r\n"[..],
        b"\r\n",
        b" \r\n",
        b"MAIL\r\n",
        b"AUTH  \r\n",
        b"EHLO \xc3\r\n",
        b"MAIL FRO\xc3\xa9<\r\n",
        b"BDAT\r\n",
    ] {
        let mut raw = Raw::dial(&sandbox).await;
        raw.reply().await;
        raw.send(odd).await;
        assert!(raw.reply().await.starts_with('5'), "{odd:?}");
    }
}

#[tokio::test]
async fn faults_before_and_around_tls() {
    let sandbox = start().await;
    let world = sandbox.world();
    world.arm_times(SmtpFault::DropOnConnect, 1);
    assert_eq!(Raw::dial(&sandbox).await.line().await, "(closed)");
    world.arm_times(SmtpFault::ServiceNotAvailable, 1);
    assert_eq!(Raw::dial(&sandbox).await.line().await, "421 4.3.2 Service not available");
    world.arm_times(SmtpFault::BannerByteByByte, 1);
    assert!(Raw::dial(&sandbox).await.reply().await.starts_with("220 HOST "));
    world.arm_times(SmtpFault::BannerDelayed(Duration::from_millis(100)), 1);
    let dialled = Instant::now();
    assert!(Raw::dial(&sandbox).await.reply().await.starts_with("220 "));
    assert!(dialled.elapsed() >= Duration::from_millis(100));

    world.arm_times(SmtpFault::NoStartTls, 1);
    let mut raw = Raw::dial(&sandbox).await;
    raw.reply().await;
    assert!(!raw.ask("EHLO x").await.contains("STARTTLS"));
    assert!(raw.ask("STARTTLS").await.starts_with("500 5.3.3 "));
    world.arm_times(SmtpFault::MangledStartTls, 1);
    let mut raw = Raw::dial(&sandbox).await;
    raw.reply().await;
    assert!(raw.ask("EHLO x").await.contains("|250-XXXXXXXA|"));
    world.arm_times(SmtpFault::BytesBehindStartTls, 1);
    let mut raw = Raw::dial(&sandbox).await;
    raw.reply().await;
    world.arm_times(SmtpFault::EhloSplit, 1);
    assert!(raw.ask("EHLO x").await.contains("|250-STARTTLS|"));
    assert_eq!(raw.ask("STARTTLS").await, "220 2.0.0 SMTP server ready");
    assert_eq!(raw.line().await, "250 injected in clear");
}

#[tokio::test]
async fn faults_of_login_and_message() {
    let sandbox = start().await;
    let world = sandbox.world();
    let token = app_token(&sandbox).await;
    let auth = format!("AUTH XOAUTH2 {}", xoauth2(SCANNER, &token));
    let good = "235 2.7.0 Authentication successful";
    let mut raw = Raw::secure(&sandbox).await;
    world.arm_times(SmtpFault::BarePrompt, 1);
    assert_eq!(raw.ask("AUTH XOAUTH2").await, "334");
    world.arm_times(SmtpFault::RejectToken, 2);
    assert_eq!(raw.ask(&xoauth2(SCANNER, &token)).await, BAD);
    world.arm_times(SmtpFault::ErrorChallenge, 1);
    let challenge = raw.ask(&auth).await;
    let json = STANDARD.decode(challenge.strip_prefix("334 ").unwrap()).unwrap();
    assert!(json.starts_with(b"{\"status\":\"401\""));
    assert_eq!(raw.ask("").await, BAD);
    world.arm_times(SmtpFault::TemporaryAuthFailure, 1);
    assert_eq!(raw.ask(&auth).await, "454 4.7.0 Temporary authentication failure");
    world.arm(SmtpFault::ShortAuthLines);
    assert!(auth.len() > 2048);
    assert_eq!(
        raw.ask(&auth).await,
        "535 5.7.8 Error: authentication failed: Invalid base64 data in initial response"
    );
    assert_eq!(raw.ask("AUTH XOAUTH2").await, "334 ");
    assert_eq!(raw.ask(&xoauth2(SCANNER, &token)).await, good);
    world.disarm();

    world.arm_times(SmtpFault::TemporaryServerError, 1);
    let reply = raw.ask("MAIL FROM:<scanner@contoso.com>").await;
    assert_eq!(reply, "451 4.7.0 Temporary server error. Please try again later. PRX2");
    world.arm_times(SmtpFault::DropAfterData, 1);
    assert_eq!(raw.message(SCANNER, "a").await, "(closed)");
    let mut raw = Raw::logged_in(&sandbox, SCANNER).await;
    world.arm_times(SmtpFault::CloseMidData, 1);
    assert_eq!(raw.message(SCANNER, "a").await, "421 4.3.2 Service not active");
    assert_eq!(raw.line().await, "(closed)");
    world.arm_times(SmtpFault::DropOnAuth, 1);
    let mut raw = Raw::secure(&sandbox).await;
    assert_eq!(raw.ask(&auth).await, "(closed)");
    assert!(world.messages().is_empty());
}
