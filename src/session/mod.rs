//! One session, from the first byte to the last, as a straight line.
//!
//! The only room that knows mail, token and net together: the client gives its login, or comes from
//! where none is asked, the gate judges it, a token is got, the provider's side is opened, the client hears the verdict, and the
//! rest is copied. One line in the log ends it.
//!
//! A sans-IO role says what to write; this room decides when to stop waiting: the login deadline
//! covers everything up to the verdict, and a drain ends what has not got so far.

mod ending;
mod front;
mod gate;
mod hearing;
mod person;
mod places;
mod progress;
mod pump;
pub mod sign_in;
mod turnstile;
mod upstream;
mod visit;

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{
    ending::Ending,
    front::Front,
    gate::{Gate, Shut},
    hearing::Hearing,
    person::Person,
    places::Places,
    progress::{Noted, Progress},
    upstream::{Learned, Open, OpenError, Pass, Request},
    visit::{LoggedIn, Visit, gate_words, not_theirs_words},
};
use crate::{
    config::{Config, Grant, Limits, Listener},
    mail::{
        Refusal, RefusalKind,
        server::{Asks, ServerRole},
    },
    net::{
        Io, Leg,
        dial::Dialer,
        http,
        relay::{Party, Relayed, relay},
    },
    stats::Stats,
    token::{Courier, CourierError, Identity, Letter, Way, cache::Tokens},
};

/// What all sessions share.
pub struct House {
    gate: Gate,
    tokens: Tokens,
    dialer: Arc<Dialer>,
    learned: Arc<Learned>,
    places: Places,
    limits: Limits,
    stats: Arc<Stats>,
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
        let stats = Arc::clone(tokens.stats());
        let gate = Gate::new(config.accounts.clone(), &config.limits, draining.clone());
        Self {
            gate: gate.count_in(&stats),
            tokens,
            dialer,
            learned: Arc::default(),
            places: Places::new(&config.limits, Arc::clone(&stats)),
            limits: config.limits.clone(),
            stats,
            draining,
            cut,
        }
    }

    /// The house that a new configuration describes. What was learnt stays, and so do the places
    /// that sessions hold.
    #[must_use]
    pub fn renewed(&self, config: &Config, dialer: Arc<Dialer>) -> Self {
        let (accounts, draining) = (config.accounts.clone(), self.draining.clone());
        Self {
            gate: self.gate.renewed(accounts, &config.limits, draining).count_in(&self.stats),
            tokens: self.tokens.clone(),
            dialer,
            learned: Arc::clone(&self.learned),
            places: self.places.renewed(&config.limits),
            limits: config.limits.clone(),
            stats: Arc::clone(&self.stats),
            draining: self.draining.clone(),
            cut: self.cut.clone(),
        }
    }

    /// Turns a client away at the door, in its protocol's words.
    pub async fn turn_away(&self, listener: &Listener, io: Io, refusal: &Refusal) {
        let why = if refusal.kind == RefusalKind::Busy { "address_full" } else { "not_allowed" };
        self.stats.turned_away(listener.protocol.name(), why);
        self.front(listener, io).farewell(refusal).await;
    }

    /// Serves one client until it has gone. Runs inside the session's span.
    pub async fn serve(&self, listener: &Listener, io: Io, peer: SocketAddr) {
        let started = Instant::now();
        let running = self.stats.begin(listener.protocol.name(), peer);
        let progress = Progress::of(running.session());
        let (end, ended) = self.straight_line(listener, io, peer, &progress).await;
        running.end(end);
        let Noted { phase, account, .. } = progress.noted();
        let (up, down) = progress.carried().both();
        info!(
            event = "session_end",
            client = %peer,
            account,
            phase,
            bytes_up = up,
            bytes_down = down,
            seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            ended,
            "session ended",
        );
    }

    /// Walks the way of a session as this user, as far as it goes without the client's password,
    /// and leaves again. For diagnosis.
    pub async fn probe(&self, listener: &Listener, user: &str) -> Result<Probe, Trouble> {
        let person = Person::of(user, &self.gate);
        let Some(account) = self.gate.account_for(&person.user.to_ascii_lowercase()) else {
            return Err(Trouble::here(gate_words(Shut::UnknownUser)));
        };
        let mailbox = person
            .mailbox(account, listener.protocol, &self.gate)
            .map_err(|not_theirs| Trouble::here(not_theirs_words(not_theirs)))?;
        if let Grant::Password { .. } = account.entra.grant {
            return upstream::reach(&self.dialer, &listener.upstream)
                .await
                .map(|()| Probe::Reached)
                .map_err(|error| Trouble::of(&error, false));
        }
        let identity = Identity { app: Arc::clone(&account.entra), user: person.user.clone() };
        let request = Request {
            protocol: listener.protocol,
            upstream: &listener.upstream,
            client_name: None,
            pass: Pass::Ours { identity: &identity, password: None },
            mailbox,
        };
        let progress = Progress::new();
        let House { tokens, dialer, learned, places, .. } = self;
        upstream::open(tokens, dialer, learned, places, &request, &progress)
            .await
            .map(|_| Probe::LoggedIn)
            .map_err(|error| Trouble::of(&error, account.entra.is_app_only()))
    }

    /// Returns how it ended: of a closed set, and in words.
    async fn straight_line(
        &self,
        listener: &Listener,
        io: Io,
        peer: SocketAddr,
        progress: &Progress,
    ) -> (&'static str, String) {
        let mut front = self.front(listener, io);
        let visit = Visit { house: self, listener, peer, progress };
        let logged_in = tokio::select! {
            biased;
            logged_in = timeout(self.limits.login_timeout, visit.log_in(&mut front)) => {
                logged_in.unwrap_or(Err(Ending::Deadline(self.limits.login_timeout)))
            }
            () = self.draining.cancelled() => Err(Ending::Draining),
        };
        let LoggedIn { open: Open { io, leftover, held, .. }, is_app_only } = match logged_in {
            Ok(logged_in) => logged_in,
            Err(ending) => {
                if let Some(refusal) = ending.refusal() {
                    front.farewell(&refusal).await;
                }
                ending.log(progress);
                return (ending.label(), ending.to_string());
            }
        };
        if let Err(error) = front.tell(Ok(())).await {
            return ("broken_before_login", format!("client gone at its login: {error}"));
        }
        progress.enter("relay");
        let idle = self.limits.idle_timeout(listener.protocol);
        let client = Party { io: front.io, said: front.input };
        let upstream = Party { io, said: leftover };
        let mut hearing = Hearing::of(listener.protocol, is_app_only);
        let mut listen = |octets: &[u8]| hearing.hear(octets);
        let carried = progress.carried();
        let Relayed { end, .. } =
            relay(client, upstream, idle, self.cut.clone(), carried, &mut listen).await;
        drop(held); // the connection to the provider is closed by now
        hearing.ended(&end)
    }

    fn front(&self, listener: &Listener, io: Io) -> Front {
        let mut offer = self.learned.offer(listener.protocol, &listener.upstream);
        offer.asks = match (&listener.account, listener.pass_tokens) {
            (Some(_), _) => Asks::Nothing,
            (None, true) => Asks::PasswordOrToken,
            (None, false) => Asks::Password,
        };
        let role = ServerRole::new(listener.protocol, offer);
        Front { io, input: BytesMut::new(), role }
    }
}

/// Takes Entra's letters the same way out as the mail: here the two wings meet.
pub fn courier(dialer: Arc<Dialer>) -> Courier {
    Arc::new(move |Letter { request, way }| {
        let dialer = Arc::clone(&dialer);
        let leg = match way {
            Way::AsConfigured => Leg::Token,
            Way::Direct => Leg::Machine,
        };
        Box::pin(async move {
            http::send(&dialer, leg, request).await.map_err(|error| CourierError {
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
    /// The login goes no further than this machine.
    fn here((cause, remedy): (&'static str, &str)) -> Self {
        let error = "login refused here".to_owned();
        Self { error, cause: Some(cause), remedy: Some(remedy.to_owned()) }
    }

    fn of(error: &OpenError, by_app: bool) -> Self {
        let (cause, remedy) = (error.cause(by_app), error.remedy(by_app));
        Self { error: error.to_string(), cause, remedy }
    }
}
