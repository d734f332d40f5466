//! A session without a client, for diagnosis: as far as one gets without the client's password.
//!
//! The way is the session's own, so what is found is what a client would meet. One step further
//! than a login is gone where its OK proves nothing (IMAP), and the server is told goodbye. No mail
//! is sent, and none is looked at. Must never know what is made of it.

use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    House,
    gate::Shut,
    person::Person,
    progress::Progress,
    pump::{PumpError, Pumped, pump, write},
    upstream::{self, Open, OpenError, Pass, Request},
    visit::{gate_words, not_theirs_words},
};
use crate::{
    config::{EntraApp, Grant, Listener},
    mail::{
        Protocol,
        client::{Failure, first},
    },
    token::{Identity, TokenError, claims::Claims},
};

/// How long a server may take to close a session that was ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// What was learnt on the way.
#[derive(Debug)]
pub struct Probed {
    /// Who logs in.
    pub user: String,
    /// Whose mailbox XOAUTH2 names.
    pub mailbox: String,
    /// The app that gets the token.
    pub app: Arc<EntraApp>,
    /// What the token says, where there is one.
    pub token: Seen,
    /// How far it went.
    pub outcome: Result<Probe, Trouble>,
}

/// A token, from outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// There is none.
    Nothing,
    /// There is one that only Microsoft can read.
    Opaque,
    /// There is one that says this.
    Claims(Box<Claims>),
}

/// How far a [`House::probe`] got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// The provider accepted the login, and with IMAP a first command.
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
    /// Where it stood.
    pub place: Place,
}

/// Where a way ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// On this machine: the configuration does not let the user in.
    Here,
    /// A person must sign in first.
    SignIn,
    /// At the provider, which refused user and token in these words.
    Refused(String),
    /// Between: no token, no connection, a server out of order.
    Between,
}

impl House {
    /// Walks the way of a session as this user, as far as it goes without the client's password,
    /// and leaves again. Takes no longer than a client's login may.
    ///
    /// # Errors
    /// The user gets no further than this machine.
    pub async fn probe(&self, listener: &Listener, user: &str) -> Result<Probed, Trouble> {
        let person = Person::of(user, &self.gate);
        let Some(account) = self.gate.account_for(&person.user.to_ascii_lowercase()) else {
            return Err(Trouble::here(gate_words(Shut::UnknownUser)));
        };
        let mailbox = person
            .mailbox(account, listener.protocol, &self.gate)
            .map_err(|not_theirs| Trouble::here(not_theirs_words(not_theirs)))?;
        let app = Arc::clone(&account.entra);
        let by_app = app.is_app_only();
        let identity = Identity { app: Arc::clone(&app), user: person.user.clone() };
        let progress = Progress::new();
        let by_password = matches!(app.grant, Grant::Password { .. });
        let walk = async {
            if by_password {
                progress.enter("dial");
                let reached = upstream::reach(&self.dialer, &listener.upstream).await;
                return reached.map(|()| Probe::Reached);
            }
            let request = Request {
                protocol: listener.protocol,
                upstream: &listener.upstream,
                client_name: None,
                pass: Pass::Ours { identity: &identity, password: None },
                mailbox,
            };
            let House { tokens, dialer, learned, places, .. } = self;
            let open = upstream::open(tokens, dialer, learned, places, &request, &progress);
            let mut open = open.await?;
            progress.enter("first command");
            let looked = look_in(listener.protocol, &mut open).await;
            // Whatever the server thinks of that: it is over.
            let _ = timeout(FAREWELL, leave(listener.protocol, open)).await;
            looked.map(|()| Probe::LoggedIn)
        };
        let limit = self.limits.login_timeout;
        let outcome = match timeout(limit, walk).await {
            Ok(outcome) => outcome.map_err(|error| Trouble::of(&error, by_app)),
            Err(_) => Err(Trouble::late(limit, progress.noted().phase)),
        };
        let there_is_none = by_password
            || matches!(&outcome, Err(Trouble { place: Place::SignIn, .. }))
            || progress.noted().phase == "token";
        let token = if there_is_none { Seen::Nothing } else { self.seen(&identity).await };
        let mailbox = mailbox.to_owned();
        Ok(Probed { user: identity.user, mailbox, app, token, outcome })
    }

    /// The token that the walk used last, which is at hand.
    async fn seen(&self, identity: &Identity) -> Seen {
        match self.tokens.get(identity, None).await {
            Ok(token) => {
                token.claims().map_or(Seen::Opaque, |claims| Seen::Claims(Box::new(claims)))
            }
            Err(_) => Seen::Nothing,
        }
    }
}

/// An IMAP login's OK does not prove that the mailbox opens.
async fn look_in(protocol: Protocol, open: &mut Open) -> Result<(), OpenError> {
    if protocol != Protocol::Imap {
        return Ok(());
    }
    let mut command = first::FirstCommand::default();
    match pump(&mut open.io, &mut open.leftover, |input| command.step(input)).await {
        Ok(Pumped::Done(()) | Pumped::StartTls) => Ok(()), // it never asks for TLS
        Err(PumpError::Failed(failure)) => Err(OpenError::Dialogue(failure)),
        Err(PumpError::Closed) => Err(OpenError::Closed("first command")),
        Err(PumpError::Io(error)) => Err(OpenError::Io("first command", error)),
    }
}

/// Says goodbye, and waits until the server has closed.
async fn leave(protocol: Protocol, mut open: Open) -> std::io::Result<()> {
    write(&mut open.io, first::farewell(protocol).to_vec()).await?;
    loop {
        open.leftover.clear();
        if open.io.read_buf(&mut open.leftover).await? == 0 {
            return Ok(());
        }
    }
}

impl Trouble {
    /// The login goes no further than this machine.
    fn here((cause, remedy): (&'static str, &str)) -> Self {
        let error = "login refused here".to_owned();
        Self { error, cause: Some(cause), remedy: Some(remedy.to_owned()), place: Place::Here }
    }

    fn late(limit: Duration, phase: &str) -> Self {
        let error = format!("no verdict within {limit:?}; it stopped at {phase}");
        let remedy = "look whether something on the way is slow, or raise limits.login_timeout";
        Self { error, cause: None, remedy: Some(remedy.to_owned()), place: Place::Between }
    }

    fn of(error: &OpenError, by_app: bool) -> Self {
        let place = match error {
            OpenError::Token(TokenError::NeedsSignIn { .. }) => Place::SignIn,
            OpenError::Dialogue(Failure::Rejected { reply, .. }) => Place::Refused(reply.clone()),
            _ => Place::Between,
        };
        let (cause, remedy) = (error.cause(by_app), error.remedy(by_app));
        Self { error: error.to_string(), cause, remedy, place }
    }
}
