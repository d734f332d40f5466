//! A person signs in, once, and the vault keeps what comes of it.
//!
//! [`SignIn::by_device`] is the device authorization grant (RFC 8628), [`SignIn::by_browser`] the
//! authorization code grant for native apps (RFC 6749 section 4.1, RFC 8252) with PKCE (RFC 7636).
//! Both end alike: the id token tells who signed in, and only if that is the one who was meant are
//! the tokens sealed in the vault.
//!
//! Must never know: terminals, sockets, or where an address that was pasted came from.

mod arrival;
mod browser;
mod device;
mod errand;
mod error;
#[cfg(test)]
mod tests;
mod who;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::SystemTime,
};

use reqwest::Client;
use tokio::task;
use tracing::info;

pub use self::{
    arrival::{Arrival, Verdict},
    error::SignInError,
};
use super::{
    Courier, Identity,
    entra::Granted,
    vault::{Kept, KeptAccess, Vault, VaultError},
};
use crate::config::{Audience, EntraApp};

/// What the person is told on the way. Holds nothing secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Entra's own words: which page to open, and which code to type there.
    Device(String),
    /// The URL to open in a browser.
    Browser(String),
    /// No usable answer for the moment; it is tried again.
    Trouble(String),
    /// What was pasted is not what is waited for, and why.
    NotIt(String),
}

/// One sign-in.
pub struct SignIn<'a> {
    courier: &'a Courier,
    vault: &'a Arc<Vault>,
    identity: &'a Identity,
    meant: &'a [String],
    show: &'a (dyn Fn(Notice) + Send + Sync),
    http: Client,
    /// Which of the app's credentials Entra took last.
    credential: AtomicUsize,
}

/// How it ended, if well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedIn {
    /// Who signed in, as Entra calls them.
    pub who: String,
}

impl<'a> SignIn<'a> {
    /// A sign-in for this identity by one of those who are `meant`, compared without regard to
    /// case. `show` is called with what the person must know.
    pub fn new(
        courier: &'a Courier,
        vault: &'a Arc<Vault>,
        identity: &'a Identity,
        meant: &'a [String],
        show: &'a (dyn Fn(Notice) + Send + Sync),
    ) -> Self {
        let (http, credential) = (Client::new(), AtomicUsize::new(0));
        Self { courier, vault, identity, meant, show, http, credential }
    }

    fn app(&self) -> &EntraApp {
        &self.identity.app
    }

    /// The app's scope, and what tells who signed in and brings a refresh token.
    fn scope(&self) -> String {
        let mut scope = match &self.app().audience {
            Audience::Scope(scope) => scope.clone(),
            Audience::Resource(resource) => format!("{resource}/.default"),
        };
        for more in ["openid", "profile", "offline_access"] {
            if !scope.split_whitespace().any(|word| word == more) {
                scope.push(' ');
                scope.push_str(more);
            }
        }
        scope
    }

    /// Looks who signed in, and keeps the tokens if it is the one who was meant.
    async fn settle(&self, granted: Granted, nonce: Option<&str>) -> Result<SignedIn, SignInError> {
        let names = who::names(granted.id_token.as_ref(), &self.app().client_id, nonce)?;
        let is_meant =
            |name: &String| self.meant.iter().any(|meant| meant.eq_ignore_ascii_case(name));
        let Some(who) = names.iter().find(|name| is_meant(name)) else {
            let who = names.into_iter().next().unwrap_or_default();
            return Err(SignInError::SomebodyElse { who, meant: self.meant.join(" or ") });
        };
        let Some(refresh) = granted.refresh else {
            return Err(SignInError::NoRefreshToken);
        };
        let now = SystemTime::now();
        let access =
            KeptAccess { secret: granted.access, granted: now, expires: now + granted.life };
        let kept = Kept { access: Some(access), refresh: Some(refresh), accepted: None };
        let (vault, name) = (Arc::clone(self.vault), self.identity.name());
        let sealed = task::spawn_blocking(move || vault.keep(&name, &kept)).await;
        sealed.unwrap_or_else(|_| {
            let (what, remedy) = ("the vault was not written".to_owned(), "try again".to_owned());
            Err(VaultError { what, remedy })
        })?;
        info!(
            event = "signed_in",
            app = self.app().name,
            user = self.identity.user,
            who,
            "signed in"
        );
        Ok(SignedIn { who: who.clone() })
    }
}
