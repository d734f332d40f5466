//! Opens the session at the provider: token, way out, TLS, login.
//!
//! A token of ours that the provider refuses is dropped, fetched anew and tried once more, on a
//! fresh connection and in the form that every server takes; a client's own token is never
//! replaced by another. What an upstream taught us (which
//! extensions it offers, that it cuts long AUTH lines) is kept for the sessions after it.

use std::{fmt, io};

use bytes::BytesMut;
use dashmap::DashMap;
use secrecy::SecretString;
use tracing::debug;

use crate::{
    advice::{self, Advice},
    config::{Security, Upstream},
    mail::{
        self, Protocol, Refusal, RefusalKind,
        client::{ClientRole, Failure, TokenForm, TokenLogin},
        server::Offer,
    },
    net::{
        Io, Leg,
        dial::Dialer,
        error::DialError,
        tunnel::{Behaviour, Early},
    },
    token::{Identity, Token, TokenError, cache::Tokens},
};

use super::{
    progress::Progress,
    pump::{PumpError, Pumped, pump},
};

/// Postfix cuts an AUTH line here and then calls the token malformed (as observed with 3.7); a
/// longer line that was refused may have been a good token.
const CUT_BY_SOME: usize = 2048;

/// What to do about a token that POP3 does not take.
const TOKEN_TOO_LONG: &str = "make the token shorter: in Entra, under the app's token configuration, \
    remove groups and optional claims, and have fewer roles and groups assigned; or read this \
    mailbox by IMAP";

/// What a session needs to be opened at the provider.
pub(super) struct Request<'a> {
    pub(super) protocol: Protocol,
    pub(super) upstream: &'a Upstream,
    /// How the client named itself, if validly.
    pub(super) client_name: Option<&'a str>,
    /// Whose token, or which.
    pub(super) pass: Pass<'a>,
    /// Whose mailbox XOAUTH2 names.
    pub(super) mailbox: &'a str,
}

/// What opens the session.
#[derive(Clone, Copy)]
pub(super) enum Pass<'a> {
    /// A token that we get.
    Ours {
        /// For whom.
        identity: &'a Identity,
        /// What the client typed, if anything; Entra judges it where the grant is by password.
        password: Option<&'a SecretString>,
    },
    /// The token that the client brought. It is used as it is and kept nowhere.
    Theirs(&'a SecretString),
}

impl Pass<'_> {
    /// Whether the token is an app's own. One that the client brought is taken for a user's.
    pub(super) fn is_app_only(&self) -> bool {
        match self {
            Self::Ours { identity, .. } => identity.app.is_app_only(),
            Self::Theirs(_) => false,
        }
    }
}

/// A session at the provider, logged in.
pub(super) struct Open {
    pub(super) io: Io,
    /// What the server sent behind its OK.
    pub(super) leftover: BytesMut,
}

/// Why a session could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// No token.
    Token(TokenError),
    /// No connection, or no TLS on it.
    Dial(DialError),
    /// The server refused, or broke the rules.
    Dialogue(Failure),
    /// The server closed the connection in the middle of this phase.
    Closed(&'static str),
    /// The connection broke in the middle of this phase.
    Io(&'static str, io::Error),
}

/// What upstreams have taught us, for the life of the process.
#[derive(Default)]
pub(super) struct Learned {
    offers: DashMap<Upstream, Vec<String>>,
    two_steps: DashMap<Upstream, ()>,
}

impl Learned {
    /// What to advertise to a client whose session will go there.
    pub(super) fn offer(&self, protocol: Protocol, upstream: &Upstream) -> Offer {
        let mut offer = Offer::exchange_online(protocol);
        if let Some(extensions) = self.offers.get(upstream) {
            offer.extensions.clone_from(&extensions);
        }
        offer
    }

    fn form(&self, upstream: &Upstream) -> TokenForm {
        if self.two_steps.contains_key(upstream) { TokenForm::TwoSteps } else { TokenForm::Inline }
    }
}

/// Gets a token and opens a session with it; tries once more where that can help.
pub(super) async fn open(
    tokens: &Tokens,
    dialer: &Dialer,
    learned: &Learned,
    request: &Request<'_>,
    progress: &Progress,
) -> Result<Open, OpenError> {
    let (identity, password) = match request.pass {
        Pass::Ours { identity, password } => (identity, password),
        // There is no other token to try, so it goes at once in the form that every server takes.
        Pass::Theirs(token) => {
            return attempt(dialer, learned, request, token, TokenForm::TwoSteps, progress).await;
        }
    };
    progress.enter("token");
    let token = token(tokens, request.protocol, identity, password).await?;
    let form = learned.form(request.upstream);
    let refused = match attempt(dialer, learned, request, token.secret(), form, progress).await {
        Err(OpenError::Dialogue(refused @ Failure::Rejected { .. })) => refused,
        outcome => return outcome,
    };
    let Failure::Rejected { reply, inline_octets, .. } = &refused else {
        return Err(OpenError::Dialogue(refused));
    };
    if is_policy(reply) {
        return Err(OpenError::Dialogue(refused));
    }
    let cut = inline_octets.is_some_and(|octets| octets > CUT_BY_SOME);
    let renewed = tokens.rejected(identity, &token);
    if !renewed && !cut {
        return Err(OpenError::Dialogue(refused));
    }
    progress.enter("token");
    debug!(reply, renewed, "token refused upstream, trying once more");
    let token = self::token(tokens, request.protocol, identity, password).await?;
    let token = token.secret();
    let open = attempt(dialer, learned, request, token, TokenForm::TwoSteps, progress).await?;
    if cut {
        learned.two_steps.insert(request.upstream.clone(), ());
    }
    Ok(open)
}

/// Connects, and leaves again: as far as one gets without a login.
pub(super) async fn reach(dialer: &Dialer, upstream: &Upstream) -> Result<(), OpenError> {
    connect(dialer, upstream).await.map(drop)
}

async fn token(
    tokens: &Tokens,
    protocol: Protocol,
    identity: &Identity,
    password: Option<&SecretString>,
) -> Result<Token, OpenError> {
    let token = tokens.get(identity, password).await;
    if protocol != Protocol::Smtp {
        // Exchange ends an IMAP session together with its token.
        tokens.keep_young(identity);
    }
    token.map_err(OpenError::Token)
}

async fn attempt(
    dialer: &Dialer,
    learned: &Learned,
    request: &Request<'_>,
    token: &SecretString,
    form: TokenForm,
    progress: &Progress,
) -> Result<Open, OpenError> {
    progress.enter("dial");
    let Upstream { host, port, security } = request.upstream;
    let mut io = connect(dialer, request.upstream).await?;
    let login = TokenLogin {
        name: request.client_name.unwrap_or("[127.0.0.1]").to_owned(),
        security: match security {
            Security::StartTls => mail::client::Security::StartTls,
            Security::Tls => mail::client::Security::Tls,
        },
        user: request.mailbox.to_owned(),
        token: token.clone(),
        form,
    };
    let mut role = ClientRole::new(request.protocol, login);
    let mut leftover = BytesMut::new();
    progress.enter("auth");
    loop {
        match pump(&mut io, &mut leftover, |input| role.step(input)).await {
            Ok(Pumped::Done(opened)) => {
                if !opened.extensions.is_empty() {
                    learned.offers.insert(request.upstream.clone(), opened.extensions);
                }
                return Ok(Open { io, leftover });
            }
            Ok(Pumped::StartTls) => {
                io = dialer.start_tls(Leg::Mail, host, *port, io).await.map_err(OpenError::Dial)?;
            }
            Err(PumpError::Failed(failure)) => return Err(OpenError::Dialogue(failure)),
            Err(PumpError::Closed) => return Err(OpenError::Closed(role.phase())),
            Err(PumpError::Io(error)) => return Err(OpenError::Io(role.phase(), error)),
        }
    }
}

/// A connection on which the dialogue can begin.
async fn connect(dialer: &Dialer, upstream: &Upstream) -> Result<Io, OpenError> {
    let Upstream { host, port, security } = upstream;
    let io = dialer.dial(Leg::Mail, host, *port).await.map_err(OpenError::Dial)?;
    match security {
        Security::StartTls => Ok(io),
        Security::Tls => {
            dialer.start_tls(Leg::Mail, host, *port, io).await.map_err(OpenError::Dial)
        }
    }
}

/// `5.7.139` and "not connected" are verdicts on the mailbox, the tenant or a policy; no other token
/// changes them, and Exchange makes us wait many seconds for each refusal.
fn is_policy(reply: &str) -> bool {
    reply.contains(" 5.7.139 ") || is_not_connected(reply)
}

/// The token is good, and opens no mailbox.
fn is_not_connected(reply: &str) -> bool {
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
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Token(error) => error.is_refusal(),
            Self::Dialogue(failure) => {
                matches!(
                    failure,
                    Failure::Rejected { .. } | Failure::TokenTooLong { .. } | Failure::BadUser
                )
            }
            Self::Dial(_) | Self::Closed(_) | Self::Io(..) => false,
        }
    }

    /// Whether Entra refused what the client typed: such failures are slowed down like any guess.
    pub(super) fn blames_the_password(&self) -> bool {
        matches!(self, Self::Token(error) if error.blames_the_password())
    }

    /// What Entra has said to the password that the client typed, where it was asked.
    pub(super) fn verdict_on_password(&self) -> Option<bool> {
        match self {
            Self::Token(TokenError::Refused(_)) if self.blames_the_password() => Some(false),
            Self::Token(_) => None,
            _ => Some(true), // there was a token
        }
    }

    /// What the client is told. `by_app`, here and below: whether the token is the app's own.
    pub(super) fn refusal(&self, by_app: bool) -> Refusal {
        let kind = match self {
            Self::Dialogue(Failure::Rejected { reply, .. }) if is_not_connected(reply) => {
                RefusalKind::Mailbox
            }
            _ if self.is_refusal() => RefusalKind::Credentials,
            Self::Dialogue(Failure::Unavailable { reply, .. }) if is_limit(reply) => {
                RefusalKind::Busy
            }
            _ => RefusalKind::Unavailable,
        };
        Refusal::new(kind, self.client_text(by_app))
    }

    /// What to do about it, for the log.
    pub(super) fn remedy(&self, by_app: bool) -> Option<String> {
        match self {
            Self::Token(error) => error.remedy(),
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
    pub(super) fn cause(&self, by_app: bool) -> Option<&'static str> {
        self.advice(by_app).map(|advice| advice.cause)
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
