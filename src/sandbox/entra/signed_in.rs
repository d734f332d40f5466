//! What a user gets who signed in on a page: tokens, and an id token that says who it was.

use serde_json::json;

use crate::sandbox::entra::errors::{self, Refusal};
use crate::sandbox::entra::grants::{Issued, Request, Wanted, check_existence};
use crate::sandbox::entra::jwt;
use crate::sandbox::moment::random_hex;
use crate::sandbox::world::{App, Directory, User};

/// An interactive sign-in that has come to its end.
pub(super) struct SignedIn<'a> {
    pub(super) upn: &'a str,
    pub(super) scope: &'a str,
    pub(super) nonce: Option<&'a str>,
}

impl Request<'_> {
    /// The tokens of a user who signed in on a page. What bars a password alone (multifactor
    /// authentication, federation) was dealt with there.
    pub(super) fn signed_in(
        &self,
        directory: &Directory,
        app: &App,
        SignedIn { upn, scope, nonce }: SignedIn<'_>,
    ) -> Result<Issued, Refusal> {
        let user = directory.user(upn).filter(|user| user.tenant == app.tenant);
        let user = user.ok_or_else(|| errors::user_unknown(upn, &app.tenant))?;
        check_existence(user)?;
        let wanted = Wanted::read(scope, &app.tenant)?;
        let (openid, profile) = (wanted.openid, wanted.profile);
        let issued = self.delegated(app, user, wanted)?;
        let id_token = openid.then(|| self.id_token(app, user, profile, nonce));
        Ok(Issued { id_token, ..issued })
    }

    /// In the shape of Entra's v2.0 id tokens.
    fn id_token(&self, app: &App, user: &User, profile: bool, nonce: Option<&str>) -> String {
        let now = self.now.unix();
        let mut claims = json!({
            "ver": "2.0",
            "iss": format!("{}/{}/v2.0", self.authority, app.tenant),
            "sub": random_hex(16),
            "aud": app.client_id,
            "iat": now.saturating_sub(300),
            "nbf": now.saturating_sub(300),
            "exp": now.saturating_add(3600),
            "oid": user.object_id,
            "tid": app.tenant,
        });
        if let Some(fields) = claims.as_object_mut() {
            if profile {
                fields.insert("preferred_username".to_owned(), json!(user.upn));
                fields.insert("name".to_owned(), json!(user.upn.split('@').next()));
            }
            fields.extend(nonce.map(|nonce| ("nonce".to_owned(), json!(nonce))));
        }
        jwt::sign_identity(self.key, &claims)
    }
}
