//! The requests that ask Entra for a token: RFC 6749 in Microsoft's v2.0 form.
//!
//! reqwest is the vocabulary here, not the transport. Must never know what is answered.

use reqwest::{Client, header::ACCEPT};
use secrecy::{ExposeSecret, SecretString};

use super::{Letter, TokenError, Way};
use crate::config::{Audience, Credential, EntraApp, Grant};

/// What is asked for.
pub(super) enum Ask<'a> {
    /// A token of the app itself (RFC 6749 section 4.4.2), or of the machine's managed identity.
    App,
    /// A user's token for the user's password (RFC 6749 section 4.3.2).
    Password {
        /// The user.
        user: &'a str,
        /// What the user typed.
        password: &'a SecretString,
    },
    /// A user's token without the password (RFC 6749 section 6).
    Refresh(&'a SecretString),
}

/// The request for this, with the app's credential of this number where it has several.
pub(super) async fn letter(
    http: &Client,
    app: &EntraApp,
    ask: &Ask<'_>,
    credential: usize,
) -> Result<Letter, TokenError> {
    let mut fields = match ask {
        Ask::App => vec![("grant_type", "client_credentials")],
        Ask::Password { user, password } => vec![
            ("grant_type", "password"),
            ("username", *user),
            ("password", password.expose_secret()),
        ],
        Ask::Refresh(token) => {
            vec![("grant_type", "refresh_token"), ("refresh_token", token.expose_secret())]
        }
    };
    let proof = credential_fields(app, credential).await?;
    fields.extend(proof.iter().map(|(name, value)| (*name, value.expose_secret())));
    post(http, app, &fields)
}

/// How many credentials there are to try, one after the other.
pub(super) fn credentials(grant: &Grant) -> usize {
    match grant.credential() {
        Some(Credential::Secrets(secrets)) => secrets.len().max(1),
        _ => 1,
    }
}

/// The form fields that prove who the app is; none for a public client. Secrets only, so far.
#[allow(clippy::unused_async)] // certificates are files
pub(super) async fn credential_fields(
    app: &EntraApp,
    credential: usize,
) -> Result<Vec<(&'static str, SecretString)>, TokenError> {
    let Some(Credential::Secrets(secrets)) = app.grant.credential() else {
        return Ok(Vec::new());
    };
    let secret = secrets.get(credential % secrets.len().max(1));
    Ok(secret.map(|secret| ("client_secret", secret.clone())).into_iter().collect())
}

fn post(http: &Client, app: &EntraApp, fields: &[(&str, &str)]) -> Result<Letter, TokenError> {
    let audience = match &app.audience {
        Audience::Scope(scope) => ("scope", scope.as_str()),
        Audience::Resource(resource) => ("resource", resource.as_str()),
    };
    let mut form = vec![("client_id", app.client_id.as_str()), audience];
    form.extend_from_slice(fields);
    let request = http.post(app.token_url()).header(ACCEPT, "application/json").form(&form).build();
    match request {
        Ok(request) => Ok(Letter { request, way: Way::AsConfigured }),
        Err(error) => Err(TokenError::Unavailable {
            what: format!(
                "the request to {} cannot be built: {}",
                app.token_url(),
                error.without_url()
            ),
            remedy: Some("mend authority and tenant in proxy.toml".to_owned()),
            summary: "the configuration of the token endpoint is wrong".to_owned(),
        }),
    }
}
