//! What can go wrong on the way out, told by leg, hop and status, with what to do about it.

use std::{io, net::SocketAddr};

use thiserror::Error;

use super::{Leg, proxy_login::LoginError};
use crate::advice;

/// A connection that did not come about: on which leg, where to, and what happened.
#[derive(Debug, Error)]
#[error("{leg}: {trouble}")]
pub struct DialError {
    /// Which connection.
    pub leg: Leg,
    /// What happened, where.
    pub trouble: Trouble,
}

/// What happened at which hop.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The name of the next hop has no address.
    #[error("cannot resolve {host}: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No address of the next hop took the connection.
    #[error("cannot connect to {hop}: {}", attempts(.tried))]
    Connect {
        /// `host:port`, with `proxy` in front where it is one.
        hop: String,
        /// Each address and what it answered.
        tried: Vec<(SocketAddr, io::Error)>,
    },
    /// The proxy answered CONNECT with something else than a tunnel.
    #[error("proxy {proxy} answered {status} to CONNECT {target}{}", reason(.hint))]
    Refused {
        /// `host:port` of the proxy.
        proxy: String,
        /// `host:port` that was asked for.
        target: String,
        /// HTTP status.
        status: u16,
        /// What else its answer tells: reason phrase, error header.
        hint: String,
    },
    /// The proxy wants a login, and there is none that it takes.
    #[error("proxy {proxy}{}: {error}", on_407(.target, .hint.as_deref()))]
    Login {
        /// `host:port` of the proxy.
        proxy: String,
        /// `host:port` that was asked for.
        target: String,
        /// What else its 407 tells; none where it was not asked.
        hint: Option<String>,
        /// Why there is none.
        error: Box<LoginError>,
    },
    /// The proxy's answer is not one to CONNECT.
    #[error("proxy {proxy} gave no answer to CONNECT {target} that makes sense: {what}")]
    Odd {
        /// `host:port` of the proxy.
        proxy: String,
        /// `host:port` that was asked for.
        target: String,
        /// What it did instead.
        what: String,
    },
    /// TLS did not come about.
    #[error("TLS with {target}: {what}")]
    Tls {
        /// `host:port`.
        target: String,
        /// What rustls or the peer said.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It took too long.
    #[error("no {phase} with {target} within {seconds} s")]
    Timeout {
        /// `host:port`, and the proxy on the way.
        target: String,
        /// What was awaited: `connection` or `TLS`.
        phase: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// The exchange with the proxy broke.
    #[error("proxy {proxy}: {error}")]
    Broken {
        /// `host:port` of the proxy.
        proxy: String,
        /// What the system said.
        error: io::Error,
    },
}

impl DialError {
    /// What to do, in words for the log.
    pub fn remedy(&self) -> Option<String> {
        if self.leg == Leg::Machine {
            return Some(
                "this machine has no managed identity endpoint: run mailwicket on an Azure machine or \
                 service with a managed identity, let it reach 169.254.169.254, or use another grant"
                    .to_owned(),
            );
        }
        let remedy = match &self.trouble {
            Trouble::Resolve { .. } => {
                "check the name and this machine's DNS; inside a network that resolves nothing outside, \
                 set outbound.proxy: names go to the proxy unresolved"
                    .to_owned()
            }
            Trouble::Connect { .. } => "check that the address is reachable from this machine (firewall, \
                 route); where only a proxy leads out, set outbound.proxy"
                .to_owned(),
            Trouble::Login { error, .. } => error.remedy(),
            Trouble::Refused { status: 403, target, .. } => format!(
                "ask the proxy's owners to allow CONNECT to {target}; in squid: {}",
                squid_lines(target)
            ),
            Trouble::Refused { status, .. } => advice::for_proxy_status(*status)?.remedy.to_owned(),
            Trouble::Odd { .. } | Trouble::Broken { .. } => {
                "check that outbound.proxy names an HTTP proxy, and look at its log for this CONNECT".to_owned()
            }
            Trouble::Tls { remedy, .. } => (*remedy).to_owned(),
            Trouble::Timeout { phase: "TLS", .. } => "something on the way holds the connection: a device that \
                 inspects TLS may not know STARTTLS; ask for a bypass"
                .to_owned(),
            Trouble::Timeout { .. } => {
                "a firewall may drop the packets silently; where only a proxy leads out, set outbound.proxy".to_owned()
            }
        };
        Some(remedy)
    }

    /// A few words for the client.
    pub fn summary(&self) -> String {
        let leg = match self.leg {
            Leg::Token => "token endpoint",
            Leg::Mail => "mail server",
            Leg::Machine => "managed identity endpoint",
        };
        match &self.trouble {
            Trouble::Resolve { .. } => format!("Cannot resolve the {leg}'s name"),
            Trouble::Connect { hop, .. } if hop.starts_with("proxy ") => {
                format!("Cannot connect to the proxy ({leg})")
            }
            Trouble::Connect { .. } => format!("Cannot connect to the {leg}"),
            Trouble::Login { .. } => format!("No login at the proxy (407, {leg})"),
            Trouble::Refused { status, .. } => format!("The proxy answered {status} ({leg})"),
            Trouble::Odd { .. } | Trouble::Broken { .. } => {
                format!("The proxy is out of order ({leg})")
            }
            Trouble::Tls { .. } => format!("No TLS with the {leg}"),
            Trouble::Timeout { .. } => format!("The {leg} does not answer in time"),
        }
    }
}

fn squid_lines(target: &str) -> String {
    let (host, port) = target.rsplit_once(':').unwrap_or((target, "443"));
    format!(
        "acl SSL_ports port {port}; acl Safe_ports port {port}; acl mailwicket dstdomain {host}; \
         http_access allow CONNECT mailwicket"
    )
}

fn attempts(tried: &[(SocketAddr, io::Error)]) -> String {
    let each: Vec<_> = tried.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    each.join("; ")
}

fn on_407(target: &str, hint: Option<&str>) -> String {
    hint.map_or_else(
        || format!(" for CONNECT {target}"),
        |hint| format!(" answered 407 to CONNECT {target}{}", reason(hint)),
    )
}

fn reason(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}
