//! More sessions than a mailbox may have: the next one waits, and no mail is lost.

use std::{sync::Arc, time::Duration};

use mailwicket::{config::Pinned, sandbox::world::contoso};
use tokio::{join, task::yield_now};

use crate::{
    caught::Caught,
    stage::{Client, PASSWORD, Stage, USER, parse, text},
};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n";

/// Sessions that are logged in.
async fn logged_in(stage: &Stage, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = stage.client().await;
        assert!(client.log_in(USER, PASSWORD).await.starts_with("235 "));
        clients.push(client);
    }
    clients
}

/// Somebody waits now. The test has one thread, so the others run while it yields.
async fn somebody_waits(caught: &Caught) {
    while !caught.text().contains("waiting for a session to end") {
        yield_now().await;
    }
}

#[tokio::test]
async fn the_fourth_session_of_a_mailbox_waits_for_one_to_end_and_then_sends() {
    let (caught, _guard) = Caught::begin();
    let stage = Stage::new().await;
    let mut three = logged_in(&stage, 3).await;
    let mut fourth = stage.client().await;
    let waits = fourth.log_in("scan", PASSWORD); // another name of the same mailbox
    let ends = async {
        somebody_waits(&caught).await;
        let mut other = stage.client().await;
        let reply = other.log_in("erp@contoso.com", contoso::PASSWORD).await;
        assert!(reply.starts_with("235 "), "another mailbox: {reply}");
        let mut imap = Client::silent(stage.imap).await;
        imap.line().await;
        let reply = imap.ask(&format!("a LOGIN {USER} {PASSWORD}")).await;
        assert!(reply.starts_with("a OK"), "another protocol: {reply}");
        assert_eq!(stage.sandbox.world().counters().smtp_open, 4, "three and the other");
        let mut first = three.remove(0);
        assert!(first.send(USER, MESSAGE).await.starts_with("250 "));
        assert!(first.say("QUIT").await.starts_with("221 "));
    };
    let (reply, ()) = join!(waits, ends);
    assert!(reply.starts_with("235 "), "{reply}");
    let reply = fourth.send(USER, MESSAGE).await;
    assert!(reply.starts_with("250 "), "were it a fourth, Exchange would say 432: {reply}");
    let log = caught.text();
    let line = log.lines().find(|line| line.contains("event=\"mailbox_queue\"")).expect("a line");
    assert!(line.contains("INFO") && line.contains(USER) && line.contains("remedy="), "{line}");
}

#[tokio::test]
async fn one_that_waits_in_vain_is_told_to_come_back_and_why() {
    let (caught, _guard) = Caught::begin();
    let stage = Stage::changed(|config| {
        config.limits.queue_timeout = Duration::ZERO;
        let account = Arc::clone(&config.accounts[0]);
        let mut pinned = config.listeners[0].as_ref().clone();
        pinned.account = Some(Pinned { user: USER.to_owned(), account });
        config.listeners.push(Arc::new(pinned));
    })
    .await;
    let three = logged_in(&stage, 3).await;
    let mut fourth = stage.client().await;
    let reply = fourth.log_in(USER, PASSWORD).await;
    assert!(reply.starts_with("454 4.7.0 This mailbox has 3 sessions open"), "{reply}");
    let mut device = Client::connect(stage.more[0]).await;
    device.say("EHLO scanner.example").await;
    let reply = device.say(&format!("MAIL FROM:<{USER}>")).await;
    assert!(reply.starts_with("451 4.7.0 This mailbox has 3 sessions open"), "{reply}");
    assert_eq!(stage.sandbox.world().counters().smtp_sessions, 3, "nothing was dialled for them");
    let log = caught.text();
    for event in ["mailbox_queue", "login_unavailable"] {
        let mut lines = log.lines().filter(|line| line.contains(&format!("event=\"{event}\"")));
        let line = lines.next().unwrap_or_else(|| panic!("no {event}"));
        assert!(line.contains("WARN") && line.contains("cause=\"limits.smtp_"), "{line}");
        assert!(line.contains("remedy="), "{line}");
    }
    drop(three);
    stage.sandbox.world().counters_when(|counters| counters.smtp_open == 0).await;
    let reply = loop {
        // The last of a session is done a moment after its connection has ended.
        let reply = fourth.log_in(USER, PASSWORD).await;
        if !reply.starts_with("454 ") {
            break reply;
        }
    };
    assert!(reply.starts_with("235 "), "the same client tries again: {reply}");
}

#[tokio::test]
async fn a_reload_lets_in_who_waits() {
    let (caught, _guard) = Caught::begin();
    let sandbox = Stage::sandbox().await;
    let limited = |count: usize| {
        let limits = format!("[limits]\nsmtp_sessions_per_mailbox = {count}\n");
        parse(&text(&sandbox, "", &limits))
    };
    let (one, two) = (limited(1), limited(2));
    let stage = Stage::run(sandbox, &one);
    let _first = logged_in(&stage, 1).await;
    let mut second = stage.client().await;
    let reload = async {
        somebody_waits(&caught).await;
        stage.reload(two).await.unwrap();
    };
    let (reply, ()) = join!(second.log_in(USER, PASSWORD), reload);
    assert!(reply.starts_with("235 "), "{reply}");
}

#[tokio::test]
async fn an_account_has_so_many_sessions_over_all_protocols() {
    let stage = Stage::changed(|config| config.limits.max_sessions_per_account = Some(2)).await;
    let two = logged_in(&stage, 2).await;
    let reply = stage.client().await.log_in(USER, "wrong").await;
    assert!(reply.starts_with("535 "), "only who has the password is told: {reply}");
    let reply = stage.client().await.log_in(USER, PASSWORD).await;
    assert!(reply.starts_with("421 4.3.2 This account has 2 sessions open"), "{reply}");
    let mut imap = Client::silent(stage.imap).await;
    imap.line().await;
    let reply = imap.ask(&format!("a LOGIN {USER} {PASSWORD}")).await;
    assert!(reply.starts_with("a NO [LIMIT] This account has 2"), "{reply}");
    let mut pop3 = Client::silent(stage.pop3).await;
    pop3.line().await;
    pop3.ask(&format!("USER {USER}")).await;
    let reply = pop3.ask(&format!("PASS {PASSWORD}")).await;
    assert!(reply.starts_with("-ERR [IN-USE] This account has 2"), "{reply}");
    assert!(stage.client().await.log_in("other@contoso.com", PASSWORD).await.starts_with("535 "));
    drop(two);
}

#[tokio::test]
async fn a_token_of_no_use_keeps_nobody_waiting() {
    let stage =
        Stage::with("pass_tokens = true", "[limits]\nsmtp_sessions_per_mailbox = 1\n").await;
    let _one = logged_in(&stage, 1).await;
    let reply = stage.client().await.log_in_with_token(USER, "junk").await;
    assert!(reply.starts_with("535 "), "judged at once, and not queued: {reply}");
    assert_eq!(stage.sandbox.world().counters().smtp_sessions, 2);
}

#[tokio::test]
async fn a_good_token_waits_for_its_place_like_a_password() {
    let (caught, _guard) = Caught::begin();
    let stage =
        Stage::with("pass_tokens = true", "[limits]\nsmtp_sessions_per_mailbox = 1\n").await;
    let token = stage.token().await;
    let mut one = logged_in(&stage, 1).await;
    let mut second = stage.client().await;
    let ends = async {
        somebody_waits(&caught).await;
        stage.sandbox.world().counters_when(|counters| counters.smtp_open == 1).await;
        one.clear();
    };
    let (reply, ()) = join!(second.log_in_with_token(USER, &token), ends);
    assert!(reply.starts_with("235 "), "{reply}");
    assert!(second.send(USER, MESSAGE).await.starts_with("250 "));
}

#[tokio::test]
async fn who_has_gone_waits_for_nothing() {
    let (caught, _guard) = Caught::begin();
    let limits = "[limits]\nsmtp_sessions_per_mailbox = 1\n";
    let stage = Stage::with("", limits).await;
    let mut one = logged_in(&stage, 1).await;
    let mut gone = stage.client().await;
    gone.write(
        b"EHLO gone\r\nAUTH PLAIN AHNjYW5uZXJAY29udG9zby5jb20AbG9jYWwtY2FuYXJ5LXBhc3N3b3Jk\r\n",
    )
    .await;
    somebody_waits(&caught).await;
    drop(gone);
    while !caught.text().contains("before login") {
        yield_now().await;
    }
    one.clear();
    let reply = stage.client().await.log_in(USER, PASSWORD).await;
    assert!(reply.starts_with("235 "), "{reply}");
    assert_eq!(
        stage.sandbox.world().counters().smtp_sessions,
        2,
        "none was opened for who had gone"
    );
}
