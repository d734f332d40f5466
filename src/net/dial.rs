//! Opens a connection to a destination, directly or through the proxy.
//!
//! One deadline covers resolving, connecting and CONNECT together. Must never know what is spoken
//! on the connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    Io, Leg,
    error::{DialError, Trouble},
    happy,
    proxy_login::{LoginMemory, kerberos::Places, tunnel},
    route,
    tls::{self, TlsConfigError},
};
use crate::config::{Outbound, Proxy};

/// The limit on resolving, connecting and CONNECT together. Longer than a TCP connect through a
/// congested proxy takes, shorter than the login deadline.
const DIAL_LIMIT: Duration = Duration::from_secs(20);
/// The limit on a TLS handshake.
const TLS_LIMIT: Duration = Duration::from_secs(15);
/// Silence after which TCP asks whether the peer is still there: below the usual idle limits of
/// firewalls and NAT.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The pause between further questions to a peer that does not answer. Systems ask some nine times
/// before they give it up; by their own pause that would take eleven minutes more.
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(15);

/// Knows the way out.
pub struct Dialer {
    outbound: Outbound,
    tls: Arc<rustls::ClientConfig>,
    logins: LoginMemory,
}

impl Dialer {
    /// Reads the extra CA file, if any.
    pub fn new(outbound: &Outbound) -> Result<Self, TlsConfigError> {
        let tls = Arc::new(tls::client_config(outbound.ca_file.as_deref())?);
        let logins = LoginMemory::new(Places::of_process());
        Ok(Self { outbound: outbound.clone(), tls, logins })
    }

    /// A connection to `host:port`. What a server sent behind a proxy's reply is read first.
    pub async fn dial(&self, leg: Leg, host: &str, port: u16) -> Result<Io, DialError> {
        let proxy = match leg {
            Leg::Token | Leg::Mail => route::proxy_for(&self.outbound, host, port),
            Leg::Machine => None,
        };
        let target = authority(host, port);
        let way = async {
            match proxy {
                None => tcp(host, port, &target).await.map(|tcp| Box::new(tcp) as Io),
                Some(proxy) => tunnel(&self.logins, || to_proxy(proxy), proxy, &target).await,
            }
        };
        let outcome = timeout(DIAL_LIMIT, way).await.unwrap_or_else(|_| {
            let target = match proxy {
                None => target.clone(),
                Some(Proxy { host, port, .. }) => {
                    format!("{target} through proxy {}", authority(host, *port))
                }
            };
            Err(Trouble::Timeout { target, phase: "connection", seconds: DIAL_LIMIT.as_secs() })
        });
        outcome.map_err(|trouble| DialError { leg, trouble })
    }

    /// TLS on a connection; certificate and name are verified.
    pub async fn start_tls(
        &self,
        leg: Leg,
        host: &str,
        port: u16,
        io: Io,
    ) -> Result<Io, DialError> {
        let target = authority(host, port);
        let handshake = tls::connect(Arc::clone(&self.tls), host, &target, io);
        let outcome = timeout(TLS_LIMIT, handshake).await.unwrap_or_else(|_| {
            Err(Trouble::Timeout {
                target: target.clone(),
                phase: "TLS",
                seconds: TLS_LIMIT.as_secs(),
            })
        });
        outcome.map_err(|trouble| DialError { leg, trouble })
    }
}

/// Options for a connection of either side: no delay for small writes, and keepalive, so that a
/// peer that vanished is noticed.
pub fn tune(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_AGAIN);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// A fresh connection to a proxy.
async fn to_proxy(proxy: &Proxy) -> Result<Io, Trouble> {
    let name = authority(&proxy.host, proxy.port);
    let tcp = tcp(&proxy.host, proxy.port, &format!("proxy {name}")).await?;
    Ok(Box::new(tcp) as Io)
}

async fn tcp(host: &str, port: u16, hop: &str) -> Result<TcpStream, Trouble> {
    let name = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = lookup_host((name, port))
        .await
        .map_err(|error| Trouble::Resolve { host: name.to_owned(), error })?
        .collect();
    let tcp = happy::race(addresses, TcpStream::connect).await;
    let tcp = tcp.map_err(|tried| Trouble::Connect { hop: hop.to_owned(), tried })?;
    let _ = tune(&tcp); // a connection without keepalive still carries mail
    Ok(tcp)
}

/// `host:port`, with an IPv6 address in brackets (RFC 3986 section 3.2.2).
fn authority(host: &str, port: u16) -> String {
    let host = host.trim_matches(['[', ']']);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
