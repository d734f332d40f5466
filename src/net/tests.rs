//! The way out against proxies and servers that behave in every way seen.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{
    Leg,
    dial::Dialer,
    error::{DialError, Trouble},
    http,
    proxy_login::{LoginError, Scheme},
    tls::TlsConfigError,
};
use crate::config::{Outbound, Proxy, ProxyAuth, ProxyCredentials, ProxyScheme, Way};

/// A server that reads a request head if it should, says these words, and closes; each time.
async fn says(reads: bool, words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if reads {
                head(&mut stream).await;
            }
            for octet in words.chunks(1) {
                let _ = stream.write_all(octet).await;
                let _ = stream.flush().await;
            }
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    address
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn through(proxy: SocketAddr) -> Dialer {
    let credentials = ProxyCredentials { username: "svc".to_owned(), password: "hidden".into() };
    let proxy = Proxy {
        scheme: ProxyScheme::Http,
        host: proxy.ip().to_string(),
        port: proxy.port(),
        credentials: Some(credentials),
        auth: ProxyAuth::Auto,
    };
    let proxies = vec![Way::Proxy(proxy)];
    Dialer::new(&Outbound { proxies, ..Outbound::default() }).unwrap()
}

async fn refused(words: &'static [u8]) -> DialError {
    let dialer = through(says(true, words).await);
    match dialer.dial(Leg::Mail, "smtp.office365.com", 587).await {
        Ok(_) => panic!("{}", String::from_utf8_lossy(words)),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_tunnel_is_had_octet_by_octet_and_the_greeting_behind_it_is_kept() {
    let dialer = through(
        says(true, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n220 ready\r\n").await,
    );
    let mut io = dialer.dial(Leg::Mail, "smtp.office365.com", 587).await.unwrap();
    let mut greeting = [0; 11];
    io.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
}

#[tokio::test]
async fn each_failure_of_a_proxy_names_leg_hop_and_status_and_says_what_to_do() {
    // What the proxy answers, what the error must say, and what its remedy must.
    let rows: &[(&'static [u8], &str, &str)] = &[
        (
            b"HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n<html>",
            "answered 403 to CONNECT smtp.office365.com:587 (Forbidden, X-Squid-Error: ERR_ACCESS_DENIED 0",
            "acl SSL_ports port 587",
        ),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nConnection: close\r\nContent-Length: 5\r\n\r\nagain",
            "answered 407",
            "does not accept username and password",
        ),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            "answered 407 to CONNECT smtp.office365.com:587 (Proxy Authentication Required): it takes only Negotiate, NTLM",
            "NTLM: look at the proxy's log",
        ),
        (b"HTTP/1.0 502 Bad Gateway\r\nServer: Zscaler/6.2\r\n\r\n<html>", "answered 502", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answered 503", ""),
        (b"HTTP/1.1 303 See Other\r\nLocation: https://login.proxy/\r\n\r\n", "Location: https://login.proxy/", "at login.proxy to log in"),
        (b"<html>a web server</html>\r\n\r\n", "no answer to CONNECT smtp.office365.com:587 that makes sense", "HTTP proxy"),
        (b"", "it closed the connection", "HTTP proxy"),
        (b"HTTP/1.1 200", "in the middle of its answer", "HTTP proxy"),
    ];
    let mut ran = 0;
    for (words, said, remedy) in rows {
        let error = refused(words).await;
        let text = error.to_string();
        assert!(text.starts_with("mail: proxy 127.0.0.1:") && text.contains(said), "{text}");
        assert!(
            error.remedy().is_some_and(|words| words.contains(remedy)),
            "{text}: {:?}",
            error.remedy()
        );
        assert!(
            error.summary().len() <= 60 && error.summary().to_lowercase().contains("proxy"),
            "{}",
            error.summary()
        );
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
        ran += 1;
    }
    assert_eq!(ran, 9);
}

#[tokio::test]
async fn a_closed_port_is_named_with_every_address_that_was_tried() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let direct = Dialer::new(&Outbound::default()).unwrap();
    let Err(error) = direct.dial(Leg::Token, "127.0.0.1", closed.port()).await else { panic!() };
    assert!(
        error
            .to_string()
            .starts_with(&format!("token endpoint: cannot connect to {closed}: {closed}: ")),
        "{error}"
    );
    let Err(error) = through(closed).dial(Leg::Mail, "smtp.office365.com", 587).await else {
        panic!()
    };
    assert!(error.to_string().contains(&format!("cannot connect to proxy {closed}")), "{error}");
    let Err(error) = direct.dial(Leg::Mail, "no such name.invalid", 1).await else { panic!() };
    assert!(error.to_string().starts_with("mail: cannot resolve"), "{error}");
}

/// A certificate authority and its file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn dialer(&self) -> Dialer {
        Dialer::new(&Outbound { ca_file: Some(self.file()), ..Outbound::default() }).unwrap()
    }

    /// With a certificate for `name`, valid until `year`.
    fn acceptor(&self, name: &str, year: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A TLS server with a certificate for `name`, valid until `year`, that answers HTTP.
    async fn server(&self, name: &str, year: i32) -> SocketAddr {
        let acceptor = self.acceptor(name, year);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut tls) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 4096];
                let count = tls.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..count]).into_owned();
                let body = format!(
                    "{} {}",
                    text.lines().next().unwrap_or_default(),
                    text.contains(&format!("host: localhost:{}", address.port()))
                );
                let _ = tls
                    .write_all(
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                            .as_bytes(),
                    )
                    .await;
            }
        });
        address
    }
}

#[tokio::test]
async fn certificate_and_name_are_verified_and_each_fault_has_its_words() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let dialer = ours.dialer();
    let tls = async |server: SocketAddr| {
        let io = dialer.dial(Leg::Mail, "localhost", server.port()).await.unwrap();
        dialer.start_tls(Leg::Mail, "localhost", server.port(), io).await.map(drop)
    };
    assert!(tls(ours.server("localhost", 4000).await).await.is_ok());
    let rows = [
        (
            theirs.server("localhost", 4000).await,
            "unknown authority: issued by \"CN=theirs\" for \"CN=rcgen self signed cert\"",
            "ca_file",
        ),
        (ours.server("other.example", 4000).await, "another name", "host name"),
        (ours.server("localhost", 2021).await, "expired", "clock"),
        (says(false, b"220 this is no TLS\r\n").await, "does not speak TLS", "upstream.security"),
        (says(false, b"").await, "during the handshake", ""),
    ];
    let mut ran = 0;
    for (server, said, remedy) in rows {
        let error = tls(server).await.expect_err(said);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("mail: TLS with localhost:{}: ", server.port())),
            "{text}"
        );
        assert!(text.contains(said), "{text}");
        assert!(
            error.remedy().is_some_and(|words| words.contains(remedy)),
            "{text}: {:?}",
            error.remedy()
        );
        ran += 1;
    }
    assert_eq!(ran, 5);
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_told_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let new = || Dialer::new(&Outbound { ca_file: Some(file.clone()), ..Outbound::default() });
    for (text, words) in [
        (None, "os error 2"),
        (Some("hello"), "no certificate"),
        (Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "not PEM"),
    ] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let Err(error @ TlsConfigError::CaFile { .. }) = new() else { panic!("{words}") };
        assert!(
            error.to_string().contains(words) && error.to_string().contains("ca.pem"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_request_is_answered_over_tls_and_its_faults_are_told() {
    let authority = Authority::new("ours");
    let dialer = authority.dialer();
    let server = authority.server("localhost", 4000).await;
    let client = reqwest::Client::new();
    let ask = async |url: String| {
        http::send(&dialer, Leg::Token, client.post(url).body("x").build().unwrap()).await
    };
    let answer = ask(format!("https://localhost:{}/a/b?c", server.port())).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "POST /a/b?c HTTP/1.1 true");

    let garbage = says(true, b"220 mail ready\r\n\r\n").await;
    let error = ask(format!("http://127.0.0.1:{}/", garbage.port())).await.unwrap_err();
    assert!(error.to_string().starts_with("127.0.0.1 gave no HTTP answer"), "{error}");
    let short = says(true, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    let error = ask(format!("http://127.0.0.1:{}/", short.port())).await.unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
    assert!(error.remedy().is_some() && !error.summary().is_empty());
}

#[tokio::test]
async fn a_connection_of_either_side_notices_a_peer_that_has_vanished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    for tcp in [ours.unwrap(), theirs.unwrap().0] {
        crate::net::dial::tune(&tcp).unwrap();
        assert!(tcp.nodelay().unwrap());
        assert!(socket2::SockRef::from(&tcp).keepalive().unwrap());
    }
}

fn way(scheme: ProxyScheme, host: &str, port: u16) -> Way {
    Way::Proxy(Proxy {
        scheme,
        host: host.to_owned(),
        port,
        credentials: None,
        auth: ProxyAuth::Auto,
    })
}

fn by(proxies: Vec<Way>) -> Dialer {
    Dialer::new(&Outbound { proxies, ..Outbound::default() }).unwrap()
}

#[tokio::test]
async fn a_proxy_within_tls_is_verified_like_any_server() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let met = async |server: SocketAddr| {
        let outbound = Outbound {
            proxies: vec![way(ProxyScheme::Https, "localhost", server.port())],
            ca_file: Some(ours.file()),
            ..Outbound::default()
        };
        let dialer = Dialer::new(&outbound).unwrap();
        dialer.dial(Leg::Mail, "smtp.office365.com", 587).await
    };
    // It answers every request with 200 and its first line, which is then the first to be read.
    let mut io = met(ours.server("localhost", 4000).await).await.unwrap();
    let mut line = [0; 39];
    io.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"CONNECT smtp.office365.com:587 HTTP/1.1");

    let rows = [
        (theirs.server("localhost", 4000).await, "issued by \"CN=theirs\"", "ca_file"),
        (ours.server("other.example", 4000).await, "another name", "host name"),
        (says(false, b"HTTP/1.1 400 Bad Request\r\n\r\n").await, "not speak TLS", "write http://"),
        (says(false, b"").await, "closed the connection during the handshake", "write http://"),
    ];
    let mut ran = 0;
    for (server, said, remedy) in rows {
        let Err(error) = met(server).await else { panic!("{said}") };
        let text = error.to_string();
        let start = format!("mail: TLS with proxy localhost:{}: ", server.port());
        assert!(text.starts_with(&start) && text.contains(said), "{text}");
        let told = error.remedy().unwrap();
        assert!(told.contains(remedy) && !told.contains("upstream."), "{told}");
        assert_eq!(error.summary(), "No TLS with the proxy (mail server)");
        ran += 1;
    }
    assert_eq!(ran, 4);
}

#[tokio::test]
async fn what_comes_in_place_of_the_server_is_the_proxys_doing() {
    let rows: [(&'static [u8], &str); 3] = [
        (b"HTTP/1.1 200 OK\r\n\r\n", "closed the connection before anything came"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<!DOCTYPE html>", "sent a web page"),
        (b"HTTP/1.1 200 OK\r\n\r\n220 no TLS\r\n", "does not speak TLS"),
    ];
    let mut ran = 0;
    for (words, said) in rows {
        let dialer = through(says(true, words).await);
        let io = dialer.dial(Leg::Mail, "outlook.office365.com", 993).await.unwrap();
        let tls = dialer.start_tls(Leg::Mail, "outlook.office365.com", 993, io).await;
        let Err(error) = tls else { panic!("{said}") };
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.remedy().is_some() && error.summary().len() < 60, "{error}");
        ran += 1;
    }
    assert_eq!(ran, 3);
}

#[tokio::test]
async fn a_proxy_within_tls_that_is_gone_without_a_word_has_closed() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 4000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    TaskTracker::new().spawn(async move {
        let mut tls = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let mut request = [0; 4096];
        let _ = tls.read(&mut request).await.unwrap();
        tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        tls.flush().await.unwrap();
        tls.into_inner().0.shutdown().await.unwrap(); // no close_notify
    });
    let outbound = Outbound {
        proxies: vec![way(ProxyScheme::Https, "localhost", port)],
        ca_file: Some(authority.file()),
        ..Outbound::default()
    };
    let dialer = Dialer::new(&outbound).unwrap();
    let mut io = dialer.dial(Leg::Mail, "smtp.office365.com", 587).await.unwrap();
    let error = io.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("closed the connection before anything came"), "{error}");
}

/// The one black hole that loopback has: a socket whose queue of connections nobody empties still
/// takes them, and answers nothing.
#[tokio::test]
async fn a_way_that_answers_nothing_leaves_time_for_the_next() {
    for scheme in [ProxyScheme::Http, ProxyScheme::Https, ProxyScheme::Socks5h] {
        let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = hole.local_addr().unwrap().port();
        let good = says(true, b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n").await;
        let ways =
            vec![way(scheme, "127.0.0.1", port), way(ProxyScheme::Http, "127.0.0.1", good.port())];
        let dialer = by(ways).within(std::time::Duration::from_secs(2));
        for _ in 0..2 {
            assert!(dialer.dial(Leg::Mail, "smtp.office365.com", 587).await.is_ok(), "{scheme}");
        }
        let ours = TcpStream::connect(hole.local_addr().unwrap()).await.unwrap();
        let _first = hole.accept().await.unwrap();
        let (_, second) = hole.accept().await.unwrap();
        assert_eq!(second, ours.local_addr().unwrap(), "{scheme}: only one session has waited");
        let alone = by(vec![way(scheme, "127.0.0.1", port)]);
        let alone = alone.within(std::time::Duration::from_millis(10));
        let Err(error) = alone.dial(Leg::Mail, "mail", 587).await else { panic!("{scheme}") };
        let expected =
            format!("mail: no connection with mail:587 through proxy 127.0.0.1:{port} within 0 s");
        assert_eq!(error.to_string(), expected);
        assert!(error.remedy().is_some_and(|words| words.contains("scheme")));
        assert_eq!(error.summary(), "The proxy does not answer in time (mail server)");
    }
}

#[tokio::test]
async fn all_ways_that_failed_are_told_with_their_remedies_each_once() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let forbids = says(true, b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    let dialer = by(vec![
        way(ProxyScheme::Http, "127.0.0.1", closed),
        way(ProxyScheme::Socks5h, "127.0.0.1", closed),
        way(ProxyScheme::Http, "127.0.0.1", forbids.port()),
        Way::Direct,
    ]);
    let Err(error) = dialer.dial(Leg::Mail, "smtp.office365.com", 587).await else { panic!() };
    let text = error.to_string();
    assert!(
        text.starts_with("mail: no way out leads there: (1) cannot connect to proxy "),
        "{text}"
    );
    assert!(
        text.contains("; (3) proxy 127.0.0.1:") && !text.contains("(4)"),
        "a no is a no: {text}"
    );
    let remedy = error.remedy().unwrap();
    assert!(remedy.starts_with("(1, 2) check host and port of the proxy"), "{remedy}");
    assert!(remedy.contains("(3) ask the proxy's owners to allow CONNECT"), "{remedy}");
    assert_eq!(error.summary(), "The proxy answered 403 (mail server)");
}

#[test]
fn the_lines_for_squid_fit_host_and_port() {
    let rows = [
        (
            "smtp.office365.com:587",
            "acl SSL_ports port 587; acl Safe_ports port 587; acl mailwicket_hosts dstdomain smtp.office365.com; acl mailwicket_ports port 587; http_access allow CONNECT mailwicket_hosts mailwicket_ports",
        ),
        (
            "login.microsoftonline.com:443",
            "counts): acl mailwicket_hosts dstdomain login.microsoftonline.com; acl mailwicket_ports port 443;",
        ),
        ("192.0.2.1:993", "dst 192.0.2.1;"),
        ("[2001:db8::1]:993", "dst 2001:db8::1;"),
    ];
    let mut ran = 0;
    for (target, lines) in rows {
        let (proxy, hint, target) = ("p:1".to_owned(), String::new(), target.to_owned());
        let trouble = Trouble::Refused { proxy, target, status: 403, hint };
        let told = trouble.remedy().unwrap();
        assert!(told.contains(lines), "{told}");
        ran += 1;
    }
    assert_eq!(ran, 4);
}

#[tokio::test]
async fn a_way_that_takes_back_its_yes_is_the_last_next_time() {
    let lazy = says(true, b"HTTP/1.1 200 OK\r\n\r\n").await;
    let good = says(true, b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n").await;
    let ways = [lazy, good].map(|proxy| way(ProxyScheme::Http, "127.0.0.1", proxy.port()));
    let dialer = by(ways.to_vec());
    let mut greeting = [0; 4];
    let mut io = dialer.dial(Leg::Mail, "smtp.office365.com", 587).await.unwrap();
    let error = io.read_exact(&mut greeting).await.unwrap_err();
    assert!(error.to_string().contains(&lazy.to_string()), "{error}");
    drop(io);
    let mut io = dialer.dial(Leg::Mail, "smtp.office365.com", 587).await.unwrap();
    io.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ");
}

/// A SOCKS proxy that wants a login and gives this answer to it, and how many logins it has seen.
async fn socks(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&seen);
    TaskTracker::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_exact(&mut [0; 4]).await.unwrap();
            stream.write_all(b"\x05\x02").await.unwrap();
            // Version, "svc", "hidden"; or nothing, and the connection is given up.
            if stream.read_exact(&mut [0; 12]).await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(answer).await;
            }
        }
    });
    (address, seen)
}

fn with_login(way: Way) -> Way {
    let Way::Proxy(proxy) = way else { return way };
    let credentials = ProxyCredentials { username: "svc".to_owned(), password: "hidden".into() };
    Way::Proxy(Proxy { credentials: Some(credentials), ..proxy })
}

#[tokio::test]
async fn a_socks_proxy_gets_a_refused_password_once_and_its_no_is_a_no() {
    let answers: [(&'static [u8], &str); 2] =
        [(b"\x01\x01", "refused user and password"), (b"", "refused user and password")];
    let mut ran = 0;
    for (answer, said) in answers {
        let (proxy, seen) = socks(answer).await;
        let first = with_login(way(ProxyScheme::Socks5h, "127.0.0.1", proxy.port()));
        let dialer = by(vec![first, Way::Direct]);
        for words in [said, "not tried again for 1"] {
            let Err(error) = dialer.dial(Leg::Mail, "smtp.office365.com", 587).await else {
                panic!("{words}")
            };
            let text = error.to_string();
            assert!(text.contains(words) && !text.contains("(2)"), "{words}: {text}");
            assert!(error.remedy().is_some_and(|words| words.contains("mend them")), "{text}");
        }
        assert_eq!(seen.load(Ordering::SeqCst), 1);
        ran += 1;
    }
    assert_eq!(ran, 2);
}

/// The domain controller behind it is away, say: its no is none, and the next proxy may be well.
#[tokio::test]
async fn a_proxy_that_breaks_off_before_the_password_leaves_it_to_the_next() {
    let breaks_off = says(
        true,
        b"HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\nContent-Length: 0\r\n\
          Proxy-Authenticate: NTLM TlRMTVNTUAACAAAADAAMADgAAAAzgoriASNFZ4mrze8AAAAAAAAAACQAJABEAAAA\
          BgBwFwAAAA9TAGUAcgB2AGUAcgACAAwARABvAG0AYQBpAG4AAQAMAFMAZQByAHYAZQByAAAAAAA=\r\n\r\n",
    )
    .await;
    let first = with_login(way(ProxyScheme::Http, "127.0.0.1", breaks_off.port()));
    let Err(error) = by(vec![first.clone()]).dial(Leg::Mail, "mail", 587).await else { panic!() };
    assert!(error.to_string().contains("in the middle of the login by NTLM"), "{error}");
    let good = says(true, b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n").await;
    let dialer = by(vec![first, way(ProxyScheme::Http, "127.0.0.1", good.port())]);
    assert!(dialer.dial(Leg::Mail, "mail", 587).await.is_ok());
}

#[test]
fn only_what_was_said_about_the_password_is_a_verdict() {
    let scheme = Scheme::Ntlm;
    let rows = [
        (LoginError::Wanted { offered: Vec::new() }, true),
        (LoginError::Refused { scheme }, true),
        (LoginError::Paused { scheme, said: true, seconds: 9 }, true),
        (LoginError::Paused { scheme, said: false, seconds: 9 }, false),
        (LoginError::BrokeOff { scheme, proof: true }, true), // as squid says no
        (LoginError::BrokeOff { scheme, proof: false }, false),
        (LoginError::Endless, false),
    ];
    let mut ran = 0;
    for (error, expected) in rows {
        let (proxy, target) = ("proxy:3128".to_owned(), "mail:587".to_owned());
        let trouble = Trouble::Login { proxy, target, hint: None, error: Box::new(error) };
        assert_eq!(trouble.is_verdict(), expected, "{trouble}");
        ran += 1;
    }
    assert_eq!(ran, 7);
}

#[tokio::test]
async fn a_survey_sends_a_refused_password_to_no_further_way() {
    let proxies = [socks(b"\x01\x01").await, socks(b"\x01\x01").await];
    let ways = proxies
        .iter()
        .map(|(proxy, _)| with_login(way(ProxyScheme::Socks5h, "127.0.0.1", proxy.port())));
    let dialer = by(ways.collect());
    for _ in 0..2 {
        let seen = dialer.survey(Leg::Mail, "smtp.office365.com", 587).await;
        let second = seen[1].1.as_ref().unwrap().to_string();
        let first = format!("not asked: {} has refused user and password", proxies[0].0);
        assert!(second.contains(&first), "{second}");
    }
    assert_eq!([0, 1].map(|at: usize| proxies[at].1.load(Ordering::SeqCst)), [1, 0]);
}
