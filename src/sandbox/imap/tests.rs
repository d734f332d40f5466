//! The IMAP server over raw sockets: each reply against the sheet of observed texts.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sandbox::Sandbox;
use crate::sandbox::kit::{Raw, app_token, start, start_2023, user_token, xoauth2};
use crate::sandbox::world::contoso::{APP_ID, APP_ROLES, SHARED_MAILBOX};
use crate::sandbox::world::{Flags, ImapEnd, ImapFault};

const SCANNER: &str = "scanner@contoso.com";
const GOOD: &str = "a OK AUTHENTICATE completed.";
const FAILED: &str = "a NO AUTHENTICATE failed.";
const THROTTLED: &str = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
const EXPIRED: &str = "* BYE Session invalidated - AccessTokenExpired";

async fn greeted(sandbox: &Sandbox) -> Raw {
    let mut raw = Raw::imap(sandbox).await;
    assert!(raw.line().await.starts_with("* OK "));
    raw
}

/// The lines up to the tagged end of a command, joined by `|`.
async fn ask(raw: &mut Raw, command: &str) -> String {
    raw.send(format!("a {command}\r\n").as_bytes()).await;
    raw.lines_until(|line| line.starts_with("a ")).await
}

async fn auth(raw: &mut Raw, mailbox: &str, token: &str) -> String {
    ask(raw, &format!("AUTHENTICATE XOAUTH2 {}", xoauth2(mailbox, token))).await
}

async fn logged_in(sandbox: &Sandbox, mailbox: &str) -> Raw {
    let token = app_token(sandbox).await;
    let mut raw = greeted(sandbox).await;
    assert_eq!(auth(&mut raw, mailbox, &token).await, GOOD);
    raw
}

async fn selected(sandbox: &Sandbox) -> Raw {
    let mut raw = logged_in(sandbox, SCANNER).await;
    assert!(ask(&mut raw, "SELECT INBOX").await.ends_with("a OK [READ-WRITE] SELECT completed."));
    raw
}

/// Runs each command; its answer must be what stands beside it.
async fn play(raw: &mut Raw, rows: &[(&str, &str)]) {
    for (command, answer) in rows {
        assert_eq!(ask(raw, command).await, *answer, "{command}");
    }
}

#[tokio::test]
async fn both_generations_open_as_observed() {
    let tail =
        "UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+|a OK CAPABILITY completed.";
    let rows = [
        (
            start_2023().await,
            "* OK The Microsoft Exchange IMAP4 service is ready. [",
            "AUTH=PLAIN AUTH=XOAUTH2",
            "a NO LOGIN failed.",
            "+ ",
            "* BYE Microsoft Exchange Server 2016 IMAP4 server signing off.|a OK LOGOUT completed.",
        ),
        (
            start().await,
            "* OK Microsoft Exchange IMAP4 service ready. ",
            "AUTH=XOAUTH2 LOGINDISABLED",
            "a NO Basic authentication is disabled.",
            "a NO Basic authentication is disabled.",
            "* BYE Microsoft Exchange Server IMAP4 server signing off.|a OK LOGOUT completed.",
        ),
    ];
    let count = rows.len();
    for (sandbox, greeting, login, refusal, plain, bye) in rows {
        let mut raw = Raw::imap(&sandbox).await;
        let line = raw.line().await;
        let (head, tag) = line.rsplit_once('[').unwrap();
        assert!(line.starts_with(greeting), "{line}");
        if login.ends_with("DISABLED") {
            assert!(head.ends_with(" (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) "), "{line}");
        }
        let host = STANDARD.decode(tag.strip_suffix(']').unwrap()).unwrap();
        assert!(host.len() > 40 && host.chunks(2).all(|pair| pair[1] == 0), "{line}");
        let capabilities = format!("* CAPABILITY IMAP4 IMAP4rev1 {login} SASL-IR {tail}");
        assert_eq!(ask(&mut raw, "capability").await, capabilities);
        let logins = [
            "LOGIN scanner@contoso.com \"stupid \\\"password\"",
            "LOGIN {7+}\r\nscanner {15+}\r\nstupid-password",
        ];
        for form in logins {
            assert_eq!(ask(&mut raw, form).await, refusal, "{form}");
        }
        assert_eq!(raw.say("a AUTHENTICATE PLAIN").await, plain);
        if plain == "+ " {
            assert_eq!(raw.say("AHN0dXBpZA==").await, FAILED);
        }
        play(
            &mut raw,
            &[
                ("NOOP", "a OK NOOP completed."),
                ("SELECT INBOX", "a BAD Command received in Invalid state."),
                ("XYZZY", "a BAD Command Error. 10"),
                ("STARTTLS", "a BAD Command Error. 10"),
                ("LOGIN x", "a BAD Command Argument Error. 11"),
                ("NOOP x", "a BAD Command Argument Error. 11"),
                ("AUTHENTICATE CRAM-MD5", FAILED),
                ("LOGOUT", bye),
            ],
        )
        .await;
        assert_eq!(raw.line().await, "(closed)");
        let transcript = format!("{:?}", sandbox.world().transcript());
        assert!(!transcript.contains("stupid") && !transcript.contains("AHN0"), "{transcript}");
        sandbox.world().counters_when(|counters| counters.imap_open == 0).await;
        assert_eq!(sandbox.world().counters().imap_sessions, 1);
    }
    assert_eq!(count, 2);
}

#[tokio::test]
async fn logins_are_decided_by_token_and_rights() {
    let (old, new) = (start_2023().await, start().await);
    let mut rows_run = 0;
    for sandbox in [&old, &new] {
        let world = sandbox.world();
        let app = app_token(sandbox).await;
        let erp = user_token(sandbox, "erp@contoso.com").await;
        let scanner = user_token(sandbox, SCANNER).await;
        world.directory(|directory| directory.app_mut(APP_ID).unwrap().roles.remove(1));
        let roleless = app_token(sandbox).await;
        let roles = APP_ROLES.map(str::to_owned).to_vec();
        world.directory(|directory| directory.app_mut(APP_ID).unwrap().roles = roles);
        let is_old = std::ptr::eq(sandbox, &raw const old);
        let not_connected = "a NO User is authenticated but not connected.";
        let not_connected = if is_old { GOOD } else { not_connected };
        let throttled = format!("a NO {THROTTLED}");
        let rows = [
            (SCANNER, &app, GOOD),
            (SCANNER, &scanner, GOOD),
            (SHARED_MAILBOX, &app, GOOD),
            (SHARED_MAILBOX, &erp, GOOD),
            ("disabled@contoso.com", &app, GOOD),
            (SHARED_MAILBOX, &scanner, not_connected),
            ("norights@contoso.com", &app, not_connected),
            ("smtponly@contoso.com", &app, not_connected),
            (SCANNER, &roleless, FAILED),
            (SCANNER, &format!("{app}x"), FAILED),
            ("blocked@contoso.com", &app, FAILED),
            ("nobody@contoso.com", &app, FAILED),
            ("unavailable@contoso.com", &app, "a NO Server Unavailable. 15"),
            ("throttled@contoso.com", &app, &throttled),
        ];
        for (number, (mailbox, token, verdict)) in rows.iter().enumerate() {
            let mut raw = greeted(sandbox).await;
            assert_eq!(auth(&mut raw, mailbox, token).await, *verdict, "row {number} inline");
            let mut raw = greeted(sandbox).await;
            assert_eq!(raw.say("a AUTHENTICATE XOAUTH2").await, "+ ");
            assert_eq!(raw.say(&xoauth2(mailbox, token)).await, *verdict, "row {number}");
            rows_run += 1;
        }
        let counters = world.counters();
        assert_eq!((counters.imap_auth_inline, counters.imap_auth_two_step), (14, 14));
        let succeeded = if is_old { 16 } else { 10 };
        assert_eq!(counters.imap_auth_succeeded, succeeded);
        assert_eq!(counters.imap_auth_failed, 28 - succeeded);
    }
    assert_eq!(rows_run, 28);
    let mut raw = logged_in(&old, "norights@contoso.com").await;
    assert!(ask(&mut raw, "CAPABILITY").await.contains(" BACKENDAUTHENTICATE "));
    let answer = ask(&mut raw, "LIST \"\" *").await;
    assert_eq!(answer, "a BAD User is authenticated but not connected.");
    assert_eq!(raw.line().await, "* BYE Connection closed. 14");
    assert_eq!(raw.line().await, "(closed)");
}

#[tokio::test]
async fn folders_are_listed_made_and_changed() {
    let sandbox = start().await;
    sandbox.world().put(SCANNER, "Drafts", "x");
    let mut raw = logged_in(&sandbox, SCANNER).await;
    let rows = [
        ("NAMESPACE", "* NAMESPACE ((\"\" \"/\")) NIL NIL|a OK NAMESPACE completed."),
        ("LIST \"\" \"\"", "* LIST (\\Noselect) \"/\" \"\"|a OK LIST completed."),
        ("LIST \"\" %nt%", "* LIST (\\HasNoChildren) \"/\" \"Sent Items\"|a OK LIST completed."),
        ("CREATE Bills/2026", "a OK CREATE completed."),
        ("CREATE {5+}\r\nBills", "a NO The mailbox already exists."),
        (
            "LIST \"\" Bills*",
            "* LIST (\\HasChildren) \"/\" Bills|* LIST (\\HasNoChildren) \"/\" Bills/2026|a OK LIST completed.",
        ),
        ("LIST Bills/ %", "* LIST (\\HasNoChildren) \"/\" Bills/2026|a OK LIST completed."),
        ("RENAME Bills Paid", "a OK RENAME completed."),
        ("UNSUBSCRIBE Paid/2026", "a OK UNSUBSCRIBE completed."),
        ("LSUB \"\" Paid*", "* LSUB (\\HasChildren) \"/\" Paid|a OK LSUB completed."),
        ("SUBSCRIBE Paid/2026", "a OK SUBSCRIBE completed."),
        ("SUBSCRIBE none", "a NO The mailbox doesn't exist."),
        ("DELETE Paid", "a NO The mailbox can't be changed."),
        ("DELETE Paid/2026", "a OK DELETE completed."),
        ("DELETE INBOX", "a NO The mailbox can't be changed."),
        ("STATUS none (MESSAGES)", "a NO The mailbox doesn't exist."),
        ("STATUS INBOX (XYZ)", "a BAD Command Argument Error. 11"),
        (
            "STATUS drafts (MESSAGES UNSEEN RECENT UIDNEXT)",
            "* STATUS Drafts (MESSAGES 1 UNSEEN 1 RECENT 0 UIDNEXT 2)|a OK STATUS completed.",
        ),
        ("FETCH 1 FLAGS", "a BAD Command received in Invalid state."),
        ("SELECT none", "a NO The mailbox doesn't exist."),
        ("LIST", "a BAD Command Argument Error. 11"),
        ("AUTHENTICATE XOAUTH2 x", "a BAD Command received in Invalid state."),
    ];
    play(&mut raw, &rows).await;
    assert_eq!(rows.len(), 22);
    let flags = "\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent";
    let answer = ask(&mut raw, "SELECT \"Drafts\"").await;
    let validity = answer.split(['[', ']']).find(|code| code.starts_with("UIDVALIDITY")).unwrap();
    assert_eq!(
        answer,
        format!(
            "* 1 EXISTS|* 0 RECENT|* FLAGS ({flags})|* OK [PERMANENTFLAGS ({flags})] Permanent flags|\
             * OK [UNSEEN 1] Is the first unseen message|* OK [{validity}] UIDVALIDITY value|\
             * OK [UIDNEXT 2] The next unique identifier value|a OK [READ-WRITE] SELECT completed."
        )
    );
    let answer = ask(&mut raw, "EXAMINE INBOX").await;
    assert!(answer.ends_with("a OK [READ-ONLY] EXAMINE completed."), "{answer}");
    assert_eq!(ask(&mut raw, "UNSELECT").await, "a OK UNSELECT completed.");
    let id = ask(&mut raw, "ID (\"name\" \"x\")").await;
    assert!(id.starts_with("* ID (\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\""), "{id}");
}

#[tokio::test]
async fn messages_are_fetched_flagged_moved_and_removed() {
    let sandbox = start().await;
    let world = sandbox.world();
    for number in 1..=3 {
        world.put(SCANNER, "INBOX", format!("Subject: {number}\r\n\r\nbody {number}\r\n"));
    }
    let mut raw = selected(&sandbox).await;
    let rows = [
        ("FETCH 1:2 FLAGS", "* 1 FETCH (FLAGS ())|* 2 FETCH (FLAGS ())|a OK FETCH completed."),
        ("UID FETCH 3 RFC822.SIZE", "* 3 FETCH (UID 3 RFC822.SIZE 22)|a OK FETCH completed."),
        (
            "FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject)]",
            "* 1 FETCH (BODY[HEADER.FIELDS (Subject)] {14}|Subject: 1||)|a OK FETCH completed.",
        ),
        (
            "FETCH 1 (BODY[]<0.7>)",
            "* 1 FETCH (BODY[]<0> {7}|Subject FLAGS (\\Seen))|a OK FETCH completed.",
        ),
        ("FETCH 9 FLAGS", "a BAD The specified message set is invalid."),
        ("UID FETCH 9 FLAGS", "a OK FETCH completed."),
        ("FETCH 1 XYZ", "a BAD Command Argument Error. 11"),
        ("FETCH", "a BAD Command Argument Error. 11"),
        (
            "STORE 2 +FLAGS (\\Flagged $Forwarded)",
            "* 2 FETCH (FLAGS (\\Flagged))|a OK STORE completed.",
        ),
        ("STORE 2 -FLAGS.SILENT \\Flagged", "a OK STORE completed."),
        (
            "UID STORE 2 FLAGS (\\Deleted)",
            "* 2 FETCH (UID 2 FLAGS (\\Deleted))|a OK STORE completed.",
        ),
        ("SEARCH UNSEEN", "* SEARCH 2 3|a OK SEARCH completed."),
        ("UID SEARCH BODY \"BODY 3\"", "* SEARCH 3|a OK SEARCH completed."),
        ("SEARCH XYZZY", "a BAD Command Argument Error. 11"),
        (
            "SEARCH CHARSET KOI8-R ALL",
            "a NO [BADCHARSET (US-ASCII UTF-8)] The specified charset is not supported.",
        ),
        ("UID EXPUNGE 1", "a OK EXPUNGE completed."),
        ("EXPUNGE", "* 2 EXPUNGE|a OK EXPUNGE completed."),
        ("FETCH 2 UID", "* 2 FETCH (UID 3)|a OK FETCH completed."),
        ("COPY 1 none", "a NO [TRYCREATE] The mailbox doesn't exist."),
        ("CHECK", "a OK CHECK completed."),
    ];
    play(&mut raw, &rows).await;
    assert_eq!(rows.len(), 20);
    let answer = ask(&mut raw, "COPY 1:2 Archive").await;
    assert!(answer.starts_with("a OK [COPYUID ") && answer.ends_with(" 1,3 1,2] COPY completed."));
    let answer = ask(&mut raw, "UID MOVE 1 \"Deleted Items\"").await;
    assert!(answer.starts_with("* OK [COPYUID ") && answer.contains(" 1 1]|* 1 EXPUNGE|a OK MOVE"));
    assert_eq!(world.folder(SCANNER, "Archive")[0].flags, Flags::SEEN);
    assert_eq!(world.folder(SCANNER, "Deleted Items").len(), 1);
    assert_eq!(ask(&mut raw, "STORE 1 FLAGS.SILENT (\\Deleted)").await, "a OK STORE completed.");
    assert_eq!(ask(&mut raw, "CLOSE").await, "a OK CLOSE completed.");
    assert!(world.folder(SCANNER, "INBOX").is_empty());
    ask(&mut raw, "EXAMINE Archive").await;
    assert!(ask(&mut raw, "STORE 1 FLAGS ()").await.starts_with("a NO "));
    assert!(ask(&mut raw, "FETCH 2 BODY[TEXT]").await.contains("body 3"));
    assert_eq!(world.folder(SCANNER, "Archive")[1].flags, Flags::NONE, "read-only");
}

#[tokio::test]
async fn literals_come_in_every_form_and_size() {
    let sandbox = start().await;
    let world = sandbox.world();
    let mut raw = logged_in(&sandbox, SCANNER).await;
    assert_eq!(raw.say("a APPEND {5}").await, "+ Ready for additional command text.");
    raw.send(b"INB").await;
    raw.send(b"OX (\\Seen \\Draft) \" 1-Jan-2026 00:00:00 +0000\" {6}\r").await;
    raw.send(b"\n").await;
    assert_eq!(raw.line().await, "+ Ready for additional command text.");
    raw.send(b"A: b\r").await;
    raw.send(b"\n\r\n").await;
    let answer = raw.line().await;
    assert!(answer.starts_with("a OK [APPENDUID ") && answer.ends_with(" 1] APPEND completed."));
    let stored = world.folder_at_least(SCANNER, "INBOX", 1).await.remove(0);
    assert_eq!((stored.date, &*stored.bytes), (1_767_225_600, &b"A: b\r\n"[..]));
    assert_eq!(stored.flags.to_string(), "\\Seen \\Draft");
    let answer = ask(&mut raw, "APPEND none {1+}\r\nx").await;
    assert_eq!(answer, "a NO [TRYCREATE] The mailbox doesn't exist.");
    world.tune(|tuning| tuning.size_limit = 100_000);
    let large =
        ask(&mut raw, &format!("APPEND INBOX {{100000+}}\r\n{}", "x".repeat(100_000))).await;
    assert!(large.starts_with("a OK "), "{large}");
    let too_big = "a NO [TOOBIG] The message exceeds the maximum size.";
    assert_eq!(ask(&mut raw, "APPEND INBOX {100001}").await, too_big);
    let too_long = "a BAD Command Argument Error. 12";
    assert_eq!(ask(&mut raw, "SELECT {99999999999999999999999}").await, too_long);
    assert_eq!(ask(&mut raw, "APPEND INBOX {100001+}").await, too_big);
    assert_eq!(raw.line().await, "(closed)", "its literal would follow");
    let mut raw = greeted(&sandbox).await;
    assert_eq!(ask(&mut raw, "APPEND INBOX {99999}").await, too_big, "before the login");
    raw.send(&vec![b'x'; 70_000]).await;
    assert_eq!(raw.line().await, "* BYE Connection closed. 14");
    for odd in [&b"\r\n"[..], b" \r\n", b"* x\r\n", b"\xff\xfe\r\n", b"a\r\n", b"a UID\r\n"] {
        let mut raw = greeted(&sandbox).await;
        raw.send(odd).await;
        assert!(raw.line().await.ends_with("BAD Command Error. 10"), "{odd:?}");
    }
}

#[tokio::test]
async fn idle_hears_of_mail_at_once() {
    let sandbox = start().await;
    let world = sandbox.world();
    world.put(SCANNER, "INBOX", "x");
    let mut raw = selected(&sandbox).await;
    assert_eq!(raw.say("a IDLE").await, "+ IDLE accepted, awaiting DONE command.");
    assert_eq!(world.counters().imap_idling, 1);
    world.put("erp@contoso.com", "INBOX", "not this one");
    world.put(SCANNER, "INBOX", "y");
    assert_eq!(raw.line().await, "* 2 EXISTS");
    world.set_flags(SCANNER, "INBOX", 2, Flags::SEEN);
    assert_eq!(raw.line().await, "* 2 FETCH (FLAGS (\\Seen))");
    world.remove(SCANNER, "INBOX", 1);
    assert_eq!(raw.line().await, "* 1 EXPUNGE");
    let mut sender = Raw::logged_in(&sandbox, "erp@contoso.com").await;
    sender.ask("MAIL FROM:<erp@contoso.com>").await;
    sender.ask("RCPT TO:<Scanner@contoso.com>").await;
    sender.ask("DATA").await;
    sender.ask("Subject: z\r\n\r\nz\r\n.").await;
    assert_eq!(raw.line().await, "* 2 EXISTS", "submitted mail is delivered");
    assert_eq!(raw.say("DONE").await, "a OK IDLE completed.");
    world.counters_when(|counters| counters.imap_idling == 0).await;
    let mut other = selected(&sandbox).await;
    ask(&mut other, "STORE 1 FLAGS (\\Deleted)").await;
    assert_eq!(ask(&mut other, "EXPUNGE").await, "* 1 EXPUNGE|a OK EXPUNGE completed.");
    let quiet = ask(&mut raw, "FETCH 2 UID").await;
    assert_eq!(quiet, "* 2 FETCH (UID 3)|a OK FETCH completed.", "numbers stay");
    assert_eq!(ask(&mut raw, "NOOP").await, "* 1 EXPUNGE|a OK NOOP completed.");
}

#[tokio::test]
async fn sessions_end_as_exchange_ends_them() {
    let sandbox = start().await;
    let world = sandbox.world();
    let rows = [
        (ImapEnd::TokenExpired, EXPIRED),
        (ImapEnd::Idle, "* BYE Connection is closed. 13"),
        (ImapEnd::Error, "* BYE Connection closed. 14"),
        (ImapEnd::Silent, "(closed)"),
    ];
    for (end, bye) in rows {
        let mut idle = selected(&sandbox).await;
        idle.say("a IDLE").await;
        let mut waiting = logged_in(&sandbox, SCANNER).await;
        let mut stranger = greeted(&sandbox).await;
        world.end_imap_sessions(end);
        for raw in [&mut idle, &mut waiting] {
            assert_eq!(raw.line().await, bye);
            assert_eq!(raw.line().await, "(closed)");
        }
        assert_eq!(ask(&mut stranger, "NOOP").await, "a OK NOOP completed.");
    }
    assert_eq!(rows.len(), 4);
    let mut late = logged_in(&sandbox, SCANNER).await;
    assert_eq!(ask(&mut late, "NOOP").await, "a OK NOOP completed.", "what is past is past");
    world.tune(|tuning| tuning.token_life = Some(Duration::from_secs(2)));
    let mut raw = selected(&sandbox).await;
    raw.say("a IDLE").await;
    assert_eq!(raw.line().await, EXPIRED);
    world.tune(|tuning| {
        tuning.token_life = None;
        tuning.clock_offset = 7200;
    });
    assert_eq!(late.say("a NOOP").await, "a OK NOOP completed.");
    assert_eq!(late.line().await, EXPIRED, "by the clock of Microsoft");
    world.tune(|tuning| {
        tuning.clock_offset = 0;
        tuning.imap_idle = Duration::from_millis(300);
    });
    let mut raw = selected(&sandbox).await;
    raw.say("a IDLE").await;
    world.put(SCANNER, "INBOX", "x");
    assert_eq!(raw.line().await, "* 1 EXISTS");
    assert_eq!(raw.line().await, "* BYE Connection is closed. 13");
    world.tune(|tuning| tuning.login_idle = Duration::from_millis(50));
    assert_eq!(greeted(&sandbox).await.line().await, "* BYE Connection is closed. 13");
}

#[tokio::test]
async fn faults_before_and_at_the_login() {
    let sandbox = start().await;
    let world = sandbox.world();
    let token = app_token(&sandbox).await;
    world.arm_times(ImapFault::BannerByteByByte, 1);
    greeted(&sandbox).await;
    world.arm_times(ImapFault::BannerDelayed(Duration::from_millis(100)), 1);
    let dialled = Instant::now();
    greeted(&sandbox).await;
    assert!(dialled.elapsed() >= Duration::from_millis(100));
    world.arm_times(ImapFault::Preauth, 1);
    assert!(Raw::imap(&sandbox).await.line().await.starts_with("* PREAUTH "));
    world.arm_times(ImapFault::ByeGreeting, 1);
    let mut raw = Raw::imap(&sandbox).await;
    assert_eq!(raw.line().await, "* BYE Connection is closed. 13");
    assert_eq!(raw.line().await, "(closed)");
    world.arm_times(ImapFault::DropOnAuth, 1);
    assert_eq!(auth(&mut greeted(&sandbox).await, SCANNER, &token).await, "(closed)");
    world.arm_times(ImapFault::NoSaslIr, 1);
    let mut raw = greeted(&sandbox).await;
    assert!(!ask(&mut raw, "CAPABILITY").await.contains("SASL-IR"));
    let inline = auth(&mut raw, SCANNER, &token).await;
    assert_eq!(inline, "a BAD Command Argument Error. 11");
    world.arm_times(ImapFault::BarePrompt, 1);
    assert_eq!(raw.say("a AUTHENTICATE XOAUTH2").await, "+");
    world.arm_times(ImapFault::RejectToken, 1);
    world.arm_times(ImapFault::ErrorChallenge, 1);
    let challenge = raw.say(&xoauth2(SCANNER, &token)).await;
    let json = STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap();
    assert!(json.starts_with(b"{\"status\":\"401\""));
    assert_eq!(raw.say("").await, FAILED);
    assert_eq!(raw.say("a AUTHENTICATE XOAUTH2").await, "+ ");
    assert_eq!(raw.say("*").await, FAILED);
    let throttled = format!("a NO {THROTTLED}");
    let rows = [
        (ImapFault::RejectToken, FAILED),
        (ImapFault::ServerUnavailable, "a NO Server Unavailable. 15"),
        (ImapFault::ThrottledAuth, &throttled),
        (ImapFault::NotConnected, "a NO User is authenticated but not connected."),
        (
            ImapFault::UntaggedBeforeReply,
            "* OK Still here|* CAPABILITY IMAP4 IMAP4rev1|a OK AUTHENTICATE completed.",
        ),
    ];
    for (fault, verdict) in &rows {
        world.arm_times(fault.clone(), 1);
        let mut raw = greeted(&sandbox).await;
        assert_eq!(auth(&mut raw, SCANNER, &token).await, *verdict, "{fault:?}");
        match fault {
            ImapFault::ThrottledAuth => {
                assert_eq!(raw.line().await, "* BYE Connection closed. 14");
            }
            ImapFault::UntaggedBeforeReply => {}
            _ => assert_eq!(auth(&mut raw, SCANNER, &token).await, GOOD, "the session goes on"),
        }
    }
    assert_eq!(rows.len(), 5);
    world.arm_times(ImapFault::ByeAfterRefusal, 1);
    let mut raw = greeted(&sandbox).await;
    assert_eq!(ask(&mut raw, "LOGIN a b").await, "a NO Basic authentication is disabled.");
    assert!(raw.line().await.starts_with("* BYE "));
    assert_eq!(raw.line().await, "(closed)");
}

#[tokio::test]
async fn faults_behind_the_login() {
    let sandbox = start().await;
    let world = sandbox.world();
    world.put(SCANNER, "INBOX", "Subject: x\r\n\r\nbody\r\n");
    let mut raw = selected(&sandbox).await;
    world.arm_times(ImapFault::SplitFetch, 1);
    let answer = ask(&mut raw, "FETCH 1 BODY.PEEK[]").await;
    assert_eq!(answer, "* 1 FETCH (BODY[] {20}|Subject: x||body|)|a OK FETCH completed.");
    world.arm_times(ImapFault::DropMidFetch, 1);
    assert!(ask(&mut raw, "FETCH 1 BODY.PEEK[]").await.ends_with("(closed)"));
    let mut raw = selected(&sandbox).await;
    world.arm_times(ImapFault::ThrottledCommand, 1);
    assert_eq!(ask(&mut raw, "LIST \"\" *").await, format!("a BAD {THROTTLED}"));
    assert_eq!(raw.line().await, "* BYE Connection closed. 14");
    world.arm_times(ImapFault::DropOnConnect, 1);
    let mut raw = Raw::over(tokio::net::TcpStream::connect(sandbox.imap()).await.unwrap());
    assert_eq!(raw.line().await, "(closed)");
}
