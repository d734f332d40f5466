//! A corporate HTTP proxy that knows one method, CONNECT (RFC 9110 section 9.3.6), with the
//! habits of squid and, on demand, of others; in clear, within TLS, and as a SOCKS proxy ([`socks`]).
//!
//! It leads to the sandbox's own servers under their real names and to loopback addresses, and
//! nowhere else: what is rehearsed here must not reach the real services by mistake.

mod pages;
mod request;
mod socks;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::sandbox::connect_proxy::pages::{login_page, squid, zscaler};
use crate::sandbox::connect_proxy::request::{Request, host_and_port, loopback, parse, read_head};
use crate::sandbox::world::{Connect, ProxyFault, Speaker, World};

/// How long a client may take over its request, or a target over its greeting.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client's connection, in clear or within TLS.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The proxy.
pub(super) struct Proxy {
    world: World,
    credentials: Option<(String, String)>,
}

/// What a request is answered with.
enum Answer {
    /// Connect the client with this address.
    Tunnel(SocketAddr),
    /// Say this; the connection lives on where nothing else is said.
    Refusal { status: u16, reply: String, close: bool },
    /// Say nothing until the client leaves.
    Silence,
}

impl Proxy {
    pub(super) fn new(world: World, credentials: Option<(String, String)>) -> Self {
        Self { world, credentials }
    }

    /// Serves this connection in clear.
    pub(super) async fn serve(self: Arc<Self>, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        self.serve_requests(client).await
    }

    /// Serves this connection within TLS.
    pub(super) async fn serve_tls(
        self: Arc<Self>,
        client: TcpStream,
        acceptor: TlsAcceptor,
    ) -> io::Result<()> {
        client.set_nodelay(true)?;
        self.serve_requests(acceptor.accept(client).await?).await
    }

    /// Serves requests on this connection until one becomes a tunnel or the connection closes.
    async fn serve_requests(&self, mut client: impl Io) -> io::Result<()> {
        let mut input = Vec::new();
        loop {
            let read = time::timeout(PATIENCE, read_head(&mut client, &mut input)).await;
            let Some(head) = read.map_err(io::Error::other)?? else {
                return Ok(());
            };
            let Some(request) = parse(&head) else {
                let reply = squid(400, "Bad Request", "ERR_INVALID_REQ", "", true);
                return self.finish(client, &reply).await;
            };
            let trickled = self.world.strikes(ProxyFault::ByteByByte);
            match self.decide(&request) {
                Answer::Tunnel(address) => {
                    return self.tunnel(client, address, &request, input, trickled).await;
                }
                Answer::Silence => {
                    self.record(&request, 0);
                    return hold(client).await;
                }
                Answer::Refusal { status, reply, close } => {
                    self.record(&request, status);
                    self.world.say(Speaker::Proxy, reply.lines().next().unwrap_or_default());
                    send(&mut client, reply.as_bytes(), trickled).await?;
                    if close {
                        return client.shutdown().await;
                    }
                }
            }
        }
    }

    fn decide(&self, request: &Request) -> Answer {
        let shown = request.credentials.as_ref().map_or("", |_| ", credentials <password>");
        let (method, target) = (&request.method, &request.target);
        self.world.say(Speaker::ProxyClient, format!("{method} {target} HTTP/1.1{shown}"));
        if !request.method.eq_ignore_ascii_case("CONNECT") {
            let reply = squid(405, "Method Not Allowed", "ERR_UNSUP_REQ", target, true);
            return Answer::Refusal { status: 405, reply, close: true };
        }
        if self.world.strikes(ProxyFault::Hang) {
            return Answer::Silence;
        }
        if !self.admits(request) {
            return self.ask_credentials(target);
        }
        if self.world.strikes(ProxyFault::BadGateway) {
            return Answer::Refusal { status: 502, reply: zscaler(), close: true };
        }
        if self.world.strikes(ProxyFault::LoginPage) {
            return Answer::Refusal { status: 200, reply: login_page(), close: true };
        }
        if self.world.strikes(ProxyFault::CloseUnanswered) {
            return Answer::Refusal { status: 0, reply: String::new(), close: true };
        }
        if self.world.strikes(ProxyFault::EarlyOkThenClose) {
            let reply = "HTTP/1.1 200 Connection established\r\n\r\n".to_owned();
            return Answer::Refusal { status: 200, reply, close: true };
        }
        let refuse = |status, reason, page| Answer::Refusal {
            status,
            reply: squid(status, reason, page, target, false),
            close: false,
        };
        let Some((host, port)) = host_and_port(target) else {
            return refuse(400, "Bad Request", "ERR_INVALID_URL");
        };
        let tuning = self.world.tuning();
        if tuning.proxy_ports.is_some_and(|ports| !ports.contains(&port)) {
            return refuse(403, "Forbidden", "ERR_ACCESS_DENIED");
        }
        if self.world.strikes(ProxyFault::ConnectFailed) {
            return refuse(503, "Service Unavailable", "ERR_CONNECT_FAIL");
        }
        match self.find(host, port) {
            Some(address) => Answer::Tunnel(address),
            None => refuse(503, "Service Unavailable", "ERR_DNS_FAIL"),
        }
    }

    /// Where a target is, if anywhere here.
    fn find(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let name = format!("{}:{port}", host.to_ascii_lowercase());
        let named = self.world.tuning().proxy_names.get(&name).copied();
        named.or_else(|| loopback(host, port))
    }

    fn admits(&self, request: &Request) -> bool {
        let Some((user, password)) = &self.credentials else {
            return true;
        };
        let expected = format!("{user}:{password}");
        request
            .credentials
            .as_deref()
            .is_some_and(|given| given.as_bytes().ct_eq(expected.as_bytes()).into())
    }

    fn ask_credentials(&self, target: &str) -> Answer {
        let basic = "Proxy-Authenticate: Basic realm=\"Sandbox proxy\"\r\n";
        if self.world.strikes(ProxyFault::EmptyOn407) {
            let reply = format!(
                "HTTP/1.1 407 Proxy Authentication Required\r\n{basic}Content-Length: 0\r\n\r\n"
            );
            return Answer::Refusal { status: 407, reply, close: false };
        }
        let close = self.world.strikes(ProxyFault::CloseOn407);
        let reason = "Proxy Authentication Required";
        let reply = squid(407, reason, "ERR_CACHE_ACCESS_DENIED", target, close);
        let reply = reply.replacen("X-Squid-Error", &format!("{basic}X-Squid-Error"), 1);
        Answer::Refusal { status: 407, reply, close }
    }

    async fn tunnel(
        &self,
        mut client: impl Io,
        address: SocketAddr,
        request: &Request,
        input: Vec<u8>,
        trickled: bool,
    ) -> io::Result<()> {
        let Ok(mut server) = TcpStream::connect(address).await else {
            self.record(request, 503);
            let page = "ERR_CONNECT_FAIL";
            let reply = squid(503, "Service Unavailable", page, &request.target, true);
            return self.finish(client, &reply).await;
        };
        server.set_nodelay(true)?;
        self.record(request, 200);
        let established = "HTTP/1.1 200 Connection established";
        self.world.say(Speaker::Proxy, established);
        let mut reply = format!("{established}\r\n\r\n").into_bytes();
        if self.world.strikes(ProxyFault::GlueGreeting) {
            reply.extend(first_words(&mut server).await?);
        }
        send(&mut client, &reply, trickled).await?;
        server.write_all(&input).await?;
        // Copies each half until its own end: a half-closed side keeps receiving.
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    async fn finish(&self, mut client: impl Io, reply: &str) -> io::Result<()> {
        self.world.say(Speaker::Proxy, reply.lines().next().unwrap_or_default());
        client.write_all(reply.as_bytes()).await?;
        client.shutdown().await
    }

    fn record(&self, request: &Request, status: u16) {
        let good = self.credentials.is_some() && self.admits(request);
        let user = self.credentials.as_ref().filter(|_| good).map(|(user, _)| user.clone());
        let target = request.target.clone();
        self.world.count(|counters| {
            let connect = Connect { target, status, user };
            counters.connects.push(connect);
        });
    }
}

/// What a server says at once. One that waits for its client to speak has nothing to glue.
async fn first_words(server: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut greeting = vec![0; 4096];
    let first = time::timeout(Duration::from_secs(2), server.read(&mut greeting)).await;
    greeting.truncate(first.unwrap_or(Ok(0))?);
    Ok(greeting)
}

async fn send(client: &mut impl Io, bytes: &[u8], trickled: bool) -> io::Result<()> {
    if !trickled {
        return client.write_all(bytes).await;
    }
    for octet in bytes {
        client.write_all(&[*octet]).await?;
        time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Reads and says nothing until the client leaves.
async fn hold(mut client: impl Io) -> io::Result<()> {
    let mut chunk = [0; 256];
    while client.read(&mut chunk).await? > 0 {}
    Ok(())
}
