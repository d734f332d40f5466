//! TLS towards the client, end to end: in all ways, with all protocols.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use mailwicket::{
    config::{Config, LocalTls, Pinned, TlsFiles, TlsMode},
    mail::Protocol,
    net::Io,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    caught::Caught,
    stage::{PASSWORD, Stage, USER, parse, text},
};

/// An authority, and a certificate of its own in files.
struct Certificates {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certificates = Self { folder: tempfile::tempdir().unwrap(), authority };
        certificates.issue("localhost");
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> TlsFiles {
        let (certificate, key) = (self.path("cert.pem"), self.path("cert.key"));
        TlsFiles { certificate, key, self_signed: false }
    }

    /// A certificate for this name in place of the one that is there.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.path("new"), certificate.pem()).unwrap();
        fs::rename(self.path("new"), self.path("cert.pem")).unwrap();
        fs::write(self.path("new"), key.serialize_pem()).unwrap();
        fs::rename(self.path("new"), self.path("cert.key")).unwrap();
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// The stage, with this on all listeners.
    async fn stage(&self, mode: TlsMode, required: bool) -> Stage {
        Stage::changed(|config| set(config, mode, required, &self.files())).await
    }
}

fn set(config: &mut Config, mode: TlsMode, required: bool, files: &TlsFiles) {
    for listener in &mut config.listeners {
        let files = files.clone();
        Arc::make_mut(listener).tls = Some(LocalTls { mode, required, files });
    }
}

/// A client, in clear or in TLS.
struct Talker {
    io: BufReader<Io>,
}

impl Talker {
    async fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.expect("connects");
        Self { io: BufReader::new(Box::new(tcp)) }
    }

    /// TLS from here on, with a server of this name.
    async fn secure(self, certificates: &Certificates, name: &str) -> std::io::Result<Self> {
        assert!(self.io.buffer().is_empty(), "nothing in clear is left");
        let name = name.to_owned().try_into().unwrap();
        let tls = certificates.connector().connect(name, self.io.into_inner()).await?;
        Ok(Self { io: BufReader::new(Box::new(tls)) })
    }

    async fn write(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.expect("written");
        self.io.flush().await.expect("flushed");
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.io.read_line(&mut line).await.expect("a line");
        line.trim_end().to_owned()
    }

    /// Says a line, and hears the last line of the answer.
    async fn ask(&mut self, protocol: Protocol, line: &str) -> String {
        self.write(&format!("{line}\r\n")).await;
        loop {
            let heard = self.line().await;
            let goes_on = match protocol {
                Protocol::Smtp => heard.as_bytes().get(3) == Some(&b'-'),
                Protocol::Imap => heard.starts_with("* "),
                Protocol::Pop3 => false,
            };
            if !goes_on {
                return heard;
            }
        }
    }

    /// All that comes until the end.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        let _ = self.io.read_to_string(&mut rest).await; // or a reset
        rest
    }

    /// Logs in, and does something at the provider.
    async fn visit(&mut self, protocol: Protocol) {
        let plain = BASE64_STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
        let (login, more) = match protocol {
            Protocol::Smtp => (format!("AUTH PLAIN {plain}"), format!("MAIL FROM:<{USER}>")),
            Protocol::Imap => (format!("x LOGIN {USER} {PASSWORD}"), "y SELECT INBOX".to_owned()),
            Protocol::Pop3 => (format!("AUTH PLAIN {plain}"), "STAT".to_owned()),
        };
        for line in [login, more] {
            let heard = self.ask(protocol, &line).await;
            assert!(is_yes(&heard), "{protocol}: {heard}");
        }
    }
}

fn is_yes(reply: &str) -> bool {
    ["2", "x OK", "y OK", "+OK"].iter().any(|yes| reply.starts_with(yes))
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Smtp, Protocol::Imap, Protocol::Pop3];

fn address(stage: &Stage, protocol: Protocol) -> SocketAddr {
    match protocol {
        Protocol::Smtp => stage.address,
        Protocol::Imap => stage.imap,
        Protocol::Pop3 => stage.pop3,
    }
}

fn greeting(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Smtp => "220 ",
        Protocol::Imap => "* OK ",
        Protocol::Pop3 => "+OK ",
    }
}

fn start_tls(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Smtp => "STARTTLS",
        Protocol::Imap => "x STARTTLS",
        Protocol::Pop3 => "STLS",
    }
}

/// When a client begins TLS.
#[derive(Clone, Copy, Debug)]
enum Begins {
    Never,
    AtOnce,
    WhenAnswered,
}

#[tokio::test]
async fn every_protocol_logs_in_in_every_way() {
    let certificates = Certificates::new();
    let rows = [
        (TlsMode::Implicit, false, Begins::AtOnce),
        (TlsMode::StartTls, false, Begins::WhenAnswered),
        (TlsMode::StartTls, false, Begins::Never),
        (TlsMode::StartTls, true, Begins::WhenAnswered),
        (TlsMode::Auto, false, Begins::AtOnce),
        (TlsMode::Auto, true, Begins::AtOnce),
        (TlsMode::Auto, true, Begins::WhenAnswered),
        (TlsMode::Auto, false, Begins::Never),
    ];
    let mut ran = 0;
    for (mode, required, begins) in rows {
        let stage = certificates.stage(mode, required).await;
        for protocol in PROTOCOLS {
            let mut client = Talker::connect(address(&stage, protocol)).await;
            if let Begins::AtOnce = begins {
                client = client.secure(&certificates, "localhost").await.unwrap();
            }
            let heard = client.line().await;
            assert!(heard.starts_with(greeting(protocol)), "{mode:?} {protocol}: {heard}");
            if let Begins::WhenAnswered = begins {
                let heard = client.ask(protocol, start_tls(protocol)).await;
                assert!(is_yes(&heard), "{mode:?} {protocol}: {heard}");
                client = client.secure(&certificates, "localhost").await.unwrap();
            }
            client.visit(protocol).await;
            ran += 1;
        }
        assert_eq!(stage.ended().await, 0);
    }
    assert_eq!(ran, 24);
}

#[tokio::test]
async fn a_client_that_speaks_first_and_in_clear_is_heard_on_a_port_for_both() {
    let certificates = Certificates::new();
    let stage = certificates.stage(TlsMode::Auto, false).await;
    let mut client = Talker::connect(stage.imap).await;
    client.write("x NOOP\r\n").await;
    assert!(client.line().await.starts_with("* OK "));
    assert!(client.line().await.starts_with("x OK "));
}

#[tokio::test]
async fn where_tls_is_required_no_password_gets_through_in_clear() {
    let certificates = Certificates::new();
    let stage = certificates.stage(TlsMode::StartTls, true).await;
    let rows = [
        (Protocol::Smtp, "AUTH PLAIN AHVzZXIAcGFzcyB3b3Jk", "530 5.7.0 "),
        (Protocol::Imap, "x LOGIN user password", "x NO [PRIVACYREQUIRED] "),
        (Protocol::Pop3, "USER user", "-ERR "),
    ];
    for (protocol, login, refused) in rows {
        let mut client = Talker::connect(address(&stage, protocol)).await;
        client.line().await;
        let heard = client.ask(protocol, login).await;
        assert!(heard.starts_with(refused), "{heard}");
    }
    assert_eq!(stage.sandbox.world().counters().smtp_sessions, 0);
}

#[tokio::test]
async fn what_comes_together_with_starttls_is_never_obeyed() {
    let certificates = Certificates::new();
    let (caught, _catching) = Caught::begin();
    let stage = certificates.stage(TlsMode::StartTls, false).await;
    let plain = BASE64_STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    let rows = [
        (Protocol::Smtp, format!("AUTH PLAIN {plain}"), "421 4.7.0 Nothing may follow STARTTLS"),
        (Protocol::Imap, format!("y LOGIN {USER} {PASSWORD}"), "* BYE Nothing may follow STARTTLS"),
        (Protocol::Pop3, format!("AUTH PLAIN {plain}"), "-ERR Nothing may follow STLS"),
    ];
    for (protocol, injected, words) in &rows {
        let mut client = Talker::connect(address(&stage, *protocol)).await;
        client.line().await;
        client.write(&format!("{}\r\n{injected}\r\n", start_tls(*protocol))).await;
        let rest = client.rest().await;
        assert!(rest.starts_with(words) && rest.lines().count() == 1, "{protocol}: {rest}");
    }
    let counters = stage.sandbox.world().counters();
    assert_eq!((counters.smtp_sessions, counters.tokens_issued), (0, 0));
    assert_eq!(stage.ended().await, 0);
    let log = caught.text();
    let told = log.lines().filter(|line| line.contains("came together with STARTTLS"));
    assert_eq!(told.filter(|line| line.contains("remedy")).count(), 3, "{log}");
}

/// What comes behind STARTTLS a moment later is no TLS, and no command either.
#[tokio::test]
async fn what_follows_starttls_in_clear_ends_the_session() {
    let certificates = Certificates::new();
    let (caught, _catching) = Caught::begin();
    let stage = certificates.stage(TlsMode::StartTls, false).await;
    for protocol in PROTOCOLS {
        let mut client = Talker::connect(address(&stage, protocol)).await;
        client.line().await;
        assert!(is_yes(&client.ask(protocol, start_tls(protocol)).await));
        client.write("NOOP\r\nNOOP\r\nNOOP\r\n").await;
        client.rest().await;
    }
    assert_eq!(stage.ended().await, 0);
    let log = caught.text();
    assert_eq!(log.matches("cause=it sent something else than TLS").count(), 3, "{log}");
}

#[tokio::test]
async fn a_client_and_a_port_that_differ_about_tls_are_told_so() {
    let certificates = Certificates::new();
    let (caught, _catching) = Caught::begin();
    let stage = certificates.stage(TlsMode::Implicit, false).await;
    let mut client = Talker::connect(stage.address).await;
    client.write("EHLO client.example\r\n").await;
    assert!(client.line().await.starts_with("421 4.7.0 This port speaks TLS"));
    let stranger = Talker::connect(stage.pop3).await.secure(&certificates, "mail.example").await;
    assert!(stranger.is_err(), "a name that the certificate has not");
    drop(Talker::connect(stage.imap).await); // as a check of the port does
    assert_eq!(stage.ended().await, 0);

    let stage = Stage::new().await;
    let client = Talker::connect(stage.imap).await.secure(&certificates, "localhost").await;
    assert!(client.is_err(), "a greeting in clear is no TLS");
    assert_eq!(stage.ended().await, 0);

    let log = caught.text();
    for words in [
        "the client speaks in clear, and this listener TLS from the first octet",
        "it does not accept our certificate (BadCertificate)",
        "the client began TLS where this port speaks in clear",
    ] {
        let line = log.lines().find(|line| line.contains(words));
        assert!(line.is_some_and(|line| line.contains("remedy=")), "no {words:?} in {log}");
    }
    assert_eq!(log.matches("no TLS with the client: ").count(), 1, "{log}");
}

#[tokio::test]
async fn a_new_certificate_is_used_at_once_and_a_broken_one_never() {
    let certificates = Certificates::new();
    let (caught, _catching) = Caught::begin();
    let stage = certificates.stage(TlsMode::Implicit, false).await;
    let secured = async |name| {
        let client = Talker::connect(stage.imap).await.secure(&certificates, name).await;
        client.map(drop).is_ok()
    };
    let mut before =
        Talker::connect(stage.imap).await.secure(&certificates, "localhost").await.unwrap();
    certificates.issue("mail.example");
    assert!(secured("mail.example").await && !secured("localhost").await);
    fs::write(certificates.path("cert.pem"), "broken").unwrap();
    assert!(secured("mail.example").await && secured("mail.example").await);
    let log = caught.text();
    let told: Vec<_> =
        log.lines().filter(|line| line.contains("tls_certificate_refused")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("ERROR") && told[0].contains("no certificate in it"), "{log}");
    assert!(told[0].contains("remedy=") && told[0].contains("cert.pem"), "{log}");
    certificates.issue("localhost");
    assert!(secured("localhost").await);
    before.line().await;
    before.visit(Protocol::Imap).await; // it goes on with what it began with
}

#[tokio::test]
async fn a_reload_takes_tls_whole_or_not_at_all() {
    let certificates = Certificates::new();
    let sandbox = Stage::sandbox().await;
    let clear = parse(&text(&sandbox, "", ""));
    let mut secured = clear.clone();
    set(&mut secured, TlsMode::Implicit, false, &certificates.files());
    let stage = Stage::run(sandbox, &clear);

    let key = fs::read(certificates.path("cert.key")).unwrap();
    fs::write(certificates.path("cert.key"), "broken").unwrap();
    let error = stage.reload(secured.clone()).await.unwrap_err().to_string();
    assert!(error.contains("cert.key: there is no private key in it; set key"), "{error}");
    assert!(Talker::connect(stage.address).await.line().await.starts_with("220 "), "as before");

    fs::write(certificates.path("cert.key"), key).unwrap();
    stage.reload(secured).await.unwrap();
    for protocol in PROTOCOLS {
        let client = Talker::connect(address(&stage, protocol)).await;
        let mut client = client.secure(&certificates, "localhost").await.unwrap();
        client.line().await;
        client.visit(protocol).await;
    }
    stage.reload(clear).await.unwrap();
    assert!(Talker::connect(stage.address).await.line().await.starts_with("220 "));
}

#[tokio::test]
async fn a_self_signed_certificate_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sandbox = Stage::sandbox().await;
    let tls = format!(
        "tls = {{ mode = \"auto\", self_signed = true, certificate = '{}', key = '{}' }}",
        path("own.pem").display(),
        path("own.key").display()
    );
    let config = parse(&text(&sandbox, &tls, ""));
    let stage = Stage::run(sandbox, &config);
    let read = |name: &str| fs::read(path(name)).unwrap();
    let (certificate, key) = (read("own.pem"), read("own.key"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(path("own.key")).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut client = secured_by(&path("own.pem"), stage.address).await;
    client.line().await;
    client.visit(Protocol::Smtp).await;
    stage.reload(config).await.unwrap();
    assert_eq!((read("own.pem"), read("own.key")), (certificate, key));
    secured_by(&path("own.pem"), stage.address).await;
}

/// A client that trusts this certificate and nothing else.
async fn secured_by(certificate: &Path, address: SocketAddr) -> Talker {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    let tls = TlsConnector::from(Arc::new(config));
    let tls = tls.connect("127.0.0.1".try_into().unwrap(), tcp).await.expect("an address in it");
    Talker { io: BufReader::new(Box::new(tls)) }
}

#[tokio::test]
async fn listeners_without_a_login_and_tokens_of_clients_go_with_tls() {
    let certificates = Certificates::new();
    let stage = Stage::changed(|config| {
        set(config, TlsMode::StartTls, true, &certificates.files());
        let account = Arc::clone(&config.accounts[0]);
        let smtp = Arc::make_mut(&mut config.listeners[0]);
        smtp.account = Some(Pinned { user: USER.to_owned(), account });
        Arc::make_mut(&mut config.listeners[1]).pass_tokens = true;
    })
    .await;
    let mut device = Talker::connect(stage.address).await;
    device.line().await;
    let mail = format!("MAIL FROM:<{USER}>");
    assert!(device.ask(Protocol::Smtp, &mail).await.starts_with("530 5.7.0 "));
    assert!(device.ask(Protocol::Smtp, "STARTTLS").await.starts_with("220 "));
    let mut device = device.secure(&certificates, "localhost").await.unwrap();
    assert!(device.ask(Protocol::Smtp, &mail).await.starts_with("250 "));

    let token = stage.token().await;
    let message = BASE64_STANDARD.encode(format!("user={USER}\x01auth=Bearer {token}\x01\x01"));
    let login = format!("x AUTHENTICATE XOAUTH2 {message}");
    let mut client = Talker::connect(stage.imap).await;
    client.line().await;
    assert!(client.ask(Protocol::Imap, &login).await.starts_with("x NO [PRIVACYREQUIRED] "));
    assert!(client.ask(Protocol::Imap, "x STARTTLS").await.starts_with("x OK "));
    let mut client = client.secure(&certificates, "localhost").await.unwrap();
    assert!(client.ask(Protocol::Imap, &login).await.starts_with("x OK "));
}

#[tokio::test]
async fn who_may_not_come_in_hears_words_only_where_they_can_be_read() {
    let certificates = Certificates::new();
    let rows = [(TlsMode::Implicit, ""), (TlsMode::StartTls, "421 "), (TlsMode::Auto, "421 ")];
    for (mode, words) in rows {
        let stage = Stage::changed(|config| {
            set(config, mode, false, &certificates.files());
            let smtp = Arc::make_mut(&mut config.listeners[0]);
            smtp.allow = vec!["192.0.2.7/32".parse().unwrap()];
        })
        .await;
        let rest = Talker::connect(stage.address).await.rest().await;
        assert!(rest.starts_with(words) && rest.is_empty() == words.is_empty(), "{mode:?}: {rest}");
        if mode != TlsMode::StartTls {
            let tls = Talker::connect(stage.address).await.secure(&certificates, "localhost").await;
            assert!(tls.is_err());
        }
    }
}

#[tokio::test]
async fn a_quit_ends_tls_in_order() {
    let certificates = Certificates::new();
    let stage = certificates.stage(TlsMode::Implicit, false).await;
    for protocol in PROTOCOLS {
        let client = Talker::connect(address(&stage, protocol)).await;
        let mut client = client.secure(&certificates, "localhost").await.unwrap();
        client.line().await;
        let quit = if protocol == Protocol::Imap { "x LOGOUT" } else { "QUIT" };
        client.write(&format!("{quit}\r\n")).await;
        let mut rest = String::new();
        let end = client.io.read_to_string(&mut rest).await;
        assert!(end.is_ok(), "{protocol}: without close_notify: {end:?}");
    }
}
