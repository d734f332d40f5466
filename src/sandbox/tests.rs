//! The sandbox as a whole.

use std::net::IpAddr;

use crate::sandbox::kit::{Raw, start};
use crate::sandbox::world::Speaker;
use crate::sandbox::{Options, Sandbox};

#[tokio::test]
async fn the_certificate_covers_every_name_and_its_file_goes_with_the_sandbox() {
    let sandbox = start().await;
    let file = sandbox.ca_file().to_owned();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), sandbox.ca_pem());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file.as_path()), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
    }
    let names = [
        "localhost",
        "127.0.0.1",
        "::1",
        "login.microsoftonline.com",
        "smtp.office365.com",
        "outlook.office365.com",
    ];
    for name in names {
        let mut raw = Raw::dial(&sandbox).await;
        raw.reply().await;
        raw.ask("EHLO x").await;
        raw.ask("STARTTLS").await;
        let mut raw = raw.start_tls(&sandbox, name).await;
        assert!(raw.ask("NOOP").await.starts_with("250 "), "{name}");
    }
    assert_eq!(sandbox.world().counters().smtp_sessions, 6);
    sandbox.stop().await;
    assert!(!file.exists() && !file.parent().unwrap().exists());
}

#[tokio::test]
async fn certificates_can_be_kept_and_are_made_anew_where_they_are_broken() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { keep_in: Some(folder.path().to_owned()), ..Options::default() };
    let first = Sandbox::start(options()).await.unwrap();
    let (file, pem) = (first.ca_file().to_owned(), first.ca_pem().to_owned());
    assert_eq!(file, folder.path().join("ca.pem"));
    first.stop().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pem, "it stays");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let leaf = std::fs::metadata(folder.path().join("server.pem")).unwrap();
        assert_eq!(leaf.permissions().mode() & 0o777, 0o600);
    }
    let second = Sandbox::start(options()).await.unwrap();
    assert_eq!(second.ca_pem(), pem, "the same again");
    let mut raw = Raw::dial(&second).await;
    raw.reply().await;
    raw.ask("EHLO x").await;
    raw.ask("STARTTLS").await;
    let mut raw = raw.start_tls(&second, "smtp.office365.com").await;
    assert!(raw.ask("NOOP").await.starts_with("250 "), "and its key fits");
    second.stop().await;
    std::fs::write(folder.path().join("server.pem"), "no PEM").unwrap();
    let third = Sandbox::start(options()).await.unwrap();
    assert_ne!(third.ca_pem(), pem);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), third.ca_pem());
}

#[tokio::test]
async fn stopping_ends_open_sessions() {
    let sandbox = start().await;
    let mut raw = Raw::secure(&sandbox).await;
    let world = sandbox.world().clone();
    sandbox.stop().await;
    assert_eq!(raw.line().await, "(closed)");
    assert_eq!(world.counters().smtp_open, 0);
}

#[tokio::test]
async fn dropping_ends_open_sessions_too() {
    let sandbox = start().await;
    let mut raw = Raw::secure(&sandbox).await;
    drop(sandbox);
    assert_eq!(raw.line().await, "(closed)");
}

#[tokio::test]
async fn the_authority_is_local() {
    let sandbox = start().await;
    assert_eq!(sandbox.authority(), format!("https://localhost:{}", sandbox.entra.port()));
    for address in [sandbox.smtp(), sandbox.imap(), sandbox.pop3(), sandbox.proxy()] {
        assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 1]));
        assert_ne!(address.port(), 0);
    }
}

#[tokio::test]
async fn the_transcript_holds_no_secret() {
    let sandbox = start().await;
    let token = crate::sandbox::kit::app_token(&sandbox).await;
    let response = crate::sandbox::kit::xoauth2("scanner@contoso.com", &token);
    let mut raw = Raw::secure(&sandbox).await;
    raw.ask("AUTH LOGIN").await;
    raw.ask("c2Nhbm5lckBjb250b3NvLmNvbQ==").await;
    raw.ask("c3R1cGlkLXBhc3N3b3Jk").await;
    raw.ask("stupid-password").await;
    raw.ask(&response).await;
    raw.ask(&format!("AUTH PLAIN {response}")).await;
    raw.ask("AUTH XOAUTH2").await;
    raw.ask(&response).await;
    let mut imap = Raw::imap(&sandbox).await;
    imap.line().await;
    imap.say("a LOGIN scanner@contoso.com stupid-password").await;
    imap.say("stupid-password").await;
    imap.say(&format!("a {response}")).await;
    imap.say(&response).await;
    imap.say(&format!("a AUTHENTICATE XOAUTH2 {response}")).await;
    let mut pop3 = Raw::pop3(&sandbox).await;
    pop3.line().await;
    pop3.say("USER scanner@contoso.com").await;
    pop3.say("PASS stupid-password").await;
    pop3.say(&response).await;
    pop3.say("AUTH XOAUTH2").await;
    pop3.say(&response).await;
    let transcript = sandbox.world().transcript();
    let text: Vec<_> =
        transcript.iter().map(|line| format!("{}: {}", line.who, line.text)).collect();
    let text = text.join("\n");
    let half = &response[..response.len() / 2];
    let secrets = [
        crate::sandbox::world::contoso::APP_SECRET,
        &token,
        &response,
        half,
        "stupid-password",
        "c3R1cGlkLXBhc3N3b3Jk",
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} in\n{text}");
    }
    for shown in [
        "client_secret=<password>",
        r#""access_token":"<token>""#,
        "to Exchange: <password>",
        "Exchange: 235 2.7.0 Authentication successful",
        "to Exchange: <token>",
        "to Exchange: a LOGIN <user> <password>",
        "to Exchange: a AUTHENTICATE XOAUTH2 <token>",
        "Exchange: a OK AUTHENTICATE completed.",
        "to Exchange: PASS <password>",
        "Exchange: +OK User successfully authenticated.",
    ] {
        assert!(text.contains(shown), "{shown} not in\n{text}");
    }
    assert!(transcript.iter().any(|line| line.who == Speaker::Entra));
    assert_eq!(sandbox.world().take_transcript(), transcript);
    assert!(sandbox.world().transcript().is_empty());
}
