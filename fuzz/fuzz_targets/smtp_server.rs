//! Whatever a client sends, in whatever pieces: no panic, whole reply lines, the same session.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mailwicket::mail::{
    Refusal, RefusalKind, Step,
    server::{ServerRole, SmtpOffer},
};

fuzz_target!(|data: &[u8]| {
    let whole = play(data, data.len().max(1));
    assert_eq!(whole, play(data, 1));
});

fn play(mut rest: &[u8], piece: usize) -> (Vec<u8>, String) {
    let mut role = ServerRole::smtp(SmtpOffer::exchange_online());
    let (mut input, mut said) = (BytesMut::new(), Vec::new());
    loop {
        match role.step(&mut input) {
            Step::Write(bytes) => said.extend(checked(bytes)),
            Step::Done(_) => {
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

fn checked(bytes: Vec<u8>) -> Vec<u8> {
    let lines = bytes.strip_suffix(b"\r\n").expect("a whole line");
    for line in lines.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 510 && line.iter().all(|octet| (0x20..0x7f).contains(octet)));
    }
    bytes
}
