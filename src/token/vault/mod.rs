//! Tokens that outlive the process, in one encrypted file.
//!
//! Refresh tokens, and access tokens with them, so that a restart while Entra is out of order
//! costs no mail. `seal` says how the file looks, `key` where the key comes from, `file` how bytes
//! are replaced so that a crash leaves the old ones or the new ones.
//!
//! The file is read anew at each look, and under a lock for each change, so that
//! `mailwicket sign-in` may write beside a running daemon and neither loses what the other wrote.
//! What does not open is refused and never overwritten. The key is the vault's own and never a
//! password of anybody who logs in. Everything here blocks, on the disk and up to [`PATIENCE`] on
//! the lock: not for an async thread.
//!
//! Must never know: Entra, when a token is needed, or what a client typed.

mod file;
mod key;
mod seal;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use secrecy::SecretString;
use thiserror::Error;

use self::{
    key::Key,
    seal::{Entries, Entry},
};
use crate::config::{VaultFiles, VaultKey};

pub use self::seal::Broken;

/// How long another process may hold the lock before it is an error.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// What has not been kept anew for so long is dropped at the next [`Vault::keep`]: a refresh token
/// dies when it lies unused for 90 days. A clock that is wrong by so much gets no token that could
/// be kept, because TLS fails by it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(100 * 86_400);
/// The largest vault, in octets: some thousand identities. It is read and written as a whole.
const MOST: usize = 16 << 20;
/// How long the lock is left alone between two writes, so that other processes come to theirs.
const PAUSE: Duration = file::LOOK_AGAIN.saturating_mul(3);

/// The file and its key. May be shared by threads.
pub struct Vault {
    path: PathBuf,
    lock: PathBuf,
    key: Key,
    patience: Duration,
    /// Held by the thread that changes the file. When the lock was let go last.
    turn: Mutex<Option<Instant>>,
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

/// A password that Entra accepted, as an argon2id hash. `Debug` shows no part of it.
#[derive(Clone)]
pub struct Accepted {
    /// The PHC string.
    pub hash: String,
    /// When Entra accepted it.
    pub at: SystemTime,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("at", &self.at).finish_non_exhaustive()
    }
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
    /// Opens the vault, or makes it, and the key file with it. Finds out whether it can be written.
    ///
    /// A file that is truncated, foreign or sealed with another key is refused, and never
    /// overwritten. Where there is a vault and its key file is missing, no new key is made.
    pub fn open(files: &VaultFiles) -> Result<Self, VaultError> {
        Self::open_within(files, PATIENCE)
    }

    fn open_within(files: &VaultFiles, patience: Duration) -> Result<Self, VaultError> {
        // A link is followed once, here: replacing a file would replace the link.
        let path = fs::canonicalize(&files.path).unwrap_or_else(|_| files.path.clone());
        let lock = file::beside(&path, ".lock");
        if let VaultKey::File(key) = &files.key {
            let key = fs::canonicalize(key).unwrap_or_else(|_| key.clone());
            if [&path, &lock, &file::beside(&path, file::STAGED)].contains(&&key) {
                return Err(VaultError {
                    what: format!("{} is both the vault's and its key's", key.display()),
                    remedy: "give the key a file of its own".to_owned(),
                });
            }
        }
        file::is_there(&path)?; // before a lock is made beside what is no vault
        let _held = file::lock(&lock, &path, Instant::now() + patience)?;
        let sealed = file::read(&path, MOST as u64)?;
        if let Some(sealed) = &sealed {
            seal::recognise(sealed).map_err(|broken| refused(&path, broken))?;
        }
        let key = Key::find(&files.key, sealed.as_ref().map(|_| path.as_path()))?;
        if let Some(sealed) = sealed {
            seal::open(&key, &sealed).map_err(|broken| refused(&path, broken))?;
            file::probe(&path, &sealed)?;
        } else {
            file::replace(&path, &seal::seal(&key, &Entries::new())?)?;
        }
        Ok(Self { path, lock, key, patience, turn: Mutex::default() })
    }

    /// What is kept under this name. Does not wait for those who write.
    pub fn kept(&self, name: &str) -> Result<Option<Kept>, VaultError> {
        Ok(self.entries()?.remove(name).map(Entry::into_kept))
    }

    /// The names under which something is kept, sorted.
    pub fn names(&self) -> Result<Vec<String>, VaultError> {
        Ok(self.entries()?.into_keys().collect())
    }

    /// Keeps this under the name, in place of what was there: on disk when it returns.
    pub fn keep(&self, name: &str, kept: &Kept) -> Result<(), VaultError> {
        self.change(name, |_| Some(kept.clone()))
    }

    /// Keeps nothing under the name any more. Whether there was something.
    pub fn forget(&self, name: &str) -> Result<bool, VaultError> {
        let mut was = false;
        self.change(name, |old| {
            was = old.is_some();
            None
        })?;
        Ok(was)
    }

    /// Looks at what is kept under the name and decides, in one step, what shall be kept: nobody
    /// else writes between. On disk when it returns.
    pub fn change(
        &self,
        name: &str,
        decide: impl FnOnce(Option<Kept>) -> Option<Kept>,
    ) -> Result<(), VaultError> {
        self.change_at(SystemTime::now(), name, decide)
    }

    fn change_at(
        &self,
        now: SystemTime,
        name: &str,
        decide: impl FnOnce(Option<Kept>) -> Option<Kept>,
    ) -> Result<(), VaultError> {
        let until = Instant::now() + self.patience;
        let mut last = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rest) = last.and_then(|last| PAUSE.checked_sub(last.elapsed())) {
            thread::sleep(rest);
        }
        let held = file::lock(&self.lock, &self.path, until)?;
        let changed = self.change_locked(now, name, decide);
        drop(held);
        *last = Some(Instant::now());
        changed
    }

    fn change_locked(
        &self,
        now: SystemTime,
        name: &str,
        decide: impl FnOnce(Option<Kept>) -> Option<Kept>,
    ) -> Result<(), VaultError> {
        let mut entries = self.entries()?;
        let old = entries.remove(name).map(Entry::into_kept);
        let was = old.is_some();
        match decide(old) {
            Some(kept) => {
                entries.retain(|_, entry| !entry.is_older(FORGOTTEN_AFTER, now));
                entries.insert(name.to_owned(), Entry::new(kept, now));
            }
            None if was => {}
            None => return Ok(()),
        }
        file::replace(&self.path, &seal::seal(&self.key, &entries)?)
    }

    fn entries(&self) -> Result<Entries, VaultError> {
        let Some(sealed) = file::read(&self.path, MOST as u64)? else {
            return Err(VaultError {
                what: format!("the vault {} is gone since it was opened", self.path.display()),
                remedy: "restore it, or restart mailwicket to begin a new one".to_owned(),
            });
        };
        seal::open(&self.key, &sealed).map_err(|broken| refused(&self.path, broken))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What is kept in a vault of these bytes, by name. Touches no file.
pub fn open_bytes(key: [u8; 32], bytes: &[u8]) -> Result<HashMap<String, Kept>, Broken> {
    let entries = seal::open(&key.into(), bytes)?;
    Ok(entries.into_iter().map(|(name, entry)| (name, entry.into_kept())).collect())
}

fn refused(path: &Path, broken: Broken) -> VaultError {
    VaultError {
        what: format!("the vault {} {broken}; it is left as it is", path.display()),
        remedy: broken.remedy().to_owned(),
    }
}
