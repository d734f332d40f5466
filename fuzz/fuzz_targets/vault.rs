//! Whatever stands in the vault's file: no panic, and nothing opens that was not sealed with the
//! key. Under an even first octet the rest is the file; under an odd one it is what was sealed.
#![no_main]

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use libfuzzer_sys::fuzz_target;
use mailwicket::token::vault::{Broken, open_bytes};

const KEY: [u8; 32] = *b"a key of 32 octets for this test";

fuzz_target!(|data: &[u8]| {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    if first & 1 == 0 {
        let broken = open_bytes(KEY, rest).expect_err("nobody sealed this");
        assert_ne!(broken, Broken::Content);
        return;
    }
    let (header, nonce) = (b"mailwicket vault\x01", [*first; 24]);
    let mut text = rest.to_vec();
    let cipher = XChaCha20Poly1305::new(&KEY.into());
    cipher.encrypt_in_place(&nonce.into(), header, &mut text).expect("short enough");
    let file = [header.as_slice(), &nonce, &text].concat();
    match open_bytes(KEY, &file) {
        Ok(_) => assert!(rest.trim_ascii_start().first() == Some(&b'{')),
        Err(broken) => assert_eq!(broken, Broken::Content),
    }
});
