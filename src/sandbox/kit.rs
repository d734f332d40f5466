//! Raw clients for the sandbox's own tests: sockets and bytes, nothing of the product.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::sandbox::world::contoso::{APP_ID, APP_SECRET, PASSWORD, PUBLIC_APP_ID, TENANT_DOMAIN};
use crate::sandbox::{Options, Profile, Sandbox};

pub(super) const SCOPE: &str = "https://outlook.office365.com/.default";

pub(super) async fn start() -> Sandbox {
    start_with(Options::default()).await
}

pub(super) async fn start_2023() -> Sandbox {
    start_with(Options { profile: Profile::Exo2023, ..Options::default() }).await
}

pub(super) async fn start_with(options: Options) -> Sandbox {
    Sandbox::start(Options { tarpit: Duration::ZERO, ..options }).await.unwrap()
}

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A client that reads and writes lines.
pub(super) struct Raw(pub(super) BufReader<Box<dyn Io>>);

impl Raw {
    pub(super) fn over(io: impl Io + 'static) -> Self {
        Self(BufReader::new(Box::new(io)))
    }

    /// Connected to the submission server; the greeting is unread.
    pub(super) async fn dial(sandbox: &Sandbox) -> Self {
        Self::over(TcpStream::connect(sandbox.smtp()).await.unwrap())
    }

    /// Connected, under TLS and greeted.
    pub(super) async fn secure(sandbox: &Sandbox) -> Self {
        let mut raw = Self::dial(sandbox).await;
        raw.reply().await;
        raw.ask("EHLO client.example").await;
        assert_eq!(raw.ask("STARTTLS").await, "220 2.0.0 SMTP server ready");
        let mut raw = raw.start_tls(sandbox, "localhost").await;
        raw.ask("EHLO client.example").await;
        raw
    }

    /// Logged in as this mailbox by the app.
    pub(super) async fn logged_in(sandbox: &Sandbox, mailbox: &str) -> Self {
        let token = app_token(sandbox).await;
        let mut raw = Self::secure(sandbox).await;
        let verdict = raw.ask(&format!("AUTH XOAUTH2 {}", xoauth2(mailbox, &token))).await;
        assert_eq!(verdict, "235 2.7.0 Authentication successful");
        raw
    }

    /// Connected to the IMAP server, under TLS; the greeting is unread.
    pub(super) async fn imap(sandbox: &Sandbox) -> Self {
        let io = TcpStream::connect(sandbox.imap()).await.unwrap();
        Self::over(tls(sandbox, "outlook.office365.com", io).await)
    }

    /// Connected to the POP3 server, under TLS; the greeting is unread.
    pub(super) async fn pop3(sandbox: &Sandbox) -> Self {
        let io = TcpStream::connect(sandbox.pop3()).await.unwrap();
        Self::over(tls(sandbox, "outlook.office365.com", io).await)
    }

    pub(super) async fn start_tls(self, sandbox: &Sandbox, name: &str) -> Self {
        assert!(self.0.buffer().is_empty(), "bytes behind STARTTLS");
        Self::over(tls(sandbox, name, self.0.into_inner()).await)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// One line without its CRLF; "(closed)" at the end of the connection, "(silent)" after
    /// ten seconds of nothing.
    pub(super) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            // A test must fail, not hang, where a server says nothing.
            match timeout(Duration::from_secs(10), self.0.read_u8()).await {
                Ok(Ok(octet)) => line.push(octet),
                Ok(Err(_)) => return "(closed)".to_owned(),
                Err(_) => return "(silent)".to_owned(),
            }
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).unwrap()
    }

    /// One reply, its lines joined by `|`, with hosts, times and ids made equal.
    pub(super) async fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(shape(&line));
            if !more {
                return lines.join("|");
            }
        }
    }

    pub(super) async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// Sends a line; the one line that comes back.
    pub(super) async fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes()).await;
        self.line().await
    }

    /// Lines up to and with the `last` one, joined by `|`.
    pub(super) async fn lines_until(&mut self, last: impl Fn(&str) -> bool) -> String {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let end = last(&line) || line == "(closed)" || line == "(silent)";
            lines.push(line);
            if end {
                return lines.join("|");
            }
        }
    }

    /// Sends a message; the verdict at its end.
    pub(super) async fn message(&mut self, from: &str, message: &str) -> String {
        assert_eq!(self.ask(&format!("MAIL FROM:<{from}>")).await, "250 2.1.0 Sender OK");
        assert_eq!(self.ask("RCPT TO:<x@example.net>").await, "250 2.1.5 Recipient OK");
        let go = self.ask("DATA").await;
        assert_eq!(go, "354 Start mail input; end with <CRLF>.<CRLF>");
        self.ask(&format!("{message}\r\n.")).await
    }
}

/// A reply with `HOST`, `ISO` and `ID` for what differs from run to run.
pub(super) fn shape(line: &str) -> String {
    let word = |word: &str| {
        let core = word.trim_matches(['[', ']']);
        let core = core.strip_prefix("Hostname=").unwrap_or(core).trim_start_matches("250-");
        let lower = core.to_lowercase();
        let shaped = if lower.ends_with(".outlook.com") || lower.ends_with("look.office365.com") {
            "HOST"
        } else if core.len() == 24 && core.ends_with('Z') && core.as_bytes().get(10) == Some(&b'T')
        {
            "ISO"
        } else if core.len() == 16 && core.starts_with("08DE") {
            "ID"
        } else {
            core
        };
        if core.is_empty() { word.to_owned() } else { word.replace(core, shaped) }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

pub(super) async fn tls(sandbox: &Sandbox, name: &str, io: impl Io + 'static) -> impl Io + 'static {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, io).await.unwrap()
}

/// An answer of the token endpoint.
pub(super) struct Http {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Http {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A request over TLS; none where the connection ended without an answer.
pub(super) async fn http(sandbox: &Sandbox, request: String) -> Option<Http> {
    let io = TcpStream::connect(sandbox.entra).await.unwrap();
    let mut io = tls(sandbox, "login.microsoftonline.com", io).await;
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The end may come with or without close_notify.
    let _ = io.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Http { status, head: head.to_owned(), body: body.to_owned() })
}

/// POSTs a form to the token endpoint of this tenant, with these further header lines.
pub(super) async fn post(sandbox: &Sandbox, tenant: &str, more: &str, form: &str) -> Option<Http> {
    let kind = "application/x-www-form-urlencoded";
    let kind =
        if more.contains("Content-Type") { "" } else { &format!("Content-Type: {kind}\r\n") };
    let request = format!(
        "POST /{tenant}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         {kind}{more}Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    http(sandbox, request).await
}

pub(super) fn app_form() -> String {
    format!(
        "grant_type=client_credentials&client_id={APP_ID}&client_secret={APP_SECRET}&scope={SCOPE}"
    )
}

pub(super) async fn app_token(sandbox: &Sandbox) -> String {
    let answer = post(sandbox, TENANT_DOMAIN, "", &app_form()).await.unwrap();
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// A token of a user, with all that the public app may do for one.
pub(super) async fn user_token(sandbox: &Sandbox, user: &str) -> String {
    let form = format!(
        "grant_type=password&client_id={PUBLIC_APP_ID}&username={user}&password={PASSWORD}\
         &scope={SCOPE}"
    );
    let answer = post(sandbox, TENANT_DOMAIN, "", &form).await.unwrap().json();
    answer["access_token"].as_str().unwrap().to_owned()
}

pub(super) fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"))
}
