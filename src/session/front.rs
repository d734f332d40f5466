//! The client's side of a session: its connection, what it has sent, and the role we play to it.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt, time::timeout};
use tracing::debug;

use super::{
    ending::Ending,
    pump::{PumpError, Pumped, pump, write},
};
use crate::{
    mail::{Login, Refusal, server::ServerRole},
    net::Io,
};

/// How long words of farewell may take: a peer that does not read is not waited for.
const FAREWELL: Duration = Duration::from_secs(5);

/// The client's side of a session.
pub(super) struct Front {
    pub(super) io: Io,
    pub(super) input: BytesMut,
    pub(super) role: ServerRole,
}

impl Front {
    pub(super) async fn next_login(&mut self) -> Result<Login, Ending> {
        match pump(&mut self.io, &mut self.input, |input| self.role.step(input)).await {
            Ok(Pumped::Done(login)) => Ok(login),
            Err(PumpError::Failed(ended)) => Err(Ending::Dialogue(ended)),
            // No listener offers STARTTLS yet, so no role asks for it.
            Ok(Pumped::StartTls) | Err(PumpError::Closed) => Err(Ending::Closed),
            Err(PumpError::Io(error)) => Err(Ending::Broken(error)),
        }
    }

    pub(super) async fn tell(&mut self, verdict: Result<(), &Refusal>) -> io::Result<()> {
        let words = self.role.answer(verdict);
        timeout(FAREWELL, write(&mut self.io, words)).await?
    }

    /// The client may have gone already; then there is nobody to tell.
    pub(super) async fn farewell(mut self, refusal: &Refusal) {
        let words = self.role.farewell(refusal);
        let told = timeout(FAREWELL, async {
            write(&mut self.io, words).await?;
            self.io.shutdown().await
        });
        if !matches!(told.await, Ok(Ok(()))) {
            debug!("client left before the farewell");
        }
    }
}
