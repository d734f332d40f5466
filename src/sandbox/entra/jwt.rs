//! Access and refresh tokens: JWT-shaped (RFC 7519), of the size of real ones, signed with the
//! key of this sandbox so that its submission server can tell a good one from a bad one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::sandbox::moment::random_hex;

/// The claims that Exchange looks at, under their names in Entra's v1 tokens.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(in crate::sandbox) struct Claims {
    /// The resource.
    pub(in crate::sandbox) aud: String,
    /// The issuer.
    pub(in crate::sandbox) iss: String,
    /// Issued at, Unix time.
    pub(in crate::sandbox) iat: u64,
    /// Not before, Unix time.
    pub(in crate::sandbox) nbf: u64,
    /// Expiry, Unix time.
    pub(in crate::sandbox) exp: u64,
    /// The application id.
    pub(in crate::sandbox) appid: String,
    /// The name of the app.
    pub(in crate::sandbox) app_displayname: String,
    /// `app` or `user`.
    pub(in crate::sandbox) idtyp: String,
    /// The object id of the service principal or user.
    pub(in crate::sandbox) oid: String,
    /// Application permissions; absent where none is granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::sandbox) roles: Vec<String>,
    /// Delegated permissions, separated by blanks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::sandbox) scp: Option<String>,
    /// The directory id.
    pub(in crate::sandbox) tid: String,
    /// The user's principal name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::sandbox) upn: Option<String>,
    /// A fresh identifier for each token.
    pub(in crate::sandbox) uti: String,
    /// Version of the claims.
    pub(in crate::sandbox) ver: String,
    /// Nothing but length; real tokens spend it on claims that no one here reads.
    pub(in crate::sandbox) xms_padding: String,
}

/// What a refresh token stands for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Renewal {
    pub(super) client_id: String,
    pub(super) upn: String,
    pub(super) scope: String,
    pub(super) generation: u32,
    pub(super) exp: u64,
    pub(super) uti: String,
}

/// The access token for these claims, padded to about `octets`.
pub(super) fn sign_access(key: &[u8; 32], mut claims: Claims, octets: usize) -> String {
    let short = sign(key, r#"{"typ":"JWT","alg":"HS256","kid":"sandbox"}"#, &claims);
    // Base64 turns three octets of padding into four of token.
    let missing = octets.saturating_sub(short.len()) / 4 * 3;
    claims.xms_padding = random_hex(missing.div_ceil(2));
    claims.xms_padding.truncate(missing);
    sign(key, r#"{"typ":"JWT","alg":"HS256","kid":"sandbox"}"#, &claims)
}

/// The claims of an access token that this sandbox signed; nothing is said about its expiry.
pub(in crate::sandbox) fn verify_access(key: &[u8; 32], token: &str) -> Option<Claims> {
    verify(key, token)
}

/// The id token for these claims (`OpenID` Connect Core 1.0, section 2).
pub(super) fn sign_identity(key: &[u8; 32], claims: &serde_json::Value) -> String {
    sign(key, r#"{"typ":"JWT","alg":"HS256","kid":"sandbox"}"#, claims)
}

/// The refresh token, opaque to its holder.
pub(super) fn sign_renewal(key: &[u8; 32], renewal: &Renewal) -> String {
    format!("1.{}", sign(key, r#"{"typ":"refresh"}"#, renewal))
}

pub(super) fn verify_renewal(key: &[u8; 32], token: &str) -> Option<Renewal> {
    verify(key, token.strip_prefix("1.")?)
}

/// A token of another issuer, whose key this is.
pub(in crate::sandbox) fn sign_foreign(key: &[u8; 32], claims: &serde_json::Value) -> String {
    sign(key, r#"{"typ":"JWT","alg":"HS256"}"#, claims)
}

/// Whether this key signed the token.
pub(super) fn is_signed_by(key: &[u8; 32], token: &str) -> bool {
    verify::<serde_json::Value>(key, token).is_some()
}

fn sign(key: &[u8; 32], header: &str, body: &impl Serialize) -> String {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let head = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body));
    let signature = mac(key, &head).finalize().into_bytes();
    format!("{head}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verify<T: for<'a> Deserialize<'a>>(key: &[u8; 32], token: &str) -> Option<T> {
    let (head, signature) = token.rsplit_once('.')?;
    let (_, body) = head.split_once('.')?;
    mac(key, head).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
}

#[allow(clippy::expect_used)] // HMAC takes a key of any length (RFC 2104 section 2)
fn mac(key: &[u8; 32], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_size_asked_for_and_only_its_key_opens_it() {
        let claims = Claims { aud: "a".into(), ..Claims::default() };
        let token = sign_access(&[1; 32], claims, 2000);
        assert!((1990..=2010).contains(&token.len()), "{}", token.len());
        assert_eq!(verify_access(&[1; 32], &token).unwrap().aud, "a");
        assert!(verify_access(&[2; 32], &token).is_none());
        assert!(verify_access(&[1; 32], &token.replace("ey", "eZ")).is_none());
        for odd in ["", ".", "..", "...", "a.b.c", "\u{e9}.\u{e9}.\u{e9}"] {
            assert!(verify_access(&[1; 32], odd).is_none(), "{odd}");
        }
    }
}
