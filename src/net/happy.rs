//! Happy Eyeballs (RFC 8305): a dead IPv6 route costs a quarter of a second, not a timeout.
//!
//! Generic over how one address is connected, so that the race itself is tested without sockets.

use std::{collections::VecDeque, future::Future, io, net::SocketAddr, time::Duration};

use tokio::{task::JoinSet, time::sleep};

/// RFC 8305 section 5: the recommended delay before the next address is tried.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Tries the addresses, families in turn, each a little after the one before or as soon as that
/// failed; the first that connects wins and the others are dropped.
///
/// # Errors
/// Every address with its error, where none connects.
pub(super) async fn race<T, C>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> C,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    T: Send + 'static,
    C: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut waiting = interleaved(addresses);
    let (mut running, mut failed) = (JoinSet::new(), Vec::new());
    loop {
        if let Some(address) = waiting.pop_front() {
            let attempt = connect(address);
            running.spawn(async move { (address, attempt.await) });
        }
        tokio::select! {
            ended = running.join_next() => match ended {
                None => return Err(failed),
                Some(Ok((_, Ok(connected)))) => return Ok(connected),
                Some(Ok((address, Err(error)))) => failed.push((address, error)),
                Some(Err(_)) => {} // an attempt that panicked has lost
            },
            () = sleep(ATTEMPT_DELAY), if !waiting.is_empty() => {}
        }
    }
}

/// RFC 8305 section 4: the resolver's order, but families alternate.
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut this, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = VecDeque::new();
    while let Some(address) = this.pop_front() {
        order.push_back(address);
        std::mem::swap(&mut this, &mut other);
        if this.is_empty() {
            std::mem::swap(&mut this, &mut other);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_and_none_is_lost() {
        let order = interleaved(addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"]));
        assert_eq!(order, addresses(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(interleaved(vec![]), addresses(&[]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_route_costs_a_quarter_of_a_second() {
        let start = Instant::now();
        let won = race(addresses(&["[::1]:1", "127.0.0.1:1"]), |address| async move {
            if address.is_ipv6() { pending().await } else { Ok(address) }
        });
        assert_eq!(won.await.unwrap(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(start.elapsed(), ATTEMPT_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_costs_nothing_and_all_refusals_are_told() {
        let start = Instant::now();
        let lost = race(addresses(&["[::1]:1", "127.0.0.1:1"]), |_| async {
            Err::<(), _>(io::ErrorKind::ConnectionRefused.into())
        });
        assert_eq!(lost.await.unwrap_err().len(), 2);
        assert_eq!(start.elapsed(), Duration::ZERO);
        let nowhere = race(vec![], |_| async { Ok(()) });
        assert!(nowhere.await.unwrap_err().is_empty());
    }
}
