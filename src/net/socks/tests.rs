//! A proxy in a pipe, octet by octet.

use proptest::prelude::*;
use tokio::{
    io::{DuplexStream, duplex},
    join,
};

use super::*;

fn credentials() -> ProxyCredentials {
    ProxyCredentials { username: "svc".to_owned(), password: "hidden".into() }
}

/// What comes of a proxy that says this, and what it was told.
async fn met(
    host: &str,
    login: Option<&ProxyCredentials>,
    said: &[u8],
) -> (Result<(), SocksError>, Vec<u8>, Vec<u8>) {
    let (near, mut far) = duplex(4096);
    let proxy = async {
        for octet in said {
            far.write_all(&[*octet]).await.unwrap();
        }
        far.shutdown().await.unwrap();
    };
    let ours = async {
        let mut io = Box::new(near) as Io;
        let outcome = connect(&mut io, host, login).await;
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        (outcome, rest)
    };
    let ((outcome, rest), ()) = join!(ours, proxy);
    (outcome, rest, told(far).await)
}

/// The steps as [`tunnel`] takes them, but without memory.
async fn connect(
    io: &mut Io,
    host: &str,
    login: Option<&ProxyCredentials>,
) -> Result<(), SocksError> {
    let request = request(host, 587).ok_or_else(|| odd("too long"))?;
    if let Some(credentials) = choose(io, login).await? {
        log_in(io, credentials).await?;
    }
    ask(io, &request).await
}

async fn told(mut far: DuplexStream) -> Vec<u8> {
    let mut told = Vec::new();
    far.read_to_end(&mut told).await.unwrap();
    told
}

fn words(outcome: &Result<(), SocksError>) -> String {
    match outcome {
        Ok(()) => "fine".to_owned(),
        Err(SocksError::Odd(words)) => words.clone(),
        Err(SocksError::Io(error)) => error.to_string(),
        Err(SocksError::Refused(refusal)) => format!("{refusal}: {}", refusal.remedy("mail:587")),
    }
}

#[tokio::test]
async fn names_go_unresolved_and_a_greeting_behind_the_reply_is_kept() {
    let (outcome, rest, told) =
        met("smtp.office365.com", None, b"\x05\0\x05\0\0\x01\x0a\0\0\x01\x02\x4b220 ready\r\n")
            .await;
    assert_eq!(words(&outcome), "fine");
    assert_eq!(rest, b"220 ready\r\n");
    assert_eq!(told, b"\x05\x01\0\x05\x01\0\x03\x12smtp.office365.com\x02\x4b");
}

#[tokio::test]
async fn addresses_go_as_such_and_come_in_every_type() {
    for (host, asked) in [
        ("192.0.2.1", &b"\x05\x01\0\x05\x01\0\x01\xc0\0\x02\x01\x02\x4b"[..]),
        ("[::1]", b"\x05\x01\0\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x4b"),
    ] {
        for reply in [
            &b"\x05\0\x05\0\0\x03\x03abc\0\0!"[..],
            b"\x05\0\x05\0\0\x03\0\0\0!",
            b"\x05\0\x05\0\0\x040123456789abcdef\0\0!",
        ] {
            let (outcome, rest, told) = met(host, None, reply).await;
            assert_eq!(
                (words(&outcome).as_str(), &rest[..], &told[..]),
                ("fine", &b"!"[..], asked)
            );
        }
    }
}

#[tokio::test]
async fn user_and_password_are_given_when_asked_for() {
    let login = credentials();
    let accepted = b"\x05\x02\x01\0\x05\0\0\x01\0\0\0\0\0\0";
    let (outcome, _, told) = met("mail", Some(&login), accepted).await;
    assert_eq!(words(&outcome), "fine");
    assert_eq!(told, b"\x05\x02\0\x02\x01\x03svc\x06hidden\x05\x01\0\x03\x04mail\x02\x4b");
    let (outcome, _, told) = met("mail", Some(&login), b"\x05\0\x05\0\0\x01\0\0\0\0\0\0").await;
    assert_eq!(words(&outcome), "fine");
    assert!(!told.windows(6).any(|part| part == b"hidden"), "nobody asked");
}

#[tokio::test]
async fn every_no_has_its_words_and_its_remedy() {
    let login = credentials();
    let reply = |code: u8| [b"\x05\0\x05", &[code][..], b"\0\x01\0\0\0\0\0\0"].concat();
    let rows = [
        (None, b"\x05\xff".to_vec(), "it wants a login", "set username", false),
        (Some(&login), b"\x05\xff".to_vec(), "no login by user", "GSSAPI", false),
        (Some(&login), b"\x05\x02\x01\x01".to_vec(), "refused user and password", "mend", false),
        (Some(&login), b"\x05\x02".to_vec(), "refused user and password", "mend", false),
        (None, reply(1), "(1)", "log", true),
        (None, reply(2), "(2)", "to: mail port = 587 command: connect", false),
        (None, reply(3), "(3)", "reach", true),
        (None, reply(4), "(4)", "reach", true),
        (None, reply(5), "(5)", "reach", true),
        (None, reply(6), "(6)", "reach", true),
        (None, reply(7), "(7)", "SOCKS 5", false),
        (None, reply(8), "(8)", "host names", false),
        (None, reply(9), "(9)", "log", false),
    ];
    let mut ran = 0;
    for (login, said, expected, remedy, outage) in rows {
        let (outcome, ..) = met("mail", login, &said).await;
        let told = words(&outcome);
        assert!(told.contains(expected) && told.contains(remedy), "{told}");
        assert!(!told.contains("hidden"), "{told}");
        let Err(SocksError::Refused(refusal)) = outcome else { panic!("{told}") };
        assert_eq!(refusal.is_outage(), outage, "{told}");
        ran += 1;
    }
    assert_eq!(ran, 13);
    assert_eq!(dante("[2001:db8::1]:25"), "2001:db8::1/128 port = 25");
}

#[tokio::test]
async fn what_is_no_socks_is_told_apart() {
    let rows: [(&[u8], &str); 10] = [
        (b"", "closed the connection"),
        (b"\x05", "closed the connection"),
        (b"\x05\0\x05\0\0\x03\xffabc", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "write http://"),
        (b"<html>", "web page"),
        (b"\0\x5b\0\0\0\0\0\0", "SOCKS 4"),
        (b"\x15\x03\x01\0\x02\x02\x0a", "TLS"),
        (b"220 mail\r\n", "version 50"),
        (b"\x05\x02", "not offered"),
        (b"\x05\0\x05\0\0\x09\0\0\0\0\0\0", "unknown type 9"),
    ];
    let mut ran = 0;
    for (said, expected) in rows {
        let (outcome, ..) = met("mail", None, said).await;
        assert!(words(&outcome).contains(expected), "{}", words(&outcome));
        ran += 1;
    }
    assert_eq!(ran, 10);
    let (outcome, ..) = met(&"a".repeat(256), None, b"").await;
    assert!(words(&outcome).contains("too long"), "{}", words(&outcome));
}

proptest! {
    #[test]
    fn no_answer_panics(start in prop::sample::select(vec![&b""[..], b"\x05\0", b"\x05\x02\x01\0", b"\x05\0\x05\0\0"]), more in any::<Vec<u8>>()) {
        let said = [start, &more].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let login = credentials();
        let (outcome, rest, _) = runtime.block_on(met("mail", Some(&login), &said));
        prop_assert!(outcome.is_err() || said.ends_with(&rest));
    }
}
