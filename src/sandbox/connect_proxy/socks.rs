//! The proxy as SOCKS 5 (RFC 1928), with user and password where it asks for them (RFC 1929).
//!
//! It is strict where dante is: one method, and a login that fails ends the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use crate::sandbox::connect_proxy::{PATIENCE, Proxy, first_words, hold};
use crate::sandbox::world::{Connect, ProxyFault, Speaker};

/// Reply codes, section 6; the last is no code: nothing was said.
const GRANTED: u8 = 0;
const FORBIDDEN: u8 = 2;
const NO_HOST: u8 = 4;
const HOST_REFUSES: u8 = 5;
const NO_SUCH_COMMAND: u8 = 7;
const SILENT: u8 = 255;

impl Proxy {
    /// Serves one connection to its end.
    pub(in crate::sandbox) async fn serve_socks(
        self: Arc<Self>,
        mut client: TcpStream,
    ) -> io::Result<()> {
        client.set_nodelay(true)?;
        let asked = time::timeout(PATIENCE, self.hear(&mut client)).await;
        let Some((command, host, port)) = asked.map_err(io::Error::other)?? else {
            return client.shutdown().await;
        };
        let target = format!("{host}:{port}");
        self.world.say(Speaker::ProxyClient, format!("SOCKS 5 CONNECT {target}"));
        if self.world.strikes(ProxyFault::Hang) {
            self.note(&target, SILENT);
            return hold(client).await;
        }
        if self.world.strikes(ProxyFault::CloseUnanswered) {
            self.note(&target, SILENT);
            return client.shutdown().await;
        }
        let tuning = self.world.tuning();
        let place = self.find(host.trim_matches(['[', ']']), port);
        let found = if command != 1 {
            Err(NO_SUCH_COMMAND)
        } else if tuning.proxy_ports.is_some_and(|ports| !ports.contains(&port)) {
            Err(FORBIDDEN)
        } else if self.world.strikes(ProxyFault::ConnectFailed) {
            Err(HOST_REFUSES)
        } else {
            place.ok_or(NO_HOST)
        };
        let connected = match found {
            Ok(address) => TcpStream::connect(address).await.map_err(|_| HOST_REFUSES),
            Err(code) => Err(code),
        };
        let code = connected.as_ref().err().copied().unwrap_or(GRANTED);
        self.note(&target, code);
        self.world.say(Speaker::Proxy, format!("SOCKS 5 reply {code}"));
        let mut reply = vec![5, code, 0];
        reply.extend(bound(connected.as_ref().ok()));
        let Ok(mut server) = connected else {
            client.write_all(&reply).await?;
            return client.shutdown().await;
        };
        server.set_nodelay(true)?;
        if self.world.strikes(ProxyFault::GlueGreeting) {
            reply.extend(first_words(&mut server).await?);
        }
        client.write_all(&reply).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    /// Command, host and port; none where the login fails or none is offered.
    async fn hear(&self, client: &mut TcpStream) -> io::Result<Option<(u8, String, u16)>> {
        let [_, count] = octets(client).await?;
        let mut methods = vec![0; usize::from(count)];
        client.read_exact(&mut methods).await?;
        let wanted = if self.credentials.is_some() { 2 } else { 0 };
        if !methods.contains(&wanted) {
            client.write_all(&[5, 0xFF]).await?;
            return Ok(None);
        }
        client.write_all(&[5, wanted]).await?;
        if let Some((user, password)) = &self.credentials {
            let [_] = octets(client).await?;
            let given = (text(client).await?, text(client).await?);
            let is_right = (&given.0, &given.1) == (user, password);
            client.write_all(&[1, u8::from(!is_right)]).await?;
            if !is_right {
                self.world.say(Speaker::Proxy, "SOCKS 5 login refused");
                return Ok(None);
            }
        }
        let [_, command, _, kind] = octets(client).await?;
        let host = match kind {
            1 => Ipv4Addr::from(octets::<4>(client).await?).to_string(),
            4 => format!("[{}]", Ipv6Addr::from(octets::<16>(client).await?)),
            _ => text(client).await?,
        };
        Ok(Some((command, host, u16::from_be_bytes(octets(client).await?))))
    }

    fn note(&self, target: &str, code: u8) {
        let user = self.credentials.as_ref().map(|(user, _)| user.clone());
        let connect = Connect { target: target.to_owned(), status: code.into(), user };
        self.world.count(|counters| counters.socks_connects.push(connect));
    }
}

/// The address that the proxy connects from, as a reply ends.
fn bound(server: Option<&TcpStream>) -> Vec<u8> {
    let address = server.and_then(|server| server.local_addr().ok());
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let address = address.unwrap_or(unknown);
    let (kind, octets) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (4, ip.octets().to_vec()),
    };
    [vec![kind], octets, address.port().to_be_bytes().to_vec()].concat()
}

async fn octets<const LENGTH: usize>(client: &mut TcpStream) -> io::Result<[u8; LENGTH]> {
    let mut octets = [0; LENGTH];
    client.read_exact(&mut octets).await?;
    Ok(octets)
}

/// A length and so many octets.
async fn text(client: &mut TcpStream) -> io::Result<String> {
    let mut text = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut text).await?;
    String::from_utf8(text).map_err(io::Error::other)
}
