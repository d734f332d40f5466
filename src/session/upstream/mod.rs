//! Opens the session at the provider: token, way out, TLS, login.
//!
//! A token of ours that the provider refuses is dropped, fetched anew and tried once more, on a
//! fresh connection and in the form that every server takes; a client's own token is never
//! replaced by another.

mod error;
mod learned;

use std::time::Duration;

use bytes::BytesMut;
use secrecy::SecretString;
use tokio::time::Instant;
use tracing::debug;

use crate::{
    config::{Security, Upstream},
    mail::{
        self, Protocol,
        client::{ClientRole, Failure, TokenForm, TokenLogin},
    },
    net::{Io, Leg, dial::Dialer},
    token::{Identity, Token, cache::Tokens},
};

use self::error::is_not_connected;
pub(super) use self::{error::OpenError, learned::Learned};
use super::{
    places::{Held, Places},
    progress::Progress,
    pump::{PumpError, Pumped, pump},
};

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

    /// Who logs in, in this mailbox.
    fn user<'a>(&'a self, mailbox: &'a str) -> &'a str {
        match self {
            Self::Ours { identity, .. } => &identity.user,
            Self::Theirs(_) => mailbox,
        }
    }
}

/// A session at the provider, logged in.
pub(super) struct Open {
    pub(super) io: Io,
    /// What the server sent behind its OK.
    pub(super) leftover: BytesMut,
    /// How long it took.
    pub(super) took: Took,
    /// To be kept for as long as the session lasts.
    pub(super) held: Held,
}

/// How long the last attempt took that was needed to open a session.
#[derive(Clone, Copy)]
pub(super) struct Took {
    /// The way there, and TLS.
    pub(super) way: Duration,
    /// The dialogue and the login.
    pub(super) login: Duration,
}

/// Gets a token and opens a session with it; tries once more where that can help.
pub(super) async fn open(
    tokens: &Tokens,
    dialer: &Dialer,
    learned: &Learned,
    places: &Places,
    request: &Request<'_>,
    progress: &Progress,
) -> Result<Open, OpenError> {
    let user = request.pass.user(request.mailbox);
    let place = || async {
        let held = places.enter(request.protocol, user, request.mailbox, progress).await;
        held.map_err(OpenError::NoPlace)
    };
    let (identity, password) = match request.pass {
        Pass::Ours { identity, password } => (identity, password),
        // There is no other token to try, so it goes at once in the form that every server takes.
        // The server judges it first: nobody waits, or keeps others waiting, for one of no use.
        Pass::Theirs(token) => {
            let form = TokenForm::TwoSteps;
            let opened = attempt(dialer, learned, request, token, form, progress).await?;
            if let Some(held) = places.try_enter(request.protocol, user, request.mailbox) {
                let (io, leftover, took) = opened;
                return Ok(Open { io, leftover, took, held });
            }
            drop(opened); // it would be one too many for the provider
            let held = place().await?;
            let (io, leftover, took) =
                attempt(dialer, learned, request, token, form, progress).await?;
            return Ok(Open { io, leftover, took, held });
        }
    };
    progress.enter("token");
    let token = token(tokens, request.protocol, identity, password).await?;
    let (held, form) = (place().await?, learned.form(request.upstream));
    let refused = match attempt(dialer, learned, request, token.secret(), form, progress).await {
        Ok((io, leftover, took)) => return Ok(Open { io, leftover, took, held }),
        Err(OpenError::Dialogue(refused @ Failure::Rejected { .. })) => refused,
        Err(error) => return Err(error),
    };
    let Failure::Rejected { reply, inline_octets, .. } = &refused else {
        return Err(OpenError::Dialogue(refused));
    };
    if is_policy(reply) {
        return Err(OpenError::Dialogue(refused));
    }
    let cut = learned.may_be_cut(request.upstream, request.mailbox, *inline_octets);
    let renewed = tokens.rejected(identity, &token);
    if !renewed && !cut {
        return Err(OpenError::Dialogue(refused));
    }
    progress.enter("token");
    debug!(reply, renewed, "token refused upstream, trying once more");
    let token = self::token(tokens, request.protocol, identity, password).await?;
    let (token, form) = (token.secret(), TokenForm::TwoSteps);
    let repeated = attempt(dialer, learned, request, token, form, progress).await;
    match &repeated {
        Ok(_) if cut => learned.repeated(request.upstream, request.mailbox, true),
        Err(OpenError::Dialogue(Failure::Rejected { .. })) if cut => {
            learned.repeated(request.upstream, request.mailbox, false);
        }
        _ => {}
    }
    let (io, leftover, took) = repeated?;
    Ok(Open { io, leftover, took, held })
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
) -> Result<(Io, BytesMut, Took), OpenError> {
    progress.enter("dial");
    let started = Instant::now();
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
    let mut way = started.elapsed();
    progress.enter("auth");
    loop {
        match pump(&mut io, &mut leftover, |input| role.step(input)).await {
            Ok(Pumped::Done(opened)) => {
                if !opened.extensions.is_empty() {
                    learned.offers(request.upstream, opened.extensions);
                }
                learned.taken(request.upstream, opened.inline_octets);
                let login = started.elapsed().saturating_sub(way);
                return Ok((io, leftover, Took { way, login }));
            }
            Ok(Pumped::StartTls) => {
                let secures = Instant::now();
                io = dialer.start_tls(Leg::Mail, host, *port, io).await.map_err(OpenError::Dial)?;
                way += secures.elapsed();
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
