//! `[outbound]` as data: the way out.
//!
//! Must never know how a connection is made.

use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;

/// The way out.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// The HTTP proxy that both legs use; `None` to go direct.
    pub proxy: Option<Proxy>,
    /// Destinations that are reached without the proxy.
    pub no_proxy: Vec<NoProxy>,
    /// PEM certificates trusted in addition to the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// An HTTP proxy that is asked to CONNECT.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its host; resolved locally.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, where there are any.
    pub credentials: Option<ProxyCredentials>,
    /// How to log in there.
    pub auth: ProxyAuth,
}

/// How to log in at a proxy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProxyAuth {
    /// By the strongest scheme that it offers and that can be had here.
    #[default]
    Auto,
    /// Basic (RFC 7617), sent without being asked.
    Basic,
    /// Digest (RFC 7616).
    Digest,
    /// NTLM, version 2 (MS-NLMP).
    Ntlm,
    /// Negotiate (RFC 4559): Kerberos, with user and password or with a ticket.
    Negotiate,
}

/// A login at a proxy.
#[derive(Clone, Debug)]
pub struct ProxyCredentials {
    /// User name, also `DOMAIN\user` or `user@REALM`; holds no colon.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoProxy {
    /// `*`: everything.
    All,
    /// A domain and all below it, lower case, without a leading dot.
    Domain {
        /// The domain.
        name: String,
        /// Only this port.
        port: Option<u16>,
    },
    /// An address range; matches hosts given as addresses.
    Net(IpNet),
}
