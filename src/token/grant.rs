//! The requests that ask Entra for a token: RFC 6749 in Microsoft's v2.0 form.
//!
//! reqwest is the vocabulary here, not the transport. Must never know what is answered.

use reqwest::{Client, Request, header::ACCEPT};
use secrecy::{ExposeSecret, SecretString};

use super::TokenError;
use crate::config::{EntraApp, Grant};

/// The first request for this app or user.
pub(super) fn first(
    http: &Client,
    app: &EntraApp,
    user: &str,
    password: Option<&SecretString>,
) -> Result<Request, TokenError> {
    match &app.grant {
        // RFC 6749 section 4.4.2
        Grant::ClientCredentials { secret } => post(
            http,
            app,
            &[("grant_type", "client_credentials"), ("client_secret", secret.expose_secret())],
        ),
        // RFC 6749 section 4.3.2
        Grant::Password { secret } => {
            let password = password.ok_or(TokenError::NoPassword)?.expose_secret();
            let mut fields =
                vec![("grant_type", "password"), ("username", user), ("password", password)];
            fields.extend(secret.as_ref().map(|secret| ("client_secret", secret.expose_secret())));
            post(http, app, &fields)
        }
    }
}

/// Renews a user's token without the password (RFC 6749 section 6).
pub(super) fn refresh(
    http: &Client,
    app: &EntraApp,
    refresh: &SecretString,
) -> Result<Request, TokenError> {
    let mut fields =
        vec![("grant_type", "refresh_token"), ("refresh_token", refresh.expose_secret())];
    if let Grant::Password { secret: Some(secret) } = &app.grant {
        fields.push(("client_secret", secret.expose_secret()));
    }
    post(http, app, &fields)
}

fn post(http: &Client, app: &EntraApp, fields: &[(&str, &str)]) -> Result<Request, TokenError> {
    let mut form = vec![("client_id", app.client_id.as_str()), ("scope", app.scope.as_str())];
    form.extend_from_slice(fields);
    let request = http.post(app.token_url()).header(ACCEPT, "application/json").form(&form).build();
    request.map_err(|error| TokenError::Unavailable {
        what: format!(
            "the request to {} cannot be built: {}",
            app.token_url(),
            error.without_url()
        ),
        remedy: Some("mend authority and tenant in proxy.toml".to_owned()),
        summary: "the configuration of the token endpoint is wrong".to_owned(),
    })
}
