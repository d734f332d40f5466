//! A client before its login has been accepted: gate, token, upstream, verdict.

use std::{net::SocketAddr, sync::Arc};

use tracing::{info, warn};

use super::{
    House,
    ending::Ending,
    front::Front,
    gate::Shut,
    person::{NotTheirs, Person},
    progress::Progress,
    upstream::{self, Open, OpenError, Request},
};
use crate::{
    config::{Account, Listener},
    mail::{Login, Refusal, RefusalKind},
    token::Identity,
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
    pub(super) account: Arc<Account>,
}

impl Visit<'_> {
    /// Asks for a login until one is accepted or the dialogue ends itself.
    pub(super) async fn log_in(&self, front: &mut Front) -> Result<LoggedIn, Ending> {
        loop {
            let login = front.next_login().await?;
            match self.admit(&login).await {
                Ok(logged_in) => return Ok(logged_in),
                Err(refusal) => front.tell(Err(&refusal)).await.map_err(Ending::Broken)?,
            }
            self.progress.enter("login");
        }
    }

    async fn admit(&self, login: &Login) -> Result<LoggedIn, Refusal> {
        let House { gate, tokens, dialer, learned, .. } = self.house;
        self.progress.account(&login.user);
        self.progress.enter("gate");
        let person = Person::of(&login.user, gate);
        let account = match gate.admit(&person.user, &login.password).await {
            Ok(account) => account,
            Err(shut) => {
                Self::log_shut(login, shut);
                gate.slow_down(self.peer.ip()).await;
                return Err(Refusal::new(
                    RefusalKind::Credentials,
                    "User name or password not accepted",
                ));
            }
        };
        let Ok(mailbox) = person.mailbox(&account, self.listener.protocol, gate) else {
            Self::log_not_theirs(login);
            return Err(Refusal::new(
                RefusalKind::Credentials,
                "This user may not open that mailbox",
            ));
        };
        let identity = Identity { app: Arc::clone(&account.entra), user: person.user.clone() };
        let request = Request {
            protocol: self.listener.protocol,
            upstream: &self.listener.upstream,
            client_name: login.client_name.as_deref(),
            identity: &identity,
            password: &login.password,
            mailbox,
        };
        let error = match upstream::open(tokens, dialer, learned, &request, self.progress).await {
            Ok(open) => {
                let upstream = &self.listener.upstream.host;
                info!(
                    event = "login",
                    account = login.user,
                    mailbox = request.mailbox,
                    upstream,
                    "logged in"
                );
                return Ok(LoggedIn { open, account });
            }
            Err(error) => error,
        };
        let refusal = error.refusal();
        self.log_not_opened(login, &error, &refusal);
        if error.blames_the_password() {
            gate.slow_down(self.peer.ip()).await;
        }
        Err(refusal)
    }

    /// The client hears the same for an unknown user and a wrong password; the log does not.
    fn log_shut(login: &Login, shut: Shut) {
        let (cause, remedy) = gate_words(shut);
        warn!(event = "login_refused", account = login.user, cause, remedy, "login refused");
    }

    fn log_not_theirs(login: &Login) {
        let (cause, remedy) = not_theirs_words(NotTheirs);
        warn!(event = "login_refused", account = login.user, cause, remedy, "login refused");
    }

    fn log_not_opened(&self, login: &Login, error: &OpenError, refusal: &Refusal) {
        let event = if error.is_refusal() { "login_refused" } else { "login_unavailable" };
        warn!(
            event,
            account = login.user,
            phase = self.progress.noted().phase,
            %error,
            cause = error.cause(),
            remedy = error.remedy(),
            told = refusal.text,
            "no session at the provider",
        );
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
    }
}

/// Cause and remedy, for the log.
pub(super) fn not_theirs_words(NotTheirs: NotTheirs) -> (&'static str, &'static str) {
    (
        "the account's app could open the mailbox behind the \\ or /, but nothing says that this user may",
        "give the user an [[account]] of their own with mailbox = \"shared@contoso.com\", or let one account cover both addresses",
    )
}
