//! SOCKS 5 (RFC 1928) with user and password (RFC 1929): asking a proxy for a tunnel.
//!
//! Names go to the proxy as they are, which is what curl calls `socks5h`. No more is read than
//! belongs to an answer, so a greeting behind the last one stays in the connection. `tunnel` takes
//! the steps in their order. Must never know TLS or legs.

use std::{fmt, io, net::IpAddr};

use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

pub use self::way::tunnel;
use super::{Io, tunnel::is_end};
use crate::config::ProxyCredentials;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// Methods of section 3.
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
/// Address types of section 5.
const V4: u8 = 1;
const NAME: u8 = 3;
const V6: u8 = 4;

/// Why there is no tunnel.
#[derive(Debug)]
pub enum SocksError {
    /// The connection broke.
    Io(io::Error),
    /// What came is no answer, or what is asked for cannot be asked: in words.
    Odd(String),
    /// The proxy said no.
    Refused(Refusal),
}

/// A proxy's no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It takes none of the ways to log in that were offered.
    Method {
        /// Whether user and password were among them.
        logged_in: bool,
    },
    /// It does not take user and password.
    Login,
    /// It does not connect: the code of section 6, never 0.
    Reply(u8),
}

impl Refusal {
    /// Whether another proxy may well do what this one could not; else it is a verdict.
    pub fn is_outage(self) -> bool {
        matches!(self, Self::Reply(1 | 3..=6))
    }

    /// What to do, in words for the log.
    pub fn remedy(self, target: &str) -> String {
        let words = match self {
            Self::Method { logged_in: false } => {
                "the proxy wants a login: set username and password in [outbound]"
            }
            Self::Method { logged_in: true } => {
                "the proxy takes neither no login nor user and password, so probably GSSAPI, which mailwicket \
                 speaks with HTTP proxies only: ask for a rule without login, or for an HTTP proxy"
            }
            Self::Login => {
                "the proxy does not accept username and password of [outbound]: mend them"
            }
            Self::Reply(2) => {
                return format!(
                    "ask the proxy's owners to allow connections to {target}; in dante: socks pass {{ from: \
                     THIS_MACHINE to: {} command: connect }}",
                    dante(target)
                );
            }
            Self::Reply(1) => {
                "the proxy does not say why; its log does. Some say so where they forbid the host or port"
            }
            Self::Reply(3..=6) => {
                "ask the proxy's owners whether the proxy itself can resolve and reach the host and port; trying \
                 again later may help"
            }
            Self::Reply(7) => {
                "what answers knows no CONNECT: check that outbound.proxy names a SOCKS 5 proxy"
            }
            Self::Reply(8) => {
                "the proxy takes no host names: have that allowed there, or name another proxy in outbound.proxy"
            }
            Self::Reply(_) => "look at the proxy's log for this connection",
        };
        words.to_owned()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method { logged_in: false } => "it wants a login",
            Self::Method { logged_in: true } => "it takes no login by user and password",
            Self::Login => "it refused user and password",
            Self::Reply(1) => "general failure (1)",
            Self::Reply(2) => "its rules do not allow this connection (2)",
            Self::Reply(3) => "the network is unreachable (3)",
            Self::Reply(4) => "the host is unreachable, or its name unknown (4)",
            Self::Reply(5) => "the host refused the connection (5)",
            Self::Reply(6) => "no answer on the way to the host (6)",
            Self::Reply(7) => "it does not know the command (7)",
            Self::Reply(8) => "it does not know this type of address (8)",
            Self::Reply(code) => return write!(f, "a reply that no standard knows ({code})"),
        })
    }
}

/// Agrees with the proxy on how to log in: the login, if it wants it.
async fn choose<'a>(
    io: &mut Io,
    credentials: Option<&'a ProxyCredentials>,
) -> Result<Option<&'a ProxyCredentials>, SocksError> {
    // Without a login too: a proxy that needs none may not know the other method.
    let methods: &[u8] = match credentials {
        None => &[VERSION, 1, NO_LOGIN],
        Some(_) => &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
    };
    send(io, methods).await?;
    let [version, method] = read(io).await?;
    match (version, method, credentials) {
        (VERSION, NO_LOGIN, _) => Ok(None),
        (VERSION, USER_AND_PASSWORD, Some(credentials)) => Ok(Some(credentials)),
        (VERSION, NO_METHOD, _) => {
            Err(SocksError::Refused(Refusal::Method { logged_in: credentials.is_some() }))
        }
        (VERSION, method, _) => {
            Err(odd(format!("it chose method {method}, which was not offered")))
        }
        (b'H', b'T', _) => Err(odd("it speaks HTTP; write http:// in outbound.proxy")),
        (b'<', ..) => Err(odd("it sent a web page")),
        (0 | 4, ..) => Err(odd("it speaks SOCKS 4; a SOCKS 5 proxy is needed")),
        (0x15 | 0x16, 3, _) => Err(odd("it speaks TLS")),
        (version, ..) => Err(odd(format!("an answer of version {version}"))),
    }
}

/// Sends user and password. A proxy that closes then has refused them: RFC 1929 section 2 has it close.
async fn log_in(io: &mut Io, credentials: &ProxyCredentials) -> Result<(), SocksError> {
    let message = login(credentials)
        .ok_or_else(|| odd("user or password is empty or too long for SOCKS (255 octets)"))?;
    let answer = async {
        io.write_all(&message).await?;
        io.flush().await?;
        let mut octets = [0; 2];
        io.read_exact(&mut octets).await.map(|_| octets)
    };
    match answer.await {
        Ok([_, 0]) => Ok(()),
        Ok([_, _]) => Err(SocksError::Refused(Refusal::Login)),
        Err(error) if is_end(error.kind()) => Err(SocksError::Refused(Refusal::Login)),
        Err(error) => Err(SocksError::Io(error)),
    }
}

/// Asks for the tunnel.
async fn ask(io: &mut Io, request: &[u8]) -> Result<(), SocksError> {
    send(io, request).await?;
    let [version, code, _, kind] = read(io).await?;
    if version != VERSION {
        return Err(odd(format!("an answer of version {version}")));
    }
    if code != 0 {
        return Err(SocksError::Refused(Refusal::Reply(code)));
    }
    // The address that it connects from; nobody needs it, but it must be out of the way.
    let length = match kind {
        V4 => 4,
        V6 => 16,
        NAME => usize::from(read::<1>(io).await?[0]),
        _ => return Err(odd(format!("an address of unknown type {kind}"))),
    };
    let mut address = [0; 255 + 2];
    let address = address.get_mut(..length + 2).unwrap_or_default();
    io.read_exact(address).await.map_err(broken).map(drop)
}

/// RFC 1929 section 2.
fn login(credentials: &ProxyCredentials) -> Option<Zeroizing<Vec<u8>>> {
    let (user, password) = (&credentials.username, credentials.password.expose_secret());
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|&length| length > 0);
    // No growth that would leave a copy of the password.
    let mut message = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
    message.extend([LOGIN_VERSION, length(user)?]);
    message.extend(user.as_bytes());
    message.push(length(password)?);
    message.extend(password.as_bytes());
    Some(message)
}

/// RFC 1928 section 4; none where the name is too long.
fn request(host: &str, port: u16) -> Option<Vec<u8>> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(V4);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(V6);
            request.extend(address.octets());
        }
        Err(_) => {
            request.extend([NAME, u8::try_from(host.len()).ok()?]);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    Some(request)
}

/// `HOST/MASK port = PORT`, as dante's rules name a target.
fn dante(target: &str) -> String {
    let (host, port) = target.rsplit_once(':').unwrap_or((target, "443"));
    let host = host.trim_matches(['[', ']']);
    let mask = match host.parse() {
        Ok(IpAddr::V4(_)) => "/32",
        Ok(IpAddr::V6(_)) => "/128",
        Err(_) => "",
    };
    format!("{host}{mask} port = {port}")
}

async fn send(io: &mut Io, message: &[u8]) -> Result<(), SocksError> {
    io.write_all(message).await.map_err(SocksError::Io)?;
    io.flush().await.map_err(SocksError::Io)
}

async fn read<const LENGTH: usize>(io: &mut Io) -> Result<[u8; LENGTH], SocksError> {
    let mut octets = [0; LENGTH];
    io.read_exact(&mut octets).await.map_err(broken)?;
    Ok(octets)
}

fn broken(error: io::Error) -> SocksError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return odd("it closed the connection");
    }
    SocksError::Io(error)
}

fn odd(words: impl Into<String>) -> SocksError {
    SocksError::Odd(words.into())
}

mod way;

#[cfg(test)]
mod tests;
