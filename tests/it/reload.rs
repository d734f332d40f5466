//! A new configuration takes the place of the old one while sessions run.

use std::net::SocketAddr;

use mailwicket::{config::Config, daemon::Daemon, net::inherited::Inherited, sandbox::Sandbox};
use tokio::net::TcpListener;

use crate::{
    stage::{Client, PASSWORD, Stage, USER, free_address, no_program_starts, parse, text},
    status::get,
};

/// One more listener.
fn listener(protocol: &str, bind: SocketAddr) -> String {
    format!("[[listener]]\nprotocol = \"{protocol}\"\nbind = \"{bind}\"\n")
}

async fn is_closed(address: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_err()
}

#[tokio::test]
#[allow(clippy::await_holding_lock)] // this thread is this test's
async fn listeners_come_and_go_and_the_sessions_go_on() {
    let _alone = no_program_starts();
    let (kept, gone, new) = (free_address(), free_address(), free_address());
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
#[allow(clippy::await_holding_lock)] // this thread is this test's
async fn a_configuration_that_cannot_be_taken_changes_nothing() {
    let _alone = no_program_starts();
    let (kept, gone) = (free_address(), free_address());
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

/// What is where: protocols of listeners, or the status.
type Places<'a> = &'a [(&'a str, SocketAddr)];

/// The configuration with these, after the usual listeners.
fn with(sandbox: &Sandbox, places: Places<'_>) -> Config {
    let tables = places.iter().map(|(what, at)| match *what {
        "status" => format!("[status]\nbind = \"{at}\"\n"),
        protocol => listener(protocol, *at),
    });
    parse(&text(sandbox, "", &tables.collect::<String>()))
}

/// These answer as what they are, and of `all` nothing else does; what is passed can be connected to
/// even so.
async fn holds(places: Places<'_>, all: &[SocketAddr], passed: bool, row: &str) {
    for (what, at) in places {
        match *what {
            "status" => assert_eq!(get(*at, "/healthz").await.0, 200, "{row}: status"),
            protocol => {
                let greets = if protocol == "smtp" { "220 " } else { "* OK " };
                let greeting = Client::silent(*at).await.reply().await;
                assert!(greeting.starts_with(greets), "{row}: {protocol}: {greeting}");
            }
        }
    }
    for at in all.iter().filter(|at| !passed && !places.iter().any(|(_, there)| there == *at)) {
        assert!(is_closed(*at).await, "{row}: {at}");
    }
}

#[tokio::test]
#[allow(clippy::await_holding_lock)] // this thread is this test's
async fn ports_pass_between_listeners_and_the_status() {
    let _alone = no_program_starts();
    let third = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = third.local_addr().unwrap();
    let mut ran = 0;
    for passed in [false, true] {
        let [a, b, c] = [0; 3].map(|_| free_address());
        let sockets = [a, b, c].into_iter().filter(|_| passed);
        let sockets = sockets.map(|at| std::net::TcpListener::bind(at).unwrap());
        let inherited = Inherited::of(sockets.collect());
        // What is where before and after.
        let rows: [(&str, Places<'_>, Places<'_>); 8] = [
            ("status to a listener that leaves", &[("smtp", a), ("status", b)], &[("status", a)]),
            ("status comes to one", &[("smtp", a)], &[("status", a)]),
            ("listener to a status that moves", &[("status", a)], &[("smtp", a), ("status", b)]),
            ("listener to a status that goes", &[("status", a)], &[("smtp", a)]),
            ("both swap", &[("smtp", a), ("status", b)], &[("smtp", b), ("status", a)]),
            (
                "listeners swap, status stays",
                &[("smtp", a), ("imap", b), ("status", c)],
                &[("imap", a), ("smtp", b), ("status", c)],
            ),
            (
                "all three turn",
                &[("smtp", a), ("imap", b), ("status", c)],
                &[("smtp", b), ("imap", c), ("status", a)],
            ),
            ("nothing is left of them", &[("smtp", a), ("status", b)], &[]),
        ];
        let sandbox = Stage::sandbox().await;
        let rows = rows.map(|(row, before, after)| {
            let refused: Vec<_> = after.iter().copied().chain([("pop3", taken)]).collect();
            let status = |(what, at)| (what, if what == "status" { taken } else { at });
            let status: Vec<_> = after.iter().copied().map(status).collect();
            let of = |places: Places<'_>| with(&sandbox, places);
            let status = (status != after).then(|| of(&status));
            (row, before, after, of(before), of(after), of(&refused), status)
        });
        let daemon = Daemon::inherit(&rows[0].3, inherited).unwrap();
        let stage = Stage::of(sandbox, daemon);
        for (row, before, after, at_first, then, refused, refused_status) in rows {
            let row = &format!("{row}, passed: {passed}");
            stage.reload(at_first).await.expect(row);
            for refused in [Some(refused), refused_status].into_iter().flatten() {
                let error = stage.reload(refused).await.expect_err(row).to_string();
                let expected = format!("{taken}: ");
                assert!(error.contains(&expected), "{row}: {error}");
                assert!(error.contains("another program has this port"), "{row}: {error}");
                holds(before, &[a, b, c], passed, row).await;
            }
            stage.reload(then).await.expect(row);
            holds(after, &[a, b, c], passed, row).await;
            ran += 1;
        }
        assert_eq!(stage.ended().await, 0);
    }
    assert_eq!(ran, 16);
}
