//! Other issuers, whose tokens an app may present in place of a secret.

use serde_json::json;

use crate::sandbox::entra::jwt;
use crate::sandbox::moment::{Moment, guid};

/// A federated credential of an app, and the key of its issuer. Real issuers sign with RSA and
/// publish their keys; here both sides know one key.
#[derive(Clone, Default)]
pub struct Federated {
    /// Must be the token's `iss`, letter by letter.
    pub issuer: String,
    /// Must be the token's `sub`, letter by letter.
    pub subject: String,
    /// Must be the token's `aud`; `api://AzureADTokenExchange` by custom.
    pub audience: String,
    /// What the issuer signs with (HS256).
    pub key: [u8; 32],
}

impl Federated {
    /// A token of this issuer that ends so many seconds from now; it may have ended.
    pub fn token(&self, ends_in: i64) -> String {
        let now = Moment::now(0).unix();
        let claims = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "jti": guid(),
            "iat": now,
            "nbf": now.saturating_sub(3600),
            "exp": now.saturating_add_signed(ends_in),
        });
        jwt::sign_foreign(&self.key, &claims)
    }
}
