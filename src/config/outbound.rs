//! `[outbound]` as data: the ways out.
//!
//! Must never know how a connection is made.

use std::{fmt, path::PathBuf};

use ipnet::IpNet;
use secrecy::SecretString;

/// The ways out.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// The ways in the order in which they are tried; none: direct.
    pub proxies: Vec<Way>,
    /// Those to the token endpoint, where they are others.
    pub token_proxies: Option<Vec<Way>>,
    /// Destinations that are reached without a proxy.
    pub no_proxy: Vec<NoProxy>,
    /// PEM certificates trusted in addition to the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// One way out.
#[derive(Clone, Debug)]
pub enum Way {
    /// Straight to the destination, whose name is resolved here.
    Direct,
    /// Through this proxy, which resolves the destination's name.
    Proxy(Proxy),
}

/// A proxy that leads to any destination which it allows.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// What is spoken with it.
    pub scheme: ProxyScheme,
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

/// What is spoken with a proxy.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ProxyScheme {
    /// HTTP, asked to CONNECT (RFC 9110 section 9.3.6).
    #[default]
    Http,
    /// The same within TLS.
    Https,
    /// SOCKS 5 (RFC 1928); names go to the proxy unresolved.
    Socks5h,
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
    Net {
        /// The range.
        net: IpNet,
        /// Only this port.
        port: Option<u16>,
    },
}

impl fmt::Display for ProxyScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5h => "socks5h",
        })
    }
}
