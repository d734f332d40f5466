//! mailwicket.

pub mod config;
pub mod mail;
pub mod sandbox;
pub mod secret;
