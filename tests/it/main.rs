//! The integration tests, as one binary.

mod canary;
mod floors;
mod smtp;
mod stage;
mod transcripts;
