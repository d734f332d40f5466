//! The integration tests, as one binary.

#![allow(clippy::expect_used, clippy::unwrap_used)] // helpers of tests fail as tests do

mod canary;
mod floors;
mod imap_differential;
mod smtp;
mod stage;
mod tls_pair;
mod transcripts;
