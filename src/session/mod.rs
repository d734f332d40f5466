//! One session, from the first byte to the last, as a straight line.
//!
//! The only room that knows mail, token and net together: the client gives its login, the gate
//! judges it, a token is got, the provider's side is opened, the client hears the verdict, and the
//! rest is copied. One line in the log ends it.
//!
//! A sans-IO role says what to write; this room decides when to stop waiting: the login deadline
//! covers everything up to the verdict, and a drain ends what has not got so far.

mod ending;
mod front;
mod gate;
mod progress;
mod pump;
mod upstream;
mod visit;

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use secrecy::SecretString;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{
    ending::Ending,
    front::Front,
    gate::{Gate, Shut},
    progress::{Noted, Progress},
    upstream::{Learned, OpenError, Request},
    visit::{Visit, gate_words},
};
use crate::{
    config::{Config, Grant, Limits, Listener},
    mail::{Refusal, server::ServerRole},
    net::{
        Io,
        dial::Dialer,
        http,
        relay::{Relayed, relay},
    },
    token::{Courier, CourierError, Identity, cache::Tokens},
};

/// What all sessions share.
pub struct House {
    gate: Gate,
    tokens: Tokens,
    dialer: Arc<Dialer>,
    learned: Learned,
    limits: Limits,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl House {
    /// Puts the house together. `draining` ends sessions that have not logged in, `cut` all others.
    pub fn new(
        config: &Config,
        tokens: Tokens,
        dialer: Arc<Dialer>,
        draining: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        Self {
            gate: Gate::new(config.accounts.clone()),
            tokens,
            dialer,
            learned: Learned::default(),
            limits: config.limits.clone(),
            draining,
            cut,
        }
    }

    /// Turns a client away at the door, in its protocol's words.
    pub async fn turn_away(&self, listener: &Listener, io: Io, refusal: &Refusal) {
        self.front(listener, io).farewell(refusal).await;
    }

    /// Serves one client until it has gone. Runs inside the session's span.
    pub async fn serve(&self, listener: &Listener, io: Io, peer: SocketAddr) {
        let started = Instant::now();
        let progress = Progress::new();
        let (relayed, ended) = self.straight_line(listener, io, peer, &progress).await;
        let Noted { phase, account } = progress.noted();
        info!(
            event = "session_end",
            client = %peer,
            account,
            phase,
            bytes_up = relayed.0,
            bytes_down = relayed.1,
            seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            ended,
            "session ended",
        );
    }

    /// Walks the way of a session as this user, as far as it goes without the client's password,
    /// and leaves again. For diagnosis.
    pub async fn probe(&self, listener: &Listener, user: &str) -> Result<Probe, Trouble> {
        let Some(account) = self.gate.account_for(&user.to_ascii_lowercase()) else {
            let (cause, remedy) = gate_words(Shut::UnknownUser);
            let (error, cause, remedy) =
                ("login refused here".to_owned(), Some(cause), Some(remedy.to_owned()));
            return Err(Trouble { error, cause, remedy });
        };
        if let Grant::Password { .. } = account.entra.grant {
            return upstream::reach(&self.dialer, &listener.upstream)
                .await
                .map(|()| Probe::Reached)
                .map_err(|error| Trouble::of(&error));
        }
        let identity = Identity { app: Arc::clone(&account.entra), user: user.to_owned() };
        let request = Request {
            upstream: &listener.upstream,
            client_name: None,
            identity: &identity,
            password: &SecretString::default(),
            mailbox: account.mailbox.for_protocol(listener.protocol).unwrap_or(user),
        };
        let progress = Progress::new();
        upstream::open(&self.tokens, &self.dialer, &self.learned, &request, &progress)
            .await
            .map(|_| Probe::LoggedIn)
            .map_err(|error| Trouble::of(&error))
    }

    async fn straight_line(
        &self,
        listener: &Listener,
        io: Io,
        peer: SocketAddr,
        progress: &Progress,
    ) -> ((u64, u64), String) {
        let mut front = self.front(listener, io);
        let visit = Visit { house: self, listener, peer, progress };
        let logged_in = tokio::select! {
            biased;
            logged_in = timeout(self.limits.login_timeout, visit.log_in(&mut front)) => {
                logged_in.unwrap_or(Err(Ending::Deadline(self.limits.login_timeout)))
            }
            () = self.draining.cancelled() => Err(Ending::Draining),
        };
        let open = match logged_in {
            Ok(open) => open,
            Err(ending) => {
                if let Some(refusal) = ending.refusal() {
                    front.farewell(&refusal).await;
                }
                ending.log(progress);
                return ((0, 0), ending.to_string());
            }
        };
        if let Err(error) = front.tell(Ok(())).await {
            return ((0, 0), format!("client gone at its login: {error}"));
        }
        progress.enter("relay");
        let idle = self.limits.smtp_idle_timeout;
        let Front { io, input, .. } = front;
        let Relayed { up, down, end } =
            relay(io, open.io, input, open.leftover, idle, self.cut.clone()).await;
        ((up, down), end.to_string())
    }

    fn front(&self, listener: &Listener, io: Io) -> Front {
        let role = ServerRole::smtp(self.learned.offer(&listener.upstream));
        Front { io, input: BytesMut::new(), role }
    }
}

/// Takes Entra's letters the same way out as the mail: here the two wings meet.
pub fn courier(dialer: Arc<Dialer>) -> Courier {
    Arc::new(move |request| {
        let dialer = Arc::clone(&dialer);
        Box::pin(async move {
            http::send(&dialer, request).await.map_err(|error| CourierError {
                what: error.to_string(),
                remedy: error.remedy(),
                summary: error.summary(),
            })
        })
    })
}

/// How far a [`House::probe`] got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// The provider accepted the login.
    LoggedIn,
    /// The provider was reached; the login needs a password that only the client has.
    Reached,
}

/// What stood in the way of a [`House::probe`].
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What happened.
    pub error: String,
    /// What it means, where the error does not say.
    pub cause: Option<&'static str>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Trouble {
    fn of(error: &OpenError) -> Self {
        Self { error: error.to_string(), cause: error.cause(), remedy: error.remedy() }
    }
}
