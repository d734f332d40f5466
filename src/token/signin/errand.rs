//! The requests of a sign-in, and how often they are tried.

use std::{sync::atomic::Ordering, time::Duration};

use reqwest::header::ACCEPT;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::{
    super::{
        CourierError, Letter, Refused, TokenError, Way,
        entra::{self, Answer, Granted},
        grant,
    },
    SignIn,
};

/// The limit on one request, way out and answer together.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What came of a request.
pub(super) enum Told {
    Granted(Granted),
    Refused(Refused),
    /// No usable answer; another time it may be.
    Later {
        what: String,
        remedy: Option<String>,
        retry_after: Option<Duration>,
    },
}

impl SignIn<'_> {
    /// Asks the token endpoint, with the app's credential. Of several secrets the next is tried
    /// where one is refused.
    pub(super) async fn token(&self, fields: &[(&str, &SecretString)]) -> Told {
        let app = self.app();
        let credentials = grant::credentials(&app.grant);
        for attempt in 1.. {
            let number = self.credential.load(Ordering::Relaxed);
            let proof = match grant::credential_fields(app, number).await {
                Ok(proof) => proof,
                Err(error) => return unavailable(&error),
            };
            let mut form = vec![("client_id", app.client_id.as_str())];
            form.extend(fields.iter().map(|(name, value)| (*name, value.expose_secret())));
            form.extend(proof.iter().map(|(name, value)| (*name, value.expose_secret())));
            let told = match self.post(&app.token_url(), &form).await {
                Ok(response) => told(entra::read(response).await),
                Err(told) => told,
            };
            match &told {
                Told::Refused(refused)
                    if refused.error == "invalid_client" && attempt < credentials =>
                {
                    self.credential.fetch_add(1, Ordering::Relaxed);
                }
                _ => return told,
            }
        }
        // More attempts than a usize counts.
        Told::Later { what: "no credential is left".to_owned(), remedy: None, retry_after: None }
    }

    /// Sends one form; the error is a [`Told::Later`].
    pub(super) async fn post(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<reqwest::Response, Told> {
        let request = self.http.post(url).header(ACCEPT, "application/json").form(form).build();
        let request = request.map_err(|error| Told::Later {
            what: format!("the request to {url} cannot be built: {}", error.without_url()),
            remedy: Some("mend authority and tenant in proxy.toml".to_owned()),
            retry_after: None,
        })?;
        let letter = Letter { request, way: Way::AsConfigured };
        match timeout(REQUEST_LIMIT, (self.courier)(letter)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(CourierError { what, remedy, .. })) => {
                Err(Told::Later { what, remedy, retry_after: None })
            }
            Err(_) => Err(Told::Later {
                what: format!("no answer within {} s", REQUEST_LIMIT.as_secs()),
                remedy: None,
                retry_after: None,
            }),
        }
    }
}

/// The two kinds of no and the yes, sorted.
pub(super) fn told(answer: Answer) -> Told {
    match answer {
        Answer::Granted(granted) => Told::Granted(granted),
        Answer::Refused { error, description, aadsts } => {
            Told::Refused(Refused { error, description, aadsts, by_password: false })
        }
        Answer::Transient { what, retry_after } => Told::Later { what, remedy: None, retry_after },
    }
}

fn unavailable(error: &TokenError) -> Told {
    Told::Later { what: error.to_string(), remedy: error.remedy(), retry_after: None }
}
