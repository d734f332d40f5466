//! What can go wrong on the way out, told by leg, hop and status, with what to do about it.

use std::{io, net::SocketAddr};

use thiserror::Error;

use super::{Leg, proxy_login::LoginError, socks::Refusal, tunnel::Early};
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
    #[error("cannot resolve {hop}: {error}")]
    Resolve {
        /// The name, with `proxy` in front where it is one.
        hop: String,
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
    /// The SOCKS proxy said no.
    #[error("proxy {proxy} gave no connection to {target}: {refusal}")]
    Socks {
        /// `host:port` of the proxy.
        proxy: String,
        /// `host:port` that was asked for.
        target: String,
        /// What it said.
        refusal: Refusal,
    },
    /// What answers speaks no SOCKS 5.
    #[error("proxy {proxy} gave no answer by SOCKS for {target} that makes sense: {what}")]
    NoSocks {
        /// `host:port` of the proxy.
        proxy: String,
        /// `host:port` that was asked for.
        target: String,
        /// What it did instead.
        what: String,
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
    /// The proxy took back its yes before anything came through.
    #[error(transparent)]
    Early(Early),
    /// TLS did not come about.
    #[error("TLS with {target}: {what}")]
    Tls {
        /// `host:port`, with `proxy` in front where it is one.
        target: String,
        /// What rustls or the peer said.
        what: String,
        /// What to do.
        remedy: String,
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
    /// Several ways were tried.
    #[error("no way out leads there: {}", numbered(.0))]
    Ways(Vec<Trouble>),
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
        self.trouble.remedy()
    }

    /// A few words for the client.
    pub fn summary(&self) -> String {
        self.trouble.summary(match self.leg {
            Leg::Token => "token endpoint",
            Leg::Mail => "mail server",
            Leg::Machine => "managed identity endpoint",
        })
    }
}

impl Trouble {
    /// What became of all ways that were tried.
    pub(super) fn all(mut troubles: Vec<Self>) -> Self {
        match troubles.pop() {
            Some(only) if troubles.is_empty() => only,
            Some(last) => {
                troubles.push(last);
                Self::Ways(troubles)
            }
            None => Self::Ways(troubles), // there is always a way
        }
    }

    /// Whether the proxy is well and has said no, so that asking another is not meant.
    pub(super) fn is_verdict(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status < 500 || *status == 501,
            Self::Login { error, .. } => !error.is_outage(),
            Self::Socks { refusal, .. } => !refusal.is_outage(),
            _ => false,
        }
    }

    /// Whether the proxy has refused user and password.
    pub(super) fn is_of_password(&self) -> bool {
        match self {
            Self::Login { error, .. } => error.is_of_password(),
            Self::Socks { refusal, .. } => *refusal == Refusal::Login,
            _ => false,
        }
    }

    /// What to do, in words for the log.
    pub fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::Resolve { hop, .. } if is_proxy(hop) => "check the proxy's name in [outbound] and this \
                 machine's DNS: the proxy's own name is resolved here; its address does as well"
                .to_owned(),
            Self::Resolve { .. } => "check the name and this machine's DNS; inside a network that resolves \
                 nothing outside, set outbound.proxy: names go to the proxy unresolved"
                .to_owned(),
            Self::Connect { hop, .. } if is_proxy(hop) => "check host and port of the proxy in [outbound], that \
                 it runs, and that a firewall lets this machine reach it"
                .to_owned(),
            Self::Connect { .. } => "check that the address is reachable from this machine (firewall, \
                 route); where only a proxy leads out, set outbound.proxy"
                .to_owned(),
            Self::Login { error, .. } => error.remedy(),
            Self::Refused { status: 403, target, .. } => format!(
                "ask the proxy's owners to allow CONNECT to {target}; in squid, before the rule that denies it \
                 (the first that matches counts): \
                 {}",
                squid_lines(target)
            ),
            Self::Refused { status: 300..=399, target, hint, .. } => format!(
                "the proxy sends to a web page{} to log in or to accept terms, which a mail session cannot show: \
                 ask its owners to exempt this machine, or {target}, from that page",
                host_of_location(hint).map(|host| format!(" at {host}")).unwrap_or_default()
            ),
            Self::Refused { status, .. } => advice::for_proxy_status(*status)?.remedy.to_owned(),
            Self::Socks { refusal, target, .. } => refusal.remedy(target),
            Self::NoSocks { .. } => "check that outbound.proxy names a SOCKS 5 proxy and its port, and look at its \
                 log for this connection"
                .to_owned(),
            Self::Odd { .. } | Self::Broken { .. } => {
                "check that outbound.proxy names an HTTP proxy, and look at its log for this CONNECT".to_owned()
            }
            Self::Early(early) => early.remedy(),
            Self::Tls { remedy, .. } => remedy.clone(),
            Self::Timeout { phase: "TLS", .. } => "something on the way holds the connection: a device that \
                 inspects TLS may not know STARTTLS; ask for a bypass"
                .to_owned(),
            Self::Timeout { target, .. } if target.contains(THROUGH) => "the proxy, or a firewall before it, drops the \
                 packets silently, or the proxy waits for the host: check that it runs and that the scheme (http, https, \
                 socks5h) is what it speaks, and look at its log"
                .to_owned(),
            Self::Timeout { .. } => {
                "a firewall may drop the packets silently; where only a proxy leads out, set outbound.proxy".to_owned()
            }
            Self::Ways(troubles) => return together(troubles),
        };
        Some(remedy)
    }

    fn summary(&self, leg: &str) -> String {
        match self {
            Self::Resolve { hop, .. } | Self::Connect { hop, .. } if is_proxy(hop) => {
                format!("Cannot connect to the proxy ({leg})")
            }
            Self::Resolve { .. } => format!("Cannot resolve the {leg}'s name"),
            Self::Connect { .. } => format!("Cannot connect to the {leg}"),
            Self::Login { hint: None, .. } => format!("No login at the proxy ({leg})"),
            Self::Login { .. } => format!("No login at the proxy (407, {leg})"),
            Self::Refused { status, .. } => format!("The proxy answered {status} ({leg})"),
            Self::Socks { refusal: Refusal::Reply(code), .. } => {
                format!("The proxy answered {code} ({leg})")
            }
            Self::Socks { .. } => format!("The proxy refused the login ({leg})"),
            Self::NoSocks { .. } | Self::Odd { .. } | Self::Broken { .. } => {
                format!("The proxy is out of order ({leg})")
            }
            Self::Early(_) => format!("The proxy broke off the connection ({leg})"),
            Self::Tls { target, .. } if is_proxy(target) => {
                format!("No TLS with the proxy ({leg})")
            }
            Self::Tls { .. } => format!("No TLS with the {leg}"),
            Self::Timeout { target, .. } if target.contains(THROUGH) => {
                format!("The proxy does not answer in time ({leg})")
            }
            Self::Timeout { .. } => format!("The {leg} does not answer in time"),
            // The last one broke the search off, or is as good as any.
            Self::Ways(troubles) => match troubles.last() {
                Some(last) if last.is_verdict() => last.summary(leg),
                _ => format!("No proxy leads to the {leg}"),
            },
        }
    }
}

/// What stands between a target and the proxy on the way to it.
const THROUGH: &str = " through proxy ";

/// Whether a hop is a proxy.
pub(super) fn is_proxy(hop: &str) -> bool {
    hop.starts_with("proxy ")
}

/// The lines of squid.conf that allow a target. The ports come first in squid as shipped, whose
/// rules deny every other; 443 is among those allowed.
fn squid_lines(target: &str) -> String {
    let (host, port) = target.rsplit_once(':').unwrap_or((target, "443"));
    let host = host.trim_matches(['[', ']']);
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "dst" } else { "dstdomain" };
    let ports = match port {
        "443" => String::new(),
        port => format!("acl SSL_ports port {port}; acl Safe_ports port {port}; "),
    };
    format!(
        "{ports}acl mailwicket_hosts {kind} {host}; acl mailwicket_ports port {port}; \
         http_access allow CONNECT mailwicket_hosts mailwicket_ports"
    )
}

/// Where a redirection leads, as far as it names a host.
fn host_of_location(hint: &str) -> Option<&str> {
    let (_, location) = hint.split_once("Location: ")?;
    let (_, rest) = location.split_once("://")?;
    let host = rest.split(['/', '?', '#', ',', ' ']).next()?.rsplit('@').next()?;
    (!host.is_empty()).then_some(host)
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

fn numbered(troubles: &[Trouble]) -> String {
    let each = troubles.iter().enumerate();
    let each: Vec<_> = each.map(|(at, trouble)| format!("({}) {trouble}", at + 1)).collect();
    each.join("; ")
}

/// The remedies by the numbers of their troubles, each told once.
fn together(troubles: &[Trouble]) -> Option<String> {
    let mut told: Vec<(Vec<String>, String)> = Vec::new();
    for (at, trouble) in troubles.iter().enumerate() {
        let Some(remedy) = trouble.remedy() else { continue };
        let number = (at + 1).to_string();
        match told.iter_mut().find(|(_, known)| *known == remedy) {
            Some((numbers, _)) => numbers.push(number),
            None => told.push((vec![number], remedy)),
        }
    }
    let each =
        told.into_iter().map(|(numbers, remedy)| format!("({}) {remedy}", numbers.join(", ")));
    let each: Vec<_> = each.collect();
    (!each.is_empty()).then(|| each.join("; "))
}
