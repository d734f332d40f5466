//! What is counted while mailwicket runs, and the table of live sessions.
//!
//! Every room may count here, and one looks: the status endpoint. The names of the metrics are a
//! contract with the people who watch them (the table is in README.md). No label is made of
//! what a stranger typed: accounts appear as they are configured, and outcomes come from closed
//! sets, so that there are only so many series. Nothing secret comes here at all.
//!
//! Must never know any other room, nor how it is looked at.

mod live;
mod metrics;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use self::{live::Table, metrics::Metrics};
pub use self::{
    live::{Carried, Noted, Session},
    metrics::{AppFacts, CONTENT_TYPE},
};

/// So many refused logins are remembered, for people who look.
const RECENT: usize = 20;
/// So much of what a client typed or a server said is remembered, in characters.
const LONGEST: usize = 200;

/// All that is counted.
#[derive(Debug, Default)]
pub struct Stats {
    table: Table,
    metrics: Metrics,
    refused: Mutex<VecDeque<Refused>>,
}

/// A login that failed.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When.
    pub at: SystemTime,
    /// The protocol's name.
    pub protocol: &'static str,
    /// From where; `None` where there is no client.
    pub client: Option<SocketAddr>,
    /// The user name, as typed, and cut where it is long.
    pub account: String,
    /// The reason, of a closed set.
    pub reason: &'static str,
    /// What happened, cut where it is long.
    pub words: String,
}

/// What came of a login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A session was opened at the provider.
    Accepted,
    /// Trying again, unchanged, cannot help.
    Refused,
    /// Trying again later can.
    Unavailable,
}

impl Stats {
    /// A session has begun; it is listed until the guard is dropped.
    pub fn begin(self: &Arc<Self>, protocol: &'static str, client: SocketAddr) -> Running {
        let session = Arc::new(Session::alone(protocol, Some(client)));
        let number = self.table.put(Arc::clone(&session));
        Running { stats: Arc::clone(self), session, number, end: "broken_off" }
    }

    /// A client was turned away before it could say anything.
    pub fn turned_away(&self, protocol: &'static str, why: &'static str) {
        self.metrics.session(protocol, "-", why);
    }

    /// The live sessions, the oldest first.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.table.sessions()
    }

    /// A login came to this. `reason` is of a closed set, and `ok` where the login was accepted.
    pub fn login(&self, session: &Session, outcome: Outcome, reason: &'static str, words: &str) {
        let Noted { account, label, .. } = session.noted();
        self.metrics.login(session.protocol, &label, outcome, reason);
        if outcome == Outcome::Accepted {
            return;
        }
        let cut = |text: &str| text.chars().take(LONGEST).collect();
        let (at, protocol, client) = (SystemTime::now(), session.protocol, session.client);
        let (account, words) = (cut(&account), cut(words));
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.truncate(RECENT - 1);
        refused.push_front(Refused { at, protocol, client, account, reason, words });
    }

    /// The logins that failed last, the latest first.
    pub fn refused(&self) -> Vec<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// A session was opened at the provider: the way there with its TLS took so long, and the
    /// dialogue up to the login so long.
    pub fn opened(&self, protocol: &'static str, way: Duration, login: Duration) {
        self.metrics.opened(protocol, way, login);
    }

    /// A login had to wait for a place in its mailbox, and got it or not.
    pub fn queued(&self, waited: Duration, served: bool) {
        self.metrics.queued(waited, served);
    }

    /// Entra was asked for a token of this app (its name in the configuration), and `outcome`, of
    /// a closed set, came of it.
    pub fn token_request(&self, app: &str, outcome: &'static str) {
        self.metrics.token_request(app, outcome);
    }

    /// A lockout has begun, of an `account`, an `address`, or one at the other.
    pub fn lockout(&self, of: &'static str) {
        self.metrics.lockout(of);
    }

    /// Everything as Prometheus text, of type [`CONTENT_TYPE`], with these facts about the apps.
    pub fn render(&self, ready: bool, apps: &[AppFacts]) -> String {
        self.metrics.render(&self.table, ready, apps)
    }
}

/// A session that is listed. Dropped, it is counted by its end and listed no more.
#[derive(Debug)]
pub struct Running {
    stats: Arc<Stats>,
    session: Arc<Session>,
    number: u64,
    end: &'static str,
}

impl Running {
    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// It has ended in this way, of a closed set.
    pub fn end(mut self, end: &'static str) {
        self.end = end;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stats.table.take(self.number);
        let label = self.session.noted().label;
        self.stats.metrics.session(self.session.protocol, &label, self.end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn client() -> SocketAddr {
        "192.0.2.7:40000".parse().unwrap()
    }

    fn value(text: &str, series: &str) -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    #[test]
    fn octets_are_counted_while_a_session_runs_and_once() {
        let stats = Arc::new(Stats::default());
        let running = stats.begin("imap", client());
        running.session().enter("relay");
        running.session().carried.up.fetch_add(5, Ordering::Relaxed);
        running.session().carried.down.fetch_add(7, Ordering::Relaxed);
        let up = "mailwicket_relay_bytes_total{direction=\"up\"}";
        let down = "mailwicket_relay_bytes_total{direction=\"down\"}";
        let live = "mailwicket_sessions_live{protocol=\"imap\",phase=\"relay\"}";
        let text = stats.render(true, &[]);
        let found = [up, down, live].map(|series| value(&text, series));
        assert_eq!(found, [Some(5.0), Some(7.0), Some(1.0)], "{text}");
        running.end("hung_up");
        let text = stats.render(true, &[]);
        let found = [up, down, live].map(|series| value(&text, series));
        assert_eq!(found, [Some(5.0), Some(7.0), None], "{text}");
        let ended = "mailwicket_sessions_total{protocol=\"imap\",account=\"-\",end=\"hung_up\"}";
        assert_eq!(value(&text, ended), Some(1.0), "{text}");
        drop(stats.begin("smtp", client()));
        let text = stats.render(true, &[]);
        assert!(text.contains("end=\"broken_off\"} 1"), "one whose task is gone: {text}");
    }

    #[test]
    fn what_a_stranger_types_is_no_label_and_is_cut() {
        let stats = Stats::default();
        let session = Session::alone("smtp", Some(client()));
        for number in 0..RECENT + 5 {
            session.account(&format!("typed-{number}-{}", "x".repeat(1000)), "*@contoso.com");
            stats.login(&session, Outcome::Refused, "wrong_password", "words");
        }
        let text = stats.render(true, &[]);
        assert!(!text.contains("typed-"), "{text}");
        let series = "mailwicket_logins_total{protocol=\"smtp\",account=\"*@contoso.com\",outcome=\"refused\",reason=\"wrong_password\"}";
        assert_eq!(value(&text, series), Some(25.0), "{text}");
        let refused = stats.refused();
        assert_eq!(refused.len(), RECENT);
        assert!(refused[0].account.starts_with("typed-24-"), "the latest first");
        assert!(refused.iter().all(|refused| refused.account.len() == LONGEST));
        session.account("ann", "ann");
        stats.login(&session, Outcome::Accepted, "ok", "");
        assert!(stats.refused()[0].account.starts_with("typed-24-"), "no refusal");
    }

    #[test]
    fn facts_of_an_app_that_is_gone_are_told_no_more() {
        let stats = Stats::default();
        let facts = |app: &str| AppFacts {
            app: app.to_owned(),
            token_left: Some(Duration::from_secs(3000)),
            token_age: Some(Duration::from_secs(600)),
            identities: vec![("fresh", 2)],
            days_left: vec![("secret", -3)],
        };
        let text = stats.render(false, &[facts("old")]);
        for (series, expected) in [
            ("mailwicket_ready", 0.0),
            ("mailwicket_token_left_seconds{app=\"old\"}", 3000.0),
            ("mailwicket_token_age_seconds{app=\"old\"}", 600.0),
            ("mailwicket_identities{app=\"old\",condition=\"fresh\"}", 2.0),
            ("mailwicket_credential_days_left{app=\"old\",credential=\"secret\"}", -3.0),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series}: {text}");
        }
        let text = stats.render(true, &[facts("new")]);
        assert!(text.contains("app=\"new\"") && !text.contains("app=\"old\""), "{text}");
        assert_eq!(value(&text, "mailwicket_ready"), Some(1.0));
    }
}
