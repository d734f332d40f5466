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

    /// Where it is, as the configuration has it.
    pub(super) fn bind(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|serving| serving.bind)
    }

    /// Does as a new configuration says. Where that names another address, it is open already.
    pub(super) async fn take(&mut self, new: Option<&config::Status>, opened: Option<Endpoint>) {
        match (new, opened, &self.serving) {
            (_, Some(endpoint), _) => {
                self.shut().await;
                self.serve(endpoint);
            }
            (Some(new), None, Some(serving)) => {
                serving.allow.send_replace(new.allow.clone());
            }
            (_, None, _) => {
                self.shut().await;
            }
        }
    }

    /// Shuts it: its socket is closed when this returns. Gives what was there.
    pub(super) async fn shut(&mut self) -> Option<config::Status> {
        let serving = self.serving.take()?;
        let (bind, allow) = (serving.bind, serving.allow.borrow().clone());
        info!(event = "status_closed", address = %bind, "status can no longer be looked at there");
        serving.end().await;
        Some(config::Status { bind, allow })
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
            serving.end().await;
        }
    }

    /// Lets people look there; nowhere else, so it was shut.
    pub(super) fn serve(&mut self, endpoint: Endpoint) {
        let Endpoint { socket, status: config::Status { bind, allow } } = endpoint;
        let address = socket.local_addr().unwrap_or(bind);
        info!(event = "status_listening", %address, "status can be looked at");
        let ((allow, allowed), shut) = (watch::channel(allow), CancellationToken::new());
        let view = Arc::clone(&self.view);
        let served = http::serve(socket, view, allowed, self.tasks.clone(), shut.clone());
        let ended = self.tasks.spawn(served);
        self.serving = Some(Serving { bind, allow, shut, ended });
    }
}

impl Serving {
    async fn end(self) {
        self.shut.cancel();
        let _ = self.ended.await;
    }
}
