//! The process: listeners, sessions, drain.
//!
//! [`Daemon::bind`] takes every port before anything runs, so that a wrong address is an error at
//! start; [`Daemon::run`] accepts until told to stop and then drains: no new sessions, those
//! before login are told to come back, relayed ones run on for `shutdown_grace`.
//!
//! A permit is taken before a connection is accepted, so that a flood waits in the kernel's
//! backlog; nothing but accepting happens in the accept loop. Must never know what a dialogue says.

mod admission;

use std::{
    future::Future,
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
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::{
    config::{Config, Limits, Listener},
    mail::{Refusal, RefusalKind},
    net::{
        dial::{self, Dialer},
        listen::{self, AcceptError},
        tls::TlsConfigError,
    },
    session::{self, House},
    token::cache::Tokens,
};

use self::admission::{Addresses, is_allowed};

/// How long the accept loop rests when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long cut sessions may take to close their sockets.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be taken.
    #[error("listener {address}: {error}; {}", bind_remedy(.error))]
    Bind {
        /// The address in the configuration.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The TLS side of `[outbound]` is unusable.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
}

/// Bound listeners, ready to run.
pub struct Daemon {
    doors: Vec<Door>,
    house: Arc<House>,
    limits: Limits,
    sessions: TaskTracker,
    background: TaskTracker,
    draining: CancellationToken,
    cut: CancellationToken,
}

struct Door {
    socket: TcpListener,
    listener: Arc<Listener>,
}

impl Daemon {
    /// Binds every listener. Must be called within a tokio runtime.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let (background, draining, cut) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let dialer = Arc::new(Dialer::new(&config.outbound)?);
        let tokens =
            Tokens::new(session::courier(Arc::clone(&dialer)), background.clone(), cut.clone());
        let doors = config.listeners.iter().map(Door::open).collect::<Result<_, _>>()?;
        let house = Arc::new(House::new(config, tokens, dialer, draining.clone(), cut.clone()));
        let (limits, sessions) = (config.limits.clone(), TaskTracker::new());
        Ok(Self { doors, house, limits, sessions, background, draining, cut })
    }

    /// The addresses that were bound, in configuration order; port 0 has become a real one.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.doors.iter().map(|door| door.socket.local_addr()).collect()
    }

    /// Serves until `shutdown` completes, then drains. Returns how many sessions had to be cut.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> usize {
        let permits = Arc::new(Semaphore::new(self.limits.max_sessions));
        let addresses = Arc::new(Addresses::new(self.limits.max_sessions_per_address));
        let (doors, count) = (TaskTracker::new(), Arc::new(AtomicU64::new(0)));
        for door in self.doors {
            let entrance = Entrance {
                house: Arc::clone(&self.house),
                permits: Arc::clone(&permits),
                addresses: Arc::clone(&addresses),
                sessions: self.sessions.clone(),
                count: Arc::clone(&count),
                draining: self.draining.clone(),
            };
            doors.spawn(entrance.accept(door));
        }
        doors.close();
        shutdown.await;

        let grace = self.limits.shutdown_grace;
        info!(event = "drain", sessions = self.sessions.len(), ?grace, "stopping: no new sessions");
        self.draining.cancel();
        doors.wait().await;
        self.sessions.close();
        let mut cut = 0;
        if timeout(grace, self.sessions.wait()).await.is_err() {
            cut = self.sessions.len();
            warn!(
                event = "drain_cut",
                sessions = cut,
                ?grace,
                "shutdown_grace is over, cutting sessions"
            );
        }
        self.cut.cancel();
        self.background.close();
        if timeout(CUT_GRACE, self.sessions.wait()).await.is_err() {
            error!(sessions = self.sessions.len(), "sessions did not end when cut");
        }
        info!(event = "stopped", cut, "stopped");
        cut
    }
}

impl Door {
    fn open(listener: &Arc<Listener>) -> Result<Self, StartError> {
        let address = listener.bind;
        let socket = listen::bind(address).map_err(|error| StartError::Bind { address, error })?;
        info!(
            event = "listening",
            protocol = %listener.protocol,
            address = %socket.local_addr().unwrap_or(address),
            upstream = %format_args!("{}:{}", listener.upstream.host, listener.upstream.port),
            "listening",
        );
        Ok(Self { socket, listener: Arc::clone(listener) })
    }
}

/// What an accept loop needs.
struct Entrance {
    house: Arc<House>,
    permits: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    sessions: TaskTracker,
    /// Sessions so far, on all doors: each has a number of its own.
    count: Arc<AtomicU64>,
    draining: CancellationToken,
}

impl Entrance {
    /// Accepts until the drain. Dropping the door's socket then refuses newcomers.
    async fn accept(self, door: Door) {
        loop {
            let permit = if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                permit
            } else {
                warn!(
                    event = "max_sessions",
                    cause = "limits.max_sessions is reached; new clients wait in the backlog",
                    remedy = "raise limits.max_sessions, or find the client that holds so many",
                    "no session free",
                );
                let permit = tokio::select! {
                    () = self.draining.cancelled() => return,
                    permit = Arc::clone(&self.permits).acquire_owned() => permit,
                };
                let Ok(permit) = permit else { return };
                permit
            };
            let accepted = tokio::select! {
                () = self.draining.cancelled() => return,
                accepted = door.socket.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => match listen::classify(&error) {
                    AcceptError::Ignore => continue,
                    AcceptError::Pause => {
                        warn!(
                            event = "accept_paused",
                            %error,
                            remedy = "raise the process's file limit (LimitNOFILE, ulimit -n) or lower limits.max_sessions",
                            "cannot accept, resting",
                        );
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            self.welcome(&door.listener, tcp, peer, permit);
        }
    }

    /// Everything slow happens in the session's own task.
    fn welcome(
        &self,
        listener: &Arc<Listener>,
        tcp: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        let id = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let span = info_span!("session", id, protocol = %listener.protocol, client = %peer);
        let (house, listener) = (Arc::clone(&self.house), Arc::clone(listener));
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
}

fn bind_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has this port: stop it or choose another bind",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: mend bind",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: choose a higher one, such as 1587"
        }
        _ => "mend bind in proxy.toml",
    }
}
