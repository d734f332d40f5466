//! How a session that was not logged in ended: what the client still hears, and the log's words.

use std::{io, time::Duration};

use thiserror::Error;
use tracing::{debug, warn};

use crate::{
    mail::{Refusal, RefusalKind, server::Ended},
    net::server_tls::HandshakeError,
};

use super::progress::{Noted, Progress};

/// Why there was no login. Its `Display` is the `ended` field of the session's last line.
#[derive(Debug, Error)]
pub(super) enum Ending {
    /// The dialogue ended itself and has said so to the client.
    #[error("{0}")]
    Dialogue(Ended),
    /// The client closed the connection.
    #[error("client left before login")]
    Closed,
    /// The client's connection broke.
    #[error("client connection broke before login: {0}")]
    Broken(io::Error),
    /// The client speaks in clear where TLS comes first.
    #[error("client spoke in clear where TLS comes first")]
    NotTls,
    /// TLS with the client did not come about. The connection is gone.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The login deadline passed.
    #[error("login deadline")]
    Deadline(Duration),
    /// mailwicket is stopping.
    #[error("shutdown before login")]
    Draining,
}

impl Ending {
    /// What the client is told, where the dialogue has not said it already.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Dialogue(_) | Self::Closed | Self::Broken(_) | Self::Handshake(_) => None,
            Self::NotTls => Some(Refusal::new(
                RefusalKind::NotAllowed,
                "This port speaks TLS from the first octet, closing connection",
            )),
            Self::Deadline(_) => {
                Some(Refusal::new(RefusalKind::Deadline, "Login took too long, closing connection"))
            }
            Self::Draining => Some(Refusal::new(
                RefusalKind::ShuttingDown,
                "mailwicket is stopping, try again later",
            )),
        }
    }

    /// The same, of a closed set, for the count of sessions.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Dialogue(Ended::Quit) => "quit_before_login",
            Self::Dialogue(Ended::TooManyRefusals) => "too_many_refusals",
            Self::Dialogue(_) => "bad_dialogue",
            Self::Closed => "left_before_login",
            Self::Broken(_) => "broken_before_login",
            Self::NotTls => "clear_before_tls",
            Self::Handshake(_) => "tls_handshake",
            Self::Deadline(_) => "login_deadline",
            Self::Draining => "shutdown_before_login",
        }
    }

    /// Says cause and remedy where the operator can do something about it.
    pub(super) fn log(&self, progress: &Progress) {
        let Noted { phase, account, .. } = progress.noted();
        match self {
            Self::Deadline(limit) => warn!(
                event = "login_deadline",
                account,
                phase,
                cause = %format_args!("no login within {limit:?}; it was in phase {phase}"),
                remedy = deadline_remedy(phase),
                "login deadline passed",
            ),
            Self::Dialogue(Ended::Quit) | Self::Closed | Self::Draining => {}
            Self::Dialogue(ended) => warn!(
                event = "client_dialogue",
                account,
                cause = %ended,
                remedy = dialogue_remedy(*ended),
                "client cut off",
            ),
            Self::NotTls => warn!(
                event = "client_tls",
                phase,
                cause = "the client speaks in clear, and this listener TLS from the first octet",
                remedy = "set the client to SSL/TLS (not STARTTLS), or the listener to tls.mode = \"auto\"",
                "client cut off",
            ),
            Self::Handshake(HandshakeError { what, remedy }) => {
                warn!(event = "client_tls", phase, cause = %what, remedy, "no TLS with the client");
            }
            Self::Broken(error) => debug!(%error, "client connection broke"),
        }
    }
}

fn dialogue_remedy(ended: Ended) -> &'static str {
    match ended {
        Ended::TooManyRefusals => "see the failed logins of this session above",
        Ended::Quit
        | Ended::TooManyErrors
        | Ended::LineTooLong
        | Ended::LiteralTooLong
        | Ended::NoCommands => {
            "check which program connects here and what it is set to speak: this port speaks the \
             listener's protocol"
        }
        Ended::StartTlsInjection => {
            "if the client is sound somebody between puts commands in: look at the network, or use \
             tls.mode = \"implicit\"; if not, let it wait for the answer to STARTTLS"
        }
        Ended::SpeaksTls => {
            "set the client to no encryption, or to STARTTLS where the listener has tls; or give \
             the listener tls with mode = \"implicit\" or \"auto\""
        }
    }
}

fn deadline_remedy(phase: &str) -> &'static str {
    match phase {
        "tls" => {
            "the client did not begin, or not finish, TLS: set it to SSL/TLS where tls.mode is \
             \"implicit\"; one that waits for a greeting speaks in clear"
        }
        "login" => {
            "the client connected but did not log in, or, where no login is asked, sent no mail: \
             switch authentication on in its settings"
        }
        "gate" => {
            "many failed logins from this address are being slowed down: mend the client that fails"
        }
        "queue" => {
            "all sessions of the mailbox were taken: close idle ones in the programs that send \
             from it, or lower limits.queue_timeout"
        }
        _ => "run `mailwicket check` to see which hop is slow, or raise limits.login_timeout",
    }
}
