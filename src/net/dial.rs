//! Opens a connection to a destination, directly or through a proxy; where there are several ways,
//! by the first that leads there.
//!
//! One deadline covers resolving, connecting and asking the proxy, and all ways together. A proxy
//! that says no has spoken for all: the next might have other rules, but whoever wrote the list
//! meant an order for outages, and two logins refused lock an account twice as fast. Must never
//! know what is spoken on the connection.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::{
    Io, Leg, authority,
    error::{DialError, Trouble, is_proxy},
    happy,
    order::{self, Order},
    proxy_login::{self, LoginError, LoginMemory, kerberos::Places},
    route, socks,
    tls::{self, TlsConfigError},
    tunnel::{Told, guarded},
};
use crate::config::{Outbound, Proxy, ProxyScheme, Way};

/// The limit on resolving, connecting and asking the proxy together, over all ways. Longer than a TCP connect through a
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

/// Knows the ways out.
pub struct Dialer {
    outbound: Outbound,
    tls: Arc<rustls::ClientConfig>,
    logins: LoginMemory,
    order: Arc<Order>,
    limit: Duration,
}

impl Dialer {
    /// Reads the extra CA file, if any.
    pub fn new(outbound: &Outbound) -> Result<Self, TlsConfigError> {
        let tls = Arc::new(tls::client_config(outbound.ca_file.as_deref())?);
        Ok(Self {
            outbound: outbound.clone(),
            tls,
            logins: LoginMemory::new(Places::of_process()),
            order: Arc::default(),
            limit: DIAL_LIMIT,
        })
    }

    /// With another limit than [`DIAL_LIMIT`], which no test can wait for.
    #[cfg(test)]
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// A connection to `host:port`, by the first of the ways that leads there. What a server sent
    /// behind a proxy's reply is read first.
    pub async fn dial(&self, leg: Leg, host: &str, port: u16) -> Result<Io, DialError> {
        let ways = self.order.of(route::ways(&self.outbound, leg, host, port));
        let end = Instant::now() + self.limit;
        let (mut failed, mut left) = (Vec::new(), u32::try_from(ways.len()).unwrap_or(u32::MAX));
        let several = ways.len() > 1;
        for way in ways {
            // A way that swallows everything leaves time for those behind it.
            let share = end.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            match self.go(way, host, port, share, self.doubter(way, several)).await {
                Ok(io) => {
                    self.order.led(way, &failed);
                    return Ok(io);
                }
                Err(trouble) => {
                    let is_verdict = trouble.is_verdict();
                    failed.push((way, trouble));
                    if is_verdict {
                        break;
                    }
                }
            }
        }
        let troubles = failed.into_iter().map(|(_, trouble)| trouble).collect();
        Err(DialError { leg, trouble: Trouble::all(troubles) })
    }

    /// The ways to `host:port` in words, in their order, each with what becomes of it. For
    /// diagnosis: all are gone, but none with a password that was refused on the way before, and none
    /// is remembered.
    pub async fn survey(
        &self,
        leg: Leg,
        host: &str,
        port: u16,
    ) -> Vec<(String, Option<DialError>)> {
        let (mut seen, mut refused) = (Vec::new(), Vec::<(&String, &Proxy)>::new());
        for way in route::ways(&self.outbound, leg, host, port) {
            let login = match way {
                Way::Proxy(Proxy { credentials: Some(login), .. }) => Some(&login.username),
                Way::Proxy(_) | Way::Direct => None,
            };
            let before = refused.iter().find(|(user, _)| Some(*user) == login);
            let outcome = match (way, before) {
                (Way::Proxy(proxy), Some((_, by))) => {
                    Err(same_user(proxy, by, &authority(host, port)))
                }
                _ => self.go(way, host, port, self.limit, Box::new(|_| {})).await,
            };
            if let (Way::Proxy(proxy), Some(user), Err(trouble), None) =
                (way, login, &outcome, before)
                && trouble.is_of_password()
            {
                refused.push((user, proxy));
            }
            let error = outcome.err().map(|trouble| DialError { leg, trouble });
            seen.push((order::words(way), error));
        }
        seen
    }

    /// Remembers of a way among several that it took back its yes.
    fn doubter(&self, way: &Way, several: bool) -> Told {
        if !several {
            return Box::new(|_| {});
        }
        let (order, way) = (Arc::clone(&self.order), way.clone());
        Box::new(move |early| order.doubt(&way, early))
    }

    async fn go(
        &self,
        way: &Way,
        host: &str,
        port: u16,
        limit: Duration,
        doubt: Told,
    ) -> Result<Io, Trouble> {
        let target = authority(host, port);
        let going = async {
            match way {
                Way::Direct => Ok(Box::new(tcp(host, port, &target).await?) as Io),
                Way::Proxy(proxy) => {
                    let io = match proxy.scheme {
                        ProxyScheme::Http | ProxyScheme::Https => {
                            asked(&self.logins, proxy, &self.tls, &target, limit / 3).await?
                        }
                        ProxyScheme::Socks5h => {
                            let io = open(proxy.scheme, &proxy.host, proxy.port, &self.tls).await?;
                            socks::tunnel(&self.logins, io, proxy, host, port).await?
                        }
                    };
                    Ok(guarded(io, &authority(&proxy.host, proxy.port), &target, doubt))
                }
            }
        };
        timeout(limit, going).await.unwrap_or_else(|_| {
            let seconds = (limit + Duration::from_millis(500)).as_secs(); // 9.99 is 10
            let target = match way {
                Way::Direct => target.clone(),
                Way::Proxy(proxy) => {
                    format!("{target} through proxy {}", authority(&proxy.host, proxy.port))
                }
            };
            Err(Trouble::Timeout { target, phase: "connection", seconds })
        })
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

/// A connection to a proxy, in the making.
type Opening<'a> = Pin<Box<dyn Future<Output = Result<Io, Trouble>> + Send + 'a>>;

/// Options for a connection of either side: no delay for small writes, and keepalive, so that a
/// peer that vanished is noticed.
pub fn tune(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_AGAIN);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// A connection to a proxy itself.
async fn open(
    scheme: ProxyScheme,
    host: &str,
    port: u16,
    config: &Arc<rustls::ClientConfig>,
) -> Result<Io, Trouble> {
    let name = format!("proxy {}", authority(host, port));
    let io = Box::new(tcp(host, port, &name).await?) as Io;
    match scheme {
        ProxyScheme::Http | ProxyScheme::Socks5h => Ok(io),
        ProxyScheme::Https => tls::connect(Arc::clone(config), host, &name, io).await,
    }
}

/// A tunnel of an HTTP proxy. What opens connections owns what it needs and boxes them: through an
/// async closure that borrows the compiler finds no way to Send.
fn asked<'a>(
    logins: &'a LoginMemory,
    proxy: &'a Proxy,
    config: &Arc<rustls::ClientConfig>,
    target: &'a str,
    limit: Duration,
) -> Opening<'a> {
    let (scheme, host, port) = (proxy.scheme, proxy.host.clone(), proxy.port);
    let config = Arc::clone(config);
    let open = move || -> Opening<'static> {
        let (host, config) = (host.clone(), Arc::clone(&config));
        Box::pin(async move { open(scheme, &host, port, &config).await })
    };
    Box::pin(proxy_login::tunnel(logins, open, proxy, target, limit))
}

/// The way through `proxy` that is not gone, because `by` has refused its user's password.
fn same_user(proxy: &Proxy, by: &Proxy, target: &str) -> Trouble {
    let error = LoginError::SameUser { by: authority(&by.host, by.port) };
    Trouble::Login {
        proxy: authority(&proxy.host, proxy.port),
        target: target.to_owned(),
        hint: None,
        error: Box::new(error),
    }
}

async fn tcp(host: &str, port: u16, hop: &str) -> Result<TcpStream, Trouble> {
    let name = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = lookup_host((name, port))
        .await
        .map_err(|error| {
            let whose = if is_proxy(hop) { "proxy " } else { "" };
            Trouble::Resolve { hop: format!("{whose}{name}"), error }
        })?
        .collect();
    let tcp = happy::race(addresses, TcpStream::connect).await;
    let tcp = tcp.map_err(|tried| Trouble::Connect { hop: hop.to_owned(), tried })?;
    let _ = tune(&tcp); // a connection without keepalive still carries mail
    Ok(tcp)
}
