//! The status endpoint: where operators and their programs look.
//!
//! It is opened with the listeners, may be opened, moved and closed by a reload, and stays open
//! through the drain, so that a balancer sees that no new session is taken. `view` is what can be
//! seen, `http` how it is asked for, `page` what people are shown.
//!
//! Must never know what a dialogue says, and never show a password or token.

mod http;
mod page;
mod view;

use std::{io, net::SocketAddr, sync::Arc};

use ipnet::IpNet;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

pub(super) use self::view::{DoorSeen, View};
use super::{StartError, bind_error};
use crate::{config, net::inherited::Inherited};

/// A bound endpoint that nobody serves yet.
pub(super) struct Endpoint {
    socket: TcpListener,
    status: config::Status,
}

impl Endpoint {
    /// Binds its address, or takes the socket that was passed for it.
    pub(super) fn open(status: &config::Status, inherited: &Inherited) -> Result<Self, StartError> {
        let socket = inherited.listen(status.bind);
        let socket = socket.map_err(|error| bind_error("status", status.bind, error))?;
        Ok(Self { socket, status: status.clone() })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// The endpoint of a daemon that runs, if it has one.
pub(super) struct Status {
    view: Arc<View>,
    serving: Option<Serving>,
    tasks: TaskTracker,
}

struct Serving {
    bind: SocketAddr,
    allow: watch::Sender<Vec<IpNet>>,
    shut: CancellationToken,
    ended: JoinHandle<()>,
}

/// What a new configuration means for it.
pub(super) enum Change {
    /// It is where it was, and these may look.
    Stays(Vec<IpNet>),
    /// There is another one.
    Comes(Endpoint),
    /// There is none.
    Goes,
}

impl Status {
    pub(super) fn new(view: View, endpoint: Option<Endpoint>, tasks: &TaskTracker) -> Self {
        let mut status = Self { view: Arc::new(view), serving: None, tasks: tasks.clone() };
        if let Some(endpoint) = endpoint {
            status.serve(endpoint);
        }
        status
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Binds what a new configuration needs, and changes nothing yet, unless another address wants
    /// the same port: then the old one is shut first, and opened again should that fail.
    pub(super) async fn prepare(
        &mut self,
        new: Option<&config::Status>,
        inherited: &Inherited,
    ) -> Result<Change, StartError> {
        let Some(new) = new else { return Ok(Change::Goes) };
        let here = self.serving.as_ref().map(|serving| serving.bind);
        if here == Some(new.bind) {
            return Ok(Change::Stays(new.allow.clone()));
        }
        let conflicts = here.is_some_and(|here| here.port() == new.bind.port() && here.port() != 0);
        let before = if conflicts { self.serving.take() } else { None };
        let Some(before) = before else {
            return Ok(Change::Comes(Endpoint::open(new, inherited)?));
        };
        let old = config::Status { bind: before.bind, allow: before.allow.borrow().clone() };
        before.shut();
        let _ = before.ended.await; // its socket is closed when it has ended
        let opened = Endpoint::open(new, inherited);
        if opened.is_err()
            && let Ok(again) = Endpoint::open(&old, inherited)
        {
            self.serve(again);
        }
        Ok(Change::Comes(opened?))
    }

    /// Does what was prepared.
    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Stays(allow) => {
                if let Some(serving) = &self.serving {
                    serving.allow.send_replace(allow);
                }
            }
            Change::Comes(endpoint) => self.serve(endpoint),
            Change::Goes => {
                if let Some(serving) = self.serving.take() {
                    serving.shut();
                }
            }
        }
    }

    /// What must be asked of Entra to be ready is asked, if anybody can look.
    pub(super) fn warm_up(&self) {
        if self.serving.is_some() {
            self.view.ask_for_tokens();
        }
    }

    /// Nobody can look from now on.
    pub(super) async fn close(mut self) {
        if let Some(serving) = self.serving.take() {
            serving.shut.cancel();
            let _ = serving.ended.await;
        }
    }

    fn serve(&mut self, endpoint: Endpoint) {
        let Endpoint { socket, status: config::Status { bind, allow } } = endpoint;
        let address = socket.local_addr().unwrap_or(bind);
        info!(event = "status_listening", %address, "status can be looked at");
        let ((allow, allowed), shut) = (watch::channel(allow), CancellationToken::new());
        let view = Arc::clone(&self.view);
        let served = http::serve(socket, view, allowed, self.tasks.clone(), shut.clone());
        let ended = self.tasks.spawn(served);
        if let Some(before) = self.serving.replace(Serving { bind, allow, shut, ended }) {
            before.shut();
        }
    }
}

impl Serving {
    fn shut(&self) {
        info!(event = "status_closed", address = %self.bind, "status can no longer be looked at there");
        self.shut.cancel();
    }
}
