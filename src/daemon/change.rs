//! The sockets that a new configuration changes, of listeners and of the status alike.
//!
//! A port may pass from one to another of them. So all that leaves makes room first where its port
//! is wanted, and only then is opened what is new; should one of those fail, what was shut is opened
//! again. Must never know what else a configuration changes.

use std::{net::SocketAddr, sync::Arc};

use tracing::error;

use super::{
    StartError,
    door::Door,
    open,
    running::{Accepting, Running},
    status::Endpoint,
};
use crate::{
    config::{self, Config, Listener},
    net::inherited::Inherited,
};

/// What a new configuration means for the sockets. Doors are named by their places.
pub(super) struct Change {
    /// Doors that stay, with the listener that is theirs now.
    pub(super) staying: Vec<(usize, Arc<Listener>)>,
    /// Doors that are of no listener any more, in their order.
    pub(super) leaving: Vec<usize>,
    /// Listeners that need a door.
    coming: Vec<Arc<Listener>>,
    /// Whether the status is where it was.
    status_stays: bool,
    /// The status that needs an endpoint.
    status_coming: Option<config::Status>,
}

/// What is open at start or by a change, and serves nobody yet.
pub(super) struct Opened {
    pub(super) doors: Vec<Door>,
    pub(super) endpoint: Option<Endpoint>,
}

/// What has made room.
struct Shut {
    doors: Vec<usize>,
    status: Option<config::Status>,
}

impl Opened {
    /// Opens these, in their order. Where one fails, those before it are closed again.
    pub(super) fn open(
        listeners: &[Arc<Listener>],
        status: Option<&config::Status>,
        inherited: &Inherited,
    ) -> Result<Self, StartError> {
        let doors = listeners.iter().map(|listener| open(listener, inherited));
        let doors = doors.collect::<Result<_, _>>()?;
        let endpoint = status.map(|status| Endpoint::open(status, inherited)).transpose()?;
        Ok(Self { doors, endpoint })
    }
}

impl Change {
    /// Whether something new has this address's port. Port 0 is never the same twice.
    fn wants(&self, old: SocketAddr) -> bool {
        let listeners = self.coming.iter().map(|listener| listener.bind);
        let mut new = listeners.chain(self.status_coming.iter().map(|status| status.bind));
        old.port() != 0 && new.any(|new| new.port() == old.port())
    }
}

impl Running {
    /// A door is known by its address and protocol, the status by its address.
    pub(super) fn change(&self, config: &Config) -> Change {
        let (mut staying, mut coming) = (Vec::<(usize, Arc<Listener>)>::new(), Vec::new());
        let there: Vec<_> = self.accepting.iter().map(Accepting::listener).collect();
        for listener in &config.listeners {
            let is_its = |(place, there): &(usize, &Arc<Listener>)| {
                let taken = staying.iter().any(|(other, _)| other == place);
                !taken && there.bind == listener.bind && there.protocol == listener.protocol
            };
            match there.iter().enumerate().find(is_its) {
                Some((place, _)) => staying.push((place, Arc::clone(listener))),
                None => coming.push(Arc::clone(listener)),
            }
        }
        let stays = |place: &usize| staying.iter().any(|(other, _)| other == place);
        let leaving = (0..there.len()).filter(|place| !stays(place)).collect();
        let status_stays = self.status.bind() == config.status.as_ref().map(|status| status.bind);
        let status_coming = config.status.clone().filter(|_| !status_stays);
        Change { staying, leaving, coming, status_stays, status_coming }
    }

    /// Opens all that is new. A failure leaves everything as it was.
    pub(super) async fn open_new(&mut self, change: &Change) -> Result<Opened, StartError> {
        let shut = self.make_room(change).await;
        let status = change.status_coming.as_ref();
        let opened = Opened::open(&change.coming, status, &self.inherited);
        if opened.is_err() {
            self.reopen(shut);
        }
        opened
    }

    async fn make_room(&mut self, change: &Change) -> Shut {
        let mut doors = Vec::new();
        for &place in &change.leaving {
            if let Some(accepting) = self.accepting.get_mut(place)
                && change.wants(accepting.listener().bind)
            {
                accepting.shut().await;
                doors.push(place);
            }
        }
        let is_in_the_way = |bind| !change.status_stays && change.wants(bind);
        let status = if self.status.bind().is_some_and(is_in_the_way) {
            self.status.shut().await
        } else {
            None
        };
        Shut { doors, status }
    }

    fn reopen(&mut self, Shut { doors, status }: Shut) {
        for place in doors {
            let Some(accepting) = self.accepting.get(place) else { continue };
            match open(&accepting.listener(), &self.inherited) {
                Ok(door) => self.let_in_again(place, door),
                Err(error) => tell_of_lost(&error),
            }
        }
        match status.map(|status| Endpoint::open(&status, &self.inherited)) {
            Some(Ok(endpoint)) => self.status.serve(endpoint),
            Some(Err(error)) => tell_of_lost(&error),
            None => {}
        }
    }
}

/// Another program was quicker.
fn tell_of_lost(error: &StartError) {
    error!(
        event = "listener_lost",
        %error,
        remedy = "restart mailwicket once the port is free",
        "a listener that was to stay could not be opened again",
    );
}
