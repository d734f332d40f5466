//! A listener's accept loop, and what it lets a client into.
//!
//! A connection that is accepted waits for its permit before the next is accepted, so that a flood
//! waits in the kernel's backlog, and no idle door keeps a permit from a busy one; nothing else
//! happens in the loop. What is behind a door may be replaced while
//! it stays open: a session keeps what it began with. Must never know what a dialogue says.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, info, info_span, warn};

use super::admission::{Addresses, Permits, is_allowed};
use crate::{
    config::Listener,
    mail::{Refusal, RefusalKind},
    net::{
        authority, dial,
        inherited::Inherited,
        listen::{self, AcceptError},
    },
    session::House,
};

/// How long the accept loop rests when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What is behind a door at present.
#[derive(Clone)]
pub(super) struct Inside {
    pub(super) house: Arc<House>,
    pub(super) listener: Arc<Listener>,
}

/// What all doors share.
pub(super) struct Hall {
    pub(super) permits: Permits,
    pub(super) addresses: Arc<Addresses>,
    pub(super) sessions: TaskTracker,
    /// Sessions so far, on all doors: each has a number of its own.
    pub(super) count: AtomicU64,
    pub(super) draining: CancellationToken,
}

/// A bound listener.
pub(super) struct Door {
    socket: TcpListener,
    listener: Arc<Listener>,
}

impl Door {
    /// Binds the listener's address, or takes the socket that was passed for it.
    pub(super) fn open(listener: &Arc<Listener>, inherited: &Inherited) -> io::Result<Self> {
        let socket = inherited.listen(listener.bind)?;
        info!(
            event = "listening",
            protocol = %listener.protocol,
            address = %socket.local_addr().unwrap_or(listener.bind),
            upstream = authority(&listener.upstream.host, listener.upstream.port),
            "listening",
        );
        Ok(Self { socket, listener: Arc::clone(listener) })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Accepts until the drain, or until this door is shut. Dropping the socket then refuses
    /// newcomers, or leaves them to whoever passed it.
    pub(super) async fn accept(
        self,
        hall: Arc<Hall>,
        inside: watch::Receiver<Inside>,
        shut: CancellationToken,
    ) {
        let closes = async || {
            tokio::select! {
                () = hall.draining.cancelled() => {}
                () = shut.cancelled() => {}
            }
        };
        loop {
            let (tcp, peer) = tokio::select! {
                () = closes() => return,
                accepted = self.next() => accepted,
            };
            let permit = tokio::select! {
                permit = hall.permits.take() => permit,
                () = closes() => None,
            };
            let inside = inside.borrow().clone();
            match permit {
                Some(permit) => hall.welcome(inside, tcp, peer, permit),
                None => return hall.turn_back(inside, tcp), // it is in, and must not just vanish
            }
        }
    }

    async fn next(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => match listen::classify(&error) {
                    AcceptError::Ignore => {}
                    AcceptError::Pause => {
                        warn!(
                            event = "accept_paused",
                            %error,
                            remedy = "raise the process's file limit (LimitNOFILE, ulimit -n) or lower limits.max_sessions",
                            "cannot accept, resting",
                        );
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

impl Hall {
    /// Everything slow happens in the session's own task.
    fn welcome(
        &self,
        Inside { house, listener }: Inside,
        tcp: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        let id = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let span = info_span!("session", id, protocol = %listener.protocol, client = %peer);
        let place = self.addresses.enter(peer.ip());
        let session = async move {
            let _permit = permit;
            if let Err(error) = dial::tune(&tcp) {
                debug!(%error, "socket options not set");
            }
            let io = Box::new(tcp);
            if !is_allowed(&listener.allow, peer.ip()) {
                warn!(
                    event = "not_allowed",
                    cause = "the address is not in the listener's allow list",
                    remedy = "add it to allow in proxy.toml if it should get in",
                    "client turned away",
                );
                let refusal =
                    Refusal::new(RefusalKind::NotAllowed, "Your address may not use this port");
                return house.turn_away(&listener, io, &refusal).await;
            }
            let Some(_place) = place else {
                warn!(
                    event = "max_sessions_per_address",
                    cause = "limits.max_sessions_per_address is reached",
                    remedy =
                        "raise the limit, or find out why this client opens so many connections",
                    "client turned away",
                );
                let refusal =
                    Refusal::new(RefusalKind::Busy, "Too many connections from your address");
                return house.turn_away(&listener, io, &refusal).await;
            };
            house.serve(&listener, io, peer).await;
        };
        self.sessions.spawn(session.instrument(span));
    }

    /// For who was accepted, and found no place before the door closed.
    fn turn_back(&self, Inside { house, listener }: Inside, tcp: TcpStream) {
        let refusal = Refusal::new(RefusalKind::ShuttingDown, "This port is closing, try again");
        self.sessions.spawn(async move {
            house.turn_away(&listener, Box::new(tcp), &refusal).await;
        });
    }
}
