//! `demo --once`: the tour that walks by itself and holds only if every step does.

use anyhow::{Context, ensure};

use super::{
    DISABLED, Doors, PASSWORD, USER,
    client::{Robot, Scanner, TicketSystem},
};
use crate::{advice, cli::say, sandbox::Sandbox};

/// With what the protocols would stumble over: dots at line starts, and octets above 127.
const MESSAGE: &str = "From: scanner@contoso.com\r\nTo: scanner@contoso.com\r\nSubject: Scan 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    Gr\u{fc}\u{df}e vom Scanner.\r\n.\r\n..two dots\r\nThe end.";

/// Walks every step; the first that does not hold is the error.
pub(super) async fn walk(sandbox: &Sandbox, doors: &Doors) -> anyhow::Result<()> {
    say(&"Old programs meet Exchange Online. Everything runs in this process.");
    a_message_arrives(sandbox, doors).await.context("step 1: a message is sent by SMTP")?;
    it_is_read_by_imap(sandbox, doors).await.context("step 2: it is read by IMAP")?;
    it_is_fetched_by_pop3(sandbox, doors).await.context("step 3: it is fetched by POP3")?;
    a_wrong_password(sandbox, doors).await.context("step 4: a wrong password stays outside")?;
    a_disabled_mailbox(sandbox, doors).await.context("step 5: a disabled mailbox is explained")?;
    say(&"\nEvery step held. `mailwicket demo` stays up for you to try.");
    Ok(())
}

async fn a_message_arrives(sandbox: &Sandbox, doors: &Doors) -> anyhow::Result<()> {
    headline("1. A scanner that only knows AUTH LOGIN sends a message");
    let mut scanner = Scanner::connect(doors.smtp).await?;
    let verdict = scanner.log_in(USER, PASSWORD).await?;
    ensure!(verdict.starts_with("235 "), "the login was answered {verdict:?}");
    let reply = scanner.send_mail(USER, USER, MESSAGE).await?;
    ensure!(reply.starts_with("250 "), "the message was answered {reply:?}");
    scanner.say("QUIT").await?;
    show("scanner (C) and mailwicket (S)", scanner.transcript());
    show("mailwicket and the world behind it", &heard(sandbox));
    let delivered = sandbox.world().messages();
    ensure!(delivered.len() == 1, "{} messages were delivered", delivered.len());
    unchanged(delivered.first().map(|message| message.bytes.as_slice()).unwrap_or_default())?;
    carried(sandbox, &["login.microsoftonline.com:443", "smtp.office365.com:587"])
}

async fn it_is_read_by_imap(sandbox: &Sandbox, doors: &Doors) -> anyhow::Result<()> {
    headline("2. A ticket system that only knows LOGIN reads it by IMAP");
    let (mut system, reply) = TicketSystem::connect(doors.imap, USER, PASSWORD).await?;
    ensure!(reply.starts_with("a2 OK"), "it was answered {reply:?}");
    let message = system.newest().await?;
    system.leave().await?;
    show("ticket system (C) and mailwicket (S)", system.transcript());
    unchanged(&message)?;
    carried(sandbox, &["outlook.office365.com:993"])
}

async fn it_is_fetched_by_pop3(sandbox: &Sandbox, doors: &Doors) -> anyhow::Result<()> {
    headline("3. A mail robot that only knows USER and PASS fetches it by POP3");
    let (mut robot, reply) = Robot::connect(doors.pop3, USER, PASSWORD).await?;
    ensure!(reply.starts_with("+OK"), "the login was answered {reply:?}");
    let message = robot.first().await?;
    robot.leave().await?;
    show("mail robot (C) and mailwicket (S)", robot.transcript());
    unchanged(&message)?;
    carried(sandbox, &["outlook.office365.com:995"])?;
    let tokens = sandbox.world().counters().token_requests_total();
    ensure!(tokens == 1, "Entra was asked {tokens} times");
    held("one token served all three");
    Ok(())
}

fn unchanged(message: &[u8]) -> anyhow::Result<()> {
    ensure!(message == format!("{MESSAGE}\r\n").as_bytes(), "the message was changed on its way");
    held(&format!("{} octets arrived, byte for byte", message.len()));
    Ok(())
}

/// Whether the proxy has carried connections to these.
fn carried(sandbox: &Sandbox, targets: &[&str]) -> anyhow::Result<()> {
    let connects = sandbox.world().counters().connects;
    for target in targets {
        ensure!(
            connects.iter().any(|connect| connect.target == *target && connect.status == 200),
            "the proxy saw no CONNECT {target}"
        );
        held(&format!("the proxy carried CONNECT {target}"));
    }
    Ok(())
}

async fn a_wrong_password(sandbox: &Sandbox, doors: &Doors) -> anyhow::Result<()> {
    sandbox.world().forget();
    headline("4. A wrong password gets no further than this machine");
    let mut scanner = Scanner::connect(doors.smtp).await?;
    let verdict = scanner.log_in(USER, "guess").await?;
    ensure!(verdict.starts_with("535 5.7.8 "), "the login was answered {verdict:?}");
    show("scanner (C) and mailwicket (S)", scanner.transcript());
    let connects = sandbox.world().counters().connects;
    ensure!(connects.is_empty(), "something left for {connects:?}");
    held("nothing was opened at Microsoft");
    Ok(())
}

async fn a_disabled_mailbox(sandbox: &Sandbox, doors: &Doors) -> anyhow::Result<()> {
    sandbox.world().forget();
    headline("5. A mailbox whose SMTP AUTH is switched off");
    let mut scanner = Scanner::connect(doors.smtp).await?;
    let verdict = scanner.log_in(DISABLED, PASSWORD).await?;
    ensure!(verdict.starts_with("535 5.7.8 "), "the login was answered {verdict:?}");
    show("scanner (C) and mailwicket (S)", scanner.transcript());
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
