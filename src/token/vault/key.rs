//! The vault's key: 32 octets in base64, on one line.
//!
//! A key file is made once, and never where a vault waits for the key that is lost. Two processes
//! that make it at the same time agree on the one that came first. Who may read the file besides
//! its owner is the configuration's to judge.
//!
//! Must never know: what the key opens.

use std::path::Path;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{VaultError, file, seal::no_randomness};
use crate::config::VaultKey;

/// `openssl rand -base64 32` writes padding, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The longest key file that is read, in octets.
const MOST: u64 = 1024;

/// A key. Wiped on drop.
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// The key that the configuration names. A key file that is absent is made, unless `vault`, which
    /// is sealed already, shows that there has been one.
    pub(super) fn find(source: &VaultKey, vault: Option<&Path>) -> Result<Self, VaultError> {
        let path = match source {
            VaultKey::Value(text) => {
                let from = "the vault's key in the configuration";
                return Self::parse(text.expose_secret().as_bytes(), from);
            }
            VaultKey::File(path) => path,
        };
        let text = match (file::read(path, MOST)?, vault) {
            (Some(text), _) => text,
            (None, Some(vault)) => {
                return Err(VaultError {
                    what: format!(
                        "the key file {} is missing, and the vault {} is sealed with it",
                        path.display(),
                        vault.display()
                    ),
                    remedy: "restore it, or move the vault away and sign in again".to_owned(),
                });
            }
            (None, None) => {
                make(path)?;
                file::read(path, MOST)?.unwrap_or_default()
            }
        };
        Self::parse(&text, &format!("the key file {}", path.display()))
    }

    pub(super) fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &[u8], from: &str) -> Result<Self, VaultError> {
        let wrong = |why: &str| VaultError {
            what: format!("{from} is no key: {why}"),
            remedy:
                "restore the key; a new one, for a new vault, comes from `openssl rand -base64 32`"
                    .to_owned(),
        };
        if text.trim_ascii().is_empty() {
            return Err(wrong("it is empty"));
        }
        let octets = BASE64.decode(text.trim_ascii()).map(Zeroizing::new);
        let octets = octets.map_err(|_| wrong("it is not one line of base64"))?;
        let mut key = Zeroizing::new([0; 32]);
        if octets.len() != key.len() {
            return Err(wrong(&format!("it has {} octets and not 32", octets.len())));
        }
        if octets.iter().all(|octet| *octet == octets[0]) {
            return Err(wrong("all its octets are the same"));
        }
        key.copy_from_slice(&octets);
        Ok(Self(key))
    }
}

impl From<[u8; 32]> for Key {
    fn from(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }
}

fn make(path: &Path) -> Result<(), VaultError> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(no_randomness)?;
    let text = Zeroizing::new(BASE64.encode(*key));
    let line = Zeroizing::new([text.as_bytes(), b"\n"].concat());
    if file::create(path, &line)? {
        tracing::info!(
            event = "vault_key_made",
            file = %path.display(),
            "made the vault's key; a backup of the vault needs it"
        );
    }
    Ok(())
}
