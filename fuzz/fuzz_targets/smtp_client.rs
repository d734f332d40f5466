//! Whatever a server sends: no panic, whole command lines, and no TLS with bytes left behind.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mailwicket::mail::{
    Step,
    client::{ClientRole, Security, SmtpLogin, TokenForm},
};

fuzz_target!(|data: &[u8]| {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let mut role = ClientRole::smtp(SmtpLogin {
        name: "client.example".to_owned(),
        security: if first & 1 == 0 { Security::StartTls } else { Security::Tls },
        user: "a@b.example".to_owned(),
        token: "token".into(),
        form: if first & 2 == 0 { TokenForm::Inline } else { TokenForm::TwoSteps },
    });
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
});
