//! Why a session could not be opened: what the log and the client are told, and whether trying
//! again can help.
//!
//! Must never know how a session is opened.

use std::{fmt, io};

use crate::{
    advice::{self, Advice},
    mail::{Refusal, RefusalKind, client::Failure},
    net::{
        error::DialError,
        tunnel::{Behaviour, Early},
    },
    token::TokenError,
};

use super::super::places::NoPlace;

/// What to do about a token that POP3 does not take.
const TOKEN_TOO_LONG: &str = "make the token shorter: in Entra, under the app's token configuration, \
    remove groups and optional claims, and have fewer roles and groups assigned; or read this \
    mailbox by IMAP";

/// Why a session could not be opened.
#[derive(Debug)]
pub(in crate::session) enum OpenError {
    /// No token.
    Token(TokenError),
    /// There are too many sessions already.
    NoPlace(NoPlace),
    /// No connection, or no TLS on it.
    Dial(DialError),
    /// The server refused, or broke the rules.
    Dialogue(Failure),
    /// The server closed the connection in the middle of this phase.
    Closed(&'static str),
    /// The connection broke in the middle of this phase.
    Io(&'static str, io::Error),
}

/// The token is good, and opens no mailbox.
pub(super) fn is_not_connected(reply: &str) -> bool {
    reply.to_ascii_lowercase().contains("authenticated but not connected")
}

/// What of a reply the client is told beside its meaning: SMTP's reply code and enhanced status
/// code (RFC 3463), and the whole sentence of the others, which have no codes.
fn codes(reply: &str) -> String {
    let words = if reply.starts_with(|letter: char| letter.is_ascii_digit()) { 2 } else { 12 };
    reply.split(' ').take(words).collect::<Vec<_>>().join(" ")
}

/// The mailbox has enough of us for now, in the words of Exchange and by the codes of RFC 2449 and
/// RFC 5530.
fn is_limit(reply: &str) -> bool {
    ["[IN-USE]", "[INUSE]", "[LIMIT]", "Request is throttled"]
        .iter()
        .any(|words| reply.contains(words))
}

impl OpenError {
    /// Whether trying again, unchanged, is pointless.
    pub(in crate::session) fn is_refusal(&self) -> bool {
        match self {
            // No token either way, and yet neither is final: an administrator signs in, or some
            // minutes pass, and the same login is right. A permanent refusal would have clients
            // drop or bounce the mail that waits for it.
            Self::Token(error) => {
                !matches!(error, TokenError::NeedsSignIn { .. } | TokenError::Held)
                    && error.is_refusal()
            }
            Self::Dialogue(failure) => {
                matches!(
                    failure,
                    Failure::Rejected { .. } | Failure::TokenTooLong { .. } | Failure::BadUser
                )
            }
            Self::NoPlace(_) | Self::Dial(_) | Self::Closed(_) | Self::Io(..) => false,
        }
    }

    /// What it was, of a closed set, for the count of logins.
    pub(in crate::session) fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => match error {
                TokenError::Refused(_) if error.blames_the_password() => "entra_refused_password",
                TokenError::Refused(_) => "entra_refused_app",
                TokenError::Unavailable { .. } => "token_unavailable",
                TokenError::Held => "held",
                TokenError::NoPassword => "no_password",
                TokenError::NeedsSignIn { .. } => "needs_sign_in",
            },
            Self::NoPlace(NoPlace::Account { .. }) => "account_full",
            Self::NoPlace(NoPlace::Mailbox { .. }) => "mailbox_full",
            Self::Dial(_) => "dial",
            Self::Dialogue(Failure::Rejected { .. }) => "upstream_refused",
            Self::Dialogue(Failure::Unavailable { .. }) => "upstream_unavailable",
            Self::Dialogue(_) => "upstream_dialogue",
            Self::Closed(_) | Self::Io(..) => "upstream_broke",
        }
    }

    /// Whether Entra refused what the client typed: such failures are slowed down like any guess.
    pub(in crate::session) fn blames_the_password(&self) -> bool {
        matches!(self, Self::Token(error) if error.blames_the_password())
    }

    /// What Entra has said to the password that the client typed, where it was asked.
    pub(in crate::session) fn verdict_on_password(&self) -> Option<bool> {
        match self {
            Self::Token(TokenError::Refused(_)) if self.blames_the_password() => Some(false),
            Self::Token(_) => None,
            _ => Some(true), // there was a token
        }
    }

    /// What the client is told. `by_app`, here and below: whether the token is the app's own.
    pub(in crate::session) fn refusal(&self, by_app: bool) -> Refusal {
        let kind = match self {
            Self::Dialogue(Failure::Rejected { reply, .. }) if is_not_connected(reply) => {
                RefusalKind::Mailbox
            }
            _ if self.is_refusal() => RefusalKind::Credentials,
            Self::Dialogue(Failure::Unavailable { reply, .. }) if is_limit(reply) => {
                RefusalKind::Busy
            }
            Self::NoPlace(NoPlace::Account { .. }) => RefusalKind::Busy,
            _ => RefusalKind::Unavailable,
        };
        Refusal::new(kind, self.client_text(by_app))
    }

    /// What to do about it, for the log.
    pub(in crate::session) fn remedy(&self, by_app: bool) -> Option<String> {
        match self {
            Self::Token(error) => error.remedy(),
            Self::NoPlace(none) => Some(none.remedy().to_owned()),
            Self::Dial(error) => error.remedy(),
            Self::Dialogue(Failure::TokenTooLong { .. }) => Some(TOKEN_TOO_LONG.to_owned()),
            Self::Dialogue(failure) if failure.remedy().is_some() => {
                failure.remedy().map(str::to_owned)
            }
            Self::Io(_, error) => Early::within(error).map(Early::remedy),
            _ => self.advice(by_app).map(|advice| advice.remedy.to_owned()),
        }
    }

    /// What it means, for the log, where the error's own words do not say.
    pub(in crate::session) fn cause(&self, by_app: bool) -> Option<&'static str> {
        match self {
            Self::NoPlace(none) => Some(none.cause()),
            _ => self.advice(by_app).map(|advice| advice.cause),
        }
    }

    fn advice(&self, by_app: bool) -> Option<&'static Advice> {
        match self {
            Self::Dialogue(
                Failure::Rejected { reply, .. } | Failure::Unavailable { reply, .. },
            ) => advice::for_login(reply, by_app),
            Self::Token(error) => error.aadsts().and_then(advice::for_aadsts),
            _ => None,
        }
    }

    fn client_text(&self, by_app: bool) -> String {
        match self {
            Self::Token(error) => error.client_text(),
            Self::NoPlace(none) => none.client_text(),
            Self::Dial(error) => error.summary(),
            Self::Dialogue(Failure::Rejected { reply, .. }) => match self.advice(by_app) {
                Some(advice) => {
                    format!("Upstream refused the login ({}): {}", codes(reply), advice.cause)
                }
                None => format!("Upstream refused the login: {reply}"),
            },
            Self::Dialogue(failure) => failure.to_string(),
            Self::Closed(phase) => format!("Upstream closed the connection during {phase}"),
            Self::Io(phase, error) => match Early::within(error).map(|early| early.what) {
                Some(Behaviour::Closed) => {
                    format!("The proxy or the mail server closed the connection during {phase}")
                }
                Some(Behaviour::Page) => format!("The proxy sent a web page during {phase}"),
                None => format!("Upstream connection broke during {phase}"),
            },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::NoPlace(none) => none.fmt(f),
            Self::Dial(error) => error.fmt(f),
            Self::Dialogue(failure) => failure.fmt(f),
            Self::Closed(phase) => {
                write!(f, "mail: the server closed the connection during {phase}")
            }
            Self::Io(phase, error) => match Early::within(error) {
                Some(early) => write!(f, "mail: {early} ({phase})"),
                None => write!(f, "mail: the connection broke during {phase}: {error}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Refused;

    /// Mail must not be lost while an administrator signs in, nor while guesses of somebody else
    /// keep Entra from being asked.
    #[test]
    fn what_passes_by_itself_or_by_a_sign_in_is_no_refusal() {
        let refused = |error: &str, by_password| Refused {
            error: error.to_owned(),
            description: "words".to_owned(),
            aadsts: None,
            by_password,
        };
        let user = "ann@contoso.com".to_owned();
        let signed_out = Some(refused("invalid_grant", false));
        let rows = [
            (TokenError::NeedsSignIn { user: user.clone(), refused: None }, false, None),
            (TokenError::NeedsSignIn { user, refused: signed_out }, false, None),
            (TokenError::Held, false, None),
            (TokenError::NoPassword, false, None),
            (TokenError::Refused(refused("invalid_client", false)), true, None),
            (TokenError::Refused(refused("invalid_grant", true)), true, Some(false)),
        ];
        let mut ran = 0;
        for (error, is_refusal, verdict) in rows {
            let name = error.to_string();
            let error = OpenError::Token(error);
            let kind = if is_refusal { RefusalKind::Credentials } else { RefusalKind::Unavailable };
            assert_eq!(error.refusal(true).kind, kind, "{name}");
            assert_eq!(error.verdict_on_password(), verdict, "{name}");
            ran += 1;
        }
        assert_eq!(ran, 6);
        let later = OpenError::Closed("auth");
        assert_eq!(later.verdict_on_password(), Some(true), "there was a token");
    }
}
