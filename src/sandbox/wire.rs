//! A mail server's end of a connection: lines, counted octets, replies. Deliberately its own, not
//! the product's: see the room's header.

use std::io::{self, BufRead};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time;
use tokio_rustls::TlsAcceptor;

/// Longest command line in octets. RFC 4954 section 4 asks for 12,288; the real limit of Exchange
/// Online is not known.
const LINE_LIMIT: usize = 64 * 1024;
/// How much is read at once.
const READ: usize = 64 * 1024;

/// A byte stream, in clear or under TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What came instead of input.
#[derive(Debug)]
pub(super) enum Silence {
    /// The peer has left, or the connection broke.
    Closed,
    /// Nothing came for the idle time.
    Idle,
    /// A line without end.
    TooLong,
}

impl From<io::Error> for Silence {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// One connection with its unread input.
pub(super) struct Wire {
    io: Box<dyn Stream>,
    input: BytesMut,
    idle: Duration,
}

impl Wire {
    pub(super) fn new(io: impl Stream + 'static, idle: Duration) -> Self {
        Self { io: Box::new(io), input: BytesMut::new(), idle }
    }

    /// The next line without its end; a bare LF ends one too. Nothing is lost where this is
    /// dropped before its time.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Silence> {
        loop {
            if let Some(line) = self.take_line() {
                let mut line = line.to_vec();
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(line);
            }
            if self.input.len() > LINE_LIMIT {
                return Err(Silence::TooLong);
            }
            self.fill().await?;
        }
    }

    /// The next octets up to and with an LF, or many octets of a line that is longer.
    pub(super) async fn piece(&mut self) -> Result<BytesMut, Silence> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(line);
            }
            if self.input.len() > LINE_LIMIT {
                return Ok(self.input.split());
            }
            self.fill().await?;
        }
    }

    /// The next octets, at most so many and at least one.
    pub(super) async fn octets(&mut self, most: u64) -> Result<BytesMut, Silence> {
        if self.input.is_empty() {
            self.fill().await?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.input.len());
        Ok(self.input.split_to(most))
    }

    /// Exactly so many octets.
    pub(super) async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Silence> {
        let mut whole = Vec::new();
        while whole.len() < count {
            whole.extend(self.octets((count - whole.len()) as u64).await?);
        }
        Ok(whole)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Silence> {
        self.io.write_all(bytes).await?;
        self.io.flush().await?;
        Ok(())
    }

    /// Sends octet by octet, each in a segment of its own.
    pub(super) async fn trickle(&mut self, bytes: &[u8]) -> Result<(), Silence> {
        for octet in bytes {
            self.send(&[*octet]).await?;
            time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// How long the peer may be silent from now on.
    pub(super) fn allow(&mut self, idle: Duration) {
        self.idle = idle;
    }

    /// The server side of the handshake. What a client sent ahead in clear text is thrown away
    /// (RFC 3207 section 4.2).
    pub(super) async fn start_tls(self, acceptor: &TlsAcceptor) -> Result<Self, Silence> {
        let stream = time::timeout(self.idle, acceptor.accept(self.io))
            .await
            .map_err(|_| Silence::Closed)??;
        Ok(Self::new(stream, self.idle))
    }

    pub(super) async fn close(&mut self) {
        // The peer may have gone first.
        let _ = self.io.shutdown().await;
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let mut rest = &self.input[..];
        let length = rest.skip_until(b'\n').ok()?;
        (self.input.get(length.checked_sub(1)?) == Some(&b'\n'))
            .then(|| self.input.split_to(length))
    }

    async fn fill(&mut self) -> Result<(), Silence> {
        self.input.reserve(READ);
        let read = time::timeout(self.idle, self.io.read_buf(&mut self.input)).await;
        match read.map_err(|_| Silence::Idle)?? {
            0 => Err(Silence::Closed),
            _ => Ok(()),
        }
    }
}
