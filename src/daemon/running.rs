//! A daemon that accepts: what a reload changes in it, and how it drains.
//!
//! A reload is whole or not at all: all that can fail comes first, the sockets (`change`) last of that.
//! Must never know what a dialogue says, or who asks for the reload.

use std::{mem, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use super::{
    StartError,
    change::Opened,
    door::{Door, Hall, Inside},
    status::{DoorSeen, Status},
    upkeep::{self, Almanac, Rooted},
};
use crate::{
    config::{Config, EntraApp, Limits, Listener},
    net::{authority, dial::Dialer, inherited::Inherited, server_tls::Terminators},
    session::{self, House},
    token::{cache::Tokens, vault},
};

/// How long cut sessions may take to close their sockets.
const CUT_GRACE: Duration = Duration::from_secs(2);
/// How long after the cut a token may take into the vault: a little longer than the vault waits for
/// its lock.
const WRITE_GRACE: Duration = vault::PATIENCE.saturating_add(Duration::from_secs(2));

/// A daemon that accepts.
pub(super) struct Running {
    pub(super) hall: Arc<Hall>,
    pub(super) house: Arc<House>,
    pub(super) tokens: Tokens,
    pub(super) limits: Limits,
    pub(super) almanac: Almanac,
    pub(super) rooted: Rooted,
    pub(super) status: Status,
    pub(super) background: TaskTracker,
    /// The accept loops.
    pub(super) loops: TaskTracker,
    pub(super) accepting: Vec<Accepting>,
    /// What the supervisor passed.
    pub(super) inherited: Inherited,
}

/// A door whose loop runs.
pub(super) struct Accepting {
    inside: watch::Sender<Inside>,
    /// Where it is bound; port 0 has become a real one.
    address: SocketAddr,
    shut: CancellationToken,
    ended: JoinHandle<()>,
}

impl Accepting {
    /// What is accepted for at present.
    pub(super) fn listener(&self) -> Arc<Listener> {
        Arc::clone(&self.inside.borrow().listener)
    }

    /// Shuts the door, if it is not shut already. Its socket is closed when this returns.
    pub(super) async fn shut(&mut self) {
        self.shut.cancel();
        if !self.ended.is_finished() {
            let _ = (&mut self.ended).await;
        }
    }
}

impl Running {
    pub(super) fn let_in(&mut self, door: Door) {
        let (house, listener) = (Arc::clone(&self.house), Arc::clone(door.listener()));
        let (inside, sees) = watch::channel(Inside { house, listener });
        let (shut, address) = (CancellationToken::new(), door.address());
        let address = address.unwrap_or(inside.borrow().listener.bind);
        let ended = self.loops.spawn(door.accept(Arc::clone(&self.hall), sees, shut.clone()));
        self.accepting.push(Accepting { inside, address, shut, ended });
    }

    pub(super) fn show_doors(&self) {
        let doors = self.accepting.iter().map(|accepting| {
            let listener = accepting.listener();
            DoorSeen {
                protocol: listener.protocol,
                address: accepting.address,
                upstream: authority(&listener.upstream.host, listener.upstream.port),
                accepts: accepting.ended.abort_handle(),
            }
        });
        self.status.view().show_doors(doors.collect());
    }

    /// Accepts at this door again, which was shut and is open anew.
    pub(super) fn let_in_again(&mut self, place: usize, door: Door) {
        if let Some(accepting) = self.accepting.get_mut(place) {
            accepting.shut = CancellationToken::new();
            let (hall, sees) = (Arc::clone(&self.hall), accepting.inside.subscribe());
            accepting.ended = self.loops.spawn(door.accept(hall, sees, accepting.shut.clone()));
        }
    }

    /// All that can fail comes first; a failure leaves everything as it was.
    pub(super) async fn reload(&mut self, config: &Config) -> Result<(), StartError> {
        let dialer = Arc::new(Dialer::new(&config.outbound)?);
        let terminators = Terminators::open(&config.listeners)?; // blocks, for as long as small files take
        let change = self.change(config);
        let Opened { doors, endpoint } = self.open_new(&change).await?;

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
        for (place, listener) in change.staying {
            if let Some(accepting) = self.accepting.get(place) {
                accepting.inside.send_replace(Inside { house: Arc::clone(&self.house), listener });
            }
        }
        for place in change.leaving.into_iter().rev() {
            let mut accepting = self.accepting.remove(place);
            accepting.shut().await;
            let address = accepting.listener().bind;
            info!(event = "listener_closed", %address, "no longer listening; sessions go on");
        }
        for door in doors {
            self.let_in(door);
        }
        self.status.view().show(config).await;
        self.status.take(config.status.as_ref(), endpoint).await;
        self.status.warm_up();
        Ok(())
    }

    /// Ends when the sessions have ended, or have been cut: when `shutdown_grace` is over, or at
    /// once where somebody is in a hurry; and when the tokens are written that were on their way
    /// into the vault. Returns how many sessions were cut.
    pub(super) async fn drain(
        mut self,
        hurry: &CancellationToken,
        cut: &CancellationToken,
    ) -> usize {
        let (grace, sessions) = (self.limits.shutdown_grace, self.hall.sessions.clone());
        info!(event = "drain", sessions = sessions.len(), ?grace, "stopping: no new sessions");
        self.hall.draining.cancel();
        self.loops.close();
        self.loops.wait().await;
        drop(mem::take(&mut self.accepting));
        sessions.close();
        let cause = tokio::select! {
            biased;
            () = sessions.wait() => None,
            () = hurry.cancelled() => Some("asked to stop once more"),
            () = sleep(grace) => Some("limits.shutdown_grace is over"),
        };
        let left = cause.map_or(0, |_| sessions.len());
        if let Some(cause) = cause {
            warn!(event = "drain_cut", sessions = left, cause, ?grace, "cutting sessions");
        }
        cut.cancel();
        let cut_at = Instant::now();
        if timeout(CUT_GRACE, sessions.wait()).await.is_err() {
            error!(sessions = sessions.len(), "sessions did not end when cut");
        }
        self.status.close().await;
        // What is left of the background by now writes into the vault, if there is anything.
        self.background.close();
        if timeout_at(cut_at + WRITE_GRACE, self.background.wait()).await.is_err() {
            error!(tasks = self.background.len(), "the background's tasks did not end");
        }
        info!(event = "stopped", cut = left, "stopped");
        left
    }
}
