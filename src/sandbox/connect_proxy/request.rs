//! Reading a CONNECT request and finding its target.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest request head in octets; squid's default is 64 kB.
const HEAD_LIMIT: usize = 16 * 1024;

/// A request head as far as the proxy reads it.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) credentials: Option<String>,
}

/// Reads until the blank line; what follows it stays in `input`. None where the client left.
pub(super) async fn read_head(
    client: &mut (impl AsyncRead + Unpin),
    input: &mut Vec<u8>,
) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = input.split_off(end + 4);
            return Ok(Some(std::mem::replace(input, rest)));
        }
        if input.len() > HEAD_LIMIT {
            return Err(io::Error::other("the request head is too long"));
        }
        let mut chunk = [0; 2048];
        let read = client.read(&mut chunk).await?;
        if read == 0 {
            return Ok(None);
        }
        input.extend(chunk.iter().take(read));
    }
}

/// The request line and the Basic credentials; none where the head is no HTTP/1 request.
pub(super) fn parse(head: &[u8]) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") || target.len() > 300 {
        return None;
    }
    let credentials = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let (scheme, text) = value.trim().split_once(' ')?;
        let ours = name.eq_ignore_ascii_case("Proxy-Authorization");
        let decoded = STANDARD.decode(text.trim()).ok()?;
        (ours && scheme.eq_ignore_ascii_case("Basic")).then(|| String::from_utf8(decoded).ok())?
    });
    let plain = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic());
    (plain(method) && plain(target)).then(|| Request {
        method: method.to_owned(),
        target: target.to_owned(),
        credentials,
    })
}

/// The target of CONNECT, without the brackets of an IPv6 address.
pub(super) fn host_and_port(target: &str) -> Option<(&str, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok().filter(|port| *port != 0)?))
}

/// Names are not looked up: a name server could lead outside.
pub(super) fn loopback(host: &str, port: u16) -> Option<SocketAddr> {
    let address = if host.eq_ignore_ascii_case("localhost") {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        host.parse().ok()?
    };
    address.is_loopback().then_some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        assert_eq!(host_and_port("a.b:587"), Some(("a.b", 587)));
        assert_eq!(host_and_port("[::1]:443"), Some(("::1", 443)));
        for odd in ["", ":", "a", "a:", "a:0", "a:65536", "a:-1"] {
            assert_eq!(host_and_port(odd), None, "{odd}");
        }
        assert!(loopback("8.8.8.8", 53).is_none());
        assert!(loopback("::", 53).is_none());
        assert!(loopback("example.com", 53).is_none());
        assert!(loopback("LOCALHOST", 53).is_some());
    }

    #[test]
    fn odd_requests_are_refused_without_a_panic() {
        for odd in ["\r\n\r\n", "CONNECT\r\n\r\n", "CONNECT a:1 HTTP/2\r\n\r\n", "A B C D\r\n\r\n"]
        {
            assert!(parse(odd.as_bytes()).is_none(), "{odd:?}");
        }
        assert!(parse(b"CONNECT \xff:1 HTTP/1.1\r\n\r\n").is_none());
    }
}
