//! A legacy client fetches mail by POP3 through mailwicket from the simulated Microsoft 365.

use base64::{Engine, prelude::BASE64_STANDARD};
use mailwicket::sandbox::world::{Fault, Pop3Fault, ProxyFault, TokenFault, contoso};

use crate::{
    caught::Caught,
    stage::{Client, PASSWORD, Stage, USER},
};

/// How an outage is told; fetchmail goes by its words.
const OUTAGE: &str = "-ERR [SYS/TEMP] Service unavailable: ";
const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.one dot\r\ngr\xfc\xdfe\r\n";

/// Connected and greeted.
async fn connect(stage: &Stage) -> Client {
    let mut client = Client::silent(stage.pop3).await;
    assert_eq!(client.line().await, "+OK mailwicket POP3 ready");
    client
}

/// The answer to PASS.
async fn log_in(client: &mut Client, user: &str, password: &str) -> String {
    assert_eq!(client.ask(&format!("USER {user}")).await, "+OK");
    client.ask(&format!("PASS {password}")).await
}

/// The lines of a multi-line reply, dots unstuffed.
async fn lines(client: &mut Client, command: &str) -> Vec<u8> {
    let status = client.ask(command).await;
    assert!(status.starts_with("+OK"), "{command}: {status}");
    let mut text = Vec::new();
    loop {
        let line = client.raw_line().await;
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return text,
            Some(stuffed) => text.extend_from_slice(stuffed),
            None => text.extend_from_slice(&line),
        }
    }
}

#[tokio::test]
async fn a_message_is_fetched_octet_for_octet_through_the_proxy() {
    let stage = Stage::new().await;
    stage.sandbox.world().put(USER, "INBOX", MESSAGE);
    let mut client = connect(&stage).await;
    assert!(log_in(&mut client, USER, PASSWORD).await.starts_with("+OK"));
    assert!(client.ask("STAT").await.starts_with("+OK 1 "));
    assert_eq!(lines(&mut client, "RETR 1").await, MESSAGE);
    assert!(client.ask("DELE 1").await.starts_with("+OK"));
    assert!(client.ask("QUIT").await.starts_with("+OK"));
    assert!(client.rest().await.is_empty());
    assert!(stage.sandbox.world().folder(USER, "INBOX").is_empty(), "QUIT has deleted it");

    let connects = stage.sandbox.world().counters().connects;
    assert_eq!((connects[0].status, &connects[0].user), (407, &None), "no login unasked");
    let connects = &connects[1..];
    let targets: Vec<_> = connects.iter().map(|connect| connect.target.as_str()).collect();
    assert_eq!(targets, ["login.microsoftonline.com:443", "outlook.office365.com:995"]);
    drop(client);
    assert_eq!(stage.ended().await, 0);
}

#[tokio::test]
async fn every_form_of_login_opens_the_mailbox() {
    let stage = Stage::new().await;
    let b64 = |text: &str| BASE64_STANDARD.encode(text);
    let plain = b64(&format!("\0{USER}\0{PASSWORD}"));
    let rows: [&[&str]; 6] = [
        &[&format!("USER {USER}"), &format!("PASS {PASSWORD}")],
        &["USER nobody", "NOOP", &format!("user {USER}"), "CAPA", &format!("pass {PASSWORD}")],
        &[&format!("AUTH PLAIN {plain}")],
        &["AUTH PLAIN", &plain],
        &["AUTH LOGIN", &b64(USER), &b64(PASSWORD)],
        &[&format!("auth login {}", b64(USER)), &b64(PASSWORD)],
    ];
    let mut ran = 0;
    for row in rows {
        let mut client = connect(&stage).await;
        // All in one segment, and a command that is the upstream's behind it.
        client.write(format!("{}\r\nSTAT\r\nQUIT\r\n", row.join("\r\n")).as_bytes()).await;
        let said = String::from_utf8(client.rest().await).unwrap();
        let [.., login, stat, quit] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{row:?}: {said}")
        };
        assert_eq!((login, stat), ("+OK Logged in", "+OK 0 0"), "{row:?}: {said}");
        assert!(quit.starts_with("+OK"), "{row:?}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 6);
}

#[tokio::test]
async fn every_refusal_is_permanent_and_every_outage_passing() {
    let fault = |fault: Pop3Fault| Some(Fault::from(fault));
    let rows = [
        (USER, "wrong", None, "-ERR [AUTH] User name or password not accepted"),
        ("nobody@fabrikam.com", PASSWORD, None, "-ERR [AUTH] User name or password not accepted"),
        ("norights@contoso.com", PASSWORD, None, "-ERR [AUTH] "),
        ("smtponly@contoso.com", PASSWORD, None, "-ERR [AUTH] "),
        ("erp@contoso.com", "wrong", None, "-ERR [AUTH] Entra refused the login (AADSTS50126)"),
        (USER, PASSWORD, fault(Pop3Fault::RejectToken), "-ERR [AUTH] "),
        (USER, PASSWORD, fault(Pop3Fault::TemporaryFailure), OUTAGE),
        (USER, PASSWORD, fault(Pop3Fault::InUse), "-ERR [IN-USE] "),
        (USER, PASSWORD, fault(Pop3Fault::DropOnAuth), OUTAGE),
        (USER, PASSWORD, fault(Pop3Fault::DropOnConnect), OUTAGE),
        (USER, PASSWORD, fault(Pop3Fault::BarePrompt), "+OK Logged in"),
        (USER, PASSWORD, fault(Pop3Fault::BannerByteByByte), "+OK Logged in"),
        (USER, PASSWORD, Some(ProxyFault::BadGateway.into()), OUTAGE),
        (USER, PASSWORD, Some(TokenFault::ServiceUnavailable.into()), OUTAGE),
    ];
    let mut ran = 0;
    for (user, password, fault, told) in rows {
        let stage = Stage::new().await;
        if let Some(fault) = &fault {
            stage.sandbox.world().arm(fault.clone());
        }
        let mut client = connect(&stage).await;
        let reply = log_in(&mut client, user, password).await;
        assert!(reply.starts_with(told), "{user} {fault:?}: {reply}");
        ran += 1;
    }
    assert_eq!(ran, 14);
}

#[tokio::test] // one thread: the log is this thread's
async fn a_token_too_long_for_pop3_is_named_in_the_log() {
    let (caught, _guard) = Caught::begin();
    let stage = Stage::new().await;
    stage.sandbox.world().tune(|tuning| tuning.token_octets = Some(5000));
    let mut client = connect(&stage).await;
    let reply = log_in(&mut client, USER, PASSWORD).await;
    assert!(reply.starts_with("-ERR [AUTH] "), "{reply}");
    let log = caught.text();
    assert!(log.contains("takes 4096 at most"), "the limit: {log}");
    assert!(log.contains("make the token shorter"), "the remedy: {log}");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_behind_the_clients_back() {
    let stage = Stage::new().await;
    stage.sandbox.world().arm_times(Pop3Fault::RejectToken, 1);
    let mut client = connect(&stage).await;
    assert_eq!(log_in(&mut client, USER, PASSWORD).await, "+OK Logged in");
    assert_eq!(stage.sandbox.world().counters().token_requests_total(), 2);
}

#[tokio::test]
async fn what_ends_a_dialogue_has_its_own_words() {
    let stage = Stage::new().await;
    let mut long = connect(&stage).await;
    long.write(&[b'x'; 16_000]).await;
    assert!(long.line().await.starts_with("-ERR Line longer than "));
    assert!(long.rest().await.is_empty());
    let mut scan = connect(&stage).await;
    assert_eq!(scan.ask("APOP x y").await, "-ERR APOP is not supported: use USER and PASS");
    assert_eq!(scan.ask("STAT").await, "-ERR Log in first, with USER and PASS");
    assert_eq!(scan.ask("QUIT").await, "+OK Closing connection");
    assert!(stage.sandbox.world().counters().connects.is_empty(), "nothing left for any of them");
}

#[tokio::test]
async fn a_silent_session_ends() {
    let stage = Stage::with("", "[limits]\npop3_idle_timeout = \"1s\"\n").await;
    let mut client = connect(&stage).await;
    assert_eq!(log_in(&mut client, USER, PASSWORD).await, "+OK Logged in");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn the_login_deadline_has_its_own_words() {
    let stage = Stage::with("", "[limits]\nlogin_timeout = \"1s\"\n").await;
    let mut silent = Client::silent(stage.pop3).await;
    let said = String::from_utf8(silent.rest().await).unwrap();
    assert!(said.contains(&format!("\r\n{OUTAGE}Login took too long")), "{said}");
}

#[tokio::test]
async fn a_delegate_reads_a_shared_mailbox() {
    let stage = Stage::new().await;
    stage.sandbox.world().put(contoso::SHARED_MAILBOX, "INBOX", MESSAGE);
    let rows = [
        ("erp@contoso.com\\info@contoso.com", contoso::PASSWORD, "+OK 1 "),
        ("erp@contoso.com/info", contoso::PASSWORD, "+OK 1 "),
        ("scanner@contoso.com/info@contoso.com", PASSWORD, "+OK 1 "),
        ("erp@contoso.com", contoso::PASSWORD, "+OK 0 "),
    ];
    let mut ran = 0;
    for (user, password, stat) in rows {
        let mut client = connect(&stage).await;
        assert_eq!(log_in(&mut client, user, password).await, "+OK Logged in", "{user}");
        assert!(client.ask("STAT").await.starts_with(stat), "{user}");
        ran += 1;
    }
    assert_eq!(ran, 4);
    let mut client = connect(&stage).await;
    let reply = log_in(&mut client, "scan/info@contoso.com", PASSWORD).await;
    assert_eq!(reply, "-ERR [AUTH] This user may not open that mailbox");
}
