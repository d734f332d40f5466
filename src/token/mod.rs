//! Entra access tokens: asking for them, and keeping them.
//!
//! `grant` writes the requests, [`entra`] reads the answers, `errand` is one question with the
//! credential that works; `slot` is what is known about one identity, [`cache`] serves logins from
//! it, `settle` writes down what was answered, `upkeep` renews ahead of time, [`vault`] keeps
//! what outlives the process, and [`signin`] lets a person sign in where the grant needs one.
//! [`claims`] reads what a token says of itself, [`expiry`] when an app's credential ends. How a
//! request travels is not known here: a [`Courier`] carries it.
//! Decisions rest on the HTTP status and the OAuth `error` field (RFC 6749 section 5.2); AADSTS
//! numbers only choose the words, because Microsoft may change them (two exceptions: see `entra`).
//!
//! Must never know mail, net or session.

pub mod cache;
pub mod claims;
mod clock;
pub mod entra;
mod errand;
pub mod expiry;
mod grant;
mod settle;
mod shelf;
pub mod signin;
mod slot;
#[cfg(test)]
mod tests;
mod upkeep;
pub mod vault;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use secrecy::SecretString;
use thiserror::Error;

use self::clock::Moment;
pub use self::grant::{certificate_end, certificate_fits};
use crate::{
    advice,
    config::{Audience, EntraApp, Grant, IdentitySource},
};

/// Whose token is meant.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The app registration.
    pub app: Arc<EntraApp>,
    /// The user, as typed. Without meaning for client credentials: there the app is the identity.
    pub user: String,
}

impl Identity {
    /// What tokens of this identity are kept under, in memory and in the vault. It is another for
    /// another user, tenant, authority, client, audience, grant or source of a managed identity,
    /// because tokens are; it stays when a secret changes or a table of `proxy.toml` is renamed.
    /// Holds nothing secret.
    pub fn name(&self) -> String {
        let app = &self.app;
        let audience = match &app.audience {
            Audience::Scope(scope) => format!("scope {scope}"),
            Audience::Resource(resource) => format!("resource {resource}"),
        };
        let user = if app.is_app_only() { "" } else { &self.user };
        let user = user.to_ascii_lowercase();
        let tenant = app.tenant.to_ascii_lowercase();
        let grant = match &app.grant {
            Grant::ManagedIdentity { source } => {
                let (IdentitySource::Imds(address)
                | IdentitySource::AppService { endpoint: address, .. }) = source;
                format!("{} {address}", app.grant.name())
            }
            grant => grant.name().to_owned(),
        };
        // The user, who alone is typed by strangers, comes last: no name can be made to look like
        // another's.
        [&*grant, &app.authority, &tenant, &app.client_id, &audience, &user].join("\0")
    }
}

/// How an identity stands, for those who only look.
#[derive(Clone, Debug)]
pub struct IdentityState {
    /// The name of the app's table in `proxy.toml`.
    pub app: String,
    /// The grant's name in `proxy.toml`.
    pub grant: &'static str,
    /// The user, as typed first; `None` where the app is the identity.
    pub user: Option<String>,
    /// How long the present token may still be used; `None` if there is none.
    pub left: Option<Duration>,
    /// How long ago Entra granted it.
    pub age: Option<Duration>,
    /// In a word.
    pub condition: Condition,
    /// Why the last attempt brought no token; `None` after one that did.
    pub trouble: Option<TokenError>,
}

/// An identity's state in a word.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Condition {
    /// There is a token, and nothing is wrong.
    Fresh,
    /// There is no token, and nobody has asked for one lately.
    Idle,
    /// A person must sign in; a token that still lives is served meanwhile.
    NeedsSignIn,
    /// Entra refused the app; a token that still lives is served meanwhile.
    Refused,
    /// Entra could not be asked; a token that still lives is served meanwhile.
    Failing,
}

impl Condition {
    /// The word, as status and metrics write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Idle => "idle",
            Self::NeedsSignIn => "needs_sign_in",
            Self::Refused => "refused",
            Self::Failing => "failing",
        }
    }
}

/// An access token. `Debug` shows no part of it.
#[derive(Clone, Debug)]
pub struct Token {
    secret: Arc<SecretString>,
    /// Tells this token from every other of its slot.
    generation: u64,
    expires: Moment,
}

impl Token {
    /// The token itself, for the one place that sends it.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// Whether it may still be used.
    fn lives(&self, now: Moment) -> bool {
        !self.expires.has_come(now)
    }
}

/// A future that the [`Courier`] returns.
pub type Carried = Pin<Box<dyn Future<Output = Result<reqwest::Response, CourierError>> + Send>>;

/// Carries a letter to Entra and the answer back. Follows no redirect.
pub type Courier = Arc<dyn Fn(Letter) -> Carried + Send + Sync>;

/// A request and the way it takes.
#[derive(Debug)]
pub struct Letter {
    /// The request. Its body holds secrets; reqwest's `Debug` shows no body.
    pub request: reqwest::Request,
    /// How it travels.
    pub way: Way,
}

/// How a letter travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// By the way out that the configuration describes.
    AsConfigured,
    /// Never through a proxy: what answers is the machine's own (a managed identity's endpoint).
    Direct,
}

/// Why there is no answer.
#[derive(Clone, Debug, Error)]
#[error("{what}")]
pub struct CourierError {
    /// What happened, by leg, hop and status.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// A few words for the client.
    pub summary: String,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub enum TokenError {
    /// Entra refused the credential, for good.
    Refused(Refused),
    /// No token now; later there may be one.
    Unavailable {
        /// What happened.
        what: String,
        /// What to do about it.
        remedy: Option<String>,
        /// A few words for the client.
        summary: String,
    },
    /// So many passwords of this user were refused that no more are tried for a while.
    Held,
    /// The grant needs the user's password and there is none.
    NoPassword,
    /// A person must sign in, for the first time or again: `mailwicket sign-in USER`.
    NeedsSignIn {
        /// Who.
        user: String,
        /// What Entra said, where it was asked.
        refused: Option<Refused>,
    },
}

/// What Entra said when it refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The OAuth `error` (RFC 6749 section 5.2).
    pub error: String,
    /// The first sentence of `error_description`.
    pub description: String,
    /// The AADSTS number, for choosing words.
    pub aadsts: Option<u32>,
    /// Whether it was a user's password that was refused, and not the app's own credential.
    pub by_password: bool,
}

impl TokenError {
    /// Whether asking again, unchanged, is pointless. It is not while a person has to sign in, or
    /// others have guessed too often: an administrator signs in, or some minutes pass, and the same
    /// login is right. A permanent refusal would have clients drop the mail that waits for it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether what the client typed was refused, and not the app or its rights.
    pub fn blames_the_password(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.by_password && refused.error == "invalid_grant",
            Self::Held => true,
            Self::Unavailable { .. } | Self::NoPassword | Self::NeedsSignIn { .. } => false,
        }
    }

    /// The AADSTS number, if Entra gave one.
    pub fn aadsts(&self) -> Option<u32> {
        match self {
            Self::Refused(refused) | Self::NeedsSignIn { refused: Some(refused), .. } => {
                refused.aadsts
            }
            _ => None,
        }
    }

    /// What to do, in words for the log.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Refused(Refused { error, description, .. }) => {
                let machine = || advice::for_managed_identity(&format!("{error}: {description}"));
                let advice = self.aadsts().and_then(advice::for_aadsts).or_else(machine);
                advice.map(|advice| advice.remedy.to_owned())
            }
            Self::Unavailable { remedy, .. } => remedy.clone(),
            Self::Held => Some("mend the password in the client; until then Entra is not asked, so that the account is not locked".to_owned()),
            Self::NeedsSignIn { user, .. } => Some(format!("run `mailwicket sign-in {user}` on this machine")),
            Self::NoPassword => Some("this account's app has grant = \"password\": the client must log in".to_owned()),
        }
    }

    /// A few words for the client, without anything secret.
    pub fn client_text(&self) -> String {
        match self {
            Self::Refused(Refused { error, aadsts, .. }) => match aadsts {
                Some(code) => match advice::for_aadsts(*code) {
                    Some(advice) => {
                        format!("Entra refused the login (AADSTS{code}): {}", advice.cause)
                    }
                    None => format!("Entra refused the login (AADSTS{code})"),
                },
                None => format!("Entra refused the login ({error})"),
            },
            Self::Unavailable { summary, .. } => format!("No token now: {summary}"),
            Self::Held => "Too many wrong passwords for this user, wait some minutes".to_owned(),
            Self::NoPassword => "A password is needed".to_owned(),
            Self::NeedsSignIn { .. } => {
                "This account needs a sign-in by its administrator (mailwicket sign-in)".to_owned()
            }
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refused { error, description, .. }) => {
                write!(f, "Entra refused the credential: {error}: {description}")
            }
            Self::Unavailable { what, .. } => write!(f, "no token: {what}"),
            Self::Held => f.write_str(
                "no token: too many passwords of this user were refused in the last minutes",
            ),
            Self::NoPassword => f.write_str("no token: the grant needs the user's password"),
            Self::NeedsSignIn { user, refused: None } => {
                write!(f, "no token: nobody has signed in as {user} yet")
            }
            Self::NeedsSignIn { user, refused: Some(Refused { error, description, .. }) } => {
                write!(f, "no token: {user} must sign in again: {error}: {description}")
            }
        }
    }
}

impl std::error::Error for TokenError {}
