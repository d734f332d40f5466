//! The proxy over raw sockets, with the sandbox's own servers behind it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::sandbox::kit::{Raw, start, start_with};
use crate::sandbox::world::{Connect, ProxyFault};
use crate::sandbox::{Options, Sandbox};

const MAIL: &str = "smtp.office365.com:587";

async fn dial(sandbox: &Sandbox) -> Raw {
    Raw::over(TcpStream::connect(sandbox.proxy()).await.unwrap())
}

/// Sends a CONNECT; the head of the answer and its body.
async fn connect(raw: &mut Raw, target: &str, more: &str) -> (Vec<String>, String) {
    raw.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n").as_bytes()).await;
    let mut head = Vec::new();
    loop {
        let line = raw.line().await;
        if line.is_empty() || line == "(closed)" {
            break;
        }
        head.push(line);
    }
    let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    raw.0.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn basic(user: &str, password: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn real_names_lead_into_the_sandbox_through_a_tunnel_that_half_closes() {
    let sandbox = start().await;
    let loopback = format!("localhost:{}", sandbox.smtp().port());
    for target in [MAIL, "SMTP.office365.com:587", &loopback] {
        let mut raw = dial(&sandbox).await;
        let (head, _) = connect(&mut raw, target, "").await;
        assert_eq!(head, ["HTTP/1.1 200 Connection established"]);
        assert!(raw.reply().await.starts_with("220 HOST "), "{target}");
        raw.send(b"NOOP\r\n").await;
        tokio::io::AsyncWriteExt::shutdown(&mut raw.0).await.unwrap();
        assert_eq!(raw.reply().await, "250 2.0.0 OK", "the other half is still open");
        assert_eq!(raw.line().await, "(closed)");
    }
    let seen: Vec<_> = sandbox.world().counters().connects;
    let expected = Connect { target: MAIL.to_owned(), status: 200, user: None };
    assert_eq!((seen.len(), &seen[0]), (3, &expected));
}

#[tokio::test]
async fn each_mail_server_is_behind_its_port() {
    let sandbox = start().await;
    for (port, greeting) in [("993", "* OK Microsoft Exchange IMAP4 "), ("995", "+OK Microsoft ")] {
        let name = "outlook.office365.com";
        let mut raw = dial(&sandbox).await;
        let (head, _) = connect(&mut raw, &format!("{name}:{port}"), "").await;
        assert_eq!(head, ["HTTP/1.1 200 Connection established"]);
        let mut raw = raw.start_tls(&sandbox, name).await;
        assert!(raw.line().await.starts_with(greeting), "{port}");
    }
    let counters = sandbox.world().counters();
    assert_eq!((counters.imap_sessions, counters.pop3_sessions), (1, 1));
}

#[tokio::test]
async fn tls_passes_through() {
    let sandbox = start().await;
    let mut raw = dial(&sandbox).await;
    connect(&mut raw, "login.microsoftonline.com:443", "").await;
    let mut raw = raw.start_tls(&sandbox, "login.microsoftonline.com").await;
    raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.line().await, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn credentials_are_asked_for_in_three_forms() {
    let credentials = Some(("svc".to_owned(), "pa:ss".to_owned()));
    let sandbox =
        start_with(Options { proxy_credentials: credentials, ..Options::default() }).await;
    let world = sandbox.world();
    let challenge = "Proxy-Authenticate: Basic realm=\"Sandbox proxy\"".to_owned();
    let mut raw = dial(&sandbox).await;
    let (head, body) = connect(&mut raw, MAIL, "").await;
    assert_eq!(head[0], "HTTP/1.1 407 Proxy Authentication Required");
    assert!(head.contains(&challenge) && head.contains(&"Connection: keep-alive".to_owned()));
    assert!(head.contains(&"X-Squid-Error: ERR_CACHE_ACCESS_DENIED 0".to_owned()));
    assert!(body.contains("ERR_CACHE_ACCESS_DENIED"));
    world.arm_times(ProxyFault::EmptyOn407, 1);
    let (head, body) = connect(&mut raw, MAIL, &basic("svc", "wrong")).await;
    assert!(head.contains(&challenge) && body.is_empty());
    let (head, _) = connect(&mut raw, MAIL, &basic("svc", "pa:ss")).await;
    assert_eq!(head, ["HTTP/1.1 200 Connection established"], "on the same connection");

    world.arm_times(ProxyFault::CloseOn407, 1);
    let mut raw = dial(&sandbox).await;
    let (head, body) = connect(&mut raw, MAIL, "").await;
    assert!(head.contains(&"Connection: close".to_owned()) && !body.is_empty());
    assert_eq!(raw.line().await, "(closed)");
    let seen: Vec<_> = world.counters().connects.into_iter().map(|c| (c.status, c.user)).collect();
    let expected = [(407, None), (407, None), (200, Some("svc".to_owned())), (407, None)];
    assert_eq!(seen, expected);
    let text: String = world.transcript().iter().map(|line| line.text.clone() + "\n").collect();
    assert!(text.contains("CONNECT smtp.office365.com:587 HTTP/1.1, credentials <password>"));
    assert!(!text.contains("pa:ss") && !text.contains(&STANDARD.encode("svc:pa:ss")), "{text}");
}

#[tokio::test]
async fn refusals_have_their_forms() {
    let sandbox = start().await;
    let world = sandbox.world();
    let mut raw = dial(&sandbox).await;
    for (target, status, page) in [
        ("mail.example.com:587", "HTTP/1.1 503 Service Unavailable", "ERR_DNS_FAIL"),
        ("192.0.2.1:25", "HTTP/1.1 503 Service Unavailable", "ERR_DNS_FAIL"),
        ("nonsense", "HTTP/1.1 400 Bad Request", "ERR_INVALID_URL"),
    ] {
        let (head, body) = connect(&mut raw, target, "").await;
        assert_eq!(head[0], status, "{target}");
        assert!(head.contains(&format!("X-Squid-Error: {page} 0")) && body.contains(page));
    }
    world.tune(|tuning| tuning.proxy_ports = Some(vec![443]));
    let (head, body) = connect(&mut raw, MAIL, "").await;
    assert_eq!(head[0], "HTTP/1.1 403 Forbidden");
    for line in [
        "Server: squid/5.7",
        "X-Squid-Error: ERR_ACCESS_DENIED 0",
        "Vary: Accept-Language",
        "Content-Type: text/html;charset=utf-8",
        "Content-Language: en",
    ] {
        assert!(head.contains(&line.to_owned()), "{line}");
    }
    assert!(body.contains("<html>"));
    world.arm_times(ProxyFault::ConnectFailed, 1);
    let (head, _) = connect(&mut raw, "login.microsoftonline.com:443", "").await;
    assert!(head.contains(&"X-Squid-Error: ERR_CONNECT_FAIL 0".to_owned()));
    world.arm_times(ProxyFault::BadGateway, 1);
    let (head, _) = connect(&mut raw, MAIL, "").await;
    assert_eq!(head[..2], ["HTTP/1.0 502 Bad Gateway", "Server: Zscaler/6.2"]);
    let mut raw = dial(&sandbox).await;
    raw.send(b"GET http://x/ HTTP/1.1\r\n\r\n").await;
    assert_eq!(raw.line().await, "HTTP/1.1 405 Method Not Allowed");
    let mut raw = dial(&sandbox).await;
    raw.send(b"HELO\r\n\r\n").await;
    assert_eq!(raw.line().await, "HTTP/1.1 400 Bad Request");
    let mut raw = dial(&sandbox).await;
    raw.send(&vec![b'x'; 20_000]).await;
    assert_eq!(raw.line().await, "(closed)");
    let statuses: Vec<_> = world.counters().connects.iter().map(|c| c.status).collect();
    assert_eq!(statuses, [503, 503, 400, 403, 503, 502, 405]);
}

#[tokio::test]
async fn the_tunnel_opens_in_awkward_ways() {
    let sandbox = start().await;
    let world = sandbox.world();
    world.arm_times(ProxyFault::GlueGreeting, 1);
    let mut stream = TcpStream::connect(sandbox.proxy()).await.unwrap();
    let request = format!("CONNECT {MAIL} HTTP/1.1\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut first = [0; 4096];
    let length = stream.read(&mut first).await.unwrap();
    let glued = std::str::from_utf8(&first[..length]).unwrap();
    assert!(glued.starts_with("HTTP/1.1 200 Connection established\r\n\r\n220 "), "{glued}");
    assert!(glued.ends_with("]\r\n"), "{glued}");

    world.arm_times(ProxyFault::ByteByByte, 1);
    let mut raw = dial(&sandbox).await;
    let (head, _) = connect(&mut raw, MAIL, "").await;
    assert_eq!(head[0], "HTTP/1.1 200 Connection established");
    assert!(raw.reply().await.starts_with("220 "));

    world.arm_times(ProxyFault::EarlyOkThenClose, 1);
    let mut raw = dial(&sandbox).await;
    let (head, _) = connect(&mut raw, MAIL, "").await;
    assert_eq!(head[0], "HTTP/1.1 200 Connection established");
    assert_eq!(raw.line().await, "(closed)");

    world.arm_times(ProxyFault::Hang, 1);
    let mut raw = dial(&sandbox).await;
    raw.send(request.as_bytes()).await;
    world.counters_when(|counters| counters.connects.len() == 4).await;
    assert_eq!(world.counters().connects[3].status, 0);
    let mut early = dial(&sandbox).await;
    early.send(format!("{request}EHLO early\r\n").as_bytes()).await;
    let lines = [early.line().await, early.line().await, early.line().await];
    assert_eq!(lines[0], "HTTP/1.1 200 Connection established");
    assert!(lines[2].starts_with("220 "), "{lines:?}");
    assert!(early.reply().await.starts_with("250-HOST Hello"), "what came early is passed on");
}

#[tokio::test]
async fn the_same_proxy_is_within_tls_and_speaks_socks() {
    let login = Some(("svc".to_owned(), "pw".to_owned()));
    let sandbox = start_with(Options { proxy_credentials: login, ..Options::default() }).await;
    let raw = Raw::over(TcpStream::connect(sandbox.secure_proxy()).await.unwrap());
    let mut raw = raw.start_tls(&sandbox, "localhost").await;
    let (head, _) = connect(&mut raw, MAIL, &basic("svc", "pw")).await;
    assert_eq!(head, ["HTTP/1.1 200 Connection established"]);
    assert!(raw.reply().await.starts_with("220 "));

    // What is said at once, and what the answers begin with.
    let name = b"\x05\x01\0\x03\x12smtp.office365.com\x02\x4b";
    let rows = [
        (
            [&b"\x05\x01\x02\x01\x03svc\x02pw"[..], name].concat(),
            &b"\x05\x02\x01\0\x05\0\0\x01"[..],
        ),
        (b"\x05\x01\0".to_vec(), b"\x05\xff"),
        (b"\x05\x01\x02\x01\x03svc\x02no".to_vec(), b"\x05\x02\x01\x01"),
        (
            b"\x05\x01\x02\x01\x03svc\x02pw\x05\x01\0\x03\x03a.b\0\x19".to_vec(),
            b"\x05\x02\x01\0\x05\x04",
        ),
        (
            b"\x05\x01\x02\x01\x03svc\x02pw\x05\x02\0\x01\x7f\0\0\x01\0\x19".to_vec(),
            b"\x05\x02\x01\0\x05\x07",
        ),
    ];
    let mut ran = 0;
    for (said, expected) in rows {
        let mut raw = Raw::over(TcpStream::connect(sandbox.socks()).await.unwrap());
        raw.send(&said).await;
        let mut answers = vec![0; expected.len()];
        raw.0.read_exact(&mut answers).await.unwrap();
        assert_eq!(answers, expected, "{said:?}");
        ran += 1;
    }
    assert_eq!(ran, 5);
    let codes: Vec<_> =
        sandbox.world().counters().socks_connects.iter().map(|connect| connect.status).collect();
    assert_eq!(codes, [0, 4, 7]);
}
