//! How a password is remembered without being kept.
//!
//! [`Fingerprints`] makes keyed hashes under a key that lives and dies with the process: enough to
//! recognise a password that was right a few minutes ago, useless to anyone who finds them.
//! Passwords themselves travel as [`secrecy::SecretString`], whose `Debug` prints nothing and
//! which is wiped on drop.
//!
//! [`hash_password`] makes the argon2id hash that a configuration holds (RFC 9106), and
//! [`verify_password`] checks one.
//!
//! Must never know: what a password is for, and the clock.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Makes and compares keyed hashes of passwords.
pub struct Fingerprints {
    keyed: Hmac<Sha256>,
}

/// A keyed hash of one password of one owner. Compared in constant time.
#[derive(Clone)]
pub struct Fingerprint([u8; 32]);

impl Fingerprints {
    /// Draws a fresh key from the operating system.
    ///
    /// # Panics
    /// Where the operating system has no randomness to give; nothing secure can be done there.
    #[allow(clippy::expect_used)] // see Panics; HMAC takes a key of any length (RFC 2104 section 2)
    pub fn new() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        Self { keyed: Hmac::new_from_slice(&key).expect("HMAC takes any key length") }
    }

    /// The fingerprint of `password` as `owner`'s. The owner is the salt: two owners of one
    /// password have different fingerprints.
    pub fn of(&self, owner: &str, password: &SecretString) -> Fingerprint {
        let mut keyed = self.keyed.clone();
        keyed.update(&(owner.len() as u64).to_be_bytes());
        keyed.update(owner.as_bytes());
        keyed.update(password.expose_secret().as_bytes());
        Fingerprint(keyed.finalize().into_bytes().into())
    }
}

impl Default for Fingerprints {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

/// The most memory that a configured hash may ask for, in KiB: each login takes it.
const MOST_MEMORY: u32 = 256 * 1024;
/// The most passes that a configured hash may ask for.
const MOST_PASSES: u32 = 10;

/// The argon2id PHC string of a password, with a salt of its own: 19 MiB, two passes, one lane, as
/// OWASP's password storage sheet has it. Takes tens of milliseconds: not for an async thread.
///
/// # Panics
/// Where the operating system has no randomness to give.
#[allow(clippy::expect_used)] // see Panics
pub fn hash_password(password: &SecretString) -> String {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    let hash = argon2().hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
    hash.expect("argon2 takes any password and a salt of 16 octets").to_string()
}

/// Whether there is no password at all.
pub fn is_empty(password: &SecretString) -> bool {
    password.expose_secret().is_empty()
}

/// Whether the password is the one that was hashed. Takes as long as the hash's parameters ask:
/// not for an async thread. A string that is no hash matches nothing.
pub fn verify_password(hash: &str, password: &SecretString) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    argon2().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
}

/// What it costs to check a hash: memory times passes. A string that is no hash costs nothing.
pub fn cost_of(hash: &str) -> u64 {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
}

/// Does the work of [`verify_password`] for a user who does not exist, and says no.
pub fn verify_nobody(password: &SecretString) -> bool {
    let mut out = [0; 32];
    let _ = argon2().hash_password_into(
        password.expose_secret().as_bytes(),
        b"nobody's own salt",
        &mut out,
    );
    false
}

/// Whether a configured string is an argon2id hash that costs no more than a login may.
///
/// # Errors
/// In words, why not.
pub fn check_hash(hash: &str) -> Result<(), String> {
    let hash =
        PasswordHash::new(hash).map_err(|_| "it is not in PHC form, $argon2id$...".to_owned())?;
    if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() {
        return Err("it is not argon2id".to_owned());
    }
    let params = Params::try_from(&hash).map_err(|error| error.to_string())?;
    if params.m_cost() > MOST_MEMORY || params.t_cost() > MOST_PASSES {
        return Err(format!(
            "it costs more than {} MiB or {MOST_PASSES} passes",
            MOST_MEMORY / 1024
        ));
    }
    Ok(())
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_matches_its_password_only() {
        let hash = hash_password(&"pw".into());
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify_password(&hash, &"pw".into()));
        assert!(!verify_password(&hash, &"Pw".into()));
        assert!(!verify_password("no hash", &"pw".into()));
        assert!(!verify_nobody(&"pw".into()));
        assert_ne!(hash, hash_password(&"pw".into()), "each has its own salt");
        assert_eq!(check_hash(&hash), Ok(()));
    }

    #[test]
    fn a_hash_that_is_none_or_too_dear_is_told() {
        let salt_and_hash = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (hash, words) in [
            ("secret".to_owned(), "PHC"),
            (format!("$argon2i$v=19$m=4096,t=3,p=1{salt_and_hash}"), "argon2id"),
            (format!("$argon2id$v=19$m=1048576,t=3,p=1{salt_and_hash}"), "256 MiB"),
            (format!("$argon2id$v=19$m=4096,t=11,p=1{salt_and_hash}"), "passes"),
        ] {
            let why = check_hash(&hash).unwrap_err();
            assert!(why.contains(words), "{hash}: {why}");
        }
    }

    #[test]
    fn a_fingerprint_tells_passwords_and_owners_apart() {
        let prints = Fingerprints::new();
        let print = prints.of("ann", &"pw".into());
        assert!(print == prints.of("ann", &"pw".into()));
        assert!(print != prints.of("ann", &"pW".into()));
        assert!(print != prints.of("bob", &"pw".into()));
        assert!(prints.of("a", &"bc".into()) != prints.of("ab", &"c".into()), "no shifting");
        assert!(print != Fingerprints::new().of("ann", &"pw".into()), "a key per process");
    }
}
