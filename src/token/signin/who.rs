//! Who signed in, by the id token (`OpenID` Connect Core 1.0 section 2).
//!
//! Its signature is not checked: it came straight from the token endpoint over TLS, and that is
//! enough (section 3.1.3.7, point 6). Nor is its time: it was made for this request, as the nonce
//! tells, and a clock that is wrong here should not be in the way. It never decides what anybody
//! may do: it guards against signing in with the wrong one of several accounts. The `email` claim
//! is no proof even of that: anybody may have written it into their own tenant.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{super::entra::one_line, SignInError};

#[derive(Deserialize)]
struct Claims {
    preferred_username: Option<String>,
    upn: Option<String>,
    aud: Value,
    nonce: Option<String>,
}

/// The names of the one who signed in to this app; at least one. Printable.
pub(super) fn names(
    id_token: Option<&SecretString>,
    client_id: &str,
    nonce: Option<&str>,
) -> Result<Vec<String>, SignInError> {
    let id_token = id_token.ok_or(SignInError::Nobody("Entra gave no id token"))?;
    let claims = read(id_token.expose_secret());
    let claims = claims.ok_or(SignInError::Nobody("the id token cannot be read"))?;
    let is_ours = |aud: &Value| aud.as_str().is_some_and(|aud| aud.eq_ignore_ascii_case(client_id));
    if !(is_ours(&claims.aud) || claims.aud.as_array().is_some_and(|all| all.iter().any(is_ours))) {
        return Err(SignInError::Nobody("the id token is for another app"));
    }
    if nonce.is_some() && claims.nonce.as_deref() != nonce {
        return Err(SignInError::Nobody("the id token belongs to another sign-in"));
    }
    let mut names: Vec<String> = Vec::new();
    for name in [claims.preferred_username, claims.upn].into_iter().flatten() {
        let name = one_line(name.trim(), 320);
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(SignInError::Nobody(
            "the id token names no user, by preferred_username or upn",
        ));
    }
    Ok(names)
}

fn read(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let payload = BASE64_URL_SAFE_NO_PAD.decode(parts.nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
