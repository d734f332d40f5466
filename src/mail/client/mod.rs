//! What Exchange Online meets: mailwicket as a mail client that logs in with a token.
//!
//! A role ends in [`Opened`], after which bytes are only copied, or in a [`Failure`] that says
//! whether the login was refused or the server out of order. TLS is never given up for plain text.

pub mod first;
pub mod imap;
pub mod notice;
pub mod pop3;
pub mod smtp;

use bytes::BytesMut;
use secrecy::SecretString;
use thiserror::Error;

use super::{Protocol, Step};

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
    /// On the line of the command itself, where the protocol and the server take it so: saves a
    /// round trip.
    Inline,
    /// After the server has asked for it; every server takes this.
    TwoSteps,
}

/// What a login needs.
#[derive(Clone, Debug)]
pub struct TokenLogin {
    /// The name for SMTP's EHLO: a domain or an address literal. IMAP and POP3 give none.
    pub name: String,
    /// How the connection becomes secure. IMAP and POP3 know TLS from the first byte only (RFC
    /// 8314 section 3), whatever is said here.
    pub security: Security,
    /// Whose mailbox XOAUTH2 names.
    pub user: String,
    /// The access token.
    pub token: SecretString,
    /// The form to send it in.
    pub form: TokenForm,
}

/// The longest reply line taken; Exchange writes more than a kilobyte of diagnostics on one.
const REPLY_LINE: usize = 8192;
/// The most of a reply that is kept for the log.
const KEPT: usize = 1500;
/// Challenges behind the token that are answered before the server is given up.
const CHALLENGES: u8 = 3;

/// The client's half of a login dialogue.
#[derive(Debug)]
pub enum ClientRole {
    /// Message submission.
    Smtp(smtp::Client),
    /// Reading mail, kept on the server.
    Imap(imap::Client),
    /// Fetching mail.
    Pop3(pop3::Client),
}

/// A session at the provider, logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// What the server offered: EHLO keyword lines after TLS, without the hello line, or IMAP
    /// capabilities before the login. POP3 servers are not asked.
    pub extensions: Vec<String>,
    /// The length of the command line, where the token was sent on it.
    pub inline_octets: Option<usize>,
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
        /// The length of the command line, where the token was sent on it.
        inline_octets: Option<usize>,
    },
    /// The server took offence at a token that is longer than it is known to take.
    #[error(
        "the server refused a token of {characters} characters, and takes {limit} at most: {reply}"
    )]
    TokenTooLong {
        /// What it said.
        reply: String,
        /// The token's length.
        characters: usize,
        /// The length that is known to work.
        limit: usize,
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
    #[error("the server offers no login by XOAUTH2 (it offers: {offered})")]
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

impl Failure {
    /// What to do about TLS that does not begin; of the others the server's words tell.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NoStartTls { offered } if offered.contains("XXX") => Some(
                "a device that inspects SMTP has overwritten STARTTLS with X (Cisco's firewalls do): ask to have this \
                 host exempted from its inspection of SMTP; without TLS mailwicket sends no token",
            ),
            Self::NoStartTls { .. } => Some(
                "a firewall or proxy that inspects mail may have taken it out: ask to have this host exempted from \
                 inspection; without TLS mailwicket sends no token",
            ),
            Self::StartTlsInjection => Some(
                "what came was dropped and no token sent: ask who runs the firewall or proxy in between what it adds",
            ),
            _ => None,
        }
    }
}

impl ClientRole {
    /// A client for one session.
    pub fn new(protocol: Protocol, login: TokenLogin) -> Self {
        match protocol {
            Protocol::Smtp => Self::Smtp(smtp::Client::new(login)),
            Protocol::Imap => Self::Imap(imap::Client::new(login)),
            Protocol::Pop3 => Self::Pop3(pop3::Client::new(login)),
        }
    }

    /// What to do next; takes from `input` what it understands.
    pub fn step(&mut self, input: &mut BytesMut) -> Step<Opened, Failure> {
        match self {
            Self::Smtp(client) => client.step(input),
            Self::Imap(client) => client.step(input),
            Self::Pop3(client) => client.step(input),
        }
    }

    /// Where the dialogue is, for the log: `greeting`, `ehlo`, `starttls`, `capability` or `auth`.
    pub fn phase(&self) -> &'static str {
        match self {
            Self::Smtp(client) => client.phase(),
            Self::Imap(client) => client.phase(),
            Self::Pop3(client) => client.phase(),
        }
    }
}

/// One line, allocated at its full length, so that no copy of the token is left behind.
fn line(parts: &[&str]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut line = Vec::with_capacity(length + 2);
    for part in parts {
        line.extend_from_slice(part.as_bytes());
    }
    line.extend_from_slice(b"\r\n");
    line
}
