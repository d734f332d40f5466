//! A client before its session is opened: gate, token, upstream, verdict.
//!
//! There are three ways in: a password, which the gate judges; a token that the client brought,
//! which the upstream judges; and an address from which no login is asked.

use std::{net::SocketAddr, sync::Arc};

use secrecy::SecretString;
use tracing::{debug, info, warn};

use super::{
    House,
    ending::Ending,
    front::Front,
    gate::{Shut, is_usable_from},
    person::{NotTheirs, Person},
    progress::Progress,
    upstream::{self, Open, OpenError, Pass, Request},
};
use crate::{
    config::{Account, Listener},
    mail::{Credentials, Login, Refusal, RefusalKind},
    stats::Outcome,
    token::{Identity, TokenError},
};

/// One client before its login has been accepted.
pub(super) struct Visit<'a> {
    pub(super) house: &'a House,
    pub(super) listener: &'a Listener,
    pub(super) peer: SocketAddr,
    pub(super) progress: &'a Progress,
}

/// A client whose login has been accepted.
pub(super) struct LoggedIn {
    pub(super) open: Open,
    /// Whether the token is an app's, and not a user's. One that the client brought is taken for
    /// a user's.
    pub(super) is_app_only: bool,
}

impl Visit<'_> {
    /// Asks for a login until one is accepted or the dialogue ends itself.
    pub(super) async fn log_in(&self, front: &mut Front) -> Result<LoggedIn, Ending> {
        front.open_up(self.progress).await?;
        loop {
            let login = front.next_login(self.progress).await?;
            let admitted = tokio::select! {
                biased;
                admitted = self.admit(&login) => admitted,
                ending = front.leaves_the_queue(self.progress) => return Err(ending),
            };
            match admitted {
                Ok(logged_in) => return Ok(logged_in),
                Err(refusal) => front.tell(Err(&refusal)).await.map_err(Ending::Broken)?,
            }
            self.progress.enter("login");
        }
    }

    async fn admit(&self, Login { credentials, client_name }: &Login) -> Result<LoggedIn, Refusal> {
        let name = client_name.as_deref();
        match credentials {
            Credentials::Password { user, password } => {
                self.by_password(user, password, name).await
            }
            Credentials::Token { user, token } => self.by_token(user, token, name).await,
            Credentials::Unasked => self.by_address(name).await,
        }
    }

    async fn by_password(
        &self,
        typed: &str,
        password: &SecretString,
        client_name: Option<&str>,
    ) -> Result<LoggedIn, Refusal> {
        let (gate, from) = (&self.house.gate, self.peer.ip());
        let person = Person::of(typed, gate);
        self.arrives(typed, &person.user);
        self.progress.enter("gate");
        let account = match gate.admit(&person.user, password, from).await {
            Ok(account) => account,
            Err(shut) => {
                self.log_shut(typed, shut);
                match shut {
                    Shut::Locked => gate.pause().await,
                    _ => gate.slow_down(from).await,
                }
                return Err(refused_here(shut));
            }
        };
        let mailbox = self.mailbox(typed, &person, &account)?;
        let user = person.known_as(&account).to_owned();
        let identity = Identity { app: Arc::clone(&account.entra), user };
        let pass = Pass::Ours { identity: &identity, password: Some(password) };
        let opened = self.open(typed, "password", pass, mailbox, client_name).await;
        let verdict = match &opened {
            Ok(_) => Some(true),
            Err(error) => error.verdict_on_password(),
        };
        match verdict {
            Some(true) => gate.entra_accepted(&person.user, password, &account, from),
            Some(false) => gate.entra_refused(&person.user, &account, from),
            None => {}
        }
        match &opened {
            Err(OpenError::Token(TokenError::Held)) => gate.pause().await,
            Err(error) if error.blames_the_password() => gate.slow_down(from).await,
            _ => {}
        }
        logged_in(opened, account.entra.is_app_only())
    }

    /// The upstream is the only judge. Where too many passwords have failed a token still passes,
    /// because nobody guesses one; refused ones are slowed down, so that a client with a stale
    /// token does not have Exchange Online lock us out.
    async fn by_token(
        &self,
        user: &str,
        token: &SecretString,
        client_name: Option<&str>,
    ) -> Result<LoggedIn, Refusal> {
        self.arrives(user, user);
        let opened = self.open(user, "token", Pass::Theirs(token), user, client_name).await;
        if opened.as_ref().is_err_and(OpenError::is_refusal) {
            self.progress.enter("gate");
            self.house.gate.slow_down(self.peer.ip()).await;
        }
        logged_in(opened, false)
    }

    async fn by_address(&self, client_name: Option<&str>) -> Result<LoggedIn, Refusal> {
        let Some(pinned) = &self.listener.account else {
            // No dialogue but such a listener's yields this.
            return Err(Refusal::new(RefusalKind::Unavailable, "Log in first"));
        };
        let (user, account) = (&pinned.user, &pinned.account);
        self.arrives(user, user);
        if !is_usable_from(account, self.peer.ip()) {
            self.log_shut(user, Shut::NotFromHere);
            let words = "Your address may not use this account";
            return Err(Refusal::new(RefusalKind::Credentials, words));
        }
        let person = Person::of(user, &self.house.gate);
        let mailbox = self.mailbox(user, &person, account)?;
        let identity = Identity { app: Arc::clone(&account.entra), user: person.user.clone() };
        let pass = Pass::Ours { identity: &identity, password: None };
        let opened = self.open(user, "address", pass, mailbox, client_name).await;
        let no_token = matches!(opened, Err(OpenError::Token(_)));
        logged_in(opened, account.entra.is_app_only()).map_err(|refusal| {
            // Nobody has typed anything, so Entra's no is about the app, such as its secret that has
            // expired: an administrator mends that, and a queue of mail must not come back for it.
            let kind = if no_token { RefusalKind::Unavailable } else { refusal.kind };
            Refusal { kind, ..refusal }
        })
    }

    fn mailbox<'a>(
        &self,
        typed: &str,
        person: &'a Person,
        account: &'a Arc<Account>,
    ) -> Result<&'a str, Refusal> {
        person.mailbox(account, self.listener.protocol, &self.house.gate).map_err(|not_theirs| {
            let (cause, remedy) = not_theirs_words(not_theirs);
            warn!(event = "login_refused", account = typed, cause, remedy, "login refused");
            self.failed(Outcome::Refused, "not_their_mailbox", cause);
            Refusal::new(RefusalKind::Mailbox, "This user may not open that mailbox")
        })
    }

    /// Opens the session, and says so in the log or why not. `by` is the way in.
    async fn open(
        &self,
        account: &str,
        by: &str,
        pass: Pass<'_>,
        mailbox: &str,
        client_name: Option<&str>,
    ) -> Result<Open, OpenError> {
        let House { tokens, dialer, learned, places, .. } = self.house;
        let Listener { protocol, upstream, .. } = self.listener;
        let request = Request { protocol: *protocol, upstream, client_name, pass, mailbox };
        let by_app = request.pass.is_app_only();
        let opened = upstream::open(tokens, dialer, learned, places, &request, self.progress).await;
        match &opened {
            Ok(open) => {
                let (stats, session) = (&self.house.stats, self.progress.session());
                stats.login(session, Outcome::Accepted, "ok", "");
                stats.opened(protocol.name(), open.took.way, open.took.login);
                let upstream = &upstream.host;
                info!(event = "login", account, by, mailbox, upstream, "logged in");
            }
            Err(error) => {
                let (event, outcome) = if error.is_refusal() {
                    ("login_refused", Outcome::Refused)
                } else {
                    ("login_unavailable", Outcome::Unavailable)
                };
                self.failed(outcome, error.reason(), &error.to_string());
                warn!(
                    event,
                    account,
                    by,
                    phase = self.progress.noted().phase,
                    %error,
                    cause = error.cause(by_app),
                    remedy = error.remedy(by_app),
                    told = error.refusal(by_app).text,
                    "no session at the provider",
                );
            }
        }
        opened
    }

    /// Somebody logs in as `user`, having typed this.
    fn arrives(&self, typed: &str, user: &str) {
        let account = self.house.gate.account_for(&user.to_ascii_lowercase());
        let label = account.map_or_else(|| "-".to_owned(), |account| account.user.to_string());
        self.progress.account(typed, &label);
    }

    fn failed(&self, outcome: Outcome, reason: &'static str, words: &str) {
        self.house.stats.login(self.progress.session(), outcome, reason, words);
    }

    /// The client hears the same for most; the log does not.
    fn log_shut(&self, account: &str, shut: Shut) {
        let (cause, remedy) = gate_words(shut);
        let locked = shut == Shut::Locked;
        let outcome = if locked { Outcome::Unavailable } else { Outcome::Refused };
        self.failed(outcome, shut.reason(), cause);
        if locked {
            // The lockout itself has been logged; its many refusals would drown the rest.
            debug!(event = "login_locked", account, cause, remedy, "login refused unseen");
            return;
        }
        warn!(event = "login_refused", account, cause, remedy, "login refused");
    }
}

fn logged_in(opened: Result<Open, OpenError>, is_app_only: bool) -> Result<LoggedIn, Refusal> {
    opened.map(|open| LoggedIn { open, is_app_only }).map_err(|error| error.refusal(is_app_only))
}

/// What the client hears: the same for an unknown user, a wrong password and a wrong address. A
/// lockout is answered as passing, so that a client with the right password loses no mail by it.
fn refused_here(shut: Shut) -> Refusal {
    match shut {
        Shut::Locked => Refusal::new(
            RefusalKind::Unavailable,
            "Too many failed logins, try again in some minutes",
        ),
        Shut::UnknownUser
        | Shut::WrongPassword
        | Shut::NotFromHere
        | Shut::NoLogin
        | Shut::NoPassword => {
            Refusal::new(RefusalKind::Credentials, "User name or password not accepted")
        }
    }
}

/// Cause and remedy, for the log.
pub(super) fn gate_words(shut: Shut) -> (&'static str, &'static str) {
    match shut {
        Shut::UnknownUser => (
            "no [[account]] in proxy.toml covers this user name",
            "add an account with this user, or \"*@domain\", or mend the user name in the client",
        ),
        Shut::WrongPassword => (
            "the password does not match the account's password_hash",
            "mend the password in the client, or make a new hash with `mailwicket hash-password`",
        ),
        Shut::NotFromHere => (
            "the account's allow list does not have the client's address",
            "add the address to the account's allow in proxy.toml if it should get in",
        ),
        Shut::NoLogin => (
            "the account has no password_hash: it is for a listener that asks for no login",
            "make a hash with `mailwicket hash-password`, or connect to that listener",
        ),
        Shut::NoPassword => (
            "the client sent an empty password",
            "give the client the account's password; some programs only look whether they get in without",
        ),
        Shut::Locked => (
            "too many logins to this account, or from this address, have failed",
            "see the lockout line before; it ends by itself",
        ),
    }
}

/// Cause and remedy, for the log.
pub(super) fn not_theirs_words(NotTheirs: NotTheirs) -> (&'static str, &'static str) {
    (
        "the account's app could open the mailbox behind the \\ or /, but nothing says that this user may",
        "give the user an [[account]] of their own with mailbox = \"shared@contoso.com\", or let one account cover both addresses",
    )
}
