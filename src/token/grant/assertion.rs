//! The assertion that proves who the app is (RFC 7523 section 2.2): signed here with the app's
//! certificate, or another issuer's token from a file.
//!
//! Microsoft's form: "Microsoft identity platform application authentication certificate
//! credentials". Files are read and keys used off the async threads. Must never know where the
//! assertion goes, other than by the name of its audience.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{rand::SystemRandom, signature::RSA_PSS_SHA256};
use secrecy::SecretString;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    super::TokenError,
    certificate::{self, Pair, unusable},
};
use crate::config::{CertificateFiles, EntraApp};

/// `client_assertion_type` (RFC 7523 section 2.2).
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An assertion begins so long ago and ends so long from now: ten minutes in all, the most that
/// Microsoft recommends. Entra tolerates five minutes more on either side, so that a clock may be
/// ten minutes ahead or behind.
const EITHER_SIDE: Duration = Duration::from_secs(5 * 60);

/// A fresh assertion, signed with the app's certificate, for the app's token endpoint.
pub(super) async fn signed(
    app: &EntraApp,
    files: &CertificateFiles,
) -> Result<SecretString, TokenError> {
    let (files, client_id, audience) = (files.clone(), app.client_id.clone(), app.token_url());
    blocking(move || {
        let now = SystemTime::now();
        let pair = certificate::read(&files, now)?;
        sign(&pair, &client_id, &audience, now).ok_or_else(|| {
            unusable(
                files.key.as_ref().unwrap_or(&files.certificate),
                "its private key does not sign",
                "make a new RSA key of 2048, 3072 or 4096 bits and a certificate for it",
            )
        })
    })
    .await
}

/// The token of another issuer, as it stands in its file.
pub(super) async fn foreign(token_file: &Path) -> Result<SecretString, TokenError> {
    let path = token_file.to_owned();
    blocking(move || {
        let bytes = certificate::load(&path)?;
        let token = bytes.trim_ascii();
        let parts = token.split(|octet| *octet == b'.').count();
        // Three parts in base64url (RFC 7519 section 3.1).
        let part = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.=".contains(octet);
        match std::str::from_utf8(token) {
            Ok(token) if parts == 3 && token.bytes().all(|octet| part(&octet)) => Ok(token.into()),
            _ if token.is_empty() => Err(unusable(
                &path,
                "the federated token file is empty",
                "look at what writes it: on Kubernetes the label azure.workload.identity/use and the service account",
            )),
            _ => Err(unusable(
                &path,
                "the federated token file holds no token (JWT)",
                "set it to the file that the issuer writes; on Kubernetes AZURE_FEDERATED_TOKEN_FILE names it",
            )),
        }
    })
    .await
}

/// The assertion itself; `None` where randomness or the key fails.
pub(super) fn sign(
    pair: &Pair,
    client_id: &str,
    audience: &str,
    now: SystemTime,
) -> Option<SecretString> {
    let seconds = |time: Option<SystemTime>| {
        time?.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    };
    let begin = seconds(now.checked_sub(EITHER_SIDE))?;
    let header = json!({
        "alg": "PS256",
        "typ": "JWT",
        "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(pair.thumbprint),
    });
    let claims = json!({
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": guid()?,
        "nbf": begin,
        "iat": begin,
        "exp": seconds(now.checked_add(EITHER_SIDE))?,
    });
    let encode = |part: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let mut signature = vec![0; pair.key.public().modulus_len()];
    let random = SystemRandom::new();
    pair.key.sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature).ok()?;
    Some(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)).into())
}

/// A random GUID (RFC 9562, version 4).
fn guid() -> Option<String> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).ok()?;
    let number = u128::from_be_bytes(octets) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    Some(format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    ))
}

/// Runs this off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(TokenError::Unavailable {
            what: "reading the app's credential broke off".to_owned(),
            remedy: Some("trying again may help; if it does not, please report it".to_owned()),
            summary: "the proxy's own credential for Entra cannot be used".to_owned(),
        })
    })
}
