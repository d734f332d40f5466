//! Mail dialogues before login, as bytes in and bytes out.
//!
//! mailwicket plays the *server* to the legacy client until it has given its credentials
//! ([`server`]), then plays the *client* to Exchange Online ([`client`]); everything after login
//! is copied by the relay and never seen here. Both dialogues are sans-IO: [`Step`] says what the
//! driver must do next. What a dialogue does not consume stays in the input buffer, so that bytes
//! pipelined behind a login reach the relay.
//!
//! This file is the contract and imports nothing of the catalogue beside it. The room must never
//! know any other room, tokio, the clock or tracing.

pub mod client;
pub mod sasl;
pub mod server;
pub mod wire;

use std::fmt;

use secrecy::SecretString;

/// A mail protocol that mailwicket speaks on both sides.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// Message submission (RFC 6409, RFC 5321).
    Smtp,
    /// `IMAP4rev1` (RFC 3501).
    Imap,
    /// POP3 (RFC 1939).
    Pop3,
}

impl Protocol {
    /// Its name in `proxy.toml`, in the log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the driver of a dialogue must do next. `T` is what a finished dialogue yields, `F` why it
/// ended without that.
pub enum Step<T, F> {
    /// Nothing more can be said before the peer sends more.
    Read,
    /// Send these bytes, then step again. They may hold a token: never log them, wipe them after.
    Write(Vec<u8>),
    /// Start TLS on the connection, then step again. The input buffer is empty: a dialogue that
    /// finds bytes behind the STARTTLS exchange fails instead (RFC 3207 section 5, CVE-2011-0411).
    StartTls,
    /// The dialogue has what it was for. Unconsumed input belongs to what comes next.
    Done(T),
    /// The dialogue is over. All that the peer had to be told has been written.
    Fail(F),
}

impl<T: fmt::Debug, F: fmt::Debug> fmt::Debug for Step<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Write(bytes) => write!(f, "Write({} octets)", bytes.len()),
            Self::StartTls => f.write_str("StartTls"),
            Self::Done(done) => f.debug_tuple("Done").field(done).finish(),
            Self::Fail(failure) => f.debug_tuple("Fail").field(failure).finish(),
        }
    }
}

/// What a legacy client logs in with.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who it says it is, and what should prove it.
    pub credentials: Credentials,
    /// How the client named itself, where it was a valid domain or address literal
    /// (SMTP EHLO, RFC 5321 section 4.1.1.1).
    pub client_name: Option<String>,
}

/// The credentials that a client gave. User names are as typed and hold no ^A, CR, LF or NUL;
/// `Debug` shows neither password nor token.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A user name and a password.
    Password {
        /// The user.
        user: String,
        /// The password as typed.
        password: SecretString,
    },
    /// A user name and an access token that the client got for itself (XOAUTH2, OAUTHBEARER).
    Token {
        /// The user, or whose mailbox is meant.
        user: String,
        /// The token; of the characters of a bearer token (RFC 6750 section 2.1) only.
        token: SecretString,
    },
    /// None were asked for: where the client comes from says who it is.
    Unasked,
}

/// Why a login or a session is refused, in the words that the client is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Chooses the reply code, and with it whether the client tries again.
    pub kind: RefusalKind,
    /// A few words of reason. One line; [`wire`] keeps CR and LF out of replies.
    pub text: String,
}

impl Refusal {
    /// A refusal of this kind, in these words.
    pub fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// The kinds of [`Refusal`], by what the client should do about them. A dialogue turns each into
/// its protocol's own reply code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalKind {
    /// The credentials are refused; trying again cannot help (SMTP `535 5.7.8`, IMAP
    /// `NO [AUTHENTICATIONFAILED]`, POP3 `-ERR [AUTH]`).
    Credentials,
    /// The credentials are right, and do not open this mailbox; trying again cannot help (SMTP
    /// `535 5.7.8`, IMAP `NO [AUTHORIZATIONFAILED]`, POP3 `-ERR [AUTH]`).
    Mailbox,
    /// Entra, the proxy or the upstream cannot be reached or is out of order; trying again later
    /// can help (SMTP `454 4.7.0`, IMAP `NO [UNAVAILABLE]`, POP3 `-ERR [SYS/TEMP]`).
    Unavailable,
    /// Too many sessions or requests, here or at the mailbox; trying again later can help (SMTP
    /// `421 4.3.2`, IMAP `NO [LIMIT]`, POP3 `-ERR [IN-USE]`).
    Busy,
    /// The login took too long; the connection closes (SMTP `421 4.4.2`).
    Deadline,
    /// mailwicket is stopping; the connection closes (SMTP `421 4.3.2`, IMAP `BYE [UNAVAILABLE]`).
    ShuttingDown,
    /// The address may not use this listener; the connection closes (SMTP `421 4.7.0`, POP3
    /// `-ERR [SYS/PERM]`).
    NotAllowed,
}
