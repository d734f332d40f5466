//! Decides when Entra is asked, and by whom.
//!
//! One slot per identity. Whoever needs a request takes the slot's turn; all others wait for that
//! one answer, and a leader that is cancelled passes the turn on. A token is renewed ahead of its
//! end in the background, so that no login waits once the first has been served. Must never know
//! how a request travels.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use reqwest::Client;
use secrecy::SecretString;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use super::{
    Courier, CourierError, Identity, Letter, Refused, Token, TokenError,
    entra::{self, Answer},
    grant::{self, Ask},
    slot::{Proof, REFUSED_FOR, Renewal, Slot},
};
use crate::{
    advice,
    config::{EntraApp, Grant},
    secret::Fingerprints,
};

/// The limit on one request, way out and answer together.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// An identity that nobody has used for so long is no longer renewed; a weekly report still finds
/// a fresh token.
const RENEWED_WHILE_USED: Duration = Duration::from_secs(8 * 24 * 3600);
/// The first wait after a failed renewal; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
/// The longest wait between renewals that fail.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// Beyond this many slots, those that hold nothing are swept: with `"*"` as user, anybody who
/// connects can name as many users as they like.
const SWEEP_ABOVE: usize = 4096;

/// All tokens of the process. A clone shares them.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    slots: DashMap<String, Arc<Slot>>,
    prints: Fingerprints,
    http: Client,
    courier: Courier,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Tokens {
    /// An empty cache. Renewals run as tasks of `tasks` until `stop`.
    pub fn new(courier: Courier, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let (slots, prints, http) = (DashMap::new(), Fingerprints::new(), Client::new());
        Self(Arc::new(Inner { slots, prints, http, courier, tasks, stop }))
    }

    /// A living token. `password` is what the client typed; it is needed, and judged, where the
    /// app's grant is by password.
    pub async fn get(
        &self,
        identity: &Identity,
        password: Option<&SecretString>,
    ) -> Result<Token, TokenError> {
        let proof = self.proof(identity, password)?;
        let slot = self.slot(identity);
        if let Some(answer) = slot.answer(&proof) {
            return answer;
        }
        let _turn = slot.turn.lock().await;
        if let Some(answer) = slot.answer(&proof) {
            return answer; // of the one who had the turn before
        }
        let ask = match password {
            Some(password) if proof.is_some() => Ask::Password { user: &identity.user, password },
            _ => Ask::App,
        };
        let letter = grant::letter(&self.0.http, &identity.app, &ask, 0).await?;
        match self.ask(letter).await {
            Ok(Answer::Granted(granted)) => {
                let (app, seconds) = (&identity.app.name, granted.life.as_secs());
                info!(event = "token", app, seconds, "token granted");
                let token = slot.grant(proof.clone(), granted, identity.app.token_expiry_margin);
                slot.accept(&proof);
                self.renew_in_background(Arc::clone(&identity.app), Arc::clone(&slot));
                Ok(token)
            }
            Ok(Answer::Refused { error, description, aadsts }) => {
                let by_password = proof.is_some();
                slot.refuse(&proof, Refused { error, description, aadsts, by_password })
            }
            Ok(Answer::Transient { what, retry_after }) => {
                slot.fail(&proof, unusable(&what), retry_after)
            }
            Err(error) => slot.fail(&proof, error, None),
        }
    }

    /// From now on this identity's tokens are renewed at half their life, in the background: long
    /// sessions begin with them, and end with them.
    pub fn keep_young(&self, identity: &Identity) {
        self.slot(identity).keep_young();
    }

    /// The provider refused this token. Whether the next [`get`](Self::get) brings another: it is
    /// fetched anew at most once a minute for each identity, so that one mailbox without rights
    /// does not make Entra see a loop.
    pub fn rejected(&self, identity: &Identity, token: &Token) -> bool {
        self.slot(identity).suspect(token)
    }

    fn proof(
        &self,
        identity: &Identity,
        password: Option<&SecretString>,
    ) -> Result<Proof, TokenError> {
        match identity.app.grant {
            Grant::Password { .. } => {
                let password = password.ok_or(TokenError::NoPassword)?;
                Ok(Some(self.0.prints.of(&key(identity), password)))
            }
            _ => Ok(None),
        }
    }

    /// The slot itself is cloned out: no guard of the map outlives this call.
    fn slot(&self, identity: &Identity) -> Arc<Slot> {
        let slots = &self.0.slots;
        if slots.len() > SWEEP_ABOVE {
            slots.retain(|_, slot| slot.is_worth_keeping());
        }
        Arc::clone(&slots.entry(key(identity)).or_insert_with(|| Arc::new(Slot::new())))
    }

    /// One request and its answer. The error is of the way, not of Entra.
    async fn ask(&self, letter: Letter) -> Result<Answer, TokenError> {
        let exchange = async {
            let response = (self.0.courier)(letter).await?;
            Ok(entra::read(response).await)
        };
        match timeout(REQUEST_LIMIT, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(CourierError { what, remedy, summary })) => {
                Err(TokenError::Unavailable { what, remedy, summary })
            }
            Err(_) => Err(unusable(&format!("no answer within {} s", REQUEST_LIMIT.as_secs()))),
        }
    }

    /// Renews the slot's present token when its time comes, and each one after it.
    fn renew_in_background(&self, app: Arc<EntraApp>, slot: Arc<Slot>) {
        let tokens = self.clone();
        self.0.tasks.spawn(async move {
            let stop = tokens.0.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokens.keep_renewing(&app, &slot) => {}
            }
        });
    }

    async fn keep_renewing(&self, app: &EntraApp, slot: &Slot) {
        let Some(Renewal { mut generation, mut at }) = slot.renewal() else {
            return;
        };
        let mut backoff = FIRST_BACKOFF;
        loop {
            tokio::select! {
                () = sleep_until(at) => {}
                () = slot.hurry.notified() => match slot.renewal() {
                    Some(renewal) if renewal.generation == generation => {
                        at = renewal.at;
                        continue;
                    }
                    _ => {
                        slot.hurry.notify_one(); // meant for the one who renews the token after
                        return;
                    }
                },
            }
            if slot.unused_for() > RENEWED_WHILE_USED {
                debug!(app = app.name, "token no longer renewed: nobody has used it for long");
                return;
            }
            let _turn = slot.turn.lock().await;
            let Some((proof, refresh)) = slot.current(generation) else {
                return;
            };
            let ask = match &refresh {
                _ if app.is_app_only() => Ask::App,
                Some(refresh) => Ask::Refresh(refresh),
                // Only the client has the password; the next login after the end brings it.
                None => return,
            };
            let Ok(letter) = grant::letter(&self.0.http, app, &ask, 0).await else { return };
            let (what, retry_after) = match self.ask(letter).await {
                Ok(Answer::Granted(granted)) => {
                    info!(
                        event = "token",
                        app = app.name,
                        seconds = granted.life.as_secs(),
                        "token renewed"
                    );
                    slot.grant(proof, granted, app.token_expiry_margin);
                    let Some(renewal) = slot.renewal() else {
                        return;
                    };
                    (generation, at, backoff) = (renewal.generation, renewal.at, FIRST_BACKOFF);
                    continue;
                }
                Ok(Answer::Refused { error, description, aadsts }) => {
                    warn!(
                        event = "token_renewal_refused",
                        app = app.name,
                        error,
                        description,
                        cause = aadsts.and_then(advice::for_aadsts).map(|advice| advice.cause),
                        remedy = aadsts.and_then(advice::for_aadsts).map(|advice| advice.remedy),
                        "token not renewed; it is served until it ends",
                    );
                    if refresh.is_some() {
                        slot.drop_refresh(generation);
                        return;
                    }
                    (description, Some(REFUSED_FOR))
                }
                Ok(Answer::Transient { what, retry_after }) => (what, retry_after),
                Err(error) => (error.to_string(), None),
            };
            let wait = retry_after.unwrap_or_else(|| jittered(backoff));
            warn!(
                event = "token_renewal_failed",
                app = app.name,
                what,
                ?wait,
                "token not renewed, trying again; it is served until it ends"
            );
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
            at = Instant::now() + wait;
        }
    }
}

/// The slot's name: the app, and the user where tokens are the user's. NUL is in neither.
fn key(identity: &Identity) -> String {
    if identity.app.is_app_only() {
        return identity.app.name.clone();
    }
    format!("{}\0{}", identity.app.name, identity.user.to_ascii_lowercase())
}

/// Between the whole wait and half of it, so that many proxies do not ask in step.
fn jittered(wait: Duration) -> Duration {
    let mut octet = [0];
    let share = getrandom::fill(&mut octet).map_or(255, |()| u32::from(octet[0]));
    wait / 2 + wait / 2 * share / 255
}

fn unusable(what: &str) -> TokenError {
    TokenError::Unavailable {
        what: format!("the token endpoint gave no token: {what}"),
        remedy: Some("trying again later may help; a page in place of JSON comes from a proxy: ask its owners to let the token endpoint through".to_owned()),
        summary: "the token endpoint gave no usable answer".to_owned(),
    }
}
