//! One question to Entra and its answer, with the app's credential that works.
//!
//! While secrets are rotated an app has two. The one that worked last is tried first; where it is
//! refused, the next one is, at once: to whoever waits, a rotation is no event. Must never know
//! when a token is needed, or what becomes of it.

use std::{
    sync::{PoisonError, RwLock},
    time::Duration,
};

use dashmap::DashMap;
use reqwest::Client;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    Courier, CourierError, TokenError,
    entra::{self, Answer},
    grant::{self, Ask},
};
use crate::{advice, config::EntraApp};

/// The limit on one request, way out and answer together.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Runs errands for all apps.
pub(super) struct Errands {
    http: Client,
    courier: RwLock<Courier>,
    /// By the app's name, the number of the credential that worked last.
    working: DashMap<String, usize>,
}

impl Errands {
    pub(super) fn new(courier: Courier) -> Self {
        Self { http: Client::new(), courier: RwLock::new(courier), working: DashMap::new() }
    }

    /// From now on letters go this way, and every credential is new.
    pub(super) fn change(&self, courier: Courier) {
        *self.courier.write().unwrap_or_else(PoisonError::into_inner) = courier;
        self.working.clear();
    }

    /// What Entra says to this. The error is of the way there, not of Entra.
    pub(super) async fn run(&self, app: &EntraApp, ask: &Ask<'_>) -> Result<Answer, TokenError> {
        let count = grant::credentials(&app.grant).max(1);
        let first = self.working.get(&app.name).map_or(0, |number| *number) % count;
        let mut refusal = None;
        for step in 0..count {
            let number = (first + step) % count;
            let answer = self.once(app, ask, number).await?;
            match &answer {
                Answer::Refused { error, .. } if count > 1 && is_of_the_credential(error) => {
                    debug!(app = app.name, number = number + 1, error, "client secret refused");
                    refusal.get_or_insert(answer);
                }
                _ => {
                    if let (Some(refusal), Answer::Granted(_)) = (&refusal, &answer) {
                        self.working.insert(app.name.clone(), number);
                        warn_of(app, first + 1, number + 1, refusal);
                    }
                    return Ok(answer);
                }
            }
        }
        refusal.ok_or_else(|| unusable("no credential was tried"))
    }

    async fn once(
        &self,
        app: &EntraApp,
        ask: &Ask<'_>,
        credential: usize,
    ) -> Result<Answer, TokenError> {
        let exchange = async {
            let letter = grant::letter(&self.http, app, ask, credential).await?;
            let carried = self.courier.read().unwrap_or_else(PoisonError::into_inner)(letter);
            let response = carried.await.map_err(|CourierError { what, remedy, summary }| {
                TokenError::Unavailable { what, remedy, summary }
            })?;
            Ok(entra::read(response).await)
        };
        timeout(REQUEST_LIMIT, exchange).await.unwrap_or_else(|_| {
            Err(unusable(&format!("no answer within {} s", REQUEST_LIMIT.as_secs())))
        })
    }
}

/// Whether the app's own credential was refused, and not what it asked for (RFC 6749 section 5.2).
fn is_of_the_credential(error: &str) -> bool {
    matches!(error, "invalid_client" | "unauthorized_client")
}

fn warn_of(app: &EntraApp, refused: usize, works: usize, refusal: &Answer) {
    let Answer::Refused { error, description, aadsts } = refusal else {
        return;
    };
    warn!(
        event = "secret_refused",
        app = app.name,
        refused,
        works,
        error,
        description,
        cause = aadsts.and_then(advice::for_aadsts).map(|advice| advice.cause),
        remedy = format!(
            "take secret no. {refused} out of client_secret of [entra.{}], or put a new one in its place",
            app.name
        ),
        "client secret no. {refused} was refused and no. {works} works",
    );
}

/// No usable answer came.
pub(super) fn unusable(what: &str) -> TokenError {
    if let Some((number, advice)) =
        entra::aadsts(what).and_then(|number| Some((number, advice::for_aadsts(number)?)))
    {
        return TokenError::Unavailable {
            what: format!("Entra gives no token for now: {what}"),
            remedy: Some(advice.remedy.to_owned()),
            summary: format!("AADSTS{number}: {}", advice.cause),
        };
    }
    TokenError::Unavailable {
        what: format!("the token endpoint gave no token: {what}"),
        remedy: Some("trying again later may help; a page in place of JSON comes from a proxy: ask its owners to let the token endpoint through".to_owned()),
        summary: "the token endpoint gave no usable answer".to_owned(),
    }
}
