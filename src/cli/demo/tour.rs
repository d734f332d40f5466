//! `demo --once`: the tour that walks by itself and holds only if every step does.

use std::net::SocketAddr;

use anyhow::{Context, ensure};

use super::{DISABLED, PASSWORD, USER, client::Scanner};
use crate::{advice, cli::say, sandbox::Sandbox};

/// With what SMTP would stumble over: dots at line starts, and octets above 127.
const MESSAGE: &str = "From: scanner@contoso.com\r\nTo: you@example.net\r\nSubject: Scan 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    Gr\u{fc}\u{df}e vom Scanner.\r\n.\r\n..two dots\r\nThe end.";

/// Walks every step; the first that does not hold is the error.
pub(super) async fn walk(sandbox: &Sandbox, listener: SocketAddr) -> anyhow::Result<()> {
    say(&"An old program meets Exchange Online. Everything runs in this process.");
    a_message_arrives(sandbox, listener).await.context("step 1: a message arrives")?;
    a_wrong_password(sandbox, listener).await.context("step 2: a wrong password stays outside")?;
    a_disabled_mailbox(sandbox, listener)
        .await
        .context("step 3: a disabled mailbox is explained")?;
    say(&"\nEvery step held. `mailwicket demo` stays up for you to try.");
    Ok(())
}

async fn a_message_arrives(sandbox: &Sandbox, listener: SocketAddr) -> anyhow::Result<()> {
    headline("1. A scanner that only knows AUTH LOGIN sends a message");
    let mut scanner = Scanner::connect(listener).await?;
    let verdict = scanner.log_in(USER, PASSWORD).await?;
    ensure!(verdict.starts_with("235 "), "the login was answered {verdict:?}");
    let reply = scanner.send_mail(USER, "you@example.net", MESSAGE).await?;
    ensure!(reply.starts_with("250 "), "the message was answered {reply:?}");
    scanner.say("QUIT").await?;
    show("scanner (C) and mailwicket (S)", &scanner.transcript);

    let world = sandbox.world();
    show("mailwicket and the world behind it", &heard(sandbox));
    let delivered = world.messages();
    ensure!(delivered.len() == 1, "{} messages were delivered", delivered.len());
    let bytes = delivered.first().map(|message| message.bytes.as_slice()).unwrap_or_default();
    ensure!(bytes == format!("{MESSAGE}\r\n").as_bytes(), "the message was changed on its way");
    held(&format!("{} octets arrived, byte for byte", bytes.len()));

    let connects = world.counters().connects;
    for target in ["login.microsoftonline.com:443", "smtp.office365.com:587"] {
        ensure!(
            connects.iter().any(|connect| connect.target == target && connect.status == 200),
            "the proxy saw no CONNECT {target}"
        );
        held(&format!("the proxy carried CONNECT {target}"));
    }
    Ok(())
}

async fn a_wrong_password(sandbox: &Sandbox, listener: SocketAddr) -> anyhow::Result<()> {
    sandbox.world().forget();
    headline("2. A wrong password gets no further than this machine");
    let mut scanner = Scanner::connect(listener).await?;
    let verdict = scanner.log_in(USER, "guess").await?;
    ensure!(verdict.starts_with("535 5.7.8 "), "the login was answered {verdict:?}");
    show("scanner (C) and mailwicket (S)", &scanner.transcript);
    let connects = sandbox.world().counters().connects;
    ensure!(connects.is_empty(), "something left for {connects:?}");
    held("nothing was opened at Microsoft");
    Ok(())
}

async fn a_disabled_mailbox(sandbox: &Sandbox, listener: SocketAddr) -> anyhow::Result<()> {
    sandbox.world().forget();
    headline("3. A mailbox whose SMTP AUTH is switched off");
    let mut scanner = Scanner::connect(listener).await?;
    let verdict = scanner.log_in(DISABLED, PASSWORD).await?;
    ensure!(verdict.starts_with("535 5.7.8 "), "the login was answered {verdict:?}");
    show("scanner (C) and mailwicket (S)", &scanner.transcript);
    let upstream = heard(sandbox);
    let refusal = upstream
        .iter()
        .find(|line| line.contains("535 5.7.139"))
        .context("Exchange did not refuse")?;
    let advice = advice::for_reply(refusal).context("the refusal is not explained")?;
    show("what Exchange Online said", std::slice::from_ref(refusal));
    say(&format_args!(
        "  the log says\n    cause:  {}\n    remedy: {}",
        advice.cause, advice.remedy
    ));
    held("refused, and explained");
    Ok(())
}

/// What the sandbox heard and said since the last look; secrets are masked there.
fn heard(sandbox: &Sandbox) -> Vec<String> {
    let lines = sandbox.world().take_transcript();
    lines.iter().map(|line| format!("{:<12} {}", line.who, line.text)).collect()
}

fn headline(text: &str) {
    say(&format_args!("\n{text}"));
}

fn show(title: &str, lines: &[String]) {
    say(&format_args!("  {title}"));
    for line in lines {
        say(&format_args!("    {line}"));
    }
}

fn held(text: &str) {
    say(&format_args!("  held: {text}"));
}
