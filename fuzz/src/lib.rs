//! What the targets of the six dialogues share: whatever a peer sends, in whatever pieces, a role
//! does not panic, writes whole lines, and does the same as if all had come at once.

use bytes::BytesMut;
use mailwicket::mail::{
    Credentials, Protocol, Refusal, RefusalKind, Step,
    client::{ClientRole, Security, TokenForm, TokenLogin},
    server::{Asks, Offer, ServerRole, Tls},
};
use secrecy::ExposeSecret;

/// Plays a client to a server role, whatever that asks for, once whole and once octet by octet.
pub fn to_server(protocol: Protocol, data: &[u8]) {
    for asks in [Asks::Password, Asks::PasswordOrToken, Asks::Nothing] {
        for tls in [Tls::Absent, Tls::Offered, Tls::Required, Tls::On] {
            let offer = Offer { asks, tls, ..Offer::exchange_online(protocol) };
            let whole = serve(protocol, offer.clone(), data, data.len().max(1));
            let pieces = serve(protocol, offer, data, 1);
            // What comes together with STARTTLS ends the session; octet by octet nothing does.
            let injected = whole.1.contains("StartTlsInjection");
            assert!(whole == pieces || (injected && pieces.1 == "StartTls"));
        }
    }
}

fn serve(protocol: Protocol, offer: Offer, mut rest: &[u8], piece: usize) -> (Vec<u8>, String) {
    let (asks, tls) = (offer.asks, offer.tls);
    let mut role = ServerRole::new(protocol, offer);
    let (mut input, mut said) = (BytesMut::new(), Vec::new());
    loop {
        match role.step(&mut input) {
            Step::Write(bytes) => said.extend(checked(bytes)),
            Step::StartTls => {
                assert!(input.is_empty() && matches!(tls, Tls::Offered | Tls::Required));
                return (said, "StartTls".to_owned());
            }
            Step::Done(login) => {
                assert!(tls != Tls::Required, "no login before TLS");
                match login.credentials {
                    Credentials::Password { user, .. } => assert!(is_user(&user)),
                    Credentials::Token { user, token } => {
                        assert!(is_user(&user) && asks == Asks::PasswordOrToken);
                        let token = token.expose_secret();
                        let is_token = |octet: u8| {
                            octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet)
                        };
                        assert!((1..=16_384).contains(&token.len()) && token.bytes().all(is_token));
                    }
                    Credentials::Unasked => {
                        assert!(asks == Asks::Nothing && protocol == Protocol::Smtp);
                        let next = input.trim_ascii_start().get(..4).expect("MAIL is left");
                        assert!(next.eq_ignore_ascii_case(b"MAIL"));
                    }
                }
                let refusal = Refusal::new(RefusalKind::Credentials, "no");
                said.extend(checked(role.answer(Err(&refusal))));
            }
            Step::Read if rest.is_empty() => return (said, "read".to_owned()),
            Step::Read => {
                let (taken, more) = rest.split_at(piece.min(rest.len()));
                input.extend_from_slice(taken);
                rest = more;
            }
            other => return (said, format!("{other:?}")),
        }
    }
}

fn is_user(user: &str) -> bool {
    !user.is_empty() && !user.contains(char::is_control)
}

fn checked(bytes: Vec<u8>) -> Vec<u8> {
    let lines = bytes.strip_suffix(b"\r\n").expect("a whole line");
    for line in lines.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 510 && line.iter().all(|octet| (0x20..0x7f).contains(octet)));
    }
    bytes
}

/// Plays a server to a client role; the first octet chooses its options.
pub fn to_client(protocol: Protocol, data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let mut role = ClientRole::new(
        protocol,
        TokenLogin {
            name: "client.example".to_owned(),
            security: if first & 1 == 0 { Security::StartTls } else { Security::Tls },
            user: "a@b.example".to_owned(),
            token: "token".into(),
            form: if first & 2 == 0 { TokenForm::Inline } else { TokenForm::TwoSteps },
        },
    );
    let piece = usize::from(first >> 2) + 1;
    let (mut input, mut pieces) = (BytesMut::new(), rest.chunks(piece));
    loop {
        match role.step(&mut input) {
            Step::Write(bytes) => assert!(bytes.ends_with(b"\r\n")),
            Step::StartTls => assert!(input.is_empty()),
            Step::Read => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return,
            },
            Step::Done(_) | Step::Fail(_) => return,
        }
    }
}
