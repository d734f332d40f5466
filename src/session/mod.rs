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
pub mod probe;
mod progress;
mod pump;
pub mod sign_in;
mod turnstile;
mod upstream;
mod visit;

use std::{net::SocketAddr, sync::Arc};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{
    ending::Ending,
    front::Front,
    gate::Gate,
    hearing::Hearing,
    places::Places,
    progress::{Noted, Progress},
    upstream::{Learned, Open},
    visit::{LoggedIn, Visit},
};
use crate::{
    config::{Config, Limits, Listener, LocalTls},
    mail::{
        Refusal, RefusalKind,
        server::{Asks, ServerRole, Tls},
    },
    net::{
        Io, Leg,
        dial::Dialer,
        http,
        relay::{Party, Relayed, relay},
        server_tls::Terminators,
    },
    stats::Stats,
    token::{Courier, CourierError, Letter, Way, cache::Tokens},
};

/// What all sessions share.
pub struct House {
    gate: Gate,
    tokens: Tokens,
    dialer: Arc<Dialer>,
    terminators: Terminators,
    learned: Arc<Learned>,
    places: Places,
    limits: Limits,
    stats: Arc<Stats>,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl House {
    /// Puts the house together. `terminators` are those of the configuration's listeners;
    /// `draining` ends sessions that have not logged in, `cut` all others.
    pub fn new(
        config: &Config,
        tokens: Tokens,
        dialer: Arc<Dialer>,
        terminators: Terminators,
        draining: CancellationToken,
        cut: CancellationToken,
    ) -> Self {
        let stats = Arc::clone(tokens.stats());
        let gate = Gate::new(config.accounts.clone(), &config.limits, draining.clone());
        Self {
            gate: gate.count_in(&stats),
            tokens,
            dialer,
            terminators,
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
    pub fn renewed(&self, config: &Config, dialer: Arc<Dialer>, terminators: Terminators) -> Self {
        let (accounts, draining) = (config.accounts.clone(), self.draining.clone());
        Self {
            gate: self.gate.renewed(accounts, &config.limits, draining).count_in(&self.stats),
            tokens: self.tokens.clone(),
            dialer,
            terminators,
            learned: Arc::clone(&self.learned),
            places: self.places.renewed(&config.limits),
            limits: config.limits.clone(),
            stats: Arc::clone(&self.stats),
            draining: self.draining.clone(),
            cut: self.cut.clone(),
        }
    }

    /// Turns a client away at the door, in its protocol's words, or without any where they would
    /// need TLS first.
    pub async fn turn_away(&self, listener: &Listener, io: Io, refusal: &Refusal) {
        let why = match refusal.kind {
            RefusalKind::Busy => "address_full",
            RefusalKind::ShuttingDown => "closing",
            _ => "not_allowed",
        };
        self.stats.turned_away(listener.protocol.name(), why);
        let mut front = self.front(listener, io);
        if front.hears_clear_words().await {
            front.farewell(refusal).await;
        }
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
                match ending.refusal() {
                    Some(refusal) => front.farewell(&refusal).await,
                    None => front.close().await,
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
        let tls = listener.tls.as_ref();
        let end = tls.and_then(|tls| Some((tls.mode, self.terminators.of(tls)?)));
        offer.tls = match tls {
            Some(_) if end.is_none() => Tls::Absent,
            Some(LocalTls { required: true, .. }) => Tls::Required,
            Some(_) => Tls::Offered,
            None => Tls::Absent,
        };
        let role = ServerRole::new(listener.protocol, offer);
        Front::new(io, role, end)
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
