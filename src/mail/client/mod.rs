//! What Exchange Online meets: mailwicket as a mail client that logs in with a token.
//!
//! A role ends in [`Opened`], after which bytes are only copied, or in a [`Failure`] that says
//! whether the login was refused or the server out of order. TLS is never given up for plain text.

pub mod smtp;

use bytes::BytesMut;
use secrecy::SecretString;
use thiserror::Error;

use super::Step;

/// How a connection becomes secure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Security {
    /// By STARTTLS, which is required (RFC 3207).
    StartTls,
    /// It was secure from the first byte (RFC 8314).
    Tls,
}

/// In which form the token is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenForm {
    /// On the AUTH line itself, up to 12,288 octets (RFC 4954 section 4): saves a round trip.
    Inline,
    /// After the server has asked for it; every server takes this.
    TwoSteps,
}

/// What an SMTP login needs.
#[derive(Clone, Debug)]
pub struct SmtpLogin {
    /// The name for EHLO: a domain or an address literal.
    pub name: String,
    /// How the connection becomes secure.
    pub security: Security,
    /// Whose mailbox XOAUTH2 names.
    pub user: String,
    /// The access token.
    pub token: SecretString,
    /// The form to send it in.
    pub form: TokenForm,
}

/// The client's half of a login dialogue.
#[derive(Debug)]
pub enum ClientRole {
    /// Message submission.
    Smtp(smtp::Client),
}

/// A session at the provider, logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// What the server offered after TLS: EHLO keyword lines, without the hello line.
    pub extensions: Vec<String>,
}

/// Why no session came about. Replies are one line, and hold nothing that we sent.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Failure {
    /// The server refused user and token.
    #[error("the server refused the login: {reply}{}", .detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Rejected {
        /// What it said.
        reply: String,
        /// What its challenge said, decoded, where it sent one.
        detail: Option<String>,
        /// The length of the AUTH line, where the token was sent on it.
        inline_octets: Option<usize>,
    },
    /// The server cannot now.
    #[error("the server is not available ({phase}): {reply}")]
    Unavailable {
        /// What it said.
        reply: String,
        /// In which phase of the dialogue.
        phase: &'static str,
    },
    /// STARTTLS is required and not offered.
    #[error(
        "the server offers no STARTTLS (it offers: {offered}); something on the way may have removed it"
    )]
    NoStartTls {
        /// The EHLO keywords.
        offered: String,
    },
    /// Bytes came behind the reply to STARTTLS, before TLS (CVE-2011-0411).
    #[error("the server, or somebody on the way, sent bytes behind its reply to STARTTLS")]
    StartTlsInjection,
    /// The server does not take tokens.
    #[error("the server offers no AUTH XOAUTH2 (it offers: {offered})")]
    NoXoauth2 {
        /// The AUTH mechanisms.
        offered: String,
    },
    /// The mailbox name holds an octet that would end a field of XOAUTH2.
    #[error("the mailbox name cannot be sent in XOAUTH2")]
    BadUser,
    /// The server does not speak the protocol.
    #[error("the server broke the protocol ({phase}): {what}")]
    Protocol {
        /// What it did.
        what: String,
        /// In which phase of the dialogue.
        phase: &'static str,
    },
}

impl ClientRole {
    /// A client for one SMTP session.
    pub fn smtp(login: SmtpLogin) -> Self {
        Self::Smtp(smtp::Client::new(login))
    }

    /// What to do next; takes from `input` what it understands.
    pub fn step(&mut self, input: &mut BytesMut) -> Step<Opened, Failure> {
        match self {
            Self::Smtp(client) => client.step(input),
        }
    }

    /// Where the dialogue is, for the log: `greeting`, `ehlo`, `starttls` or `auth`.
    pub fn phase(&self) -> &'static str {
        match self {
            Self::Smtp(client) => client.phase(),
        }
    }
}
