//! The vault and the hashing of passwords, for async callers: both block, so both run aside.
//!
//! Must never know what an entry means, or when one is needed.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::{
    sync::Semaphore,
    task::{self, JoinError},
};
use tokio_util::task::TaskTracker;
use tracing::error;

use super::vault::{Kept, Vault, VaultError};
use crate::secret;

/// Hashes at a time: each takes 19 MiB and a core.
const HASHES: usize = 2;

/// Where tokens are kept; without a vault, nowhere.
pub(super) struct Shelf {
    vault: Option<Arc<Vault>>,
    tasks: TaskTracker,
    hashes: Arc<Semaphore>,
}

/// What is in the vault after a change.
pub(super) enum Left {
    /// What was to be kept.
    Ours,
    /// What was there, which was to be spared.
    Theirs(Kept),
    /// What was there, for all that is known: it could not be written.
    Unknown,
}

impl Shelf {
    pub(super) fn new(vault: Option<Arc<Vault>>, tasks: TaskTracker) -> Self {
        Self { vault, tasks, hashes: Arc::new(Semaphore::new(HASHES)) }
    }

    /// Whether anything is kept at all.
    pub(super) fn is_there(&self) -> bool {
        self.vault.is_some()
    }

    /// What the vault keeps under this name. An error is logged here, with its remedy.
    pub(super) async fn kept(&self, name: &str) -> Result<Option<Kept>, VaultError> {
        let Some(vault) = self.vault.clone() else {
            return Ok(None);
        };
        let name = name.to_owned();
        let read = self.tasks.spawn_blocking(move || vault.kept(&name)).await;
        let kept = read.unwrap_or_else(|error| Err(broke_off(&error)));
        kept.inspect_err(|VaultError { what, remedy }| {
            error!(event = "vault_unreadable", what, remedy, "the vault cannot be read");
        })
    }

    /// Keeps this: on disk when it returns. Where that fails the log says so and things go on:
    /// Entra leaves the refresh token before valid, so nothing but a restart is worse for it.
    pub(super) async fn keep(&self, name: &str, kept: Kept) {
        let _unread = self.keep_unless(name, kept, |_| false).await;
    }

    /// Keeps nothing under this name any more.
    pub(super) async fn forget(&self, name: &str) {
        self.write(name, Vault::forget).await;
    }

    /// As [`keep`](Self::keep), unless what is there by now is to be spared: nobody else writes between the look
    /// and the deed.
    pub(super) async fn keep_unless(
        &self,
        name: &str,
        kept: Kept,
        is_spared: impl FnOnce(&Kept) -> bool + Send + 'static,
    ) -> Left {
        let mut spared = None;
        let written = self.write(name, move |vault, name| {
            vault.change(name, |old| {
                spared = old.filter(is_spared);
                Some(spared.clone().unwrap_or(kept))
            })?;
            Ok(spared)
        });
        match written.await {
            None => Left::Unknown,
            Some(None) => Left::Ours,
            Some(Some(theirs)) => Left::Theirs(theirs),
        }
    }

    /// Changes the vault; `None` where that failed, which is in the log then, or without a vault.
    async fn write<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Vault, &str) -> Result<T, VaultError> + Send + 'static,
    ) -> Option<T> {
        let vault = self.vault.clone()?;
        let name = name.to_owned();
        let written = self.tasks.spawn_blocking(move || work(&vault, &name)).await;
        let written = written.unwrap_or_else(|error| Err(broke_off(&error)));
        let logged = written.inspect_err(|VaultError { what, remedy }| {
            error!(
                event = "vault_unwritable",
                what,
                remedy,
                "the vault cannot be written: what it holds grows old, and a restart begins with that"
            );
        });
        logged.ok()
    }

    /// The argon2id hash of a password, or none if hashing broke.
    pub(super) async fn hash(&self, password: &SecretString) -> Option<String> {
        let password = password.clone();
        self.aside(move || secret::hash_password(&password)).await
    }

    /// Whether the password is the one that was hashed.
    pub(super) async fn matches(&self, hash: String, password: &SecretString) -> bool {
        let password = password.clone();
        self.aside(move || secret::verify_password(&hash, &password)).await.unwrap_or(false)
    }

    /// The permit goes with the work: who hangs up meanwhile does not make room for more of it. It
    /// is none of `tasks`: at the end of the process nobody waits for a hash but who needs it.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.hashes).acquire_owned().await.ok()?;
        let work = task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        work.await.ok()
    }
}

fn broke_off(error: &JoinError) -> VaultError {
    VaultError {
        what: format!("work on the vault broke off: {error}"),
        remedy: "this is a bug; please report it".to_owned(),
    }
}
