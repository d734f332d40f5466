//! The device authorization grant (RFC 8628): a code is shown here, and typed wherever a browser
//! is.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{
    super::{
        Refused,
        entra::{self, one_line},
    },
    Notice, SignIn, SignInError, SignedIn,
    errand::{Told, told},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Between two polls where the answer does not say (RFC 8628 section 3.2), and how much longer
/// after `slow_down` (section 3.5).
const FIVE_SECONDS: Duration = Duration::from_secs(5);
/// Polled no faster than this, whatever the answer says, and no slower than [`LONGEST_INTERVAL`].
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// See [`SHORTEST_INTERVAL`].
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// The life of a code where the answer does not say: Entra's is that.
const USUAL_LIFE: Duration = Duration::from_secs(15 * 60);
/// No longer life is believed: nobody waits at a terminal for it.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
/// How much of Entra's message is shown.
const SHOWN: usize = 1000;

/// What the device authorization endpoint answers (RFC 8628 section 3.2, and Microsoft's `message`).
#[derive(Deserialize)]
struct Begun {
    device_code: SecretString,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(default, deserialize_with = "entra::lenient_seconds")]
    expires_in: Option<u64>,
    #[serde(default, deserialize_with = "entra::lenient_seconds")]
    interval: Option<u64>,
    #[serde(default)]
    message: Option<String>,
}

impl SignIn<'_> {
    /// Shows where to sign in, and waits until somebody has, the code has expired, or Entra says
    /// no. An outage on the way is waited out as long as the code lives.
    pub async fn by_device(&self) -> Result<SignedIn, SignInError> {
        let begun = self.begin().await?;
        let life = begun.expires_in.map_or(USUAL_LIFE, Duration::from_secs).min(LONGEST_LIFE);
        let expires = Instant::now() + life;
        (self.show)(Notice::Device(begun.words()));
        let kind = GRANT.into();
        let form = [("grant_type", &kind), ("device_code", &begun.device_code)];
        let interval = begun.interval.map_or(FIVE_SECONDS, Duration::from_secs);
        let mut interval = interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let (mut wait, mut trouble) = (interval, None);
        loop {
            let left = expires.saturating_duration_since(Instant::now());
            sleep(wait.min(left)).await;
            if wait >= left {
                return Err(SignInError::Expired { trouble });
            }
            let refused = match self.token(&form).await {
                Told::Granted(granted) => return self.settle(granted, None).await,
                Told::Refused(refused) => refused,
                Told::Later { what, retry_after, .. } => {
                    if trouble.is_none() {
                        (self.show)(Notice::Trouble(what.clone()));
                    }
                    trouble = Some(what);
                    // Twice as slow after each failure (RFC 8628 section 3.5).
                    wait = retry_after.unwrap_or((wait * 2).min(LONGEST_INTERVAL)).max(interval);
                    continue;
                }
            };
            trouble = None;
            match refused.error.as_str() {
                "authorization_pending" => {}
                "slow_down" => interval = (interval + FIVE_SECONDS).min(LONGEST_INTERVAL),
                "expired_token" | "code_expired" => return Err(SignInError::Expired { trouble }),
                "authorization_declined" | "access_denied" => {
                    return Err(SignInError::Declined(said(&refused)));
                }
                _ => return Err(SignInError::Refused(refused)),
            }
            wait = interval;
        }
    }

    /// Asks for a device code. Microsoft's form of this request holds no credential of the app.
    async fn begin(&self) -> Result<Begun, SignInError> {
        let (url, scope) = (self.app().device_code_url(), self.scope());
        let form = [("client_id", self.app().client_id.as_str()), ("scope", &scope)];
        let answer = match self.post(&url, &form).await {
            Ok(response) => {
                let (status, retry_after) = (response.status(), entra::retry_after(&response));
                match response.bytes().await {
                    Ok(body) => match serde_json::from_slice::<Begun>(&body) {
                        Ok(begun) if status.is_success() => return Ok(begun),
                        _ => told(entra::interpret(status, retry_after, &body)),
                    },
                    Err(_) => later("the answer broke off"),
                }
            }
            Err(told) => told,
        };
        Err(match answer {
            Told::Refused(refused) => SignInError::Refused(refused),
            Told::Later { what, remedy, retry_after } => {
                let wait = retry_after.map(|wait| format!("try again in {} s", wait.as_secs()));
                SignInError::Unavailable { what, remedy: remedy.or(wait) }
            }
            Told::Granted(_) => SignInError::Unavailable {
                what: format!("{url} answered with a token in place of a device code"),
                remedy: Some("mend authority in proxy.toml".to_owned()),
            },
        })
    }
}

impl Begun {
    /// What to do. It goes to a terminal, so nothing in it may steer one.
    fn words(&self) -> String {
        let own = || {
            format!(
                "To sign in, open {} in a web browser and enter the code {}",
                self.verification_uri, self.user_code
            )
        };
        let message = self.message.clone().filter(|message| message.contains(&self.user_code));
        one_line(&message.unwrap_or_else(own), SHOWN)
    }
}

fn said(refused: &Refused) -> String {
    if refused.description.is_empty() { refused.error.clone() } else { refused.description.clone() }
}

fn later(what: &str) -> Told {
    Told::Later { what: what.to_owned(), remedy: None, retry_after: None }
}
