//! A tunnel until something comes out of it: what a proxy does in the server's place is told.
//!
//! Some proxies say that the tunnel stands before they have tried, and close it when they cannot;
//! some send a web page down it. Both would look like the server's doing. Must never know what is
//! spoken inside, but that it never begins with `<`: SMTP, IMAP, POP3 and TLS do not.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Io;

/// What a proxy did behind its yes; travels within an [`io::Error`].
#[derive(Clone, Debug, Error)]
#[error("proxy {proxy} said that {target} is connected, and then {what}")]
pub struct Early {
    /// `host:port` of the proxy.
    pub proxy: String,
    /// `host:port` that was asked for.
    pub target: String,
    /// What it did then.
    pub what: Behaviour,
}

/// What a proxy did with a tunnel out of which nothing had come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// It closed it.
    Closed,
    /// It sent a web page.
    Page,
}

impl Early {
    /// What an error of a connection holds, if it is one of these.
    pub fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// What to do, in words for the log.
    pub fn remedy(&self) -> String {
        let Self { target, .. } = self;
        match self.what {
            Behaviour::Closed => format!(
                "either {target} closed it, or the proxy says yes before it has tried, and then cannot or may \
                 not reach {target}, or cuts what it cannot inspect: look at the proxy's log, and ask its owners \
                 to allow {target} without inspection"
            ),
            Behaviour::Page => format!(
                "that is a page to log in or a refusal: ask the proxy's owners to allow {target} without a \
                 page, and check that outbound.proxy names a proxy, not a web server"
            ),
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed the connection before anything came",
            Self::Page => "sent a web page",
        })
    }
}

/// Who is told when a proxy takes back its yes.
pub(super) type Told = Box<dyn FnOnce(&Early) + Send>;

/// A connection to `target` through `proxy`.
pub(super) fn guarded(io: Io, proxy: &str, target: &str, told: Told) -> Io {
    let unheard = Some((proxy.to_owned(), target.to_owned(), told));
    Box::new(Tunnel { io, unheard })
}

struct Tunnel {
    io: Io,
    /// Proxy and target, and who is told, until the first octet.
    unheard: Option<(String, String, Told)>,
}

impl Tunnel {
    fn early(&mut self, kind: io::ErrorKind, what: Behaviour) -> io::Result<()> {
        let Some((proxy, target, told)) = self.unheard.take() else { return Ok(()) };
        let early = Early { proxy, target, what };
        told(&early);
        Err(io::Error::new(kind, early))
    }
}

/// How a connection ends that nobody has closed in order; TLS without its last word is one of them.
pub(super) fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unheard.is_none() || buf.remaining() == 0 {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        Poll::Ready(match (outcome, buf.filled().get(before)) {
            (Err(error), _) if is_end(error.kind()) => self.early(error.kind(), Behaviour::Closed),
            (Err(error), _) => Err(error),
            (Ok(()), None) => self.early(io::ErrorKind::UnexpectedEof, Behaviour::Closed),
            (Ok(()), Some(b'<')) => {
                buf.set_filled(before); // an error has no octets
                self.early(io::ErrorKind::InvalidData, Behaviour::Page)
            }
            (Ok(()), Some(_)) => {
                self.unheard = None;
                Ok(())
            }
        })
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn read(words: &[u8]) -> io::Result<Vec<u8>> {
        let (near, mut far) = duplex(1024);
        far.write_all(words).await.unwrap();
        far.shutdown().await.unwrap();
        let mut read = Vec::new();
        let mut io = guarded(Box::new(near), "proxy:8080", "mail:587", Box::new(|_| {}));
        io.read_to_end(&mut read).await.map(|_| read)
    }

    #[tokio::test]
    async fn what_comes_first_decides_and_then_nothing_is_changed() {
        assert_eq!(read(b"220 <ready>\r\n").await.unwrap(), b"220 <ready>\r\n");
        let rows = [(&b""[..], "closed the connection", "log"), (b"<html>", "web page", "log in")];
        let mut ran = 0;
        for (words, said, remedy) in rows {
            let error = read(words).await.unwrap_err();
            let early = Early::within(&error).unwrap();
            let text = early.to_string();
            assert!(text.starts_with("proxy proxy:8080 said that mail:587 is connected"), "{text}");
            assert!(text.contains(said) && early.remedy().contains(remedy), "{text}");
            ran += 1;
        }
        assert_eq!(ran, 2);
    }
}
