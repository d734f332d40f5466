//! Copies bytes both ways until both ends are done.
//!
//! What either side had sent before goes first. The copying is tokio's own, which flushes when it
//! would otherwise block, as TLS needs; around it are the four things it does not do: counts that
//! survive a failure, an idle limit, a shorter limit once one side has finished, and the last words
//! of an upstream that refuses a message in its middle and closes: the client hears them, while
//! what it still says is dropped. A byte relay cannot know where a message ends, so nothing
//! interrupts it but these limits and `stop`. Must never know what is spoken.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Io, prefixed::prefixed};
use crate::stats::Carried;

/// Octets of buffer for each direction of a session: one TLS record.
const BUFFER: usize = 16 * 1024;
/// Once the client has finished, the silence after which the session ends: one that half-closes
/// after its message may wait for the answer this long.
const CLIENT_LINGER: Duration = Duration::from_secs(120);
/// Once the upstream has finished, or takes no more, the same. Whatever the client still says,
/// nobody hears it.
const UPSTREAM_LINGER: Duration = Duration::from_secs(5);

/// What a relay came to.
#[derive(Debug)]
pub struct Relayed {
    /// Octets from the client to the upstream.
    pub up: u64,
    /// Octets from the upstream to the client.
    pub down: u64,
    /// How it ended.
    pub end: End,
}

/// How a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both sides finished, or the client hung up.
    HungUp,
    /// The upstream closed while the client was still sending, and has had its last words.
    CutShort,
    /// Both sides were silent beyond the idle limit.
    Idle,
    /// One side finished and the other then stayed silent.
    Lingered,
    /// It was told to stop.
    Shutdown,
    /// A connection broke.
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("hung up"),
            Self::CutShort => f.write_str("the server closed in the middle"),
            Self::Idle => f.write_str("idle"),
            Self::Lingered => f.write_str("half closed and silent"),
            Self::Shutdown => f.write_str("cut at shutdown"),
            Self::Failed(error) => write!(f, "broken: {error}"),
        }
    }
}

/// One of the two whose bytes are copied.
pub struct Party {
    /// Its connection.
    pub io: Io,
    /// What it had sent before, which goes first.
    pub said: BytesMut,
}

/// Hears what the upstream says, as it is copied.
pub type Listen<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// Relays until both sides are done, `idle` of silence, or `stop`. What it has carried so far can be
/// read in `carried` meanwhile.
pub async fn relay(
    client: Party,
    upstream: Party,
    idle: Duration,
    stop: CancellationToken,
    carried: &Arc<Carried>,
    listen: Listen<'_>,
) -> Relayed {
    let meter = Arc::new(Meter::new(carried));
    let mut client = Metered::new(client, &meter, Side::Client, None);
    let mut upstream = Metered::new(upstream, &meter, Side::Upstream, Some(listen));
    let end = tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => match copied {
            Ok(_) if meter.is_cut_short() => End::CutShort,
            Ok(_) => End::HungUp,
            Err(error) if is_hang_up(&error) => End::HungUp,
            Err(error) => End::Failed(error),
        },
        end = meter.silence(idle) => if meter.is_cut_short() { End::CutShort } else { end },
        () = stop.cancelled() => End::Shutdown,
    };
    let (up, down) = carried.both();
    Relayed { up, down, end }
}

/// A peer that resets, or is gone when written to, has hung up; that is no fault on the way.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

/// What both sides count into.
struct Meter {
    carried: Arc<Carried>,
    client_done: AtomicBool,
    upstream_done: AtomicBool,
    /// The upstream took no more of what the client said.
    cut_short: AtomicBool,
    last: Mutex<Instant>,
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Upstream,
}

impl Meter {
    fn new(carried: &Arc<Carried>) -> Self {
        Self {
            carried: Arc::clone(carried),
            client_done: AtomicBool::new(false),
            upstream_done: AtomicBool::new(false),
            cut_short: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
        }
    }

    fn wrote(&self, to: Side, octets: usize) {
        let counter = match to {
            Side::Client => &self.carried.down,
            Side::Upstream => &self.carried.up,
        };
        counter.fetch_add(octets as u64, Ordering::Relaxed);
        self.stir();
    }

    fn stir(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, side: Side) {
        let flag = match side {
            Side::Client => &self.client_done,
            Side::Upstream => &self.upstream_done,
        };
        flag.store(true, Ordering::Relaxed);
    }

    fn cut_short(&self) {
        self.cut_short.store(true, Ordering::Relaxed);
        self.done(Side::Upstream);
    }

    fn is_cut_short(&self) -> bool {
        self.cut_short.load(Ordering::Relaxed)
    }

    /// How long silence is borne now, and how a session that exceeds it ended.
    fn limit(&self, idle: Duration) -> (Duration, End) {
        if self.upstream_done.load(Ordering::Relaxed) {
            return (UPSTREAM_LINGER.min(idle), End::Lingered);
        }
        if self.client_done.load(Ordering::Relaxed) {
            return (CLIENT_LINGER.min(idle), End::Lingered);
        }
        (idle, End::Idle)
    }

    /// Completes when nothing has moved for too long.
    async fn silence(&self, idle: Duration) -> End {
        loop {
            let (limit, end) = self.limit(idle);
            let deadline = self.last() + limit;
            if Instant::now() >= deadline {
                return end;
            }
            // Woken early now and then, because a half-close shortens the limit meanwhile.
            sleep_until(deadline.min(Instant::now() + UPSTREAM_LINGER)).await;
        }
    }
}

/// A connection whose traffic is counted, and heard where somebody listens.
struct Metered<'a> {
    io: Io,
    meter: Arc<Meter>,
    side: Side,
    listen: Option<Listen<'a>>,
}

impl<'a> Metered<'a> {
    fn new(party: Party, meter: &Arc<Meter>, side: Side, listen: Option<Listen<'a>>) -> Self {
        let io = prefixed(party.said.freeze(), party.io);
        Self { io, meter: Arc::clone(meter), side, listen }
    }

    fn is_upstream(&self) -> bool {
        matches!(self.side, Side::Upstream)
    }

    fn is_deaf(&self) -> bool {
        self.is_upstream() && self.meter.is_cut_short()
    }

    /// Writing has failed. Where the upstream has hung up, its last words are still to be read: an
    /// error here would end the copying before the client has them, and a permanent refusal would
    /// look like a broken line, on which clients try again for ever.
    fn turns_deaf(&self, error: io::Error) -> io::Result<()> {
        if self.is_upstream() && is_hang_up(&error) {
            self.meter.cut_short();
            return Ok(());
        }
        Err(error)
    }
}

impl AsyncRead for Metered<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match ready!(Pin::new(&mut self.io).poll_read(cx, buf)) {
            // A TLS peer that leaves without close_notify. Mail protocols frame themselves, so
            // this is an end like any other, and what is under way to the other side still goes.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            // What it said before the reset is on its way to the client.
            Err(error) if self.is_upstream() && is_hang_up(&error) => {}
            read => read?,
        }
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            self.meter.done(self.side);
        } else if let Some(listen) = &mut self.listen {
            listen(fresh);
        }
        self.meter.stir();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf() {
            return Poll::Ready(Ok(buf.len()));
        }
        match ready!(Pin::new(&mut self.io).poll_write(cx, buf)) {
            Ok(written) => {
                self.meter.wrote(self.side, written);
                Poll::Ready(Ok(written))
            }
            Err(error) => Poll::Ready(self.turns_deaf(error).map(|()| buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(Pin::new(&mut self.io).poll_flush(cx));
        Poll::Ready(flushed.or_else(|error| self.turns_deaf(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        join,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const IDLE: Duration = Duration::from_secs(600);

    /// The far ends of both sides, and the relay between them.
    fn stage(pipe: usize) -> (DuplexStream, DuplexStream, Io, Io) {
        let (client, near_client) = duplex(pipe);
        let (upstream, near_upstream) = duplex(pipe);
        (client, upstream, Box::new(near_client), Box::new(near_upstream))
    }

    async fn start(client: Io, upstream: Io) -> Relayed {
        let stop = CancellationToken::new();
        relay(silent(client), silent(upstream), IDLE, stop, &Arc::default(), &mut |_| {}).await
    }

    fn silent(io: Io) -> Party {
        Party { io, said: BytesMut::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn leftovers_of_both_sides_go_first_however_large() {
        let (mut client, mut upstream, near_client, near_upstream) = stage(64);
        let (up, down) = (vec![b'u'; 100_000], vec![b'd'; 100_000]);
        let mut heard = Vec::new();
        let mut listen = |octets: &[u8]| heard.extend_from_slice(octets);
        let carried = Arc::default();
        let relayed = relay(
            Party { io: near_client, said: BytesMut::from(up.as_slice()) },
            Party { io: near_upstream, said: BytesMut::from(down.as_slice()) },
            IDLE,
            CancellationToken::new(),
            &carried,
            &mut listen,
        );
        let far_client = async {
            client.write_all(b"then this").await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        };
        let far_upstream = async {
            let mut got = Vec::new();
            upstream.read_to_end(&mut got).await.unwrap();
            upstream.write_all(b"and that").await.unwrap();
            upstream.shutdown().await.unwrap();
            got
        };
        let (relayed, at_client, at_upstream) = join!(relayed, far_client, far_upstream);
        assert_eq!(at_upstream, [up.as_slice(), b"then this"].concat());
        assert_eq!(at_client, [down.as_slice(), b"and that"].concat(), "after the half-close");
        assert_eq!(heard, at_client, "all that the upstream said, and nothing of the client's");
        assert_eq!((relayed.up, relayed.down), (100_009, 100_008));
        assert!(matches!(relayed.end, End::HungUp));
    }

    #[tokio::test(start_paused = true)]
    async fn traffic_of_either_side_puts_the_idle_limit_off() {
        let (mut client, mut upstream, near_client, near_upstream) = stage(64);
        let started = Instant::now();
        let traffic = async {
            tokio::time::sleep(IDLE / 2).await;
            client.write_all(b"x").await.unwrap();
            tokio::time::sleep(IDLE / 2).await;
            upstream.write_all(b"y").await.unwrap();
        };
        let (relayed, ()) = join!(start(near_client, near_upstream), traffic);
        assert!(matches!(relayed.end, End::Idle));
        assert_eq!((relayed.up, relayed.down), (1, 1));
        assert_eq!(started.elapsed(), IDLE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_half_close_silence_is_borne_for_a_shorter_time() {
        for (by_client, linger) in [(true, CLIENT_LINGER), (false, UPSTREAM_LINGER)] {
            let (mut client, mut upstream, near_client, near_upstream) = stage(64);
            let started = Instant::now();
            if by_client {
                client.shutdown().await.unwrap();
            } else {
                upstream.shutdown().await.unwrap();
            }
            let relayed = start(near_client, near_upstream).await;
            assert!(matches!(relayed.end, End::Lingered));
            let late = started.elapsed().checked_sub(linger).unwrap();
            assert!(late <= UPSTREAM_LINGER, "{late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stop_cuts_it() {
        let (_client, _upstream, near_client, near_upstream) = stage(64);
        let stop = CancellationToken::new();
        stop.cancel();
        let mut listen = |_: &[u8]| {};
        let (client, upstream) = (silent(near_client), silent(near_upstream));
        let carried = Arc::default();
        let relayed = relay(client, upstream, IDLE, stop, &carried, &mut listen);
        assert!(matches!(relayed.await.end, End::Shutdown));
    }

    /// Says these words, then ends as a TLS peer does that leaves without `close_notify`.
    struct Vanishes(&'static [u8]);

    impl AsyncRead for Vanishes {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            buf.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Vanishes {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tls_peer_that_vanishes_is_an_ordinary_end_and_its_last_words_arrive() {
        let (mut client, _, near_client, _) = stage(1);
        let far_client = async {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            drop(client);
            got
        };
        let upstream = Box::new(Vanishes(b"221 bye"));
        let (relayed, got) = join!(start(near_client, upstream), far_client);
        assert_eq!(got, b"221 bye", "through a pipe of one octet");
        assert!(matches!(relayed.end, End::HungUp), "{:?}", relayed.end);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_carried_before_a_failure_is_counted() {
        let (mut client, upstream, near_client, near_upstream) = stage(64);
        client.write_all(b"12345").await.unwrap();
        let carry = async {
            tokio::task::yield_now().await;
            let mut upstream = upstream;
            let mut got = [0; 5];
            upstream.read_exact(&mut got).await.unwrap();
            drop(upstream);
            client.write_all(b"678").await.unwrap();
        };
        let (relayed, ()) = join!(start(near_client, near_upstream), carry);
        assert!(relayed.up >= 5, "{relayed:?}");
        assert!(matches!(relayed.end, End::CutShort), "{:?}", relayed.end);
    }

    /// With real sockets, because a pipe knows no reset: the server says no in the middle of a
    /// message, and closes with most of it unread.
    #[tokio::test]
    async fn the_last_words_of_a_server_that_closes_in_the_middle_reach_the_client() {
        const NO: &[u8] = b"552 5.3.4 Message size exceeds fixed limit\r\n";
        let mut ran = 0;
        for octets in [100_000, 10_000_000] {
            let (mut client, near_client) = tcp_pair().await;
            let (mut server, near_server) = tcp_pair().await;
            let refuses = async {
                server.read_exact(&mut [0; 1000]).await.unwrap();
                server.write_all(NO).await.unwrap();
                drop(server); // a reset, as there is something unread
            };
            let sends = async {
                client.write_all(&vec![b'x'; octets]).await.unwrap();
                let mut heard = Vec::new();
                client.read_to_end(&mut heard).await.unwrap();
                drop(client);
                heard
            };
            let (relayed, (), heard) =
                join!(start(Box::new(near_client), Box::new(near_server)), refuses, sends);
            assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(NO), "{octets}");
            assert_eq!(relayed.down, NO.len() as u64);
            let is_cut = matches!(relayed.end, End::CutShort);
            assert!(is_cut || octets < 1_000_000, "{octets}: {:?}", relayed.end);
            ran += 1;
        }
        assert_eq!(ran, 2);
    }

    async fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = join!(TcpStream::connect(address), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }
}
