//! The questions and answers until there is a tunnel (wire-facts: the 407 dance).
//!
//! A connection that the proxy keeps is asked again; where it closes one, a new one is opened and
//! the dance goes on, but not in the middle of NTLM, which is bound to its connection. Must never
//! know how a connection is made, nor what a scheme's messages mean.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::{
    LoginError, LoginMemory, Obstacle, Scheme,
    memory::{Known, Leave},
};
use crate::{
    config::Proxy,
    net::{
        Io, authority,
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
    let mut dance = Dance {
        memory,
        known: memory.of(proxy),
        proxy,
        target,
        limit,
        stage: Stage::Unasked,
        leave: None,
        hint: None,
        tried: Vec::new(),
        obstacles: Vec::new(),
    };
    dance.run(open).await
}

/// One tunnel in the making.
pub(super) struct Dance<'a> {
    pub(super) memory: &'a LoginMemory,
    pub(super) known: Arc<Known>,
    pub(super) proxy: &'a Proxy,
    pub(super) target: &'a str,
    /// The limit on Kerberos.
    pub(super) limit: Duration,
    pub(super) stage: Stage,
    /// Held from before a password goes out until what is said to it is remembered.
    pub(super) leave: Option<Leave>,
    /// What else the last 407 told, if there was one.
    hint: Option<String>,
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

    /// The scheme, if the request carries the password or a proof of it. A ticket is neither.
    fn password(self) -> Option<Scheme> {
        match self {
            Self::Basic | Self::Digest { .. } | Self::NtlmProof => self.scheme(),
            Self::Unasked | Self::NtlmHello { .. } | Self::Negotiate => None,
        }
    }
}

impl Dance<'_> {
    async fn run<O>(&mut self, open: impl Fn() -> O) -> Result<Io, Trouble>
    where
        O: Future<Output = Result<Io, Trouble>>,
    {
        let mut login = self.begin().await.map_err(|error| self.trouble(error))?;
        let mut kept: Option<Io> = None;
        for _ in 0..ROUNDS {
            let reused = kept.is_some();
            let mut io = match kept.take() {
                Some(io) => io,
                None => open().await?,
            };
            self.may_send().await.map_err(|error| self.trouble(error))?;
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
            if let Some(leave) = &mut self.leave {
                leave.answered();
            }
            if answer.status != 407 {
                return self.answered(answer, rest, io);
            }
            self.hint = Some(answer.hint.clone());
            login = self.asked(&answer).await.map_err(|error| self.trouble(error))?;
            kept = http_connect::drain(&mut io, rest, &answer).await.then_some(io);
            if kept.is_none() && self.stage == Stage::NtlmProof {
                return Err(
                    self.trouble(LoginError::BrokeOff { scheme: Scheme::Ntlm, proof: false })
                );
            }
        }
        Err(self.trouble(LoginError::Endless))
    }

    /// Waits for the leave to send what the request carries.
    async fn may_send(&mut self) -> Result<(), LoginError> {
        let Some(scheme) = self.stage.password() else { return Ok(()) };
        if self.leave.is_none() {
            self.leave = Some(self.known.leave().await?);
        }
        self.known.unpaused()?;
        if let Some(leave) = &mut self.leave {
            leave.sends(scheme);
        }
        Ok(())
    }

    /// An answer other than 407: whoever gets one is logged in, or need not be.
    fn answered(&self, answer: Answer, rest: BytesMut, io: Io) -> Result<Io, Trouble> {
        // NTLM's first message is no login yet.
        let scheme = self.stage.scheme().filter(|_| !matches!(self.stage, Stage::NtlmHello { .. }));
        let is_tunnel = (200..300).contains(&answer.status);
        if let Some(scheme) = scheme.filter(|_| is_tunnel || answer.status == 403) {
            self.known.proved(scheme, self.hint.is_some());
        }
        if is_tunnel {
            return Ok(prefixed(rest.freeze(), io));
        }
        Err(Trouble::Refused {
            proxy: self.name(),
            target: self.target.to_owned(),
            status: answer.status,
            hint: answer.hint,
        })
    }

    fn broke(&mut self, error: ConnectError) -> Trouble {
        let is_proof = self.stage == Stage::NtlmProof;
        // Squid closes where NTLM's proof is wrong.
        if let Some(leave) = &mut self.leave
            && (is_proof || matches!(error, ConnectError::Odd(_)))
        {
            leave.answered();
        }
        match error {
            ConnectError::Ended(_) | ConnectError::Io(_) if is_proof => {
                self.known.refused(Scheme::Ntlm);
                self.trouble(LoginError::BrokeOff { scheme: Scheme::Ntlm, proof: true })
            }
            ConnectError::Io(error) => Trouble::Broken { proxy: self.name(), error },
            ConnectError::Ended(what) => self.odd(what.to_owned()),
            ConnectError::Odd(what) => self.odd(what),
        }
    }

    fn odd(&self, what: String) -> Trouble {
        Trouble::Odd { proxy: self.name(), target: self.target.to_owned(), what }
    }

    fn trouble(&self, error: LoginError) -> Trouble {
        Trouble::Login {
            proxy: self.name(),
            target: self.target.to_owned(),
            hint: self.hint.clone(),
            error: Box::new(error),
        }
    }

    fn name(&self) -> String {
        authority(&self.proxy.host, self.proxy.port)
    }
}
