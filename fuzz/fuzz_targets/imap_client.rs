//! What an IMAP server may send to the client role.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailwicket::mail::Protocol;

fuzz_target!(|data: &[u8]| mailwicket_fuzz::to_client(Protocol::Imap, data));
