//! Whatever stands in proxy.toml: no panic, and an error that says something.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) =
        mailwicket::config::parse("proxy.toml", text, Path::new("/nonexistent"), &|_| None)
    {
        assert!(error.to_string().starts_with("proxy.toml"));
    }
});
