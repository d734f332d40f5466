//! The process: listeners, sessions, reload, drain.
//!
//! [`Daemon::bind`] takes every port before anything runs, so that a wrong address is an error at
//! start; [`Daemon::run`] accepts until told to stop and then drains: no new sessions, those
//! before login are told to come back, relayed ones run on for `shutdown_grace` unless somebody
//! is in a hurry. A configuration that arrives meanwhile takes the place of the one before, whole or
//! not at all; sessions go on as they began.
//!
//! Must never know what a dialogue says.

mod admission;
mod change;
mod door;
mod running;
mod status;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{
    config::{Config, Listener},
    net::{
        dial::Dialer,
        inherited::Inherited,
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
    change::Opened,
    door::{Door, Hall},
    running::Running,
    status::{Status, View},
    upkeep::{Almanac, Rooted},
};

/// Why the daemon cannot start, or cannot take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be taken.
    #[error("{what} {address}: {error}; {}", bind_remedy(.error))]
    Bind {
        /// `listener` or `status`.
        what: &'static str,
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
    opened: Opened,
    inherited: Inherited,
    house: Arc<House>,
    tokens: Tokens,
    config: Config,
    background: TaskTracker,
    draining: CancellationToken,
    hurry: CancellationToken,
    cut: CancellationToken,
}

impl Daemon {
    /// Binds every listener. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A port that cannot be bound, or a file that is not what it should be.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        Self::inherit(config, Inherited::default())
    }

    /// The same; a listener whose socket was passed by a supervisor takes that one.
    ///
    /// # Errors
    /// As [`Daemon::bind`].
    pub fn inherit(config: &Config, inherited: Inherited) -> Result<Self, StartError> {
        warn_of_strangers(config, &inherited);
        let (background, draining, cut) =
            (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let dialer = Arc::new(Dialer::new(&config.outbound)?);
        let courier = session::courier(Arc::clone(&dialer));
        // Both block, but nothing runs yet that could be held up.
        let terminators = Terminators::open(&config.listeners)?;
        let vault = config.vault.as_ref().map(Vault::open).transpose()?.map(Arc::new);
        let tokens = Tokens::new(courier, vault, background.clone(), cut.clone());
        let opened = Opened::open(&config.listeners, config.status.as_ref(), &inherited)?;
        let house =
            House::new(config, tokens.clone(), dialer, terminators, draining.clone(), cut.clone());
        let (house, config) = (Arc::new(house), config.clone());
        let hurry = CancellationToken::new();
        Ok(Self { opened, inherited, house, tokens, config, background, draining, hurry, cut })
    }

    /// The addresses that were bound, in configuration order; port 0 has become a real one.
    ///
    /// # Errors
    /// As the system says.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.opened.doors.iter().map(Door::address).collect()
    }

    /// Where the status can be looked at, if anywhere.
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.opened.endpoint.as_ref().and_then(|endpoint| endpoint.address().ok())
    }

    /// Once it is cancelled, the drain waits for no session any more and cuts them.
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Serves until the sender of `reloads` is gone, then drains. Returns how many sessions had to
    /// be cut.
    pub async fn run(self, mut reloads: mpsc::Receiver<Reload>) -> usize {
        let Self { opened, inherited, house, tokens, config, background, draining, hurry, cut } =
            self;
        let Opened { doors, endpoint } = opened;
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
            inherited,
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
        running.drain(&hurry, &cut).await
    }
}

fn open(listener: &Arc<Listener>, inherited: &Inherited) -> Result<Door, StartError> {
    Door::open(listener, inherited).map_err(|error| bind_error("listener", listener.bind, error))
}

/// A socket that nobody accepts on lets clients wait without a word.
fn warn_of_strangers(config: &Config, inherited: &Inherited) {
    let listeners = config.listeners.iter().map(|listener| listener.bind);
    let wanted: Vec<_> = listeners.chain(config.status.iter().map(|status| status.bind)).collect();
    for address in inherited.addresses().filter(|address| !wanted.contains(address)) {
        warn!(
            event = "socket_unused",
            %address,
            cause = "a supervisor passes this socket, and nothing in proxy.toml has its address",
            remedy = "write it as bind of a listener, or take it out of the .socket unit \
                      (ListenStream=1587 alone means [::]:1587; write 127.0.0.1:1587)",
            "inherited socket not used",
        );
    }
}

fn bind_error(what: &'static str, address: SocketAddr, error: io::Error) -> StartError {
    StartError::Bind { what, address, error }
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
