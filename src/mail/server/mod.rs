//! What the legacy client meets: mailwicket as a mail server, up to the login.
//!
//! One role per protocol, all driven the same way: [`ServerRole::step`] until it yields a
//! [`Login`], then [`ServerRole::answer`] with the verdict, then on with the dialogue if it was a
//! refusal.

pub mod smtp;

use bytes::BytesMut;
use thiserror::Error;

use super::{Login, Refusal, Step};

/// Refused logins after which a session is closed.
pub(super) const REFUSALS: u8 = 3;
/// Commands in error after which a session is closed.
pub(super) const ERRORS: u8 = 20;

/// What an SMTP client is offered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SmtpOffer {
    /// How mailwicket names itself in the greeting.
    pub host_name: String,
    /// EHLO keyword lines as the upstream gave them; AUTH and STARTTLS among them are left out.
    pub extensions: Vec<String>,
}

impl SmtpOffer {
    /// What Exchange Online has offered for years (as observed): for the time before an upstream
    /// session has shown it.
    pub fn exchange_online() -> Self {
        let extensions = [
            "SIZE 157286400",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "BINARYMIME",
            "CHUNKING",
            "SMTPUTF8",
        ];
        Self {
            host_name: "mailwicket".to_owned(),
            extensions: extensions.map(str::to_owned).into(),
        }
    }
}

/// The server's half of a login dialogue.
#[derive(Debug)]
pub enum ServerRole {
    /// Message submission.
    Smtp(smtp::Server),
}

/// Why a dialogue ended itself. The client has been told.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Ended {
    /// The client said goodbye.
    #[error("client quit before login")]
    Quit,
    /// The third refused login.
    #[error("too many refused logins")]
    TooManyRefusals,
    /// The twentieth command in error.
    #[error("too many bad commands")]
    TooManyErrors,
    /// A line beyond its limit.
    #[error("a line was too long")]
    LineTooLong,
}

impl ServerRole {
    /// A server for one SMTP session.
    pub fn smtp(offer: SmtpOffer) -> Self {
        Self::Smtp(smtp::Server::new(offer))
    }

    /// What to do next; takes from `input` what it understands.
    pub fn step(&mut self, input: &mut BytesMut) -> Step<Login, Ended> {
        match self {
            Self::Smtp(server) => server.step(input),
        }
    }

    /// The verdict on the login that [`step`](Self::step) yielded, as bytes for the client. After
    /// a refusal the dialogue goes on, or ends itself at the next step.
    pub fn answer(&mut self, verdict: Result<(), &Refusal>) -> Vec<u8> {
        match self {
            Self::Smtp(server) => server.answer(verdict),
        }
    }

    /// The protocol's words for closing now; legal at any moment.
    pub fn farewell(&self, refusal: &Refusal) -> Vec<u8> {
        match self {
            Self::Smtp(_) => smtp::Server::farewell(refusal),
        }
    }
}
