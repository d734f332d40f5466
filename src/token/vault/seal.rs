//! How the vault's bytes look.
//!
//! ```text
//! "mailwicket vault"  version  nonce      ciphertext and tag
//!  16 octets          1        24 octets  the entries as JSON, XChaCha20-Poly1305
//! ```
//!
//! (draft-irtf-cfrg-xchacha-03.) Magic and version are authenticated with the ciphertext. The nonce
//! is drawn anew for each write; 24 octets are enough for random ones never to meet. The JSON is
//! strict: a later form has a later version. Plaintext is wiped.
//!
//! Must never know: files and clocks.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, SystemTime},
};

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Accepted, Kept, KeptAccess, MOST, VaultError, key::Key};

const MAGIC: &[u8; 16] = b"mailwicket vault";
const VERSION: u8 = 1;
const HEADER: usize = MAGIC.len() + 1;
const NONCE: usize = 24;
const TAG: usize = 16;

/// All that is kept, by name.
pub(super) type Entries = BTreeMap<String, Entry>;

/// What is kept for one identity, and since when.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    kept_at: SystemTime,
    access: Option<Access>,
    refresh: Option<Secret>,
    accepted: Option<Hash>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Access {
    secret: Secret,
    granted: SystemTime,
    expires: SystemTime,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Hash {
    hash: String,
    at: SystemTime,
}

/// A secret that may be written, here and nowhere else.
#[derive(Deserialize)]
#[serde(transparent)]
struct Secret(SecretString);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl Entry {
    pub(super) fn new(kept: Kept, now: SystemTime) -> Self {
        Self {
            kept_at: now,
            access: kept.access.map(|KeptAccess { secret, granted, expires }| Access {
                secret: Secret(secret),
                granted,
                expires,
            }),
            refresh: kept.refresh.map(Secret),
            accepted: kept.accepted.map(|Accepted { hash, at }| Hash { hash, at }),
        }
    }

    pub(super) fn into_kept(self) -> Kept {
        Kept {
            access: self.access.map(|Access { secret: Secret(secret), granted, expires }| {
                KeptAccess { secret, granted, expires }
            }),
            refresh: self.refresh.map(|Secret(secret)| secret),
            accepted: self.accepted.map(|Hash { hash, at }| Accepted { hash, at }),
        }
    }

    pub(super) fn is_older(&self, age: Duration, now: SystemTime) -> bool {
        now.duration_since(self.kept_at).is_ok_and(|old| old > age)
    }
}

/// Why bytes are no vault that this key opens. Follows "the vault FILE" in a sentence.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Broken {
    /// It ends before anything could be in it.
    #[error("is cut short")]
    Truncated,
    /// It does not begin as a vault does.
    #[error("is no vault of mailwicket")]
    Foreign,
    /// Its form is none that this program knows.
    #[error("has version {0}, and this mailwicket reads version {VERSION}")]
    Version(u8),
    /// The tag is wrong. Which of the two it is cannot be told.
    #[error("does not open with this key: the key is another vault's, or the file is damaged")]
    Sealed,
    /// The tag is right, and the content is not what this version writes.
    #[error("opens, and holds what this mailwicket does not understand")]
    Content,
}

impl Broken {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Truncated => "restore it, or move it away and sign in again",
            Self::Foreign => "correct `path` in [vault], or move that file away",
            Self::Version(_) | Self::Content => {
                "run the mailwicket that wrote it, or move it away and sign in again"
            }
            Self::Sealed => {
                "restore the key that belongs to it, or the file; or move the vault away and sign in again"
            }
        }
    }
}

/// Whether these bytes claim to be a vault that this program reads.
pub(super) fn recognise(bytes: &[u8]) -> Result<(), Broken> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(Broken::Foreign);
    }
    match bytes.get(MAGIC.len()) {
        Some(&version) if version != VERSION => Err(Broken::Version(version)),
        _ if bytes.len() < HEADER + NONCE + TAG => Err(Broken::Truncated),
        _ => Ok(()),
    }
}

/// What is in these bytes.
pub(super) fn open(key: &Key, bytes: &[u8]) -> Result<Entries, Broken> {
    recognise(bytes)?;
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or(Broken::Truncated)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE).ok_or(Broken::Truncated)?;
    let nonce = XNonce::try_from(nonce).map_err(|_| Broken::Truncated)?;
    let mut text = Zeroizing::new(sealed.to_vec());
    cipher(key).decrypt_in_place(&nonce, header, &mut *text).map_err(|_| Broken::Sealed)?;
    // The parser's own words would quote what it read.
    serde_json::from_slice(&text).map_err(|_| Broken::Content)
}

/// The bytes of a vault that holds this.
pub(super) fn seal(key: &Key, entries: &Entries) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(no_randomness)?;
    let mut header = [VERSION; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);

    // Counted first: a buffer that grows would leave its old places behind unwiped.
    let mut count = Count(0);
    write(entries, &mut count)?;
    if HEADER + NONCE + count.0 + TAG > MOST {
        return Err(VaultError {
            what: format!("the vault would be over {} MiB", MOST >> 20),
            remedy: "share the users between several mailwickets".to_owned(),
        });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(count.0 + TAG));
    write(entries, &mut *text)?;
    let sealed = cipher(key).encrypt_in_place(&XNonce::from(nonce), &header, &mut *text);
    sealed.map_err(|_| unwritable("its cipher fails"))?;
    Ok([header.as_slice(), &nonce, &text].concat())
}

pub(super) fn no_randomness(error: getrandom::Error) -> VaultError {
    VaultError {
        what: format!("the operating system gives no random bytes for the vault: {error}"),
        remedy: "look to the operating system".to_owned(),
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.octets().into())
}

fn write(entries: &Entries, to: impl Write) -> Result<(), VaultError> {
    serde_json::to_writer(to, entries).map_err(|_| unwritable("a time in it is before 1970"))
}

fn unwritable(why: &str) -> VaultError {
    VaultError {
        what: format!("the vault's content cannot be written: {why}"),
        remedy: "set this machine's clock".to_owned(),
    }
}

/// How much would be written.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 += piece.len();
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
