//! The metrics: their names, their labels, and the text.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text::encode},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::Registry,
};

use super::{Outcome, live::Table};

/// What is known of an app at the moment of looking.
#[derive(Clone, Debug)]
pub struct AppFacts {
    /// Its name in the configuration.
    pub app: String,
    /// How long the token may still be used that ends first; `None` where no token lives.
    pub token_left: Option<Duration>,
    /// How long ago the oldest token that lives was got.
    pub token_age: Option<Duration>,
    /// How many of its identities are in which condition.
    pub identities: Vec<(&'static str, i64)>,
    /// How many days its `secret` and its `certificate` still hold; below 0 when over.
    pub days_left: Vec<(&'static str, i64)>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfSession {
    protocol: &'static str,
    account: String,
    end: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfLogin {
    protocol: &'static str,
    account: String,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfLive {
    protocol: &'static str,
    phase: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfProtocol {
    protocol: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfDirection {
    direction: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfRequest {
    app: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfLockout {
    of: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfApp {
    app: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfCondition {
    app: String,
    condition: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfCredential {
    app: String,
    credential: &'static str,
}

/// Makes histograms of seconds: from a neighbour's LAN to the login deadline.
#[derive(Clone, Copy, Debug)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0])
    }
}

type Histograms<L> = Family<L, Histogram, Seconds>;

/// All metrics.
pub(super) struct Metrics {
    sessions: Family<OfSession, Counter>,
    logins: Family<OfLogin, Counter>,
    ways: Histograms<OfProtocol>,
    dialogues: Histograms<OfProtocol>,
    queue: Histograms<OfOutcome>,
    requests: Family<OfRequest, Counter>,
    lockouts: Family<OfLockout, Counter>,
    looked: Looked,
    /// Locked while somebody looks, because what is known only then is written down first.
    registry: Mutex<Registry>,
}

/// What is written down when somebody looks.
#[derive(Default)]
struct Looked {
    live: Family<OfLive, Gauge>,
    bytes: Family<OfDirection, Counter>,
    ready: Gauge,
    token_left: Family<OfApp, Gauge>,
    token_age: Family<OfApp, Gauge>,
    identities: Family<OfCondition, Gauge>,
    days_left: Family<OfCredential, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let (sessions, logins) = (Family::default(), Family::default());
        let (requests, lockouts) = (Family::default(), Family::default());
        let ways = Family::new_with_constructor(Seconds);
        let dialogues = Family::new_with_constructor(Seconds);
        let queue = Family::new_with_constructor(Seconds);
        let looked = Looked::default();
        let mut registry = Registry::with_prefix("mailwicket");
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", version);
        let started: Gauge = Gauge::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(whole(now.as_secs()));
        registry.register("start_time_seconds", "When the process began, in Unix time", started);
        let all = &mut registry;
        all.register("ready", "What /readyz says: 1 or 0", looked.ready.clone());
        all.register(
            "sessions",
            "Sessions that have ended, by their end",
            Family::clone(&sessions),
        );
        all.register("sessions_live", "Sessions now, by phase", looked.live.clone());
        all.register("logins", "Logins, by what came of them", Family::clone(&logins));
        all.register("relay_bytes", "Octets carried after logins", looked.bytes.clone());
        let words = "Way to the provider and TLS, of sessions that were opened";
        all.register("upstream_dial_seconds", words, Family::clone(&ways));
        let words = "Dialogue and login at the provider, of sessions that were opened";
        all.register("upstream_auth_seconds", words, Family::clone(&dialogues));
        let words = "Logins that waited for a place in their mailbox";
        all.register("mailbox_queue_seconds", words, Family::clone(&queue));
        all.register("lockouts", "Lockouts that have begun", Family::clone(&lockouts));
        all.register("token_requests", "Requests to Entra, by app", Family::clone(&requests));
        let words = "Life left of the app's token that ends first";
        all.register("token_left_seconds", words, looked.token_left.clone());
        let words = "Age of the app's oldest token that lives";
        all.register("token_age_seconds", words, looked.token_age.clone());
        let words = "Identities that were asked for, by condition";
        all.register("identities", words, looked.identities.clone());
        let words = "Days until the app's secret or certificate ends";
        all.register("credential_days_left", words, looked.days_left.clone());
        let registry = Mutex::new(registry);
        Self { sessions, logins, ways, dialogues, queue, requests, lockouts, looked, registry }
    }
}

impl Metrics {
    pub(super) fn session(&self, protocol: &'static str, account: &str, end: &'static str) {
        let labels = OfSession { protocol, account: account.to_owned(), end };
        self.sessions.get_or_create(&labels).inc();
    }

    pub(super) fn login(
        &self,
        protocol: &'static str,
        account: &str,
        outcome: Outcome,
        reason: &'static str,
    ) {
        let outcome = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Refused => "refused",
            Outcome::Unavailable => "unavailable",
        };
        let labels = OfLogin { protocol, account: account.to_owned(), outcome, reason };
        self.logins.get_or_create(&labels).inc();
    }

    pub(super) fn opened(&self, protocol: &'static str, way: Duration, dialogue: Duration) {
        let labels = OfProtocol { protocol };
        self.ways.get_or_create(&labels).observe(way.as_secs_f64());
        self.dialogues.get_or_create(&labels).observe(dialogue.as_secs_f64());
    }

    pub(super) fn queued(&self, waited: Duration, served: bool) {
        let outcome = if served { "served" } else { "timed_out" };
        self.queue.get_or_create(&OfOutcome { outcome }).observe(waited.as_secs_f64());
    }

    pub(super) fn token_request(&self, app: &str, outcome: &'static str) {
        self.requests.get_or_create(&OfRequest { app: app.to_owned(), outcome }).inc();
    }

    pub(super) fn lockout(&self, of: &'static str) {
        self.lockouts.get_or_create(&OfLockout { of }).inc();
    }

    pub(super) fn render(&self, table: &Table, ready: bool, apps: &[AppFacts]) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.looked.write_down(table, ready, apps);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Looked {
    fn write_down(&self, table: &Table, ready: bool, apps: &[AppFacts]) {
        self.ready.set(i64::from(ready));
        let mut live: BTreeMap<_, i64> = BTreeMap::new();
        for session in table.sessions() {
            *live.entry((session.protocol, session.noted().phase)).or_default() += 1;
        }
        self.live.clear();
        for ((protocol, phase), count) in live {
            self.live.get_or_create(&OfLive { protocol, phase }).set(count);
        }
        let (up, down) = table.carried();
        for (direction, octets) in [("up", up), ("down", down)] {
            let counter = self.bytes.get_or_create(&OfDirection { direction });
            counter.inner().store(octets, Ordering::Relaxed);
        }
        self.token_left.clear();
        self.token_age.clear();
        self.identities.clear();
        self.days_left.clear();
        for facts in apps {
            let of = OfApp { app: facts.app.clone() };
            if let Some(left) = facts.token_left {
                self.token_left.get_or_create(&of).set(whole(left.as_secs()));
            }
            if let Some(age) = facts.token_age {
                self.token_age.get_or_create(&of).set(whole(age.as_secs()));
            }
            for (condition, count) in &facts.identities {
                let of = OfCondition { app: facts.app.clone(), condition };
                self.identities.get_or_create(&of).set(*count);
            }
            for (credential, days) in &facts.days_left {
                let of = OfCredential { app: facts.app.clone(), credential };
                self.days_left.get_or_create(&of).set(*days);
            }
        }
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
