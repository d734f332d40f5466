//! What the relay costs: the same octets through it and past it, in turn, as a ratio.
//!
//! `cargo bench` prints the median of the pairs. Absolute numbers say more about the machine than
//! about the relay; the ratio holds.

#![allow(clippy::expect_used, clippy::print_stdout)] // a benchmark may fail, and must print

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use mailwicket::net::{
    Io,
    relay::{Party, relay},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const OCTETS: usize = 128 * 1024 * 1024;
const PAIRS: usize = 7;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut ratios = Vec::new();
        for _ in 0..PAIRS {
            let direct = carry(false).await;
            let relayed = carry(true).await;
            ratios.push(relayed.as_secs_f64() / direct.as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "relay: {:.2} times the time of a direct connection (median of {PAIRS}; {:.2} to {:.2})",
            ratios[PAIRS / 2],
            ratios[0],
            ratios[PAIRS - 1]
        );
    });
}

/// Sends the octets over loopback and waits until they have arrived.
async fn carry(through_relay: bool) -> Duration {
    let sink = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = sink.local_addr().expect("bound");
    let tasks = TaskTracker::new();
    let entry = if through_relay {
        let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = door.local_addr().expect("bound");
        tasks.spawn(async move {
            let (client, _) = door.accept().await.expect("a client");
            let upstream = TcpStream::connect(target).await.expect("the sink");
            let party = |io: TcpStream| Party { io: Box::new(io) as Io, said: BytesMut::new() };
            let (idle, stop) = (Duration::from_secs(60), CancellationToken::new());
            relay(party(client), party(upstream), idle, stop, &Arc::default(), &mut |_| {}).await;
        });
        address
    } else {
        target
    };
    let started = Instant::now();
    let receive = async {
        let (mut stream, _) = sink.accept().await.expect("the octets");
        let (mut buffer, mut left) = (vec![0; 64 * 1024], OCTETS);
        while left > 0 {
            left -= stream.read(&mut buffer).await.expect("octets");
        }
    };
    let send = async {
        let mut stream = TcpStream::connect(entry).await.expect("the way in");
        let chunk = vec![b'x'; 64 * 1024];
        for _ in 0..OCTETS / chunk.len() {
            stream.write_all(&chunk).await.expect("sent");
        }
        stream
    };
    tokio::join!(receive, send);
    started.elapsed()
}
