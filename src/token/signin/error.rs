//! Why a sign-in failed: what happened and what to do, with nothing secret in it.

use thiserror::Error;

use super::super::{Refused, vault::VaultError};
use crate::advice;

/// Why nobody is signed in. Nothing was stored.
#[derive(Debug, Error)]
pub enum SignInError {
    /// Entra said no, for good.
    #[error("Entra refused the sign-in: {}: {}", .0.error, .0.description)]
    Refused(Refused),
    /// The user, or the tenant for the user, said no on the page.
    #[error("the sign-in was declined: {0}")]
    Declined(String),
    /// The time was over before anybody had signed in.
    #[error("the sign-in has expired before it was completed{}", after(.trouble.as_deref()))]
    Expired {
        /// What was in the way last, if anything.
        trouble: Option<String>,
    },
    /// Somebody signed in who was not meant.
    #[error("{who} signed in, but {meant} was meant; nothing was stored")]
    SomebodyElse {
        /// Who signed in.
        who: String,
        /// Who was meant.
        meant: String,
    },
    /// Nobody can tell who signed in.
    #[error("it cannot be told who signed in: {0}; nothing was stored")]
    Nobody(&'static str),
    /// Without one, the sign-in would be over within the hour.
    #[error("Entra gave no refresh token; nothing was stored")]
    NoRefreshToken,
    /// No usable answer, or no way to one.
    #[error("no sign-in now: {what}")]
    Unavailable {
        /// What happened.
        what: String,
        /// What to do about it.
        remedy: Option<String>,
    },
    /// The tokens cannot be kept.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl SignInError {
    /// What to do, in words.
    pub fn remedy(&self) -> Option<String> {
        let known = |code: Option<u32>| {
            code.and_then(advice::for_aadsts).map(|advice| advice.remedy.to_owned())
        };
        let words = match self {
            Self::Refused(refused) => return known(refused.aadsts),
            Self::Unavailable { remedy, .. } => return remedy.clone(),
            Self::Vault(error) => return Some(error.remedy.clone()),
            Self::Declined(_) => {
                "start again and accept on the page; where the organisation lets users accept \
                 nothing, have an administrator press \"Grant admin consent\" in the app registration"
            }
            Self::Expired { .. } => "start again; the code works for some minutes only",
            Self::SomebodyElse { meant, .. } => {
                return Some(format!(
                    "start again and sign in as {meant}; a private browser window forgets who was \
                     signed in before"
                ));
            }
            Self::Nobody(_) => {
                "have an administrator consent to openid and profile in the app registration, and \
                 start again"
            }
            Self::NoRefreshToken => {
                "have an administrator consent to offline_access in the app registration, and start \
                 again"
            }
        };
        Some(words.to_owned())
    }
}

fn after(trouble: Option<&str>) -> String {
    trouble.map(|trouble| format!(" (at last: {trouble})")).unwrap_or_default()
}
