//! The argon2id hash of a password (RFC 9106), and whether a password is the one of a hash.
//!
//! Must never know whose password it is, or where the hash is kept.

use std::sync::{Condvar, Mutex, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, PasswordHash, Salt},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// So many are worked on at one time in this process, whoever asks: each takes a core, and memory that
/// is kept for the next. Given back to an allocator, as much of it stays behind in every thread that
/// ever checked a password (seen with glibc: hundreds of MiB).
const AT_ONCE: usize = 2;
/// Working memory that nobody uses at present, wiped; and how many may still take some.
static BENCH: Mutex<Bench> = Mutex::new(Bench { spare: Vec::new(), free: AT_ONCE });
/// Told when a place at it is free again.
static PLACE: Condvar = Condvar::new();

struct Bench {
    spare: Vec<Vec<Block>>,
    free: usize,
}

/// A place at the bench; given back when dropped.
struct Place(Vec<Block>);

impl Place {
    /// Waits for one, and blocks meanwhile.
    fn take(blocks: usize) -> Self {
        let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
        let bench = PLACE.wait_while(bench, |bench| bench.free == 0);
        let mut bench = bench.unwrap_or_else(PoisonError::into_inner);
        bench.free -= 1;
        let mut memory = bench.spare.pop().unwrap_or_default();
        drop(bench);
        memory.resize(blocks, Block::new());
        Self(memory)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fill(Block::new()); // what a password went into
        let mut bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
        bench.spare.push(std::mem::take(&mut self.0));
        bench.free += 1;
        PLACE.notify_one();
    }
}

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
    let mut digest = [0; 32];
    digested(&usual(), password, &salt, &mut digest)
        .expect("argon2 takes any password and a salt of 16 octets");
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: usual().params().try_into().expect("parameters of argon2 have a form"),
        salt: Some(Salt::new(&salt).expect("16 octets are a salt")),
        hash: Some(Output::new(&digest).expect("32 octets are an output")),
    };
    hash.to_string()
}

/// Whether there is no password at all.
pub fn is_empty(password: &SecretString) -> bool {
    password.expose_secret().is_empty()
}

/// Whether the password is the one that was hashed. Takes as long as the hash's parameters ask:
/// not for an async thread. A string that is no hash matches nothing.
pub fn verify_password(hash: &str, password: &SecretString) -> bool {
    matches(hash, password).unwrap_or(false)
}

fn matches(hash: &str, password: &SecretString) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let (salt, wanted) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let mut digest = vec![0; wanted.len()];
    let argon2 = Argon2::new(algorithm, version, params);
    digested(&argon2, password, salt, &mut digest).ok()?;
    Some(digest.ct_eq(wanted.as_bytes()).into())
}

/// What it costs to check a hash: memory times passes. A string that is no hash costs nothing.
pub fn cost_of(hash: &str) -> u64 {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
}

/// Does the work of [`verify_password`] for a user who does not exist, and says no.
pub fn verify_nobody(password: &SecretString) -> bool {
    let mut out = [0; 32];
    let _ = digested(&usual(), password, b"nobody's own salt", &mut out);
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

fn usual() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

fn digested(
    argon2: &Argon2<'_>,
    password: &SecretString,
    salt: &[u8],
    digest: &mut [u8],
) -> argon2::Result<()> {
    let mut place = Place::take(argon2.params().block_count());
    let password = password.expose_secret().as_bytes();
    argon2.hash_password_into_with_memory(password, salt, digest, &mut place.0)
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
    fn many_at_once_take_the_memory_of_two() {
        let hash = hash_password(&"pw".into());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(verify_password(&hash, &"pw".into())));
            }
        });
        let bench = BENCH.lock().unwrap();
        assert!(bench.spare.len() + AT_ONCE - bench.free <= AT_ONCE, "{}", bench.spare.len());
        assert!(
            bench.spare.iter().flatten().all(|block| block.as_ref().iter().all(|word| *word == 0))
        );
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
}
