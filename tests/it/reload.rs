//! A new configuration takes the place of the old one while sessions run.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::stage::{Client, PASSWORD, Stage, USER, parse, text};

/// A port that was free a moment ago.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// One more listener.
fn listener(protocol: &str, bind: SocketAddr) -> String {
    format!("[[listener]]\nprotocol = \"{protocol}\"\nbind = \"{bind}\"\n")
}

async fn is_closed(address: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_err()
}

#[tokio::test]
async fn listeners_come_and_go_and_the_sessions_go_on() {
    let (kept, gone, new) = (free().await, free().await, free().await);
    let sandbox = Stage::sandbox().await;
    let limits = "[limits]\nsmtp_sessions_per_mailbox = 10\n";
    let with = |listeners: &str| parse(&text(&sandbox, "", &format!("{listeners}{limits}")));
    let before = with(&(listener("smtp", kept) + &listener("smtp", gone)));
    let after = with(&(listener("smtp", kept) + &listener("smtp", new)));
    let stage = Stage::run(sandbox, &before);

    let mut on_kept = Client::connect(kept).await;
    let mut on_gone = Client::connect(gone).await;
    assert!(on_kept.log_in(USER, PASSWORD).await.starts_with("235 "));
    assert!(on_gone.log_in(USER, PASSWORD).await.starts_with("235 "));
    let mut undecided = Client::connect(gone).await;
    assert!(is_closed(new).await);

    stage.reload(after).await.unwrap();
    assert!(is_closed(gone).await);
    assert!(undecided.log_in(USER, PASSWORD).await.starts_with("235 "), "it had come in before");
    for client in [&mut on_kept, &mut on_gone] {
        assert!(client.send(USER, b"Subject: x\r\n\r\n").await.starts_with("250 "));
    }
    for address in [kept, new, stage.address] {
        let reply = Client::connect(address).await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("235 "), "{address}: {reply}");
    }
    drop((on_kept, on_gone, undecided));
    assert_eq!(stage.ended().await, 0);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_taken_changes_nothing() {
    let (kept, gone) = (free().await, free().await);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Stage::sandbox().await;
    let before = text(&sandbox, "", &(listener("smtp", kept) + &listener("smtp", gone)));
    // The port of `gone` for another protocol: its door must be shut first, and opened again.
    let more = listener("smtp", kept)
        + &listener("imap", gone)
        + &listener("smtp", taken.local_addr().unwrap());
    let after = text(&sandbox, "", &more).replace("*@contoso.com", "*@fabrikam.com");
    let stage = Stage::run(sandbox, &parse(&before));

    let error = stage.reload(parse(&after)).await.unwrap_err().to_string();
    assert!(error.contains("another program has this port"), "{error}");
    for address in [kept, gone] {
        let reply = Client::connect(address).await.log_in(USER, PASSWORD).await;
        assert!(reply.starts_with("235 "), "{address}: {reply}");
    }

    drop(taken);
    stage.reload(parse(&after)).await.unwrap();
    let greeting = Client::silent(gone).await.reply().await;
    assert!(greeting.starts_with("* OK "), "another protocol on the same port: {greeting}");
    let reply = Client::connect(kept).await.log_in(USER, PASSWORD).await;
    assert!(reply.starts_with("535 "), "the new accounts count: {reply}");
}

#[tokio::test]
async fn limits_change_for_those_who_come() {
    let sandbox = Stage::sandbox().await;
    let limited = |count: usize| {
        parse(&text(&sandbox, "", &format!("[limits]\nmax_sessions_per_address = {count}\n")))
    };
    let (one, two) = (limited(1), limited(2));
    let stage = Stage::run(sandbox, &one);
    let first = stage.client().await;
    assert!(Client::silent(stage.address).await.reply().await.starts_with("421 "));
    stage.reload(two).await.unwrap();
    let second = stage.client().await;
    stage.reload(one).await.unwrap();
    assert!(Client::silent(stage.address).await.reply().await.starts_with("421 "));
    drop((first, second));
}
