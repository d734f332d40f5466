//! How the status is asked for: HTTP/1.1, one request a connection, within tight bounds.
//!
//! Who may look is the allow list's; there is no login. A browser on the same machine that was
//! lured to a strange name with our address (DNS rebinding) names that in `Host`, and is refused.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    page,
    view::{Readiness, View},
};
use crate::{daemon::admission::is_allowed, net::listen, stats};

/// Connections at one time, of which nobody needs so many. Beyond them the oldest goes: one that sends
/// nothing must not keep a probe out, whose answer decides whether we live.
const CONNECTIONS: usize = 16;
/// How long the head of a request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest head of a request, in octets; hyper takes no less.
const HEAD: usize = 8 * 1024;
/// How long to rest where accepting fails.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Serves until it is shut.
pub(super) async fn serve(
    socket: TcpListener,
    view: Arc<View>,
    allow: watch::Receiver<Vec<IpNet>>,
    tasks: TaskTracker,
    shut: CancellationToken,
) {
    let mut connections = VecDeque::<AbortHandle>::new();
    let accepts = async {
        loop {
            let (tcp, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "status: cannot accept");
                    if listen::classify(&error) == listen::AcceptError::Pause {
                        sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            };
            if !is_allowed(&allow.borrow(), peer.ip()) {
                warn!(
                    event = "status_not_allowed",
                    client = %peer,
                    cause = "the address is not in allow of [status]",
                    remedy = "add it to allow in proxy.toml if it may look",
                    "not shown the status",
                );
                continue;
            }
            connections.retain(|connection| !connection.is_finished());
            if connections.len() >= CONNECTIONS
                && let Some(oldest) = connections.pop_front()
            {
                oldest.abort();
            }
            let (view, shut) = (Arc::clone(&view), shut.clone());
            let conversation = tasks.spawn(async move {
                shut.run_until_cancelled(converse(tcp, peer, view)).await;
            });
            connections.push_back(conversation.abort_handle());
        }
    };
    shut.run_until_cancelled(accepts).await;
}

async fn converse(tcp: TcpStream, peer: SocketAddr, view: Arc<View>) {
    let service = service_fn(|request: Request<Incoming>| {
        let view = Arc::clone(&view);
        async move { Ok::<_, Infallible>(answer(&request, peer.ip(), &view).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), service);
    match timeout(LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(client = %peer, %error, "status: bad request"),
        Err(_) => debug!(client = %peer, "status: too slow"),
    }
}

async fn answer(request: &Request<Incoming>, peer: IpAddr, view: &View) -> Response<Full<Bytes>> {
    if !is_host_of_ours(request.headers().get(header::HOST), peer) {
        let words = "ask for this by address or as localhost\n";
        return respond(StatusCode::MISDIRECTED_REQUEST, TEXT, words.to_owned());
    }
    let path = request.uri().path();
    if !["/", "/healthz", "/readyz", "/metrics"].contains(&path) {
        let words = "there are /healthz, /readyz, /metrics and /\n";
        return respond(StatusCode::NOT_FOUND, TEXT, words.to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response =
            respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD only\n".to_owned());
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" if view.has_lost_a_door() => {
            let words = "a listener is closed: see /readyz\n";
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, words.to_owned())
        }
        "/healthz" => respond(StatusCode::OK, TEXT, "running\n".to_owned()),
        "/readyz" => {
            let Readiness { ready, verdict, details } = view.readiness().await;
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let lines = details.join("\n");
            respond(status, TEXT, format!("{verdict}\n{lines}\n"))
        }
        "/metrics" => {
            let (ready, facts) = (view.readiness_now().ready, view.facts().await);
            respond(StatusCode::OK, stats::CONTENT_TYPE, view.stats().render(ready, &facts))
        }
        _ => respond(StatusCode::OK, HTML, page::write(view)),
    }
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a client on this machine means us. Others may call us by any name, as containers do.
fn is_host_of_ours(host: Option<&HeaderValue>, peer: IpAddr) -> bool {
    let Some(host) = host.filter(|_| peer.to_canonical().is_loopback()) else { return true };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };

    use super::*;
    use crate::{
        daemon::status::DoorSeen,
        mail::Protocol,
        token::{Courier, CourierError, cache::Tokens},
    };

    fn view(tasks: &TaskTracker, draining: &CancellationToken) -> Arc<View> {
        let courier: Courier = Arc::new(|_| {
            let (what, summary) = ("no way out".to_owned(), "none".to_owned());
            Box::pin(async { Err(CourierError { what, remedy: None, summary }) })
        });
        let stop = CancellationToken::new();
        let tokens = Tokens::new(courier, None, tasks.clone(), stop.clone());
        Arc::new(View::new(tokens, draining.clone(), stop, tasks.clone()))
    }

    /// What a probe gets for this path.
    async fn probe(view: &Arc<View>, path: &str) -> String {
        let socket = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (tcp, peer) = socket.accept().await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let (read, ()) =
            tokio::join!(client.read_to_string(&mut answer), converse(tcp, peer, Arc::clone(view)));
        read.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_listener_that_is_lost_makes_us_ill_and_one_that_drains_does_not() {
        let tasks = TaskTracker::new();
        let (ended, accepts) = (tasks.spawn(async {}), tasks.spawn(pending::<()>()));
        let door = |accepts: AbortHandle| DoorSeen {
            protocol: Protocol::Imap,
            address: "127.0.0.1:1143".parse().unwrap(),
            upstream: "outlook.office365.com:993".to_owned(),
            accepts,
        };
        let lost = door(ended.abort_handle());
        ended.await.unwrap();
        let draining = CancellationToken::new();
        let view = view(&tasks, &draining);
        view.show_doors(vec![door(accepts.abort_handle())]);
        let answer = probe(&view, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("running\n"), "{answer}");
        view.show_doors(vec![door(accepts.abort_handle()), lost]);
        let rows = [
            ("/healthz", "HTTP/1.1 503 ", "a listener is closed: see /readyz\n"),
            ("/readyz", "HTTP/1.1 503 ", "listener imap 127.0.0.1:1143 closed\n"),
            ("/metrics", "HTTP/1.1 200 ", "mailwicket_ready 0\n"),
            ("/", "HTTP/1.1 200 ", "<span class=\"bad\">a listener is closed</span>"),
        ];
        let mut ran = 0;
        for (path, status, words) in rows {
            let answer = probe(&view, path).await;
            assert!(answer.starts_with(status) && answer.contains(words), "{path}: {answer}");
            ran += 1;
        }
        assert_eq!(ran, 4);
        draining.cancel();
        let answer = probe(&view, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "closed on purpose: {answer}");
    }

    /// Those who take the connections and say little go for who comes after them, and after the limit
    /// of a head by themselves.
    #[tokio::test(start_paused = true)]
    async fn slow_ones_hold_nobody_up() {
        let socket = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let (_allow, allowed) = watch::channel(vec!["127.0.0.0/8".parse().unwrap()]);
        let (tasks, shut) = (TaskTracker::new(), CancellationToken::new());
        let view = view(&tasks, &CancellationToken::new());
        let served = serve(socket, view, allowed, tasks.clone(), shut.clone());
        let served = tasks.spawn(served);
        let mut slow = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
            slow.push(client);
        }
        let started = Instant::now();
        let mut patient = TcpStream::connect(address).await.unwrap();
        patient.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        patient.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("running\n"), "{answer}");
        assert_eq!(started.elapsed(), Duration::ZERO);
        for mut client in slow {
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await; // closed or reset
            assert!(!answer.starts_with(b"HTTP/1.1 200"));
        }
        assert!(started.elapsed() <= LIMIT);
        shut.cancel();
        served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn a_strange_name_of_this_machine_is_none_of_ours() {
        let [here, there]: [IpAddr; 2] = ["127.0.0.1", "192.0.2.1"].map(|ip| ip.parse().unwrap());
        let rows = [
            ("127.0.0.1:1580", here, true),
            ("[::1]:1580", here, true),
            ("::1", here, false), // no valid Host
            ("LocalHost", here, true),
            ("localhost:1580", here, true),
            ("localhost.evil.example:1580", here, false),
            ("evil.example", here, false),
            ("", here, false),
            ("mailwicket:1580", there, true),
        ];
        let mut ran = 0;
        for (host, peer, expected) in rows {
            let value = HeaderValue::from_static(host);
            assert_eq!(is_host_of_ours(Some(&value), peer), expected, "{host}");
            ran += 1;
        }
        assert_eq!(ran, 9);
        assert!(is_host_of_ours(None, here), "HTTP/1.0");
    }
}
