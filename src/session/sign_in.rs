//! A person's sign-in for an account: whom it is for, the way out, and the browser's way back.
//!
//! Here the wings meet once more: the flow is `token`'s, the sockets are `net`'s. Must never know
//! terminals.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{courier, gate::Gate, person::Person};
use crate::{
    config::{Account, Config, Grant},
    net::{
        dial::Dialer,
        loopback::{Loopback, Page},
    },
    token::{
        Courier, Identity,
        signin::{self, Arrival, Notice, SignInError, SignedIn},
        vault::Vault,
    },
};

/// A sign-in that can begin.
pub struct SignIn {
    identity: Identity,
    meant: Vec<String>,
    courier: Courier,
    vault: Arc<Vault>,
}

/// Why a sign-in cannot begin.
#[derive(Debug)]
pub struct Unfit {
    /// Whether the command was wrong; otherwise the configuration is.
    pub usage: bool,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl SignIn {
    /// Finds whom the user means, as the gate does, and opens the vault: what cannot be kept
    /// afterwards is said before anybody signs in. Blocks: not for an async thread.
    ///
    /// # Errors
    /// In words: no such account, a grant that needs no sign-in, no usable vault.
    pub fn prepare(config: &Config, typed: &str) -> Result<Self, Unfit> {
        let gate = Gate::new(config.accounts.clone(), &config.limits, CancellationToken::new());
        let user = Person::of(typed.trim(), &gate).user;
        let account = gate.account_for(&user.to_ascii_lowercase()).ok_or_else(|| {
            let remedy = "name a user that an [[account]] in proxy.toml covers";
            Unfit::usage(format!("no [[account]] covers {user}"), remedy)
        })?;
        let app = &account.entra;
        if !app.grant.needs_sign_in() {
            let what = format!(
                "{user} needs no sign-in: the app {} has grant = \"{}\"",
                app.name,
                app.grant.name()
            );
            let remedy = "run `mailwicket check` to see whether everything works";
            return Err(Unfit::usage(what, remedy));
        }
        let meant = meant(account, &user);
        if meant.is_empty() {
            let what = format!("{user} is no address, so it cannot be told whose sign-in is meant");
            return Err(Unfit::config(what, "give its [[account]] a mailbox in proxy.toml"));
        }
        let files = config.vault.as_ref().ok_or_else(|| {
            let what = "a sign-in is kept in the vault, and proxy.toml has no [vault]".to_owned();
            Unfit::config(what, "add [vault] with a path to proxy.toml")
        })?;
        let vault = Vault::open(files).map_err(|error| Unfit::config(error.what, &error.remedy))?;
        let dialer = Dialer::new(&config.outbound)
            .map_err(|error| Unfit::config(error.to_string(), "mend ca_file in [outbound]"))?;
        Ok(Self {
            identity: Identity { app: Arc::clone(app), user },
            meant,
            courier: courier(Arc::new(dialer)),
            vault: Arc::new(vault),
        })
    }

    /// Whether the address that the browser ends at may be pasted.
    pub fn takes_pasted(&self) -> bool {
        matches!(self.identity.app.grant, Grant::AuthorizationCode { .. })
    }

    /// Who is to sign in, in words.
    pub fn meant(&self) -> String {
        self.meant.join(" or ")
    }

    /// Signs in. `pasted` brings what a person pastes, line by line, and may end; `show` is called
    /// with what the person must know.
    ///
    /// # Errors
    /// In words; nothing was stored then.
    pub async fn run(
        &self,
        pasted: mpsc::Receiver<String>,
        show: &(dyn Fn(Notice) + Send + Sync),
    ) -> Result<SignedIn, SignInError> {
        let Self { identity, meant, courier, vault } = self;
        let flow = signin::SignIn::new(courier, vault, identity, meant, show);
        let Grant::AuthorizationCode { redirect_uri, .. } = &identity.app.grant else {
            return flow.by_device().await;
        };
        let loopback = Loopback::bind(redirect_uri).map_err(|error| SignInError::Unavailable {
            what: format!(
                "nothing can listen where the browser comes back to, {redirect_uri}: {error}"
            ),
            remedy: Some(
                "end the program that has this port, or leave the port out of redirect_uri"
                    .to_owned(),
            ),
        })?;
        let uri = loopback.uri().to_owned();
        let (arrive, arrivals) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let served = loopback.serve(stop.clone(), {
            let arrive = arrive.clone();
            move |query| visit(arrive.clone(), query)
        });
        let signing_in = async {
            let outcome = tokio::select! {
                outcome = flow.by_browser(&uri, arrivals) => outcome,
                never = forward(pasted, arrive) => match never {},
            };
            stop.cancel();
            outcome
        };
        tokio::join!(signing_in, served).0
    }
}

impl Unfit {
    fn usage(what: String, remedy: &str) -> Self {
        Self { usage: true, what, remedy: remedy.to_owned() }
    }

    fn config(what: String, remedy: &str) -> Self {
        Self { usage: false, what, remedy: remedy.to_owned() }
    }
}

/// Who is to sign in. An address is meant itself: where its account names another's mailbox, it is
/// the delegate, whose token opens that one. Of a short name the mailbox is meant.
fn meant(account: &Account, user: &str) -> Vec<String> {
    if user.contains('@') {
        return vec![user.to_owned()];
    }
    let mailbox = &account.mailbox;
    let mut meant: Vec<String> = Vec::new();
    for name in [&mailbox.smtp, &mailbox.imap, &mailbox.pop3].into_iter().flatten() {
        if !meant.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            meant.push(name.clone());
        }
    }
    meant
}

/// The browser has come back.
async fn visit(arrive: mpsc::Sender<Arrival>, query: String) -> Page {
    let (arrival, verdict) = Arrival::by_browser(query);
    let sent = arrive.send(arrival).await.is_ok();
    match verdict.await {
        Ok(verdict) if sent => Page { fine: verdict.fine, words: verdict.words },
        _ => Page { fine: false, words: "This sign-in is over.".to_owned() },
    }
}

/// Hands on what is pasted. Ends never: with nothing more to paste, the browser may still come.
async fn forward(
    mut pasted: mpsc::Receiver<String>,
    arrive: mpsc::Sender<Arrival>,
) -> std::convert::Infallible {
    while let Some(line) = pasted.recv().await {
        let _ = arrive.send(Arrival::pasted(line)).await; // refused only when the flow is over
    }
    std::future::pending().await
}
