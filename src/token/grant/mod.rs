//! The requests that ask Entra for a token: RFC 6749 in Microsoft's v2.0 form, and v1.0 where a
//! resource is named.
//!
//! `assertion` proves by a signed statement who the app is, with the key that `certificate` reads
//! from files; `managed` asks the machine's own endpoint. reqwest is the vocabulary here, not the
//! transport. Must never know what is answered.
//!
//! A credential file that cannot be used is [`TokenError::Unavailable`] and not a refusal: it is
//! read anew for each request, so the next login works once it is mended, and no mail client may
//! throw mail away because of a file on this machine.

mod assertion;
mod certificate;
mod managed;
#[cfg(test)]
mod tests;

use reqwest::{Client, header::ACCEPT};
use secrecy::{ExposeSecret, SecretString};

pub use self::certificate::{certificate_end, certificate_fits};
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
///
/// # Errors
/// [`TokenError::Unavailable`] where the configuration or a credential's file is unusable.
pub(super) async fn letter(
    http: &Client,
    app: &EntraApp,
    ask: &Ask<'_>,
    credential: usize,
) -> Result<Letter, TokenError> {
    if let Grant::ManagedIdentity { source } = &app.grant {
        return managed::letter(http, app, source);
    }
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

/// The form fields that prove who the app is, for any request to the token endpoint: a secret, or
/// an assertion with its type; none for a public client. `client_id` is not among them.
/// `credential` counts from 0 and wraps around.
///
/// # Errors
/// [`TokenError::Unavailable`], with the file and the remedy, where a credential's file cannot be
/// used.
pub(super) async fn credential_fields(
    app: &EntraApp,
    credential: usize,
) -> Result<Vec<(&'static str, SecretString)>, TokenError> {
    let assertion = match app.grant.credential() {
        None => return Ok(Vec::new()),
        Some(Credential::Secrets(secrets)) => {
            let secret = secrets.get(credential % secrets.len().max(1));
            return Ok(secret
                .map(|secret| ("client_secret", secret.clone()))
                .into_iter()
                .collect());
        }
        Some(Credential::Certificate(files)) => assertion::signed(app, files).await?,
        Some(Credential::Federated { token_file }) => assertion::foreign(token_file).await?,
    };
    Ok(vec![("client_assertion_type", assertion::TYPE.into()), ("client_assertion", assertion)])
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
