//! A local authenticating proxy for mail: legacy clients that only know a user name and a password
//! reach Exchange Online, which only takes OAuth 2.0.
//!
//! # The idea
//!
//! *Terminate, then splice.* mailwicket plays the server to the client until it has given its
//! credentials, then plays the client to the provider, then copies bytes. Two short dialogues one
//! after the other, never one interleaved machine. Nothing leaves the machine for a client that
//! has not passed the local gate.
//!
//! # The house
//!
//! Imports go down only; a test holds the floors. Three wings do not know each other: [`mail`]
//! (bytes), [`token`] (Entra), [`net`] (sockets). One room, [`session`], joins them in a straight
//! line.
//!
//! | floor | room | what it is for |
//! | --- | --- | --- |
//! | 1 | [`mail`] | the dialogues before login, sans-IO |
//! | 1 | [`advice`] | replies and codes, their cause and remedy |
//! | 1 | [`secret`] | how a password is remembered without being kept |
//! | 1 | [`stats`] | what is counted, and the live sessions |
//! | 2 | [`config`] | `proxy.toml`, checked |
//! | 3 | [`token`] | access tokens: asked for, kept, renewed |
//! | 3 | [`net`] | the way out, TLS, copying bytes, listening |
//! | 4 | [`session`] | one session from the first byte to the last |
//! | 5 | [`daemon`] | listeners, limits, drain |
//! | 5 | [`sandbox`] | a simulated Microsoft 365, for `demo` and the tests |
//! | 5 | [`doctor`] | `check` |
//! | 6 | [`cli`] | subcommands, printing, exit codes |
//!
//! # The path of a session
//!
//! A permit is taken, the connection accepted, a task spawned. The server dialogue runs to a
//! [`mail::Login`]; the gate finds the account and checks the password; the token cache gives a
//! token; the upstream is dialled, secured, and logged in to with it; the client hears the
//! verdict; the relay copies what both sides had sent already, and then everything else. One line
//! in the log ends it.
//!
//! # Errors
//!
//! Each says three things: what the log gets (cause and remedy), what the client gets, and, by the
//! reply's class, whether trying again can help. An outage is never answered as a refusal.

pub mod advice;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod mail;
pub mod net;
pub mod sandbox;
pub mod secret;
pub mod session;
pub mod stats;
pub mod token;
