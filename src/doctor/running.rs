//! `check --live` and `check --ready`: asks the mailwicket that runs by this configuration how it
//! is, by the same `[status]` endpoint that operators look at.
//!
//! For containers, which have no shell and no curl to ask with. *Live* is the process with its
//! ports bound; *ready* is more, every app having a token or a way to one. Who is started anew for
//! not being live must not be so for an outage of Entra, which starting anew cannot mend and where
//! it loses what the old process still had.
//!
//! Must never know secrets: nothing but `[status]` is read.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{Finding, Words};
use crate::config::Status;

/// How long the whole question may take: less than the time that Docker, Compose and Kubernetes
/// are usually told to wait, so that our words are what they show.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read, in octets. A thousand identities fit in.
const LONGEST: usize = 256 * 1024;

/// What can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Question {
    /// `/healthz`: does it run, with its ports bound?
    Live,
    /// `/readyz`: and has every app a token, or can it get one?
    Ready,
}

/// Asks, and waits 3 seconds at most for the answer.
pub async fn ask(status: &Status, question: Question) -> Finding {
    let address = reachable(status.bind);
    let path = match question {
        Question::Live => "/healthz",
        Question::Ready => "/readyz",
    };
    let what = format!("http://{address}{path}");
    let asked = timeout(PATIENCE, exchange(status, address, path)).await;
    match asked.unwrap_or_else(|_| Err(too_slow())) {
        Ok((StatusCode::OK, answer)) => Finding::fine(format!("{what}: {}", indent(&answer))),
        Ok((code, answer)) => {
            let remedy = match question {
                Question::Ready if code == StatusCode::SERVICE_UNAVAILABLE => {
                    "see the remedies above, `mailwicket check`, and the log"
                }
                _ => "another program may have this port; look at its log",
            };
            Finding::failure(
                what,
                Words::new(format!("{}: {}", code.as_u16(), indent(&answer)), remedy),
            )
        }
        Err(words) => Finding::failure(what, words),
    }
}

async fn exchange(
    status: &Status,
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, String), Words> {
    let tcp = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Words {
            error: "nobody listens there".to_owned(),
            cause: Some("no mailwicket runs here by this configuration".to_owned()),
            remedy: Some("start it; if it does not stay, its log says why".to_owned()),
        },
        _ => Words::new(error.to_string(), "mend bind of [status]"),
    })?;
    let us = tcp.local_addr().ok().map(|us| us.ip().to_canonical());
    let closed = |error: hyper::Error| match us {
        Some(us) if !status.allow.iter().any(|net| net.contains(&us)) => Words {
            error: "it closed the connection".to_owned(),
            cause: Some(format!("{us}, from where we ask, is not in allow of [status]")),
            remedy: Some(format!("add \"{us}\" to allow, and reload")),
        },
        _ => Words::new(
            format!("no HTTP answer: {error}"),
            "another program may have this port, or it is stopping; look at the log",
        ),
    };
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| Words::new(error.to_string(), "mend bind of [status]"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(closed)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(closed)?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await.map_err(|_| {
            Words::new(
                format!("the answer broke off or is longer than {LONGEST} octets"),
                "another program may have this port",
            )
        })?;
        Ok((head.status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    // The connection moves the bytes; when it ends, the answer has come or never will.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

fn too_slow() -> Words {
    Words::new(
        format!("no answer within {} s", PATIENCE.as_secs()),
        "trying again may help; if not, the machine is overloaded, or the process hangs",
    )
}

/// An address that means all of this machine is asked at its loopback.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// As `check` prints what belongs to the line above.
fn indent(answer: &str) -> String {
    // Nothing that a strange program could do to a terminal.
    let clean = |line: &str| line.replace(|letter: char| letter.is_control(), " ");
    answer.trim_end().lines().map(clean).collect::<Vec<_>>().join("\n      ")
}
