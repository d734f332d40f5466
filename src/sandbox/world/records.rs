//! What the sandbox remembers of what happened: messages, counts and the masked transcript.

use std::collections::BTreeMap;
use std::fmt;

/// A message that was accepted at the end of DATA or BDAT.
#[derive(Clone, Debug)]
pub struct Message {
    /// The mailbox that had logged in.
    pub mailbox: String,
    /// The reverse path of MAIL FROM, without the angle brackets.
    pub from: String,
    /// The ESMTP parameters of MAIL FROM, as sent.
    pub parameters: Vec<String>,
    /// The forward paths of RCPT TO, without the angle brackets.
    pub recipients: Vec<String>,
    /// The message: dots unstuffed, otherwise exactly as received. Cut at
    /// [`Tuning::keep_octets`](super::Tuning::keep_octets).
    pub bytes: Vec<u8>,
    /// The length of the whole message in octets.
    pub octets: u64,
    /// The SHA-256 of the whole message.
    pub sha256: [u8; 32],
    /// Whether it came by BDAT (RFC 3030).
    pub chunked: bool,
}

/// A CONNECT that the proxy was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connect {
    /// `host:port` as asked.
    pub target: String,
    /// The status that it was answered with; 0 where it was not answered.
    pub status: u16,
    /// The user name of good credentials.
    pub user: Option<String>,
}

/// Counts since the start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Requests to the token endpoint by `grant_type`; the empty name where there was none.
    pub token_requests: BTreeMap<String, u32>,
    /// Requests to the machine's managed identity endpoint.
    pub machine_requests: u32,
    /// Tokens issued.
    pub tokens_issued: u32,
    /// Connections to the submission server.
    pub smtp_sessions: u32,
    /// Connections to the submission server that are open now.
    pub smtp_open: u32,
    /// AUTH commands that carried their credentials on the same line.
    pub auth_inline: u32,
    /// AUTH commands that waited for 334.
    pub auth_two_step: u32,
    /// AUTH commands that were answered with 235.
    pub auth_succeeded: u32,
    /// AUTH commands that were answered with anything else.
    pub auth_failed: u32,
    /// Messages accepted.
    pub messages: u32,
    /// Connections to the IMAP server.
    pub imap_sessions: u32,
    /// Connections to the IMAP server that are open now.
    pub imap_open: u32,
    /// Sessions of IMAP that are in IDLE now.
    pub imap_idling: u32,
    /// AUTHENTICATE commands that carried their credentials on the same line.
    pub imap_auth_inline: u32,
    /// AUTHENTICATE commands that waited for `+`.
    pub imap_auth_two_step: u32,
    /// AUTHENTICATE commands that were answered with OK.
    pub imap_auth_succeeded: u32,
    /// AUTHENTICATE and LOGIN commands that were answered with anything else.
    pub imap_auth_failed: u32,
    /// Connections to the POP3 server.
    pub pop3_sessions: u32,
    /// Connections to the POP3 server that are open now.
    pub pop3_open: u32,
    /// AUTH commands of POP3 that were answered with +OK.
    pub pop3_auth_succeeded: u32,
    /// AUTH and PASS commands of POP3 that were answered with anything else.
    pub pop3_auth_failed: u32,
    /// What the HTTP proxy was asked for, in clear or within TLS, in order.
    pub connects: Vec<Connect>,
    /// What the SOCKS proxy was asked for, in order; the status is its reply code, 255 where there
    /// was none.
    pub socks_connects: Vec<Connect>,
}

impl Counters {
    /// Requests to the token endpoint, all grants together.
    pub fn token_requests_total(&self) -> u32 {
        self.token_requests.values().sum()
    }

    /// Nothing but what is open now, which no one can forget.
    pub(super) fn open_only(&self) -> Self {
        Self {
            smtp_open: self.smtp_open,
            imap_open: self.imap_open,
            imap_idling: self.imap_idling,
            pop3_open: self.pop3_open,
            ..Self::default()
        }
    }
}

/// Who said a line of the transcript.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speaker {
    /// The client of the token endpoint.
    TokenClient,
    /// The token endpoint and its pages.
    Entra,
    /// A person's browser.
    Browser,
    /// The client of one of the mail servers.
    MailClient,
    /// The mail server.
    Exchange,
    /// The client of the proxy.
    ProxyClient,
    /// The proxy.
    Proxy,
    /// The client of the machine's managed identity endpoint.
    MachineClient,
    /// The managed identity endpoint.
    Machine,
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TokenClient => "to Entra",
            Self::Entra => "Entra",
            Self::Browser => "browser",
            Self::MailClient => "to Exchange",
            Self::Exchange => "Exchange",
            Self::ProxyClient => "to proxy",
            Self::Proxy => "proxy",
            Self::MachineClient => "to machine",
            Self::Machine => "machine",
        })
    }
}

/// A line of the transcript. Tokens and passwords are `<token>` and `<password>`; they were never
/// put in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Who said it.
    pub who: Speaker,
    /// What was said, without the end of line.
    pub text: String,
}
