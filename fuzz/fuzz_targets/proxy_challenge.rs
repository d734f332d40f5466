//! Whatever a proxy writes into `Proxy-Authenticate`: no panic, and what is read is read again once it
//! is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailwicket::net::proxy_login::challenge::challenges;

fuzz_target!(|text: &str| {
    let found = challenges(text);
    let printed: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(challenges(&printed.join(", ")), found);
});
