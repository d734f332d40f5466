//! The client's side of a session: its connection, what it has sent, and the role we play to it.
//!
//! TLS begins here, in the session's own task and under its login deadline: at once, when the
//! client asks for it, or as its first octet says.

use std::{io, mem, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};
use tracing::debug;
use zeroize::Zeroizing;

use super::{
    ending::Ending,
    progress::Progress,
    pump::{PumpError, Pumped, pump, write},
};
use crate::{
    config::TlsMode,
    mail::{
        Login, Refusal, Step,
        server::{Ended, ServerRole},
    },
    net::{
        Io,
        server_tls::{HANDSHAKE, Terminator},
    },
};

/// How long words of farewell may take: a peer that does not read is not waited for.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a port that takes both waits for the first octet before it greets in clear. A client
/// of TLS sends it as soon as it is connected; any other waits for the greeting, and pays this once
/// a session.
const FIRST_OCTET: Duration = Duration::from_millis(300);
/// So many octets of what a client says behind its login are read before the answer.
const AHEAD: usize = 64 * 1024;
/// How many times up to 4 KiB of what was not heard are read before a connection is closed.
const UNHEARD: u8 = 32;

/// The client's side of a session.
pub(super) struct Front {
    pub(super) io: Io,
    pub(super) input: BytesMut,
    role: ServerRole,
    /// When TLS begins, and our end of it.
    tls: Option<(TlsMode, Arc<Terminator>)>,
    /// Whether the dialogue has seen anything of the client, or TLS is on.
    has_heard: bool,
}

impl Front {
    pub(super) fn new(io: Io, role: ServerRole, tls: Option<(TlsMode, Arc<Terminator>)>) -> Self {
        Self { io, input: BytesMut::new(), role, tls, has_heard: false }
    }

    /// Begins TLS where it comes first.
    pub(super) async fn open_up(&mut self, progress: &Progress) -> Result<(), Ending> {
        let read = match self.tls {
            None | Some((TlsMode::StartTls, _)) => return Ok(()),
            Some((TlsMode::Implicit, _)) => {
                progress.enter("tls");
                self.io.read_buf(&mut self.input).await
            }
            Some((TlsMode::Auto, _)) => {
                match timeout(FIRST_OCTET, self.io.read_buf(&mut self.input)).await {
                    Ok(read) => read,
                    Err(_) => return Ok(()),
                }
            }
        };
        if read.map_err(Ending::Broken)? == 0 {
            return Err(Ending::Closed);
        }
        match self.tls {
            _ if self.input.first() == Some(&HANDSHAKE) => {
                self.secure(progress).await?;
                self.role.is_secured();
                Ok(())
            }
            Some((TlsMode::Implicit, _)) => Err(Ending::NotTls),
            _ => Ok(()), // it speaks before the greeting, in clear
        }
    }

    pub(super) async fn next_login(&mut self, progress: &Progress) -> Result<Login, Ending> {
        loop {
            let Self { io, input, role, has_heard, .. } = self;
            let step = |input: &mut BytesMut| {
                if !*has_heard && let Some(first) = input.first() {
                    *has_heard = true;
                    if *first == HANDSHAKE {
                        return Step::Fail(Ended::SpeaksTls);
                    }
                }
                role.step(input)
            };
            match pump(io, input, step).await {
                Ok(Pumped::Done(login)) => return Ok(login),
                Ok(Pumped::StartTls) => self.secure(progress).await?,
                Err(PumpError::Failed(ended)) => return Err(Ending::Dialogue(ended)),
                Err(PumpError::Closed) => return Err(Ending::Closed),
                Err(PumpError::Io(error)) => return Err(Ending::Broken(error)),
            }
        }
    }

    /// Completes when the client has gone while it waits in its mailbox's queue: its place is for the
    /// next. Anywhere else it gets its answer, even if it has closed its own side. What it says
    /// meanwhile is kept.
    pub(super) async fn leaves_the_queue(&mut self, progress: &Progress) -> Ending {
        let ending = loop {
            if self.input.len() >= AHEAD {
                return std::future::pending().await;
            }
            match self.io.read_buf(&mut self.input).await {
                Ok(0) if self.input.is_empty() => break Ending::Closed,
                Ok(0) => return std::future::pending().await, // all that it wants is said already
                Ok(_) => {}
                Err(error) => break Ending::Broken(error),
            }
        };
        while progress.noted().phase != "queue" {
            sleep(Duration::from_millis(500)).await;
        }
        ending
    }

    pub(super) async fn tell(&mut self, verdict: Result<(), &Refusal>) -> io::Result<()> {
        let words = self.role.answer(verdict);
        timeout(FAREWELL, write(&mut self.io, words)).await?
    }

    /// Whether words in clear are what the client waits for, before anything has been said.
    pub(super) async fn hears_clear_words(&mut self) -> bool {
        match self.tls {
            None | Some((TlsMode::StartTls, _)) => true,
            Some((TlsMode::Implicit, _)) => false,
            Some((TlsMode::Auto, _)) => {
                let _ = timeout(FIRST_OCTET, self.io.read_buf(&mut self.input)).await;
                self.input.first() != Some(&HANDSHAKE)
            }
        }
    }

    /// The client may have gone already; then there is nobody to tell.
    pub(super) async fn farewell(mut self, refusal: &Refusal) {
        let words = self.role.farewell(refusal);
        let told = timeout(FAREWELL, async {
            write(&mut self.io, words).await?;
            hang_up(&mut self.io).await
        });
        if !matches!(told.await, Ok(Ok(()))) {
            debug!("client left before the farewell");
        }
    }

    /// All has been said. Inside TLS that is said too, so that no client takes the end for a cut.
    pub(super) async fn close(mut self) {
        let _ = timeout(FAREWELL, hang_up(&mut self.io)).await; // it may have gone already
    }

    /// The handshake. While it lasts, and after it has failed, nothing can be said to the client.
    async fn secure(&mut self, progress: &Progress) -> Result<(), Ending> {
        let Some((_, terminator)) = &self.tls else {
            return Err(Ending::Closed); // TLS is offered only where there is an end for it
        };
        progress.enter("tls");
        let io = mem::replace(&mut self.io, Box::new(tokio::io::empty()));
        let accepted = Arc::clone(terminator).accept(self.input.split(), io).await;
        self.io = accepted.map_err(Ending::Handshake)?;
        self.has_heard = true;
        progress.enter("login");
        Ok(())
    }
}

/// Closes. What has arrived and was not heard is read first: left unread it would turn the close into
/// a reset, and a reset takes the last words from the client.
async fn hang_up(io: &mut Io) -> io::Result<()> {
    io.shutdown().await?;
    let mut unheard = Zeroizing::new([0; 4096]);
    for _ in 0..UNHEARD {
        match timeout(Duration::ZERO, io.read(unheard.as_mut())).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    Ok(())
}
