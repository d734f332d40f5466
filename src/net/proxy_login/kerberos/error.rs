//! Why there is no Kerberos ticket for a proxy, and what to do about it.

use thiserror::Error;

/// Why there is no ticket.
#[derive(Debug, Error)]
pub enum KerberosError {
    /// No user is configured, and no ticket cache is there or holds one that lives.
    #[error("no Kerberos ticket: {0}")]
    NoTicket(String),
    /// The user's realm is not known.
    #[error("the Kerberos realm of {user} is not known")]
    NoRealm {
        /// The user of the configuration.
        user: String,
    },
    /// No KDC of the realm answered.
    #[error("no KDC of {realm} answers: {tried}")]
    Unreachable {
        /// The realm.
        realm: String,
        /// Each KDC and what came of it.
        tried: String,
    },
    /// The KDC does not accept the password.
    #[error("the KDC of {realm} does not accept the password of {user}")]
    Password {
        /// The realm.
        realm: String,
        /// The user.
        user: String,
    },
    /// The account is disabled, locked, or expired, or its password is.
    #[error(
        "the KDC of {realm} says that {user}, or its password, is disabled, locked or expired (error {code})"
    )]
    Revoked {
        /// The realm.
        realm: String,
        /// The user.
        user: String,
        /// Its error (RFC 4120 section 7.5.9).
        code: i64,
    },
    /// The KDC does not know the user.
    #[error("the KDC of {realm} does not know {user}")]
    UserUnknown {
        /// The realm.
        realm: String,
        /// The user.
        user: String,
    },
    /// The KDC does not know the proxy.
    #[error("the KDC of {realm} knows no service HTTP/{host}")]
    ServiceUnknown {
        /// The realm.
        realm: String,
        /// The proxy's host.
        host: String,
    },
    /// The clocks differ.
    #[error("the clock here and that of the KDC of {realm} differ by {seconds} s")]
    Skew {
        /// The realm.
        realm: String,
        /// By how much, without sign.
        seconds: u64,
    },
    /// Neither side has an encryption that the other takes.
    #[error(
        "no common encryption with {0}: only AES with SHA-1 (aes256-cts, aes128-cts) is spoken here"
    )]
    Encryption(String),
    /// The KDC said something else.
    #[error("the KDC of {realm} refused with error {code}{}", behind(.text))]
    Kdc {
        /// The realm.
        realm: String,
        /// Its error (RFC 4120 section 7.5.9).
        code: i64,
        /// Its words.
        text: String,
    },
    /// The KDC's answer makes no sense.
    #[error("the KDC of {realm} gave an answer that makes no sense: {what}")]
    Odd {
        /// The realm.
        realm: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The proxy does not take the ticket.
    #[error("the proxy does not accept the ticket for HTTP/{host}")]
    TicketRefused {
        /// The proxy's host.
        host: String,
    },
    /// This machine cannot make random numbers, or encrypt.
    #[error("{0}")]
    Machine(String),
}

impl KerberosError {
    /// Whether it is user and password that were refused: then nothing else is tried with them.
    pub(in super::super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Password { .. } | Self::Revoked { .. })
    }

    /// What to do, in words for the log.
    pub fn remedy(&self) -> String {
        let fixed = match self {
            Self::NoTicket(_) => {
                "set username and password in [outbound], or keep a ticket in a file (kinit or k5start, KRB5CCNAME=FILE:PATH) that this process may read"
            }
            Self::NoRealm { .. } => {
                "write outbound.username as user@REALM, or set default_realm in /etc/krb5.conf"
            }
            Self::Unreachable { realm, .. } => {
                return format!(
                    "name the KDCs of {realm} under [realms] in /etc/krb5.conf and let this machine reach them on TCP port 88; \
                     where that is not to be, set outbound.proxy_auth to another scheme"
                );
            }
            Self::Password { .. } => "mend username and password of [outbound]",
            Self::Revoked { .. } => {
                "have the account unlocked or its password renewed, and mend [outbound]"
            }
            Self::UserUnknown { .. } => {
                "mend outbound.username: user@REALM, by the name it has in the domain"
            }
            Self::ServiceUnknown { host, .. } => {
                return format!(
                    "name the proxy in outbound.proxy by the full name that its service account has (HTTP/{host} is not registered)"
                );
            }
            Self::Skew { .. } => "set the clocks; Kerberos takes up to five minutes",
            Self::Encryption(_) => {
                "enable AES for the account and the proxy's service account; RC4 is not spoken"
            }
            Self::TicketRefused { .. } => {
                "check the proxy's keytab and its clock, and that outbound.proxy names it as its service account does"
            }
            Self::Kdc { .. } | Self::Odd { .. } | Self::Machine(_) => {
                "look at the KDC's log; trying again may help"
            }
        };
        fixed.to_owned()
    }
}

fn behind(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}
