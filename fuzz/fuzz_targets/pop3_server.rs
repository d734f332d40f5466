//! What a POP3 client may send to the server role.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailwicket::mail::Protocol;

fuzz_target!(|data: &[u8]| mailwicket_fuzz::to_server(Protocol::Pop3, data));
