//! Sockets: the way out, TLS on both sides, and copying bytes.
//!
//! Both legs, the token endpoint and the mail server, are dialled by the same code, so that both
//! go through the proxy and each failure names leg, hop and status. Must never know mail, tokens
//! or sessions.

pub mod dial;
pub mod error;
mod happy;
pub mod http;
pub mod http_connect;
pub mod inherited;
pub mod listen;
pub mod loopback;
mod order;
mod prefixed;
mod presented;
pub mod proxy_login;
pub mod relay;
pub mod route;
pub mod server_tls;
pub mod socks;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod tunnel;

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

/// Which of the connections is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leg {
    /// To Entra.
    Token,
    /// To the mail server.
    Mail,
    /// To the machine's own endpoint for its managed identity; never through a proxy.
    Machine,
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "token endpoint",
            Self::Mail => "mail",
            Self::Machine => "managed identity endpoint",
        })
    }
}

/// `host:port`, with an IPv6 address in brackets (RFC 3986 section 3.2.2).
pub(crate) fn authority(host: &str, port: u16) -> String {
    let host = host.trim_matches(['[', ']']);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection of whatever kind: TCP, TLS, TLS in a tunnel, a pipe in a test.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A boxed connection.
pub type Io = Box<dyn Stream>;
