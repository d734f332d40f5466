//! The questions and answers until there is a tunnel (wire-facts: the 407 dance).
//!
//! A connection that the proxy keeps is asked again; where it closes one, a new one is opened and
//! the dance goes on, but not in the middle of NTLM, which is bound to its connection. Must never
//! know how a connection is made, nor what a scheme's messages mean.

use std::time::Duration;

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::{
    LoginError, LoginMemory, Obstacle, Scheme,
    memory::{Entry, Known},
};
use crate::{
    config::Proxy,
    net::{
        Io,
        error::Trouble,
        http_connect::{self, Answer, ConnectError},
        prefixed::prefixed,
    },
};

/// The most requests for one tunnel. The longest good way has four: without login, NTLM's two, and
/// one more where a proxy closes in between.
pub(super) const ROUNDS: usize = 8;

/// The value of `Proxy-Authorization`.
pub(super) type Header = Zeroizing<String>;

/// A tunnel to `target` (`host:port`) on a connection to `proxy`, as often as one is needed made by
/// `open`. What the far end has said already is read first. `limit` is for Kerberos: another scheme may
/// have to take over before the tunnel's own time is up.
///
/// # Errors
/// [`Trouble::Login`] where the proxy wants a login and there is none, [`Trouble::Refused`] where it
/// refuses the tunnel, [`Trouble::Odd`] and [`Trouble::Broken`] where it does not behave, and what
/// `open` says.
pub async fn tunnel<O>(
    memory: &LoginMemory,
    open: impl Fn() -> O,
    proxy: &Proxy,
    target: &str,
    limit: Duration,
) -> Result<Io, Trouble>
where
    O: Future<Output = Result<Io, Trouble>>,
{
    let known = memory.of(proxy);
    let mut turn = None;
    if proxy.credentials.is_some() && known.right().is_none() {
        turn = Some(known.turn.lock().await).filter(|_| known.right().is_none());
    }
    let mut dance = Dance {
        memory,
        known: &known,
        proxy,
        target,
        limit,
        stage: Stage::Unasked,
        tried: Vec::new(),
        obstacles: Vec::new(),
    };
    if let (Some(_), Some((scheme, seconds))) = (&proxy.credentials, known.paused()) {
        return Err(dance.trouble(None, LoginError::Paused { scheme, seconds }));
    }
    let outcome = dance.run(open).await;
    drop(turn);
    outcome
}

/// One tunnel in the making.
pub(super) struct Dance<'a> {
    pub(super) memory: &'a LoginMemory,
    pub(super) known: &'a Known,
    pub(super) proxy: &'a Proxy,
    pub(super) target: &'a str,
    /// The limit on Kerberos.
    pub(super) limit: Duration,
    pub(super) stage: Stage,
    /// Schemes that are no longer chosen.
    pub(super) tried: Vec<Scheme>,
    pub(super) obstacles: Vec<Obstacle>,
}

/// What the last request carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// No login.
    Unasked,
    Basic,
    /// `again`: with a second nonce, because the first was stale.
    Digest {
        again: bool,
    },
    /// The first message. `again`: for the second time, because the proxy closed after the first.
    NtlmHello {
        again: bool,
    },
    NtlmProof,
    Negotiate,
}

impl Stage {
    /// The scheme of the login, if there was one.
    pub(super) fn scheme(self) -> Option<Scheme> {
        match self {
            Self::Unasked => None,
            Self::Basic => Some(Scheme::Basic),
            Self::Digest { .. } => Some(Scheme::Digest),
            Self::NtlmHello { .. } | Self::NtlmProof => Some(Scheme::Ntlm),
            Self::Negotiate => Some(Scheme::Negotiate),
        }
    }
}

impl Dance<'_> {
    async fn run<O>(&mut self, open: impl Fn() -> O) -> Result<Io, Trouble>
    where
        O: Future<Output = Result<Io, Trouble>>,
    {
        let mut login = self.begin().await.map_err(|error| self.trouble(None, error))?;
        let mut kept: Option<Io> = None;
        for _ in 0..ROUNDS {
            let reused = kept.is_some();
            let mut io = match kept.take() {
                Some(io) => io,
                None => open().await?,
            };
            let header = login.as_ref().map(|header| header.as_str());
            let (answer, rest) = match http_connect::connect(&mut io, self.target, header).await {
                Ok(answered) => answered,
                // A proxy may close after a 407 without saying so; what was sent is sent once more.
                Err(ConnectError::Io(_) | ConnectError::Ended(_))
                    if reused && self.stage != Stage::NtlmProof =>
                {
                    continue;
                }
                Err(error) => return Err(self.broke(error)),
            };
            if answer.status != 407 {
                return self.answered(answer, rest, io);
            }
            login = match self.asked(&answer).await {
                Ok(login) => login,
                Err(error) => return Err(self.trouble(Some(answer.hint), error)),
            };
            kept = http_connect::drain(&mut io, rest, &answer).await.then_some(io);
            if kept.is_none() && self.stage == Stage::NtlmProof {
                let error = LoginError::BrokeOff { scheme: Scheme::Ntlm };
                return Err(self.trouble(Some(answer.hint), error));
            }
        }
        Err(self.trouble(None, LoginError::Endless))
    }

    /// An answer other than 407: whoever gets one is logged in.
    fn answered(&self, answer: Answer, rest: BytesMut, io: Io) -> Result<Io, Trouble> {
        let right = self.stage.scheme().map_or(Entry::Open, Entry::By);
        if (200..300).contains(&answer.status) {
            self.known.proved(right);
            return Ok(prefixed(rest.freeze(), io));
        }
        if matches!(right, Entry::By(_)) && answer.status == 403 {
            self.known.proved(right);
        }
        Err(Trouble::Refused {
            proxy: self.name(),
            target: self.target.to_owned(),
            status: answer.status,
            hint: answer.hint,
        })
    }

    fn broke(&self, error: ConnectError) -> Trouble {
        match error {
            ConnectError::Ended(_) | ConnectError::Io(_) if self.stage == Stage::NtlmProof => {
                self.trouble(None, LoginError::BrokeOff { scheme: Scheme::Ntlm })
            }
            ConnectError::Io(error) => Trouble::Broken { proxy: self.name(), error },
            ConnectError::Ended(what) => self.odd(what.to_owned()),
            ConnectError::Odd(what) => self.odd(what),
        }
    }

    fn odd(&self, what: String) -> Trouble {
        Trouble::Odd { proxy: self.name(), target: self.target.to_owned(), what }
    }

    fn trouble(&self, hint: Option<String>, error: LoginError) -> Trouble {
        Trouble::Login {
            proxy: self.name(),
            target: self.target.to_owned(),
            hint,
            error: Box::new(error),
        }
    }

    fn name(&self) -> String {
        let Proxy { host, port, .. } = self.proxy;
        format!("{host}:{port}")
    }
}
