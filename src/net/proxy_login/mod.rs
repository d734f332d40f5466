//! Logging in at an HTTP proxy: Basic, Digest, NTLM and Negotiate, on the connection that then
//! becomes the tunnel.
//!
//! [`tunnel`] asks for it and carries on until there is one or a reason why not; [`challenge`] reads
//! what the proxy asks for; a file for each scheme makes what is sent. By itself the first question
//! carries no login, so that a password in clear never reaches a proxy that would have taken
//! something better; then the strongest scheme counts that it offers and that can be had, and what
//! proved right is used at once the next time ([`LoginMemory`]). A weaker scheme takes over where a
//! stronger one cannot even start, never where the password was refused: each such attempt counts
//! towards the lockout of a domain's account. Must never know mail, tokens or which leg it is.

mod basic;
pub mod challenge;
mod choice;
mod dance;
mod digest;
mod error;
pub mod kerberos;
mod memory;
mod negotiate;
mod ntlm;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::{
    dance::tunnel,
    error::{LoginError, Obstacle},
    memory::LoginMemory,
};

/// A way to log in at a proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// Kerberos (RFC 4559).
    Negotiate,
    /// NTLM, version 2 (MS-NTHT).
    Ntlm,
    /// RFC 7616.
    Digest,
    /// RFC 7617.
    Basic,
    /// User and password at a SOCKS proxy (RFC 1929), which is none of HTTP's schemes.
    Socks,
}

impl Scheme {
    /// Whether the proxy does not see the password.
    fn hides(self) -> bool {
        matches!(self, Self::Negotiate | Self::Ntlm | Self::Digest)
    }
}

/// The strongest first.
const BY_STRENGTH: [Scheme; 4] = [Scheme::Negotiate, Scheme::Ntlm, Scheme::Digest, Scheme::Basic];

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negotiate => "Negotiate",
            Self::Ntlm => "NTLM",
            Self::Digest => "Digest",
            Self::Basic => "Basic",
            Self::Socks => "SOCKS",
        })
    }
}
