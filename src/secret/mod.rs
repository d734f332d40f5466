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

mod argon2id;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

pub use self::argon2id::{
    check_hash, cost_of, hash_password, is_empty, verify_nobody, verify_password,
};

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

#[cfg(test)]
mod tests {
    use super::*;

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
