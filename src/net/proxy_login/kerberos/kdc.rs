//! One question to a KDC over TCP (RFC 4120 section 7.2.2). Never through the proxy: it is the proxy
//! that the answer is for.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::KerberosError;
use crate::net::happy;

/// The limit on one KDC: it is in the same network, and the tunnel has twenty seconds for all.
const LIMIT: Duration = Duration::from_secs(4);
/// The longest answer taken, in octets. Tickets of people in many groups have tens of thousands.
const LONGEST: u32 = 256 * 1024;

/// Asks one after the other until one answers, each for its share of `limit`. With the answer, which
/// one it was.
pub(super) async fn ask(
    kdcs: &[(String, u16)],
    realm: &str,
    question: &[u8],
    limit: Duration,
) -> Result<(Vec<u8>, usize), KerberosError> {
    let mut tried = Vec::new();
    let share = limit / u32::try_from(kdcs.len()).unwrap_or(u32::MAX).max(1);
    for (at, (host, port)) in kdcs.iter().enumerate() {
        let outcome = timeout(share.min(LIMIT), one(host, *port, question)).await;
        match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(answer) => return Ok((answer, at)),
            Err(error) => tried.push(format!("{host}:{port}: {error}")),
        }
    }
    Err(KerberosError::Unreachable { realm: realm.to_owned(), tried: tried.join("; ") })
}

async fn one(host: &str, port: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let addresses = lookup_host((host, port)).await?.collect();
    let tcp = happy::race(addresses, TcpStream::connect).await;
    let mut tcp = tcp.map_err(|tried| {
        tried
            .into_iter()
            .next_back()
            .map_or(io::ErrorKind::AddrNotAvailable.into(), |(_, error)| error)
    })?;
    let length = u32::try_from(question.len()).map_err(io::Error::other)?;
    tcp.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let length = tcp.read_u32().await?;
    if length > LONGEST {
        return Err(io::Error::other(format!("an answer of {length} octets")));
    }
    let mut answer = vec![0; length as usize];
    tcp.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn the_first_that_answers_is_taken_and_all_others_are_told() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap().port();
        TaskTracker::new().spawn(async move {
            for length in [4_u32, LONGEST + 1] {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut question = [0; 7];
                tcp.read_exact(&mut question).await.unwrap();
                assert_eq!(&question, b"\0\0\0\x03ask");
                tcp.write_all(&[&length.to_be_bytes()[..], b"told"].concat()).await.unwrap();
            }
        });
        let kdcs = [("127.0.0.1".to_owned(), gone), ("127.0.0.1".to_owned(), alive)];
        assert_eq!(ask(&kdcs, "R.TEST", b"ask", LIMIT).await.unwrap(), (b"told".to_vec(), 1));
        let error = ask(&kdcs, "R.TEST", b"ask", LIMIT).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("no KDC of R.TEST answers: 127.0.0.1:{gone}: ")),
            "{error}"
        );
        assert!(error.ends_with("an answer of 262145 octets"), "{error}");
    }
}
