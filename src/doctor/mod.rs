//! `check`: walks every way that the configuration describes, as a session would, and says what
//! it met.
//!
//! It uses the session's own path to the provider (token, proxy, TLS, login), so that what it
//! finds is what a client would meet. It sends no mail.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Account, Config, UserPattern},
    net::dial::Dialer,
    session::{self, House, Probe, Trouble},
    token::cache::Tokens,
};

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// What was looked at, and what was learnt.
    pub what: String,
    /// What is wrong with it; `None` if nothing.
    pub trouble: Option<Trouble>,
}

impl Finding {
    fn fine(what: String) -> Self {
        Self { what, trouble: None }
    }

    fn wrong(what: String, error: &str, remedy: &str) -> Self {
        let (error, remedy) = (error.to_owned(), Some(remedy.to_owned()));
        Self { what, trouble: Some(Trouble { error, cause: None, remedy }) }
    }
}

/// Looks at every account on every listener; with `only`, as that user. An account for many users
/// (`*@domain`, `*`) can only be looked at as one of them, and a password that Entra judges is not
/// known here: then the way is walked as far as the server.
pub async fn examine(config: &Config, only: Option<&str>) -> Vec<Finding> {
    let dialer = match Dialer::new(&config.outbound) {
        Ok(dialer) => Arc::new(dialer),
        Err(error) => {
            let remedy = "mend ca_file in [outbound]";
            return vec![Finding::wrong("outbound".to_owned(), &error.to_string(), remedy)];
        }
    };
    let stop = CancellationToken::new();
    let _renewals_end = stop.clone().drop_guard();
    let courier = session::courier(Arc::clone(&dialer));
    let tokens = Tokens::new(courier, None, TaskTracker::new(), stop.clone());
    let house = House::new(config, tokens, dialer, stop.clone(), stop);

    let mut findings = Vec::new();
    for listener in &config.listeners {
        let upstream = &listener.upstream;
        let way = format!("{} at {}:{}", listener.protocol, upstream.host, upstream.port);
        for user in users(config, only) {
            let (what, trouble) = match house.probe(listener, &user).await {
                Ok(Probe::LoggedIn) => (format!("{user}: logged in over {way}"), None),
                Ok(Probe::Reached) => (
                    format!(
                        "{user}: reached {way}; not logged in, because Entra judges the password that the client sends"
                    ),
                    None,
                ),
                Err(trouble) => (format!("{user}: over {way}"), Some(trouble)),
            };
            findings.push(Finding { what, trouble });
        }
    }
    findings.extend(config.accounts.iter().filter(|_| only.is_none()).filter_map(not_looked_at));
    if findings.is_empty() {
        let remedy = "name a user that an [[account]] covers";
        findings.push(Finding::wrong("accounts".to_owned(), "there is none to look at", remedy));
    }
    findings
}

/// The users to walk as: the one asked for, else every account's own.
fn users(config: &Config, only: Option<&str>) -> Vec<String> {
    if let Some(user) = only {
        return vec![user.to_owned()];
    }
    let own = |account: &Arc<Account>| match &account.user {
        UserPattern::Exact(user) => Some(user.clone()),
        UserPattern::Domain(_) | UserPattern::Any => None,
    };
    config.accounts.iter().filter_map(own).collect()
}

fn not_looked_at(account: &Arc<Account>) -> Option<Finding> {
    let pattern = match &account.user {
        UserPattern::Exact(_) => return None,
        UserPattern::Domain(domain) => format!("*@{domain}"),
        UserPattern::Any => "*".to_owned(),
    };
    let grant = account.entra.grant.name();
    Some(Finding::fine(format!(
        "{pattern} ({grant}): stands for many users; name one with --account to walk the way"
    )))
}
