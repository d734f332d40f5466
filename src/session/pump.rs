//! Drives a sans-IO dialogue over a connection.
//!
//! Reads when the dialogue wants more, writes what it says, and leaves in the buffer what it did
//! not take. Must never know which protocol is spoken.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroize;

use crate::{mail::Step, net::Io};

/// What a dialogue came to.
#[derive(Debug)]
pub(super) enum Pumped<T> {
    /// It is complete.
    Done(T),
    /// It wants TLS before it goes on; the input buffer is empty.
    StartTls,
}

/// Why a dialogue was not completed.
#[derive(Debug)]
pub(super) enum PumpError<F> {
    /// The dialogue itself ended: a refusal, a QUIT, a broken rule.
    Failed(F),
    /// The peer closed the connection in the middle.
    Closed,
    /// The connection broke.
    Io(io::Error),
}

/// Steps until the dialogue is done, fails, or wants TLS.
pub(super) async fn pump<T, F>(
    io: &mut Io,
    input: &mut BytesMut,
    mut step: impl FnMut(&mut BytesMut) -> Step<T, F>,
) -> Result<Pumped<T>, PumpError<F>> {
    loop {
        match step(input) {
            Step::Done(done) => return Ok(Pumped::Done(done)),
            Step::StartTls => return Ok(Pumped::StartTls),
            Step::Fail(failure) => return Err(PumpError::Failed(failure)),
            Step::Write(bytes) => write(io, bytes).await.map_err(PumpError::Io)?,
            Step::Read => {
                if io.read_buf(input).await.map_err(PumpError::Io)? == 0 {
                    return Err(PumpError::Closed);
                }
            }
        }
    }
}

/// Writes and flushes (tokio-rustls buffers), then wipes: the bytes may have held a token.
pub(super) async fn write(io: &mut Io, mut bytes: Vec<u8>) -> io::Result<()> {
    let written = match io.write_all(&bytes).await {
        Ok(()) => io.flush().await,
        Err(error) => Err(error),
    };
    bytes.zeroize();
    written
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// A dialogue that answers each line with its length, wants TLS at "tls", ends at "bye".
    fn lengths(input: &mut BytesMut, said: &mut bool) -> Step<&'static str, &'static str> {
        let Some(end) = input.iter().position(|&octet| octet == b'\n') else {
            return Step::Read;
        };
        let line = input.split_to(end + 1);
        match line.as_ref() {
            b"tls\n" => Step::StartTls,
            b"bye\n" => Step::Done("bye"),
            b"no\n" => Step::Fail("no"),
            _ => {
                *said = true;
                Step::Write(format!("{}\n", line.len()).into_bytes())
            }
        }
    }

    async fn pumped(
        text: &[u8],
    ) -> (Result<Pumped<&'static str>, PumpError<&'static str>>, BytesMut) {
        let (near, mut far) = duplex(64);
        far.write_all(text).await.unwrap();
        far.shutdown().await.unwrap();
        let (mut io, mut input, mut said) = (Box::new(near) as Io, BytesMut::new(), false);
        let result = pump(&mut io, &mut input, |input| lengths(input, &mut said)).await;
        if said {
            let mut answer = [0; 2];
            far.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"3\n");
        }
        (result, input)
    }

    #[tokio::test]
    async fn what_the_dialogue_does_not_take_stays_in_the_buffer() {
        let (result, left) = pumped(b"hi\nbye\nMAIL FROM").await;
        assert!(matches!(result, Ok(Pumped::Done("bye"))));
        assert_eq!(left.as_ref(), b"MAIL FROM");
    }

    #[tokio::test]
    async fn every_other_end_has_its_name() {
        assert!(matches!(pumped(b"tls\n").await.0, Ok(Pumped::StartTls)));
        assert!(matches!(pumped(b"no\n").await.0, Err(PumpError::Failed("no"))));
        assert!(matches!(pumped(b"hal").await.0, Err(PumpError::Closed)));
    }
}
