//! What can be seen of the daemon: readiness, and facts about its apps.
//!
//! Ready means that a client who comes now can be served: every listener is bound, and every
//! identity that the configuration names has a token or can get one. Identities of users whom only
//! a pattern covers are told and do not count: nobody shall make a service unready by logging in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::{Timestamp, tz::Offset};
use tokio::{
    sync::{Mutex, Semaphore},
    task::{self, AbortHandle},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Config, Credential, Date, EntraApp, UserPattern},
    mail::Protocol,
    stats::{AppFacts, Stats},
    token::{Condition, Identity, IdentityState, TokenError, cache::Tokens, certificate_end},
};

/// How long who asks whether we are ready waits for Entra: probes themselves wait for a second.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long the ends of certificates are believed: reading a PKCS#12 file is dear.
const BELIEVED: Duration = Duration::from_secs(600);

/// What can be seen.
pub(in crate::daemon) struct View {
    stats: Arc<Stats>,
    tokens: Tokens,
    draining: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
    doors: RwLock<Vec<DoorSeen>>,
    named: RwLock<Arc<Named>>,
    /// Held while Entra is asked for what is lacking.
    asking: Arc<Semaphore>,
    ends: Mutex<Option<(Instant, Arc<Vec<End>>)>>,
    started: Instant,
}

/// A listener.
#[derive(Clone)]
pub(in crate::daemon) struct DoorSeen {
    pub(in crate::daemon) protocol: Protocol,
    pub(in crate::daemon) address: SocketAddr,
    pub(in crate::daemon) upstream: String,
    /// Its accept loop.
    pub(in crate::daemon) accepts: AbortHandle,
}

/// What the configuration names.
#[derive(Default)]
struct Named {
    apps: Vec<Arc<EntraApp>>,
    /// In lower case.
    users: BTreeSet<String>,
}

/// When a credential of an app ends.
struct End {
    app: String,
    credential: &'static str,
    day: Date,
}

/// Whether a client who comes now can be served, and why not.
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// In a word or some.
    pub(super) verdict: &'static str,
    /// One line for each listener and identity. Holds nothing secret.
    pub(super) details: Vec<String>,
}

impl View {
    pub(in crate::daemon) fn new(
        tokens: Tokens,
        draining: CancellationToken,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            stats: Arc::clone(tokens.stats()),
            tokens,
            draining,
            stop,
            tasks,
            doors: RwLock::default(),
            named: RwLock::default(),
            asking: Arc::new(Semaphore::new(1)),
            ends: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// These are the listeners now.
    pub(in crate::daemon) fn show_doors(&self, doors: Vec<DoorSeen>) {
        *self.doors.write().unwrap_or_else(PoisonError::into_inner) = doors;
    }

    /// This is the configuration now.
    pub(in crate::daemon) async fn show(&self, config: &Config) {
        let mut named = Named::default();
        for account in &config.accounts {
            if !named.apps.iter().any(|app| app.name == account.entra.name) {
                named.apps.push(Arc::clone(&account.entra));
            }
            if let UserPattern::Exact(user) = &account.user {
                named.users.insert(user.clone());
            }
        }
        let pinned = config.listeners.iter().filter_map(|listener| listener.account.as_ref());
        named.users.extend(pinned.map(|pinned| pinned.user.to_ascii_lowercase()));
        *self.named.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(named);
        *self.ends.lock().await = None;
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(super) fn doors(&self) -> Vec<DoorSeen> {
        self.doors.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a listener has stopped to accept that should not have.
    pub(super) fn has_lost_a_door(&self) -> bool {
        !self.draining.is_cancelled() && self.doors().iter().any(|door| door.accepts.is_finished())
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// How the identities stand; of users whom the configuration does not name, only how many in
    /// which condition.
    pub(super) fn identities(&self) -> (Vec<IdentityState>, BTreeMap<(String, Condition), i64>) {
        let named = self.named();
        let (mut ours, mut others) = (Vec::new(), BTreeMap::new());
        for state in self.tokens.states() {
            if state
                .user
                .as_ref()
                .is_none_or(|user| named.users.contains(&user.to_ascii_lowercase()))
            {
                ours.push(state);
            } else {
                *others.entry((state.app, state.condition)).or_default() += 1;
            }
        }
        ours.sort_by(|one, other| (&one.app, &one.user).cmp(&(&other.app, &other.user)));
        (ours, others)
    }

    /// Whether we are ready. An app that lacks its token is got one, if that is quick.
    pub(super) async fn readiness(&self) -> Readiness {
        if self.lacks_tokens() {
            self.ask_for_tokens();
            let _ = timeout(PATIENCE, self.asking.acquire()).await;
        }
        self.readiness_now()
    }

    /// The same, and nothing is asked for it.
    pub(super) fn readiness_now(&self) -> Readiness {
        let mut details = Vec::new();
        let mut bound = true;
        for door in self.doors() {
            let lost = door.accepts.is_finished();
            bound &= !lost;
            let word = if lost { "closed" } else { "bound" };
            details.push(format!("listener {} {} {word}", door.protocol, door.address));
        }
        let (ours, others) = self.identities();
        details.extend(ours.iter().map(line));
        details.extend(others.into_iter().map(|((app, condition), count)| {
            format!("others app={app:?} condition={} count={count}", condition.word())
        }));
        let verdict = if self.draining.is_cancelled() {
            "draining"
        } else if !bound {
            "a listener is closed"
        } else if ours.iter().any(is_in_the_way) {
            "an identity has no token and can get none"
        } else {
            "ready"
        };
        Readiness { ready: verdict == "ready", verdict, details }
    }

    /// Asks for the tokens of all apps that are identities themselves, in the background, unless
    /// that is being done.
    pub(in crate::daemon) fn ask_for_tokens(&self) {
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else { return };
        let permit = Arc::new(permit);
        for app in self.named().apps.iter().filter(|app| app.is_app_only()) {
            let identity = Identity { app: Arc::clone(app), user: String::new() };
            let (tokens, stop) = (self.tokens.clone(), self.stop.clone());
            let permit = Arc::clone(&permit);
            self.tasks.spawn(async move {
                let _permit = permit;
                // What came of it the identity's state says.
                let _ = stop.run_until_cancelled(tokens.get(&identity, None)).await;
            });
        }
    }

    /// What metrics tell of the apps.
    pub(super) async fn facts(&self) -> Vec<AppFacts> {
        let (named, states) = (self.named(), self.tokens.states());
        let (ends, today) = (self.ends(&named.apps).await, today());
        let facts = named.apps.iter().map(|app| {
            let of_app = || states.iter().filter(|state| state.app == app.name);
            let mut identities = BTreeMap::new();
            for state in of_app() {
                *identities.entry(state.condition.word()).or_default() += 1;
            }
            let days_left = ends.iter().filter(|end| end.app == app.name).filter_map(|end| {
                let days = today.until(end.day).ok()?.get_days();
                Some((end.credential, i64::from(days)))
            });
            AppFacts {
                app: app.name.clone(),
                token_left: of_app().filter_map(|state| state.left).min(),
                token_age: of_app().filter_map(|state| state.age).max(),
                identities: identities.into_iter().collect(),
                days_left: days_left.collect(),
            }
        });
        facts.collect()
    }

    /// An app that is an identity itself, and has no token.
    fn lacks_tokens(&self) -> bool {
        let states = self.tokens.states();
        let has = |app: &&Arc<EntraApp>| {
            states
                .iter()
                .any(|state| state.user.is_none() && state.app == app.name && state.left.is_some())
        };
        self.named().apps.iter().filter(|app| app.is_app_only()).any(|app| !has(&app))
    }

    async fn ends(&self, apps: &[Arc<EntraApp>]) -> Arc<Vec<End>> {
        let mut known = self.ends.lock().await;
        if let Some((at, ends)) = &*known
            && at.elapsed() < BELIEVED
        {
            return Arc::clone(ends);
        }
        let apps = apps.to_vec();
        let ends = task::spawn_blocking(move || apps.iter().flat_map(|app| ends(app)).collect());
        let ends = Arc::new(ends.await.unwrap_or_default());
        *known = Some((Instant::now(), Arc::clone(&ends)));
        ends
    }

    fn named(&self) -> Arc<Named> {
        Arc::clone(&self.named.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Has no token, and can get none. An outage counts too: a client who comes now is not served.
fn is_in_the_way(state: &IdentityState) -> bool {
    state.left.is_none()
        && match state.condition {
            Condition::Fresh | Condition::Idle => false,
            Condition::NeedsSignIn | Condition::Refused | Condition::Failing => true,
        }
}

fn line(state: &IdentityState) -> String {
    let IdentityState { app, grant, user, left, condition, trouble, .. } = state;
    let user = user.as_ref().map(|user| format!("user={user:?}"));
    let left = left.map(|left| format!("left={}s", left.as_secs()));
    let error = trouble.as_ref().map(|trouble| format!("error={:?}", trouble.to_string()));
    let remedy = trouble.as_ref().and_then(TokenError::remedy);
    let remedy = remedy.map(|remedy| format!("remedy={remedy:?}"));
    let parts = [
        Some(format!("identity app={app:?} grant={grant}")),
        user,
        Some(format!("condition={}", condition.word())),
        left,
        error,
        remedy,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// When this app's credentials end. Reads files.
fn ends(app: &EntraApp) -> Vec<End> {
    let secret = app.secret_expires.map(|day| ("secret", day));
    let certificate = match app.grant.credential() {
        // One that cannot be read is told where it is used.
        Some(Credential::Certificate(files)) => certificate_end(files).ok(),
        _ => None,
    };
    let ends = secret.into_iter().chain(certificate.map(|day| ("certificate", day)));
    ends.map(|(credential, day)| End { app: app.name.clone(), credential, day }).collect()
}

fn today() -> Date {
    Offset::UTC.to_datetime(Timestamp::now()).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_no_token_and_can_get_none_is_in_the_way() {
        let needs = TokenError::NeedsSignIn { user: "ann".to_owned(), refused: None };
        let rows = [
            (Condition::Fresh, true, None, false),
            (Condition::Idle, false, None, false),
            (Condition::NeedsSignIn, false, Some(needs.clone()), true),
            (Condition::NeedsSignIn, true, Some(needs), false),
            (Condition::Refused, false, None, true),
            (Condition::Refused, true, None, false),
            (Condition::Failing, false, None, true),
            (Condition::Failing, true, None, false),
        ];
        let mut ran = 0;
        for (condition, lives, trouble, expected) in rows {
            let state = IdentityState {
                app: "app".to_owned(),
                grant: "device_code",
                user: Some("ann".to_owned()),
                left: lives.then_some(Duration::from_secs(7)),
                age: None,
                condition,
                trouble,
            };
            assert_eq!(is_in_the_way(&state), expected, "{condition:?}");
            let line = line(&state);
            assert_eq!(line.contains(" left=7s"), lives, "{line}");
            assert_eq!(line.contains("mailwicket sign-in ann"), state.trouble.is_some(), "{line}");
            ran += 1;
        }
        assert_eq!(ran, 8);
    }
}
