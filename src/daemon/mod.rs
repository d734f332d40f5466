//! The process: listeners, sessions, reload, drain.
//!
//! [`Daemon::bind`] takes every port before anything runs, so that a wrong address is an error at
//! start; [`Daemon::run`] accepts until told to stop and then drains: no new sessions, those
//! before login are told to come back, relayed ones run on for `shutdown_grace`. A configuration
//! that arrives meanwhile takes the place of the one before, whole or not at all; sessions go on
//! as they began.
//!
//! Must never know what a dialogue says.

mod admission;
mod door;
mod status;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    io, mem,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    config::{Config, EntraApp, Limits, Listener},
    net::{
        dial::Dialer,
        server_tls::{CertificateError, Terminators},
        tls::TlsConfigError,
    },
    session::{self, House},
    token::{
        cache::Tokens,
        vault::{Vault, VaultError},
    },
};

use self::{
    admission::{Addresses, Permits},
    door::{Door, Hall, Inside},
    status::{DoorSeen, Endpoint, Status, View},
    upkeep::{Almanac, Rooted},
};

/// How long cut sessions may take to close their sockets.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// Why the daemon cannot start, or cannot take a new configuration.
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
    /// A listener's certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The vault cannot be used.
    #[error("{0}; {remedy}", remedy = .0.remedy)]
    Vault(#[from] VaultError),
}

/// A configuration that shall take the place of the present one.
pub struct Reload {
    /// The new one.
    pub config: Config,
    /// Hears whether it was taken, whole, or refused, and nothing was changed.
    pub outcome: oneshot::Sender<Result<(), StartError>>,
}

/// Bound listeners, ready to run.
pub struct Daemon {
    doors: Vec<Door>,
    endpoint: Option<Endpoint>,
    house: Arc<House>,
    tokens: Tokens,
    config: Config,
    background: TaskTracker,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Daemon {
    /// Binds every listener. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A port that cannot be bound, or a file that is not what it should be.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let (background, draining, cut) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let dialer = Arc::new(Dialer::new(&config.outbound)?);
        let courier = session::courier(Arc::clone(&dialer));
        // Both block, but nothing runs yet that could be held up.
        let terminators = Terminators::open(&config.listeners)?;
        let vault = config.vault.as_ref().map(Vault::open).transpose()?.map(Arc::new);
        let tokens = Tokens::new(courier, vault, background.clone(), cut.clone());
        let doors = config.listeners.iter().map(open).collect::<Result<_, _>>()?;
        let endpoint = config.status.as_ref().map(Endpoint::open).transpose()?;
        let house =
            House::new(config, tokens.clone(), dialer, terminators, draining.clone(), cut.clone());
        let (house, config) = (Arc::new(house), config.clone());
        Ok(Self { doors, endpoint, house, tokens, config, background, draining, cut })
    }

    /// The addresses that were bound, in configuration order; port 0 has become a real one.
    ///
    /// # Errors
    /// As the system says.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.doors.iter().map(Door::address).collect()
    }

    /// Where the status can be looked at, if anywhere.
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref().and_then(|endpoint| endpoint.address().ok())
    }

    /// Serves until the sender of `reloads` is gone, then drains. Returns how many sessions had to
    /// be cut.
    pub async fn run(self, mut reloads: mpsc::Receiver<Reload>) -> usize {
        let Self { doors, endpoint, house, tokens, config, background, draining, cut } = self;
        upkeep::attend(&tokens, &config);
        let almanac = Almanac::begin(config.apps(), &background, cut.clone());
        let view = View::new(tokens.clone(), draining.clone(), cut.clone(), background.clone());
        view.show(&config).await;
        let status = Status::new(view, endpoint, &background);
        status.warm_up();
        let (rooted, limits) = (Rooted::of(&config), config.limits);
        let hall = Arc::new(Hall {
            permits: Permits::new(limits.max_sessions),
            addresses: Arc::new(Addresses::new(limits.max_sessions_per_address)),
            sessions: TaskTracker::new(),
            count: AtomicU64::new(0),
            draining,
        });
        let (accepting, loops) = (Vec::new(), TaskTracker::new());
        let mut running = Running {
            hall,
            house,
            tokens,
            limits,
            almanac,
            rooted,
            status,
            background,
            loops,
            accepting,
        };
        for door in doors {
            running.let_in(door);
        }
        running.show_doors();
        while let Some(Reload { config, outcome }) = reloads.recv().await {
            let taken = running.reload(&config).await;
            running.show_doors();
            let _ = outcome.send(taken); // who asked may have gone
        }
        running.drain(&cut).await
    }
}

/// A daemon that accepts.
struct Running {
    hall: Arc<Hall>,
    house: Arc<House>,
    tokens: Tokens,
    limits: Limits,
    almanac: Almanac,
    rooted: Rooted,
    status: Status,
    background: TaskTracker,
    /// The accept loops.
    loops: TaskTracker,
    accepting: Vec<Accepting>,
}

/// A door whose loop runs.
struct Accepting {
    inside: watch::Sender<Inside>,
    /// Where it is bound; port 0 has become a real one.
    address: SocketAddr,
    shut: CancellationToken,
    ended: JoinHandle<()>,
}

/// What a new configuration means for the doors, which are named by their places.
struct Change {
    /// Doors that stay, with the listener that is theirs now.
    staying: Vec<(usize, Arc<Listener>)>,
    /// Listeners that need a door.
    coming: Vec<Arc<Listener>>,
    /// Doors that are of no listener any more.
    leaving: Vec<usize>,
}

impl Running {
    fn let_in(&mut self, door: Door) {
        let (house, listener) = (Arc::clone(&self.house), Arc::clone(door.listener()));
        let (inside, sees) = watch::channel(Inside { house, listener });
        let (shut, address) = (CancellationToken::new(), door.address());
        let address = address.unwrap_or(inside.borrow().listener.bind);
        let ended = self.loops.spawn(door.accept(Arc::clone(&self.hall), sees, shut.clone()));
        self.accepting.push(Accepting { inside, address, shut, ended });
    }

    fn show_doors(&self) {
        let doors = self.accepting.iter().map(|accepting| {
            let listener = Arc::clone(&accepting.inside.borrow().listener);
            DoorSeen {
                protocol: listener.protocol,
                address: accepting.address,
                upstream: format!("{}:{}", listener.upstream.host, listener.upstream.port),
                accepts: accepting.ended.abort_handle(),
            }
        });
        self.status.view().show_doors(doors.collect());
    }

    /// All that can fail comes first; a failure leaves everything as it was.
    async fn reload(&mut self, config: &Config) -> Result<(), StartError> {
        let dialer = Arc::new(Dialer::new(&config.outbound)?);
        let terminators = Terminators::open(&config.listeners)?; // blocks, for as long as small files take
        let status = self.status.prepare(config.status.as_ref())?;
        let Change { staying, coming, leaving } = self.compare(&config.listeners);
        let doors = self.open_beside(&coming, &leaving).await?;

        self.rooted.warn_of(config);
        let (apps, described) = (config.apps(), config.clone());
        let is_covered = move |app: &EntraApp, user: &str| described.covers(app, user);
        self.tokens.adopt(session::courier(Arc::clone(&dialer)), &apps, is_covered);
        upkeep::attend(&self.tokens, config);
        self.almanac.change(apps);
        self.house = Arc::new(self.house.renewed(config, dialer, terminators));
        self.limits = config.limits.clone();
        self.hall.permits.resize(self.limits.max_sessions, &self.background);
        self.hall.addresses.resize(self.limits.max_sessions_per_address);
        for (place, listener) in staying {
            if let Some(accepting) = self.accepting.get(place) {
                accepting.inside.send_replace(Inside { house: Arc::clone(&self.house), listener });
            }
        }
        let mut place = 0;
        self.accepting.retain(|accepting| {
            let leaves = leaving.contains(&place);
            place += 1;
            if leaves {
                let address = accepting.inside.borrow().listener.bind;
                info!(event = "listener_closed", %address, "no longer listening; sessions go on");
                accepting.shut.cancel();
            }
            !leaves
        });
        for door in doors {
            self.let_in(door);
        }
        self.status.view().show(config).await;
        self.status.change(status);
        self.status.warm_up();
        Ok(())
    }

    /// A door is known by its address and protocol.
    fn compare(&self, listeners: &[Arc<Listener>]) -> Change {
        let (mut staying, mut coming) = (Vec::<(usize, Arc<Listener>)>::new(), Vec::new());
        for listener in listeners {
            let is_its = |(place, accepting): &(usize, &Accepting)| {
                let there = Arc::clone(&accepting.inside.borrow().listener);
                let taken = staying.iter().any(|(other, _)| other == place);
                !taken && there.bind == listener.bind && there.protocol == listener.protocol
            };
            match self.accepting.iter().enumerate().find(is_its) {
                Some((place, _)) => staying.push((place, Arc::clone(listener))),
                None => coming.push(Arc::clone(listener)),
            }
        }
        let stays = |place: &usize| staying.iter().any(|(other, _)| other == place);
        let leaving = (0..self.accepting.len()).filter(|place| !stays(place)).collect();
        Change { staying, coming, leaving }
    }

    /// Opens the doors that are new. Where one wants the port of a door that leaves, that one is
    /// shut first, and opened again should anything fail.
    async fn open_beside(
        &mut self,
        coming: &[Arc<Listener>],
        leaving: &[usize],
    ) -> Result<Vec<Door>, StartError> {
        let mut shut = Vec::new();
        for &place in leaving {
            let Some(accepting) = self.accepting.get_mut(place) else { continue };
            let bind = accepting.inside.borrow().listener.bind;
            if bind.port() != 0 && coming.iter().any(|new| new.bind.port() == bind.port()) {
                accepting.shut.cancel();
                let _ = (&mut accepting.ended).await; // its socket is closed when it has ended
                shut.push(place);
            }
        }
        let opened = coming.iter().map(open).collect::<Result<Vec<_>, _>>();
        if opened.is_err() {
            for place in shut {
                self.reopen(place);
            }
        }
        opened
    }

    fn reopen(&mut self, place: usize) {
        let Some(accepting) = self.accepting.get_mut(place) else { return };
        let listener = Arc::clone(&accepting.inside.borrow().listener);
        match open(&listener) {
            Ok(door) => {
                let (hall, sees) = (Arc::clone(&self.hall), accepting.inside.subscribe());
                accepting.shut = CancellationToken::new();
                let door = door.accept(hall, sees, accepting.shut.clone());
                accepting.ended = self.loops.spawn(door);
            }
            Err(error) => error!(
                event = "listener_lost",
                %error,
                remedy = "restart mailwicket once the port is free",
                "a listener that was to stay could not be opened again",
            ),
        }
    }

    async fn drain(mut self, cut: &CancellationToken) -> usize {
        let (grace, sessions) = (self.limits.shutdown_grace, self.hall.sessions.clone());
        info!(event = "drain", sessions = sessions.len(), ?grace, "stopping: no new sessions");
        self.hall.draining.cancel();
        self.loops.close();
        self.loops.wait().await;
        drop(mem::take(&mut self.accepting));
        sessions.close();
        let mut left = 0;
        if timeout(grace, sessions.wait()).await.is_err() {
            left = sessions.len();
            warn!(
                event = "drain_cut",
                sessions = left,
                ?grace,
                "shutdown_grace is over, cutting sessions"
            );
        }
        cut.cancel();
        self.background.close();
        if timeout(CUT_GRACE, sessions.wait()).await.is_err() {
            error!(sessions = sessions.len(), "sessions did not end when cut");
        }
        self.status.close().await;
        info!(event = "stopped", cut = left, "stopped");
        left
    }
}

fn open(listener: &Arc<Listener>) -> Result<Door, StartError> {
    Door::open(listener).map_err(|error| bind_error(listener.bind, error))
}

fn bind_error(address: SocketAddr, error: io::Error) -> StartError {
    StartError::Bind { address, error }
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
