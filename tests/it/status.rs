//! What operators see: over a socket of their own, and never a secret.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use mailwicket::sandbox::{
    Sandbox,
    world::{TokenFault, contoso},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::stage::{Client, PASSWORD, Stage, USER, free_address, no_program_starts, parse, text};

const STATUS: &str = "[status]\nbind = \"127.0.0.1:0\"\n";

/// Every metric, as people's dashboards name it.
const METRICS: [(&str, &str); 16] = [
    ("mailwicket_build_info", "gauge"),
    ("mailwicket_credential_days_left", "gauge"),
    ("mailwicket_identities", "gauge"),
    ("mailwicket_lockouts_total", "counter"),
    ("mailwicket_logins_total", "counter"),
    ("mailwicket_mailbox_queue_seconds", "histogram"),
    ("mailwicket_ready", "gauge"),
    ("mailwicket_relay_bytes_total", "counter"),
    ("mailwicket_sessions_live", "gauge"),
    ("mailwicket_sessions_total", "counter"),
    ("mailwicket_start_time_seconds", "gauge"),
    ("mailwicket_token_age_seconds", "gauge"),
    ("mailwicket_token_left_seconds", "gauge"),
    ("mailwicket_token_requests_total", "counter"),
    ("mailwicket_upstream_auth_seconds", "histogram"),
    ("mailwicket_upstream_dial_seconds", "histogram"),
];

/// What comes back for these octets.
async fn exchange(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // A server that has seen enough may close before it has read all.
    let _ = stream.write_all(octets).await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("an answer in time");
    String::from_utf8(answer).expect("text")
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    exchange(address, request.as_bytes()).await
}

/// Status and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = ask(address, "GET", path).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

/// Every series and its value; what is not Prometheus text fails.
fn series(text: &str) -> (BTreeMap<String, f64>, Vec<(String, String)>) {
    let (mut found, mut types) = (BTreeMap::new(), Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            types.push((name.to_owned(), kind.to_owned()));
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(name.starts_with("mailwicket_"), "{line}");
            let before = found.insert(name.to_owned(), value.parse().expect("a number"));
            assert!(before.is_none(), "twice: {line}");
        }
    }
    types.sort();
    (found, types)
}

fn stage(sandbox: Sandbox, change: impl FnOnce(String) -> String) -> (Stage, SocketAddr) {
    let text = change(text(&sandbox, "", STATUS));
    let stage = Stage::run(sandbox, &parse(&text));
    let status = stage.status.expect("a status endpoint");
    (stage, status)
}

#[tokio::test]
async fn every_path_answers_and_nothing_else_does() {
    let (stage, status) = stage(Stage::sandbox().await, |text| text);
    assert_eq!(get(status, "/healthz").await, (200, "running\n".to_owned()));
    let (code, body) = get(status, "/readyz?verbose").await;
    assert_eq!(code, 200, "{body}");
    for line in [
        "ready",
        &format!("listener smtp {} bound", stage.address),
        "identity app=\"app\" grant=client_credentials condition=fresh left=",
    ] {
        assert!(body.lines().any(|found| found.starts_with(line)), "{line}: {body}");
    }
    let requests = stage.sandbox.world().counters().token_requests_total();
    assert_eq!(requests, 1, "got ahead of the first login, and once");
    let (code, page) = get(status, "/").await;
    assert!(code == 200 && page.starts_with("<!DOCTYPE html>"), "{page}");
    for foreign in ["<script", "http://", "https://", "src="] {
        assert!(!page.contains(foreign), "{foreign}: {page}");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        let answer = ask(status, "HEAD", path).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store") && !answer.contains("length: 0"));
    }
    let host = format!("Host: {status}\r\n\r\n");
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n{host}", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}{host}", "x: y\r\n".repeat(200));
    let rows = [
        (format!("GET /nothing HTTP/1.1\r\n{host}"), 404),
        (format!("GET /metrics/ HTTP/1.1\r\n{host}"), 404),
        (format!("POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n{host}abcd"), 405),
        (format!("DELETE / HTTP/1.1\r\n{host}"), 405),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 421),
        ("GET /healthz HTTP/1.1\r\nHost: localhost:1580\r\n\r\n".to_owned(), 200),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET /healthz\r\n\r\n".to_owned(), 400),
        ("EHLO client.example\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), 400),
        (huge, 431),
        (many, 431),
    ];
    let mut ran = 0;
    for (request, code) in rows {
        let answer = exchange(status, request.as_bytes()).await;
        let first = answer.lines().next().unwrap_or_default();
        assert_eq!(first.get(9..12), Some(&*code.to_string()), "{request:.60}: {answer}");
        assert_eq!(answer.contains("allow: GET, HEAD"), code == 405, "{answer}");
        ran += 1;
    }
    assert_eq!(ran, 12);
    // One request a connection: what is pipelined behind it is not answered.
    let both = format!("GET /healthz HTTP/1.1\r\n{host}GET /healthz HTTP/1.1\r\n{host}");
    assert_eq!(exchange(status, both.as_bytes()).await.matches("HTTP/1.1").count(), 1);
    assert_eq!(stage.ended().await, 0);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let (stage, status) = stage(Stage::sandbox().await, |text| {
        let secret = "client_secret = {";
        text.replace(secret, &format!("client_secret_expires = \"2099-01-01\"\n{secret}"))
            + "[limits]\nlockout_after = 2\nqueue_timeout = \"0s\"\n"
    });
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = stage.client().await;
        assert!(client.log_in(USER, PASSWORD).await.starts_with("235 "));
        clients.push(client);
    }
    assert!(stage.client().await.log_in("scan", PASSWORD).await.starts_with("454 "));
    assert!(clients[0].send(USER, b"Subject: x\r\n\r\n").await.starts_with("250 "));
    for _ in 0..2 {
        stage.client().await.log_in("other@contoso.com", "typo").await;
    }
    stage.client().await.log_in("stranger-typed-this", "typo").await;
    let (code, text) = get(status, "/metrics").await;
    let (found, types) = series(&text);
    assert_eq!(code, 200);
    let names: Vec<_> = types.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(names, METRICS, "names are a contract");
    let version = env!("CARGO_PKG_VERSION");
    let rows = [
        (format!("mailwicket_build_info{{version=\"{version}\"}}"), 1.0),
        ("mailwicket_ready".to_owned(), 1.0),
        ("mailwicket_sessions_live{protocol=\"smtp\",phase=\"relay\"}".to_owned(), 3.0),
        (login("*@contoso.com", "accepted", "ok"), 3.0),
        (login("*@contoso.com", "refused", "wrong_password"), 2.0),
        (login("scan", "unavailable", "mailbox_full"), 1.0),
        (login("-", "refused", "unknown_user"), 1.0),
        ("mailwicket_lockouts_total{of=\"account_at_address\"}".to_owned(), 1.0),
        ("mailwicket_mailbox_queue_seconds_count{outcome=\"timed_out\"}".to_owned(), 1.0),
        ("mailwicket_upstream_dial_seconds_count{protocol=\"smtp\"}".to_owned(), 3.0),
        ("mailwicket_upstream_auth_seconds_count{protocol=\"smtp\"}".to_owned(), 3.0),
        ("mailwicket_token_requests_total{app=\"app\",outcome=\"granted\"}".to_owned(), 1.0),
        ("mailwicket_identities{app=\"app\",condition=\"fresh\"}".to_owned(), 1.0),
    ];
    let mut ran = 0;
    for (name, expected) in rows {
        assert_eq!(found.get(&name), Some(&expected), "{name}: {text}");
        ran += 1;
    }
    assert_eq!(ran, 13);
    assert!(found["mailwicket_relay_bytes_total{direction=\"up\"}"] > 50.0, "{text}");
    let days = "mailwicket_credential_days_left{app=\"app\",credential=\"secret\"}";
    assert!(found[days] > 10_000.0, "{text}");
    assert!(found["mailwicket_token_left_seconds{app=\"app\"}"] > 3000.0, "{text}");
    assert!(found["mailwicket_token_age_seconds{app=\"app\"}"] < 60.0, "{text}");
    drop(clients);
}

fn login(account: &str, outcome: &str, reason: &str) -> String {
    format!(
        "mailwicket_logins_total{{protocol=\"smtp\",account=\"{account}\",outcome=\"{outcome}\",reason=\"{reason}\"}}"
    )
}

#[tokio::test]
async fn nothing_secret_and_nothing_typed_is_shown_where_it_must_not_be() {
    let (stage, status) = stage(Stage::sandbox().await, |text| text);
    let token = stage.token().await;
    let mut client = stage.client().await;
    assert!(client.log_in(USER, PASSWORD).await.starts_with("235 "));
    client.send(USER, b"canary-message\r\n").await;
    stage.client().await.log_in("erp@contoso.com", contoso::PASSWORD).await;
    stage.client().await.log_in(USER, "canary-typo").await;
    stage.client().await.log_in("<b>typed</b>", "canary-guess").await;
    let mut seen = String::new();
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        seen += &get(status, path).await.1;
    }
    let canaries = [
        PASSWORD,
        "canary-",
        contoso::PASSWORD,
        contoso::APP_SECRET,
        "proxy-canary-password",
        "$argon2id",
        "eyJ",
        &token,
        "<b>",
    ];
    for canary in canaries {
        assert!(!seen.contains(canary), "{canary}: {seen}");
    }
    let (_, page) = get(status, "/").await;
    for shown in [USER, "relay", "wrong_password", "&lt;b&gt;typed&lt;/b&gt;", "client_credentials"]
    {
        assert_eq!(page.contains(shown), shown != "client_credentials", "{shown}: {page}");
    }
    assert!(!get(status, "/metrics").await.1.contains("typed"), "no label is typed by strangers");
}

#[tokio::test]
async fn an_app_that_entra_refuses_is_not_ready_until_it_is_mended() {
    let sandbox = Stage::sandbox().await;
    let right = text(&sandbox, "", STATUS);
    let (stage, status) =
        stage(sandbox, |text| text.replace("{ env = \"SECRET\" }", "\"canary-wrong\""));
    let (code, body) = get(status, "/readyz").await;
    assert_eq!(code, 503, "{body}");
    assert!(body.starts_with("an identity has no token and can get none\n"), "{body}");
    assert!(body.contains("condition=refused") && body.contains("remedy="), "{body}");
    assert_eq!(get(status, "/healthz").await.0, 200);
    let (_, metrics) = get(status, "/metrics").await;
    assert!(metrics.contains("\nmailwicket_ready 0\n"), "{metrics}");
    stage.reload(parse(&right)).await.unwrap();
    let (code, body) = get(status, "/readyz").await;
    assert!(code == 200 && body.contains("condition=fresh"), "{body}");
}

#[tokio::test]
async fn an_outage_is_not_ready_and_strangers_do_not_count() {
    let sandbox = Stage::sandbox().await;
    sandbox.world().arm(TokenFault::ServiceUnavailable);
    let (stage, status) = stage(sandbox, |text| text);
    let (code, body) = get(status, "/readyz").await;
    assert!(code == 503 && body.contains("condition=failing"), "{body}");
    stage.ended().await;

    let sandbox = Stage::sandbox().await;
    let (stage, status) = self::stage(sandbox, |text| {
        text.replace("user = \"erp@contoso.com\"", "user = \"*@fabrikam.com\"")
    });
    assert_eq!(get(status, "/readyz").await.0, 200);
    // Entra cannot judge what the client typed: that is this user's trouble.
    stage.sandbox.world().arm(TokenFault::ServiceUnavailable);
    stage.client().await.log_in("somebody@fabrikam.com", "typo").await;
    let (code, body) = get(status, "/readyz").await;
    assert_eq!(code, 200, "{body}");
    assert!(body.contains("others app=\"ropc\" condition=failing count=1"), "{body}");
    assert!(!body.contains("somebody"), "{body}");
    stage.ended().await;
}

#[tokio::test]
#[allow(clippy::await_holding_lock)] // this thread is this test's
async fn through_the_drain_it_says_so_and_then_it_is_gone() {
    let _alone = no_program_starts();
    let (mut stage, status) = stage(Stage::sandbox().await, |text| text);
    let mut client = stage.client().await;
    assert!(client.log_in(USER, PASSWORD).await.starts_with("235 "));
    assert_eq!(get(status, "/readyz").await.0, 200);
    stage.ask_to_stop();
    while TcpStream::connect(stage.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let (code, body) = get(status, "/readyz").await;
    assert!(code == 503 && body.starts_with("draining\n"), "{body}");
    assert_eq!(get(status, "/healthz").await.0, 200, "it runs still");
    let (found, _) = series(&get(status, "/metrics").await.1);
    let live = "mailwicket_sessions_live{protocol=\"smtp\",phase=\"relay\"}";
    assert_eq!(found.get(live), Some(&1.0));
    assert!(client.say("QUIT").await.starts_with("221 "));
    drop(client);
    assert_eq!(stage.ended().await, 0);
    assert!(TcpStream::connect(status).await.is_err());
}

#[tokio::test]
#[allow(clippy::await_holding_lock)] // this thread is this test's
async fn a_reload_opens_moves_and_closes_it() {
    let _alone = no_program_starts();
    let (first, second) = (free_address(), free_address());
    let sandbox = Stage::sandbox().await;
    let at = |address: SocketAddr| {
        parse(&text(&sandbox, "", &format!("[status]\nbind = \"{address}\"\n")))
    };
    let (none, one, two) = (parse(&text(&sandbox, "", "")), at(first), at(second));
    let barred = parse(&text(
        &sandbox,
        "",
        &format!("[status]\nbind = \"{second}\"\nallow = [\"192.0.2.1\"]\n"),
    ));
    let stage = Stage::run(sandbox, &none);
    assert!(TcpStream::connect(first).await.is_err());
    stage.reload(one.clone()).await.unwrap();
    assert_eq!(get(first, "/readyz").await.0, 200);
    stage.reload(two.clone()).await.unwrap();
    assert_eq!(get(second, "/healthz").await.0, 200);
    while TcpStream::connect(first).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let taken = TcpListener::bind(first).await.unwrap();
    let error = stage.reload(one).await.unwrap_err().to_string();
    assert!(error.contains("another program has this port"), "{error}");
    assert_eq!(get(second, "/healthz").await.0, 200, "nothing has changed");
    drop(taken);
    stage.reload(barred).await.unwrap();
    assert_eq!(ask(second, "GET", "/healthz").await, "", "not from here any more");
    stage.reload(none).await.unwrap();
    while TcpStream::connect(second).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut client = Client::connect(stage.address).await;
    assert!(client.log_in(USER, PASSWORD).await.starts_with("235 "));
}

#[tokio::test]
#[allow(clippy::await_holding_lock)] // this thread is this test's
async fn a_reload_moves_it_to_another_address_of_the_same_port_or_back() {
    let _alone = no_program_starts();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let at = |sandbox: &Sandbox, ip: &str, more: &str| {
        let allow = "allow = [\"127.0.0.0/8\"]";
        let status = format!("[status]\nbind = \"{ip}:{port}\"\n{allow}\n{more}");
        parse(&text(sandbox, "", &status))
    };
    let sandbox = Stage::sandbox().await;
    let (near, wide) = (at(&sandbox, "127.0.0.1", ""), at(&sandbox, "0.0.0.0", ""));
    let nowhere = at(&sandbox, "192.0.2.1", "");
    let stage = Stage::run(sandbox, &near);
    stage.reload(wide).await.unwrap();
    let other = SocketAddr::from(([127, 0, 0, 2], port));
    assert_eq!(get(other, "/healthz").await.0, 200);
    let error = stage.reload(nowhere).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("status 192.0.2.1:{port}: ")), "{error}");
    assert_eq!(get(other, "/healthz").await.0, 200, "it is where it was");
}
