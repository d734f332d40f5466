//! `check`: walks every way that the configuration describes, as a session would, and says what
//! it met.
//!
//! It uses the session's own path to the provider (vault, token, proxy, TLS, login), so that what it
//! finds is what a client would meet. It sends no mail, and changes nothing but what a login would:
//! a token that was due is renewed, and kept in the vault if there is one. [`on_paper`] is what can
//! be said without the network; `ways` looks at the proxies, `walk` puts one session into words, `claims` what
//! the token says, `commands` what an administrator of Exchange could do about it. [`running`] asks
//! the mailwicket that runs already.

mod claims;
mod commands;
mod paper;
pub mod running;
#[cfg(test)]
mod tests;
mod walk;
mod ways;

use std::sync::Arc;

use tokio::task;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::paper::on_paper;
use crate::{
    config::{self, Account, Config, Grant, Listener, UserPattern, VaultFiles},
    net::{dial::Dialer, server_tls::Terminators},
    session::{self, House, probe::Trouble},
    token::{
        cache::Tokens,
        vault::{Vault, VaultError},
    },
};

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at, and what was learnt.
    pub what: String,
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// Lines of PowerShell that would help, ready to be run by an administrator of Exchange.
    pub commands: Vec<String>,
}

/// What is to be thought of a [`Finding`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing is wrong.
    Fine,
    /// It works, and should still be looked at.
    Warning(Words),
    /// It does not work.
    Failure(Words),
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words {
    /// What happened.
    pub error: String,
    /// What it means, where the error does not say.
    pub cause: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// Whether `check` has failed by this.
    pub fn is_failure(&self) -> bool {
        matches!(self.verdict, Verdict::Failure(_))
    }

    fn fine(what: String) -> Self {
        Self { what, verdict: Verdict::Fine, commands: Vec::new() }
    }

    fn warning(what: String, words: Words) -> Self {
        Self { what, verdict: Verdict::Warning(words), commands: Vec::new() }
    }

    fn failure(what: String, words: Words) -> Self {
        Self { what, verdict: Verdict::Failure(words), commands: Vec::new() }
    }
}

impl Words {
    fn new(error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { error: error.into(), cause: None, remedy: Some(remedy.into()) }
    }
}

impl From<Trouble> for Words {
    fn from(Trouble { error, cause, remedy, .. }: Trouble) -> Self {
        Self { error, cause: cause.map(str::to_owned), remedy }
    }
}

/// What was found, in order, each once.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, finding: Finding) {
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}

/// Looks at every account on every listener; with `only`, as that user. An account for many users
/// (`*@domain`, `*`) can only be looked at as one of them, and a password that Entra judges is not
/// known here: then the way is walked as far as the server.
pub async fn examine(config: &Config, only: Option<&str>) -> Vec<Finding> {
    let mut findings = Findings::default();
    let dialer = match Dialer::new(&config.outbound) {
        Ok(dialer) => Arc::new(dialer),
        Err(error) => {
            let words = Words::new(error.to_string(), "mend ca_file in [outbound]");
            return vec![Finding::failure("outbound".to_owned(), words)];
        }
    };
    let vault = match &config.vault {
        None => Ok(None),
        Some(files) => open(files, &mut findings).await,
    };
    ways::look(config, &dialer, &mut findings).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let renewals_end = stop.clone().drop_guard();
    let courier = session::courier(Arc::clone(&dialer));
    let without_vault = vault.is_err();
    let tokens = Tokens::new(courier, vault.unwrap_or(None), tasks.clone(), stop.clone());
    let house = House::new(config, tokens, dialer, Terminators::default(), stop.clone(), stop);

    let walks = findings.0.len();
    for listener in &config.listeners {
        for Walk { user, account } in users(config, listener, only) {
            let signs_in = account.is_some_and(|account| account.entra.grant.needs_sign_in());
            if without_vault && signs_in {
                // Without the vault it would look as if nobody had signed in.
                findings.add(Finding::fine(format!("{user}: not looked at without the vault")));
                continue;
            }
            walk::describe(house.probe(listener, &user).await, listener, &user, &mut findings);
        }
    }
    for account in config.accounts.iter().filter(|_| only.is_none()) {
        if let Some(finding) = not_looked_at(config, account) {
            findings.add(finding);
        }
    }
    if findings.0.len() == walks {
        let words =
            Words::new("there is none to look at", "name a user that an [[account]] covers");
        findings.add(Finding::failure("accounts".to_owned(), words));
    }
    // What is being written to the vault is written.
    drop(renewals_end);
    tasks.close();
    tasks.wait().await;
    findings.0
}

/// Opens the vault as the daemon does, but makes none: `check` may be run by another user than the
/// daemon, who could not read what it made. `Err`: there is one, and it cannot be used.
async fn open(files: &VaultFiles, findings: &mut Findings) -> Result<Option<Arc<Vault>>, ()> {
    let path = files.path.display();
    let (there, owned) = (files.path.clone(), files.clone());
    let opened = task::spawn_blocking(move || {
        there.try_exists().unwrap_or(true).then(|| Vault::open(&owned)).transpose()
    });
    match opened.await {
        Ok(Ok(Some(vault))) => {
            findings.add(Finding::fine(format!("vault: {path} opens")));
            Ok(Some(Arc::new(vault)))
        }
        Ok(Ok(None)) => {
            let what = format!("vault: {path} is not there yet; it is made at first use");
            findings.add(Finding::fine(what));
            Ok(None)
        }
        Ok(Err(VaultError { what, remedy })) => {
            findings.add(Finding::failure("vault".to_owned(), Words::new(what, remedy)));
            Err(())
        }
        Err(error) => {
            let words = Words::new(error.to_string(), "this is a bug; please report it");
            findings.add(Finding::failure("vault".to_owned(), words));
            Err(())
        }
    }
}

/// As whom to walk.
struct Walk<'a> {
    user: String,
    account: Option<&'a Account>,
}

/// The users to walk as on this listener: the one asked for, else whose name an account says and
/// who could log in there.
fn users<'a>(config: &'a Config, listener: &'a Listener, only: Option<&str>) -> Vec<Walk<'a>> {
    if let Some(pinned) = &listener.account {
        let walk = Walk { user: pinned.user.clone(), account: Some(&pinned.account) };
        let meant = only.is_none_or(|only| only.eq_ignore_ascii_case(&walk.user));
        return if meant { vec![walk] } else { Vec::new() };
    }
    if let Some(user) = only {
        let name = user.to_ascii_lowercase();
        let account = config::closest(&config.accounts, &name).map(|account| &**account);
        return vec![Walk { user: user.to_owned(), account }];
    }
    let own = |account: &'a Arc<Account>| match &account.user {
        UserPattern::Exact(user) if !is_for_pinned_listeners(account) => {
            Some(Walk { user: user.clone(), account: Some(account) })
        }
        _ => None,
    };
    config.accounts.iter().filter_map(own).collect()
}

/// Nobody can log in to it.
fn is_for_pinned_listeners(account: &Account) -> bool {
    account.password_hash.is_none() && !matches!(account.entra.grant, Grant::Password { .. })
}

fn not_looked_at(config: &Config, account: &Arc<Account>) -> Option<Finding> {
    let is_pinned = |listener: &Arc<Listener>| {
        listener.account.as_ref().is_some_and(|pinned| Arc::ptr_eq(&pinned.account, account))
    };
    if is_for_pinned_listeners(account) && config.listeners.iter().any(is_pinned) {
        return None;
    }
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
