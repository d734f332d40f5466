//! Whatever a proxy answers to CONNECT: no panic, and the head never reaches beyond the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailwicket::net::http_connect::parse;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some((answer, length))) = parse(data) {
        assert!(length <= data.len());
        assert!(!answer.hint.contains(['\r', '\n']));
        assert_eq!(parse(&data[..length]), Ok(Some((answer, length))));
    }
});
