//! mailwicket.

pub mod advice;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod mail;
pub mod net;
pub mod secret;
pub mod session;
pub mod token;
