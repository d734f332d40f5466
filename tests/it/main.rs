//! The integration tests, as one binary.

#![allow(clippy::expect_used, clippy::unwrap_used)] // helpers of tests fail as tests do

mod canary;
mod caught;
mod check;
mod entry;
mod events;
mod floors;
mod grants;
mod imap;
mod imap_differential;
mod local_tls;
mod pop3;
mod queue;
mod reload;
mod running;
mod sign_in;
mod smtp;
mod stage;
mod status;
mod stopping;
#[cfg(target_os = "linux")]
mod supervised;
mod tls_pair;
mod transcripts;
mod upkeep;
mod ways;
