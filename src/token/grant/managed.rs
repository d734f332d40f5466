//! Asks the machine's own endpoint for a token of its managed identity (Microsoft: "How to use
//! managed identities for Azure resources on an Azure VM to acquire an access token", and the same
//! for App Service). No secret of ours is in it, no proxy on its way. Must never know what is
//! answered.

use reqwest::{Client, Url, header::HeaderValue};
use secrecy::ExposeSecret;

use super::super::{Letter, TokenError, Way};
use crate::config::{Audience, EntraApp, IdentitySource};

/// The request for a token of the identity that the app's `client_id` names, or of the machine's
/// own where it is empty.
pub(super) fn letter(
    http: &Client,
    app: &EntraApp,
    source: &IdentitySource,
) -> Result<Letter, TokenError> {
    let (base, version) = match source {
        IdentitySource::Imds(base) => {
            (format!("{base}/metadata/identity/oauth2/token"), "2018-02-01")
        }
        IdentitySource::AppService { endpoint, .. } => (endpoint.clone(), "2019-08-01"),
    };
    let resource = match &app.audience {
        Audience::Resource(resource) => resource.as_str(),
        // A resource here and a scope elsewhere name the same thing in two ways.
        Audience::Scope(scope) => {
            let first = scope.split(' ').next().unwrap_or_default();
            first.strip_suffix("/.default").unwrap_or(first)
        }
    };
    let mut query = vec![("api-version", version), ("resource", resource)];
    if !app.client_id.is_empty() {
        query.push(("client_id", &app.client_id));
    }
    let url = Url::parse_with_params(&base, query)
        .map_err(|_| unusable("IDENTITY_ENDPOINT is no URL"))?;
    let request = match source {
        IdentitySource::Imds(_) => http.get(url).header("Metadata", "true"),
        IdentitySource::AppService { header, .. } => {
            let mut value = HeaderValue::from_str(header.expose_secret())
                .map_err(|_| unusable("IDENTITY_HEADER cannot be a header"))?;
            value.set_sensitive(true);
            http.get(url).header("X-IDENTITY-HEADER", value)
        }
    };
    let request = request.build().map_err(|_| unusable("the request cannot be built"))?;
    Ok(Letter { request, way: Way::Direct })
}

fn unusable(what: &str) -> TokenError {
    TokenError::Unavailable {
        what: format!("the managed identity endpoint cannot be asked: {what}"),
        remedy: Some(
            "App Service and Container Apps set IDENTITY_ENDPOINT and IDENTITY_HEADER: do not change them".to_owned(),
        ),
        summary: "the managed identity of the proxy's machine cannot be used".to_owned(),
    }
}
