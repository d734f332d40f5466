//! What the legacy client meets: mailwicket as a mail server, up to the login.
//!
//! One role per protocol, all driven the same way: [`ServerRole::step`] until it yields a
//! [`Login`], then [`ServerRole::answer`] with the verdict, then on with the dialogue if it was a
//! refusal.

mod exchange;
pub mod imap;
pub mod pop3;
pub mod smtp;

use bytes::BytesMut;
use thiserror::Error;
use zeroize::Zeroize;

use super::{
    Login, Protocol, Refusal, Step,
    wire::{AUTH_LINE, TOKEN_LINE},
};

/// Refused logins after which a session is closed.
const REFUSALS: u8 = 3;
/// Commands in error after which a session is closed.
const ERRORS: u8 = 20;

/// What a client is offered before it has logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// How mailwicket names itself.
    pub host_name: String,
    /// What the upstream offers, as it gave it: EHLO keyword lines, or IMAP capabilities. What
    /// concerns login or TLS is ours to say, and left out.
    pub extensions: Vec<String>,
    /// What it is asked for.
    pub asks: Asks,
    /// What there is of TLS on its connection.
    pub tls: Tls,
}

/// What there is of TLS on a client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tls {
    /// None, and none is offered.
    Absent,
    /// STARTTLS is offered (RFC 3207, RFC 2595).
    Offered,
    /// STARTTLS is offered, and no login is taken before it.
    Required,
    /// It is on.
    On,
}

impl Tls {
    /// Whether STARTTLS can be said.
    fn is_offered(self) -> bool {
        matches!(self, Self::Offered | Self::Required)
    }
}

/// What a client is asked for before its session is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asks {
    /// User name and password.
    Password,
    /// The same, or else user name and a token that the client got for itself.
    PasswordOrToken,
    /// Nothing. SMTP only; another protocol asks for a password all the same.
    Nothing,
}

impl Asks {
    fn takes_tokens(self) -> bool {
        self == Self::PasswordOrToken
    }

    /// The longest line of a SASL exchange, and of the command that begins one.
    fn auth_line(self) -> usize {
        if self.takes_tokens() { TOKEN_LINE } else { AUTH_LINE }
    }
}

impl Offer {
    /// What Exchange Online has offered for years (as observed): for the time before an upstream
    /// session has shown it.
    pub fn exchange_online(protocol: Protocol) -> Self {
        let extensions: &[&str] = match protocol {
            Protocol::Smtp => &[
                "SIZE 157286400",
                "PIPELINING",
                "DSN",
                "ENHANCEDSTATUSCODES",
                "8BITMIME",
                "BINARYMIME",
                "CHUNKING",
                "SMTPUTF8",
            ],
            Protocol::Imap => &["UIDPLUS", "MOVE", "UNSELECT", "CHILDREN", "IDLE", "NAMESPACE"],
            Protocol::Pop3 => &["TOP", "UIDL"],
        };
        let extensions = extensions.iter().map(|&extension| extension.to_owned()).collect();
        Self {
            host_name: "mailwicket".to_owned(),
            extensions,
            asks: Asks::Password,
            tls: Tls::Absent,
        }
    }
}

/// The server's half of a login dialogue.
#[derive(Debug)]
pub enum ServerRole {
    /// Message submission.
    Smtp(smtp::Server),
    /// Reading mail, kept on the server.
    Imap(imap::Server),
    /// Fetching mail.
    Pop3(pop3::Server),
}

/// Why a dialogue ended itself. The client has been told.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Ended {
    /// The client said goodbye.
    #[error("client quit before login")]
    Quit,
    /// The third login that failed, refused or for an outage.
    #[error("too many failed logins")]
    TooManyRefusals,
    /// The twentieth command in error.
    #[error("too many bad commands")]
    TooManyErrors,
    /// A line beyond its limit.
    #[error("a line was too long")]
    LineTooLong,
    /// An IMAP literal beyond its limit that the client sends without being asked.
    #[error("a literal was too long")]
    LiteralTooLong,
    /// A web browser's request, or the content of a message, where commands belong: what comes
    /// next may have been written by somebody else than the client.
    #[error("a web request or message content came in place of a command")]
    NoCommands,
    /// Octets in clear came together with STARTTLS: somebody between may have put them there, to
    /// be taken for what the client says inside TLS (CVE-2011-0411). They were dropped.
    #[error("commands in clear came together with STARTTLS")]
    StartTlsInjection,
    /// A TLS handshake, where the dialogue is in clear. The client cannot be told.
    #[error("the client began TLS where this port speaks in clear")]
    SpeaksTls,
}

impl ServerRole {
    /// A server for one session.
    pub fn new(protocol: Protocol, offer: Offer) -> Self {
        match protocol {
            Protocol::Smtp => Self::Smtp(smtp::Server::new(offer)),
            Protocol::Imap => Self::Imap(imap::Server::new(offer)),
            Protocol::Pop3 => Self::Pop3(pop3::Server::new(offer)),
        }
    }

    /// TLS has been on since the first octet. After [`Step::StartTls`] the dialogue knows by itself.
    pub fn is_secured(&mut self) {
        match self {
            Self::Smtp(server) => server.is_secured(),
            Self::Imap(server) => server.is_secured(),
            Self::Pop3(server) => server.is_secured(),
        }
    }

    /// What to do next; takes from `input` what it understands.
    pub fn step(&mut self, input: &mut BytesMut) -> Step<Login, Ended> {
        match self {
            Self::Smtp(server) => server.step(input),
            Self::Imap(server) => server.step(input),
            Self::Pop3(server) => server.step(input),
        }
    }

    /// The verdict on the login that [`step`](Self::step) yielded, as bytes for the client. After
    /// a refusal the dialogue goes on, or ends itself at the next step.
    pub fn answer(&mut self, verdict: Result<(), &Refusal>) -> Vec<u8> {
        match self {
            Self::Smtp(server) => server.answer(verdict),
            Self::Imap(server) => server.answer(verdict),
            Self::Pop3(server) => server.answer(verdict),
        }
    }

    /// The protocol's words for closing now; legal at any moment.
    pub fn farewell(&self, refusal: &Refusal) -> Vec<u8> {
        match self {
            Self::Smtp(_) => smtp::Server::farewell(refusal),
            Self::Imap(_) => imap::Server::farewell(refusal),
            Self::Pop3(_) => pop3::Server::farewell(refusal),
        }
    }
}

/// How often the client has been refused or in error, and whether that was once too often.
#[derive(Debug, Default)]
struct Tally {
    refusals: u8,
    errors: u8,
    /// Said before the next step reads on.
    ended: Option<Ended>,
}

impl Tally {
    /// Counts a refused login; true where it is the last that is borne.
    fn refuse(&mut self) -> bool {
        self.refusals += 1;
        let last = self.refusals >= REFUSALS;
        if last {
            self.ended = Some(Ended::TooManyRefusals);
        }
        last
    }

    /// Counts a command in error; true where it is the last that is borne.
    fn err(&mut self) -> bool {
        self.errors += 1;
        let last = self.errors >= ERRORS;
        if last {
            self.ended = Some(Ended::TooManyErrors);
        }
        last
    }

    /// Octets that came together with STARTTLS are dropped, and the session is over.
    fn injected(&mut self, input: &mut BytesMut, words: Vec<u8>) -> Step<Login, Ended> {
        input.as_mut().zeroize(); // a login may be among them
        input.clear();
        self.end(words, Ended::StartTlsInjection)
    }

    /// These are the last words.
    fn end(&mut self, words: Vec<u8>, ended: Ended) -> Step<Login, Ended> {
        self.ended = Some(ended);
        Step::Write(words)
    }
}
