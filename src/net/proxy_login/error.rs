//! Why a proxy does not let us in, and what to do about it.

use std::fmt;

use thiserror::Error;

use super::{Scheme, dance::ROUNDS, kerberos::KerberosError};

/// Why there is no login at a proxy. Completes "proxy ... answered 407 ...:".
#[derive(Debug, Error)]
pub enum LoginError {
    /// It wants one, and there is nothing to log in with.
    #[error("it wants a login{}", by(.offered))]
    Wanted {
        /// The schemes it offers.
        offered: Vec<String>,
    },
    /// It has refused user and password.
    #[error("it does not accept user and password by {scheme}")]
    Refused {
        /// By which scheme they were sent.
        scheme: Scheme,
    },
    /// The domain's Kerberos server has refused user and password.
    #[error("no login by Negotiate: {0}")]
    RefusedByKdc(KerberosError),
    /// User and password were refused a while ago, and are not tried again yet.
    #[error(
        "user and password {} by {scheme}; not tried again for {seconds} s, so that the account is not locked",
        met(.said)
    )]
    Paused {
        /// By which scheme they were sent.
        scheme: Scheme,
        /// Whether they were refused; else there was no answer to them.
        said: bool,
        /// How long it will yet be.
        seconds: u64,
    },
    /// It was not asked, because another proxy has just refused its user's password.
    #[error(
        "not asked: {by} has refused user and password, and each attempt counts towards a lockout"
    )]
    SameUser {
        /// `host:port` of the other proxy.
        by: String,
    },
    /// It does not offer the scheme that the configuration names.
    #[error("it does not offer {scheme}, but{}", by(.offered))]
    NotOffered {
        /// The scheme of the configuration.
        scheme: Scheme,
        /// The schemes it offers.
        offered: Vec<String>,
    },
    /// Nothing of what it offers can be had.
    #[error("{}", told(.obstacles, .offered))]
    NoWay {
        /// The schemes it offers.
        offered: Vec<String>,
        /// What stands in the way of each that was tried.
        obstacles: Vec<Obstacle>,
    },
    /// It closed the connection that the login is bound to.
    #[error("it closed the connection in the middle of the login by {scheme}")]
    BrokeOff {
        /// The scheme.
        scheme: Scheme,
        /// Whether the proof of the password was out.
        proof: bool,
    },
    /// It asked again and again.
    #[error("the login came to no end in {ROUNDS} rounds")]
    Endless,
}

impl LoginError {
    /// Whether it is user and password that were refused, or probably.
    pub(in crate::net) fn is_of_password(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::RefusedByKdc(_)
                | Self::Paused { .. }
                | Self::BrokeOff { proof: true, .. }
        )
    }

    /// Whether nothing was said about user and password: another proxy may do better.
    pub(in crate::net) fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Paused { said: false, .. } | Self::BrokeOff { proof: false, .. } | Self::Endless
        )
    }

    /// What to do, in words for the log.
    pub fn remedy(&self) -> String {
        let fixed = match self {
            Self::Wanted { offered } => {
                let ticket = if offered.iter().any(|one| one.eq_ignore_ascii_case("Negotiate")) {
                    ", or give this process a Kerberos ticket (KRB5CCNAME)"
                } else {
                    ""
                };
                return format!("set username and password in [outbound]{ticket}");
            }
            Self::RefusedByKdc(error) => return error.remedy(),
            Self::NoWay { obstacles, .. } if !obstacles.is_empty() => {
                let each: Vec<_> =
                    obstacles.iter().map(|one| format!("{}: {}", one.scheme, one.remedy)).collect();
                return each.join("; ");
            }
            Self::Paused { said: false, .. } => {
                "the proxy may be slow, or may not answer a wrong login: check username and password of [outbound], and look at the proxy's log"
            }
            Self::BrokeOff { proof: true, .. } => {
                "most likely user and password are wrong (some proxies close instead of answering): mend them; else look at the proxy's log"
            }
            Self::Refused { scheme: Scheme::Ntlm } | Self::Paused { scheme: Scheme::Ntlm, .. } => {
                "mend username and password of [outbound]; a domain goes in front, as in DOMAIN\\user. A proxy that demands channel bindings (EPA) refuses too"
            }
            Self::SameUser { .. } => "mend username and password of [outbound], and check again",
            Self::Refused { .. } | Self::Paused { .. } => {
                "the proxy does not accept username and password of [outbound]: mend them"
            }
            Self::NotOffered { .. } => {
                "set outbound.proxy_auth = \"auto\", or to a scheme that the proxy offers"
            }
            Self::NoWay { .. } => {
                "mailwicket speaks Negotiate, NTLM, Digest and Basic: ask for one of them, or for a rule without login"
            }
            Self::BrokeOff { .. } | Self::Endless => {
                "trying again may help; if not, look at the proxy's log, or set another outbound.proxy_auth"
            }
        };
        fixed.to_owned()
    }
}

/// Why a scheme could not be used. None of these has cost an attempt with the password.
#[derive(Debug)]
pub struct Obstacle {
    /// The scheme.
    pub scheme: Scheme,
    /// What is missing or wrong.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.scheme, self.cause)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as thiserror hands it over
fn met(said: &bool) -> &'static str {
    if *said { "were refused" } else { "got no answer" }
}

fn by(offered: &[String]) -> String {
    if offered.is_empty() {
        " of no kind that it names".to_owned()
    } else {
        format!(" by {}", offered.join(", "))
    }
}

fn told(obstacles: &[Obstacle], offered: &[String]) -> String {
    let each: Vec<_> = obstacles.iter().map(Obstacle::to_string).collect();
    let offer = match offered {
        [] => "no login can be had".to_owned(),
        all => format!("it takes only {}, and none of it can be had", all.join(", ")),
    };
    if each.is_empty() { offer } else { format!("{offer}: {}", each.join("; ")) }
}
