//! The authorization code grant (RFC 6749 section 4.1) as a native app uses it (RFC 8252), with
//! PKCE (RFC 7636).
//!
//! The URL that is shown holds the state, the nonce and the challenge, and nothing that opens
//! anything: what redeems the code is the verifier, which stays here.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep, timeout_at},
};

use super::{Arrival, Notice, SignIn, SignInError, SignedIn, arrival::Said, errand::Told};

/// How long somebody may take to sign in. Entra's page and its code last about as long.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Between two attempts to redeem a code.
const RETRY: Duration = Duration::from_secs(5);

/// What ties a code to this sign-in.
struct Ties {
    /// Comes back with the code: an answer without it was not asked for (RFC 6749 section 10.12).
    state: String,
    /// Comes back in the id token.
    nonce: String,
    /// 43 characters, kept until the code is redeemed (RFC 7636 section 4.1).
    verifier: SecretString,
}

impl SignIn<'_> {
    /// Shows the URL to open, and waits for the first arrival that answers it, from the browser or
    /// pasted. `redirect_uri` is where the browser is sent back to.
    pub async fn by_browser(
        &self,
        redirect_uri: &str,
        mut arrivals: Receiver<Arrival>,
    ) -> Result<SignedIn, SignInError> {
        let ties = Ties::new()?;
        (self.show)(Notice::Browser(self.authorize_url(redirect_uri, &ties)?));
        let ends = Instant::now() + PATIENCE;
        loop {
            let mut arrival = match timeout_at(ends, arrivals.recv()).await {
                Ok(Some(arrival)) => arrival,
                Ok(None) => {
                    let what = "no answer can arrive: the browser has nowhere to come back to";
                    return Err(SignInError::Unavailable { what: what.to_owned(), remedy: None });
                }
                Err(_) => return Err(SignInError::Expired { trouble: None }),
            };
            let outcome = match arrival.read(&ties.state) {
                Said::Code(code) => self.redeem(&code, redirect_uri, &ties, ends).await,
                Said::Bare(text) => match self.redeem(&text, redirect_uri, &ties, ends).await {
                    Err(SignInError::Refused(refused)) if is_of_the_code(&refused) => {
                        (self.show)(Notice::NotIt(format!(
                            "Entra does not take it as a code ({}: {})",
                            refused.error, refused.description
                        )));
                        continue;
                    }
                    outcome => outcome,
                },
                Said::No(refused) => Err(no(refused)),
                Said::NotIt(why) => {
                    if arrival.is_pasted() {
                        (self.show)(Notice::NotIt(why.to_owned()));
                    }
                    arrival.answer(false, format!("This does not help: {why}."));
                    continue;
                }
                Said::Nothing => continue,
            };
            let words = match &outcome {
                Ok(signed_in) => format!("{} is signed in.", signed_in.who),
                Err(error) => match error.remedy() {
                    Some(remedy) => format!("{error}. What to do: {remedy}."),
                    None => format!("{error}."),
                },
            };
            arrival.answer(outcome.is_ok(), words);
            return outcome;
        }
    }

    fn authorize_url(&self, redirect_uri: &str, ties: &Ties) -> Result<String, SignInError> {
        let base = self.app().authorize_url();
        let mut url = Url::parse(&base).map_err(|_| SignInError::Unavailable {
            what: format!("{base} is no URL"),
            remedy: Some("mend authority and tenant in proxy.toml".to_owned()),
        })?;
        let challenge = Sha256::digest(ties.verifier.expose_secret());
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &self.app().client_id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("response_mode", "query")
            .append_pair("scope", &self.scope())
            .append_pair("state", &ties.state)
            .append_pair("nonce", &ties.nonce)
            .append_pair("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        if let [meant] = self.meant {
            query.append_pair("login_hint", meant);
        }
        drop(query);
        Ok(url.into())
    }

    /// Redeems the code. An outage is waited out as long as the code may live.
    async fn redeem(
        &self,
        code: &SecretString,
        redirect_uri: &str,
        ties: &Ties,
        ends: Instant,
    ) -> Result<SignedIn, SignInError> {
        let (kind, redirect_uri) = ("authorization_code".into(), redirect_uri.into());
        let scope = self.scope().into();
        let form = [
            ("grant_type", &kind),
            ("code", code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", &ties.verifier),
            ("scope", &scope),
        ];
        let mut troubled = false;
        loop {
            let (what, wait) = match self.token(&form).await {
                Told::Granted(granted) => return self.settle(granted, Some(&ties.nonce)).await,
                Told::Refused(refused) => return Err(SignInError::Refused(refused)),
                Told::Later { what, retry_after, .. } => (what, retry_after.unwrap_or(RETRY)),
            };
            if !std::mem::replace(&mut troubled, true) {
                (self.show)(Notice::Trouble(what.clone()));
            }
            let left = ends.saturating_duration_since(Instant::now());
            sleep(wait.clamp(Duration::from_secs(1), PATIENCE).min(left)).await;
            if wait >= left {
                return Err(SignInError::Expired { trouble: Some(what) });
            }
        }
    }
}

impl Ties {
    fn new() -> Result<Self, SignInError> {
        let verifier = drawn()?.into();
        Ok(Self { state: drawn()?, nonce: drawn()?, verifier })
    }
}

/// 32 random octets in base64url: 43 characters.
fn drawn() -> Result<String, SignInError> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|error| SignInError::Unavailable {
        what: format!("the operating system gives no random bytes: {error}"),
        remedy: None,
    })?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(octets))
}

/// Whether it was the code that was refused, and not the app (RFC 6749 section 5.2). Of a malformed
/// code Entra says that the request is.
fn is_of_the_code(refused: &super::super::Refused) -> bool {
    matches!(refused.error.as_str(), "invalid_grant" | "invalid_request")
}

fn no(refused: super::super::Refused) -> SignInError {
    if refused.error == "access_denied" {
        let words =
            if refused.description.is_empty() { refused.error } else { refused.description };
        return SignInError::Declined(words);
    }
    SignInError::Refused(refused)
}
